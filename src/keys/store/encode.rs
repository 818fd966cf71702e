//! Records and rules as bytes: JSON behind a checksum, so that damage is seen rather than believed.

pub(super) mod history;

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::keys::record::{Binding, Conflict, KeptDocument, ServerRecord, Source};
use crate::keys::rules::Rules;
use crate::keys::rules::form::RulesForm;
use crate::proto::ed25519::VerifyKey;
use crate::proto::validity::Provenance;
use crate::proto::{KeyId, ServerName, Timestamp};

/// Bytes of the checksum: the beginning of a SHA-256. Eight leave one damage in 2^64 unseen.
const CHECKSUM_BYTES: usize = 8;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordForm {
    bindings: Vec<BindingForm>,
    documents: Vec<DocumentForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BindingForm {
    id: String,
    key: String,
    learnt_from: ProvenanceForm,
    first_seen: u64,
    witnesses: Vec<SourceForm>,
    expired_ts: Option<u64>,
    conflict: Option<ConflictForm>,
    document: Option<usize>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConflictForm {
    key: String,
    source: SourceForm,
    at: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentForm {
    raw: String,
    fetched_at: u64,
    source: SourceForm,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProvenanceForm {
    Homeserver,
    Notary,
    Origin,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SourceForm {
    Homeserver,
    Notary(String),
    Origin,
}

/// `payload` behind its checksum. The checksum covers `name` too, under which the bytes are kept:
/// what has got under another name does not open.
pub(super) fn seal(name: &str, payload: &[u8]) -> Vec<u8> {
    [&checksum(name, payload)[..], payload].concat()
}

/// The payload of what was sealed under `name`; an error if it is damaged.
pub(super) fn unseal<'a>(name: &str, sealed: &'a [u8]) -> Result<&'a [u8], String> {
    match sealed.split_at_checked(CHECKSUM_BYTES) {
        Some((sum, payload)) if sum == checksum(name, payload) => Ok(payload),
        Some(_) => Err("its checksum does not match".to_owned()),
        None => Err("it is cut short".to_owned()),
    }
}

fn checksum(name: &str, payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    // A zero ends the name: no server name has one.
    let digest = Sha256::new().chain_update(name).chain_update([0]).chain_update(payload);
    let mut sum = [0; CHECKSUM_BYTES];
    for (byte, from) in sum.iter_mut().zip(digest.finalize()) {
        *byte = from;
    }
    sum
}

/// The record of `server` as bytes; an error if it is none that could be read again.
pub(super) fn record_to_bytes(
    server: &ServerName,
    record: &ServerRecord,
) -> Result<Vec<u8>, String> {
    let bindings = record
        .bindings
        .iter()
        .map(|binding| binding_form(binding, record.documents.len()))
        .collect::<Result<_, _>>()?;
    let documents = record.documents.iter().map(document_form).collect::<Result<_, _>>()?;
    let json = serde_json::to_vec(&RecordForm { bindings, documents }).map_err(text)?;
    Ok(seal(server.as_str(), &json))
}

/// The record of `server` from its bytes; an error if anything about it is damaged.
pub(super) fn record_from_bytes(server: &ServerName, bytes: &[u8]) -> Result<ServerRecord, String> {
    let form: RecordForm = serde_json::from_slice(unseal(server.as_str(), bytes)?).map_err(text)?;
    let documents: Vec<_> =
        form.documents.into_iter().map(document_of).collect::<Result<_, _>>()?;
    let bindings = form
        .bindings
        .into_iter()
        .map(|binding| binding_of(binding, documents.len()))
        .collect::<Result<_, _>>()?;
    Ok(ServerRecord { bindings, documents })
}

/// Rules as bytes, sealed under `name`.
pub(super) fn rules_to_bytes(name: &str, rules: &Rules) -> Result<Vec<u8>, String> {
    let form = RulesForm::from(rules);
    Ok(seal(name, &serde_json::to_vec(&form).map_err(text)?))
}

/// Rules from the bytes that were sealed under `name`; an error if anything is damaged.
pub(super) fn rules_from_bytes(name: &str, bytes: &[u8]) -> Result<Rules, String> {
    let form: RulesForm = serde_json::from_slice(unseal(name, bytes)?).map_err(text)?;
    Rules::try_from(form).map_err(text)
}

fn binding_form(binding: &Binding, documents: usize) -> Result<BindingForm, String> {
    let conflict = binding.conflict.as_ref().map(|conflict| -> Result<_, String> {
        Ok(ConflictForm {
            key: conflict.key.to_base64(),
            source: source_form(&conflict.source),
            at: in_range(conflict.at.as_ms())?,
        })
    });
    Ok(BindingForm {
        id: binding.id.as_str().to_owned(),
        key: binding.key.to_base64(),
        learnt_from: match binding.learnt_from {
            Provenance::Homeserver => ProvenanceForm::Homeserver,
            Provenance::Notary => ProvenanceForm::Notary,
            Provenance::Origin => ProvenanceForm::Origin,
        },
        first_seen: in_range(binding.first_seen.as_ms())?,
        witnesses: binding.witnesses.iter().map(source_form).collect(),
        expired_ts: binding.expired_ts.map(|ts| in_range(ts.as_ms())).transpose()?,
        conflict: conflict.transpose()?,
        document: place(binding.document, documents)?,
    })
}

fn binding_of(form: BindingForm, documents: usize) -> Result<Binding, String> {
    let conflict = form.conflict.map(|conflict| -> Result<_, String> {
        Ok(Conflict {
            key: verify_key(&conflict.key)?,
            source: source_of(conflict.source)?,
            at: timestamp(conflict.at)?,
        })
    });
    Ok(Binding {
        id: key_id(&form.id)?,
        key: verify_key(&form.key)?,
        learnt_from: match form.learnt_from {
            ProvenanceForm::Homeserver => Provenance::Homeserver,
            ProvenanceForm::Notary => Provenance::Notary,
            ProvenanceForm::Origin => Provenance::Origin,
        },
        first_seen: timestamp(form.first_seen)?,
        witnesses: form.witnesses.into_iter().map(source_of).collect::<Result<BTreeSet<_>, _>>()?,
        expired_ts: form.expired_ts.map(timestamp).transpose()?,
        conflict: conflict.transpose()?,
        document: place(form.document, documents)?,
    })
}

fn document_form(document: &KeptDocument) -> Result<DocumentForm, String> {
    Ok(DocumentForm {
        raw: str::from_utf8(&document.raw).map_err(text)?.to_owned(),
        fetched_at: in_range(document.fetched_at.as_ms())?,
        source: source_form(&document.source),
    })
}

fn document_of(form: DocumentForm) -> Result<KeptDocument, String> {
    Ok(KeptDocument {
        raw: Bytes::from(form.raw),
        fetched_at: timestamp(form.fetched_at)?,
        source: source_of(form.source)?,
    })
}

fn source_form(source: &Source) -> SourceForm {
    match source {
        Source::Homeserver => SourceForm::Homeserver,
        Source::Notary(name) => SourceForm::Notary(name.as_str().to_owned()),
        Source::Origin => SourceForm::Origin,
    }
}

fn source_of(form: SourceForm) -> Result<Source, String> {
    Ok(match form {
        SourceForm::Homeserver => Source::Homeserver,
        SourceForm::Notary(name) => Source::Notary(server_name(&name)?),
        SourceForm::Origin => Source::Origin,
    })
}

fn place(document: Option<usize>, documents: usize) -> Result<Option<usize>, String> {
    match document {
        Some(at) if at >= documents => Err(format!("document {at} of {documents} is none")),
        _ => Ok(document),
    }
}

fn server_name(name: &str) -> Result<ServerName, String> {
    ServerName::parse(name).map_err(text)
}

fn key_id(id: &str) -> Result<KeyId, String> {
    KeyId::parse(id).map_err(text)
}

fn verify_key(key: &str) -> Result<VerifyKey, String> {
    VerifyKey::from_base64(key).map_err(text)
}

fn timestamp(ms: u64) -> Result<Timestamp, String> {
    in_range(ms).map(Timestamp::from_ms)
}

fn in_range(ms: u64) -> Result<u64, String> {
    let in_range = ms <= Timestamp::MAX.as_ms();
    in_range.then_some(ms).ok_or_else(|| format!("{ms} ms is no timestamp"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::proto::ed25519::SigningKey;

    fn server() -> ServerName {
        ServerName::parse("a.example").unwrap()
    }

    fn key(seed: u8) -> VerifyKey {
        SigningKey::from_seed(&[seed; 32]).verify_key()
    }

    fn timestamps() -> impl Strategy<Value = Timestamp> {
        (0..=Timestamp::MAX.as_ms()).prop_map(Timestamp::from_ms)
    }

    fn sources() -> impl Strategy<Value = Source> {
        prop_oneof![
            Just(Source::Homeserver),
            Just(Source::Origin),
            (0..9_u8).prop_map(|n| Source::Notary(ServerName::parse(&format!("n{n}:80")).unwrap())),
        ]
    }

    fn documents() -> impl Strategy<Value = KeptDocument> {
        (any::<String>(), timestamps(), sources()).prop_map(|(raw, fetched_at, source)| {
            KeptDocument { raw: Bytes::from(raw), fetched_at, source }
        })
    }

    fn bindings() -> impl Strategy<Value = Binding> {
        let conflict = (any::<u8>(), sources(), timestamps())
            .prop_map(|(seed, source, at)| Conflict { key: key(seed), source, at });
        (
            (any::<u8>(), any::<u8>(), timestamps()),
            (vec(sources(), 0..4), option::of(timestamps())),
            (option::of(conflict), option::of(0..3_usize)),
        )
            .prop_map(
                |((id, seed, first_seen), (witnesses, expired_ts), (conflict, document))| Binding {
                    id: KeyId::parse(&format!("ed25519:{id}")).unwrap(),
                    key: key(seed),
                    learnt_from: witnesses.first().map_or(Provenance::Origin, Source::kind),
                    first_seen,
                    witnesses: witnesses.into_iter().collect(),
                    expired_ts,
                    conflict,
                    document,
                },
            )
    }

    fn records() -> impl Strategy<Value = ServerRecord> {
        (vec(bindings(), 0..4), vec(documents(), 3))
            .prop_map(|(bindings, documents)| ServerRecord { bindings, documents })
    }

    fn rules() -> Rules {
        let id = KeyId::parse("ed25519:1").unwrap();
        Rules {
            pins: BTreeMap::from([(server(), BTreeMap::from([(id.clone(), key(1))]))]),
            banned_keys: BTreeSet::from([[0; 32], [255; 32]]),
            banned_key_ids: BTreeSet::from([(server(), id)]),
            banned_servers: BTreeSet::from([server()]),
        }
    }

    fn damaged(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        let flipped = (0..bytes.len()).map(|at| {
            let mut copy = bytes.to_vec();
            copy[at] ^= 1 << (at % 8);
            copy
        });
        flipped.chain((0..bytes.len()).map(|end| bytes[..end].to_vec()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn records_survive_and_their_damage_is_seen(record in records()) {
            let bytes = record_to_bytes(&server(), &record).unwrap();
            prop_assert_eq!(record_from_bytes(&server(), &bytes), Ok(record));
            let other = ServerName::parse("b.example").unwrap();
            prop_assert!(record_from_bytes(&other, &bytes).is_err(), "under another name");
            for copy in damaged(&bytes) {
                prop_assert!(record_from_bytes(&server(), &copy).is_err());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200)) {
            prop_assert!(record_from_bytes(&server(), &bytes).is_err());
            let sealed = seal("a.example", &bytes);
            prop_assert!(record_from_bytes(&server(), &sealed).is_err());
            prop_assert!(rules_from_bytes("a.example", &sealed).is_err());
        }
    }

    #[test]
    fn rules_survive_and_their_damage_is_seen() {
        for rules in [Rules::default(), rules()] {
            let bytes = rules_to_bytes("rules", &rules).unwrap();
            assert_eq!(rules_from_bytes("rules", &bytes), Ok(rules));
            for copy in damaged(&bytes) {
                assert!(rules_from_bytes("rules", &copy).is_err());
            }
        }
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let document = |raw| KeptDocument {
            raw: Bytes::from_static(raw),
            fetched_at: Timestamp::from_ms(1),
            source: Source::Origin,
        };
        let record = ServerRecord { bindings: vec![], documents: vec![document(b"\xff")] };
        assert!(record_to_bytes(&server(), &record).is_err(), "not UTF-8");
        let binding = Binding {
            id: KeyId::parse("ed25519:1").unwrap(),
            key: key(1),
            learnt_from: Provenance::Origin,
            first_seen: Timestamp::from_ms(1),
            witnesses: BTreeSet::new(),
            expired_ts: None,
            conflict: None,
            document: Some(1),
        };
        let record = ServerRecord { bindings: vec![binding], documents: vec![document(b"{}")] };
        assert!(record_to_bytes(&server(), &record).is_err(), "no such document");
    }

    #[test]
    fn what_is_no_record_is_an_error_even_behind_a_good_checksum() {
        let good = r#"{"bindings":[{"id":"ed25519:1","key":"KEY","learnt_from":"notary",
            "first_seen":1,"witnesses":[{"notary":"n"}],"expired_ts":null,"conflict":null,
            "document":0}],"documents":[{"raw":"{}","fetched_at":1,"source":"origin"}]}"#
            .replace("KEY", &key(1).to_base64());
        let decoded =
            |json: &str| record_from_bytes(&server(), &seal("a.example", json.as_bytes()));
        assert!(decoded(&good).is_ok());
        let zeros = "A".repeat(43);
        for (from, to) in [
            ("ed25519:1", "ed25519"),
            (key(1).to_base64().as_str(), zeros.as_str()),
            (r#""notary":"n""#, r#""notary":"n n""#),
            (r#""first_seen":1"#, r#""first_seen":9007199254740992"#),
            (r#""document":0"#, r#""document":1"#),
            (r#""expired_ts""#, r#""expired""#),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good);
            assert!(decoded(&bad).is_err(), "{to}");
        }
    }
}
