//! What a caller sees of a document. Which documents are taken and which refused, with which text, is
//! in the tables of `src/keys/fetch/tests/hostile/`.

use serde_json::{Value, json};

use super::*;
use crate::proto::ed25519::SigningKey;
use crate::proto::sign::sign_json;
use crate::proto::test_vectors::{self, id, name, spec_key};

const WEEK_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

fn parse(document: &Value) -> Result<UnverifiedServerKeys, ServerKeysError> {
    UnverifiedServerKeys::parse(document.to_string().into())
}

/// The document signed as `domain` with `ed25519:1`, and perhaps somebody else's signature.
fn signed(document: &Value) -> Bytes {
    signed_by(document.to_string().as_bytes(), "domain", "ed25519:1", &spec_key())
}

fn signed_by(document: &[u8], server: &str, key_id: &str, key: &SigningKey) -> Bytes {
    sign_json(document, &name(server), &id(key_id), key).unwrap().into()
}

fn verify(raw: Bytes) -> Result<ServerKeys, ServerKeysError> {
    UnverifiedServerKeys::parse(raw)?.verify(&name("domain"), &BannedKeys::new([]))
}

fn minimal() -> Value {
    json!({
        "server_name": "domain",
        "valid_until_ts": 1_652_262_000_000_u64,
        "verify_keys": { "ed25519:1": { "key": spec_key().verify_key().to_base64() } },
        "signatures": {},
    })
}

/// The minimal document with one field changed.
fn with(field: &str, value: Value) -> Value {
    let mut document = minimal();
    document[field] = value;
    document
}

#[test]
fn r54_unknown_fields_are_signed_and_kept() {
    let vectors = test_vectors::spec();
    let response = &vectors["derived_key_response_with_unknown_field"]["response"];
    let raw = Bytes::from(response.to_string());
    let keys = verify(raw.clone()).unwrap();
    assert_eq!(keys.raw(), &raw);
    assert_eq!(keys.server_name(), &name("domain"));
    assert_eq!(keys.valid_until_ts(), Timestamp::from_ms(1_652_262_000_000));
    assert_eq!(keys.verify_keys()[&id("ed25519:1")], spec_key().verify_key());
    assert!(keys.old_verify_keys().is_empty());
    assert!(keys.dropped().is_empty());

    let mut stripped = response.clone();
    stripped.as_object_mut().unwrap().remove("tls_fingerprints").unwrap();
    assert_eq!(verify(stripped.to_string().into()).unwrap_err(), ServerKeysError::NotSelfSigned);
}

#[test]
fn the_specs_examples_are_read_but_not_believed() {
    let vectors = test_vectors::spec();
    let examples = &vectors["spec_key_response_examples"];
    for example in ["server_key", "server_key_notary_signed_resolved"] {
        let keys = parse(&examples[example]).unwrap();
        assert_eq!(keys.server_name(), &name("example.org"));
        let refused = keys.verify(&name("example.org"), &BannedKeys::new([])).unwrap_err();
        assert_eq!(refused, ServerKeysError::NotSelfSigned);
    }
}

#[test]
fn r56_malformed_keys_are_dropped_one_by_one() {
    let good = spec_key().verify_key().to_base64();
    let cases = [
        ("ed25519:short", json!({ "key": "AAAA" }), "the key is not base64 of 32 bytes"),
        ("ed25519:long", json!({ "key": "A".repeat(44) }), "the key is not base64 of 32 bytes"),
        (
            "ed25519:white",
            json!({ "key": format!(" {good}") }),
            "the key is not base64 of 32 bytes",
        ),
        (
            "ed25519:point",
            json!({ "key": "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }),
            "the key is not the encoding of a curve point",
        ),
        ("ed25519:weak", json!({ "key": "A".repeat(43) }), "the key is a point of small order"),
        ("ed25519:none", json!({}), "the entry is not an object with a string \"key\""),
        ("ed25519:text", json!(good), "the entry is not an object with a string \"key\""),
        ("ed25519:num", json!({ "key": 1 }), "the entry is not an object with a string \"key\""),
        ("ed25519", json!({ "key": good }), "the key ID is malformed"),
        ("ed25519:a b", json!({ "key": good }), "the key ID is malformed"),
        ("rsa:1", json!({ "key": good }), "the algorithm is not ed25519"),
        ("ED25519:1", json!({ "key": good }), "the algorithm is not ed25519"),
    ];
    for (key_id, entry, reason) in cases {
        let mut document = minimal();
        document["verify_keys"][key_id] = entry.clone();
        let keys = verify(signed(&document)).unwrap();
        assert_eq!(keys.dropped(), [(key_id.to_owned(), reason)]);
        assert_eq!(keys.verify_keys().len(), 1);

        let mut entry = entry;
        if entry.is_object() {
            entry["expired_ts"] = 1.into();
        }
        let document = with("old_verify_keys", json!({ key_id: entry }));
        let keys = verify(signed(&document)).unwrap();
        assert_eq!(keys.dropped(), [(key_id.to_owned(), reason)]);
        assert!(keys.old_verify_keys().is_empty());
    }
}

#[test]
fn r40_old_keys_are_kept_apart_and_never_authenticate_requests() {
    let old = SigningKey::from_seed(&[7; 32]).verify_key();
    let document = with(
        "old_verify_keys",
        json!({ "ed25519:0": { "key": old.to_base64(), "expired_ts": 5 } }),
    );
    let keys = verify(signed(&document)).unwrap();
    let expired_ts = Timestamp::from_ms(5);
    assert_eq!(keys.old_verify_keys()[&id("ed25519:0")], OldVerifyKey { key: old, expired_ts });
    let now = Timestamp::from_ms(0);
    assert_eq!(keys.trusted_key(&id("ed25519:0"), now, Provenance::Origin), None);
    assert!(keys.trusted_key(&id("ed25519:1"), now, Provenance::Origin).is_some());
}

#[test]
fn k5_a_key_id_in_both_lists_counts_as_retired() {
    let other = SigningKey::from_seed(&[7; 32]).verify_key().to_base64();
    let mut document = minimal();
    document["verify_keys"]["ed25519:0"] = json!({ "key": other });
    for entry in [json!({ "key": other, "expired_ts": 9_000_000_000_000_u64 }), json!({})] {
        document["old_verify_keys"] = json!({ "ed25519:0": entry });
        let keys = verify(signed(&document)).unwrap();
        assert!(!keys.verify_keys().contains_key(&id("ed25519:0")));
        assert!(keys.verify_keys().contains_key(&id("ed25519:1")));
        assert!(keys.dropped().iter().any(|(name, _)| name == "ed25519:0"));
    }
    // A retired key's signature does not carry a document either.
    let key = spec_key().verify_key().to_base64();
    document["old_verify_keys"] = json!({ "ed25519:1": { "key": key, "expired_ts": 5 } });
    assert_eq!(verify(signed(&document)).unwrap_err(), ServerKeysError::NotSelfSigned);
}

#[test]
fn r42_a_key_is_trusted_for_seven_days_from_the_fetch_at_most() {
    let until = 1_652_262_000_000;
    let keys = verify(signed(&minimal())).unwrap();
    for (fetched_at, effective_until) in
        [(0, WEEK_MS), (until - WEEK_MS, until), (until - 1, until), (until + 1, until)]
    {
        let fetched_at = Timestamp::from_ms(fetched_at);
        let key = keys.trusted_key(&id("ed25519:1"), fetched_at, Provenance::Notary).unwrap();
        assert_eq!(key.effective_until, Timestamp::from_ms(effective_until));
        assert_eq!(key.server, name("domain"));
        assert_eq!(key.id, id("ed25519:1"));
        assert_eq!(key.key, spec_key().verify_key());
        assert_eq!(key.provenance, Some(Provenance::Notary));
    }
}

#[test]
fn r48_banned_keys_are_let_go_and_their_signature_does_not_count() {
    let other = SigningKey::from_seed(&[7; 32]);
    let old = json!({ "key": other.verify_key().to_base64(), "expired_ts": 5 });
    let mut document = with("old_verify_keys", json!({ "ed25519:old": old }));
    document["verify_keys"]["ed25519:2"] = json!({ "key": other.verify_key().to_base64() });
    let raw = signed(&document);
    let keys = UnverifiedServerKeys::parse(raw.clone()).unwrap();
    let banned = BannedKeys::new([*other.verify_key().as_bytes()]);
    let keys = keys.verify(&name("domain"), &banned).unwrap();
    assert_eq!(keys.verify_keys().keys().collect::<Vec<_>>(), [&id("ed25519:1")]);
    assert!(keys.old_verify_keys().is_empty());
    let dropped = ["ed25519:2", "ed25519:old"].map(|id| (id.to_owned(), "the key is banned"));
    assert_eq!(keys.dropped(), dropped);

    let keys = UnverifiedServerKeys::parse(raw).unwrap();
    let banned = BannedKeys::new([*spec_key().verify_key().as_bytes()]);
    let refused = keys.verify(&name("domain"), &banned).unwrap_err();
    assert_eq!(refused, ServerKeysError::NotSelfSigned);
}

#[test]
fn r58_a_notarys_signature_is_told_from_its_absence() {
    let notary = SigningKey::from_seed(&[9; 32]);
    let raw = signed_by(&signed(&minimal()), "notary.example", "ed25519:n", &notary);
    let keys = UnverifiedServerKeys::parse(raw).unwrap();
    let by = |server: &str, key_id: &str, key: &SigningKey| {
        keys.is_signed_by(&name(server), &id(key_id), &key.verify_key())
    };
    assert!(by("notary.example", "ed25519:n", &notary));
    assert!(by("domain", "ed25519:1", &spec_key()));
    assert!(!by("notary.example", "ed25519:n", &spec_key()));
    assert!(!by("notary.example", "ed25519:m", &notary));
    assert!(!by("domain", "ed25519:n", &notary));
}

#[test]
fn r57_times_are_integers_of_canonical_json() {
    let text = minimal().to_string();
    let until = |told: &str| {
        let text = text.replace(":1652262000000", &format!(":{told}"));
        UnverifiedServerKeys::parse(text.into()).map(|keys| keys.keys.valid_until_ts.as_ms())
    };
    assert_eq!(until("0"), Ok(0));
    assert_eq!(until("9007199254740991"), Ok(9_007_199_254_740_991));
    for told in
        ["9007199254740992", "18446744073709551615", "1.0", "1e3", "-1", "-0", "\"1\"", "null"]
    {
        assert_eq!(until(told), Err(ServerKeysError::InvalidValidUntil), "{told}");
    }
}

#[test]
fn a_document_lists_its_current_and_retired_keys_by_their_ids_and_no_others() {
    let (current, old) = (spec_key().verify_key(), SigningKey::from_seed(&[7; 32]).verify_key());
    let retired = json!({ "ed25519:0": { "key": old.to_base64(), "expired_ts": 5 } });
    let keys = parse(&with("old_verify_keys", retired)).unwrap();
    assert!(keys.lists(&id("ed25519:1"), &current));
    assert!(keys.lists(&id("ed25519:0"), &old));
    for (key_id, key) in
        [("ed25519:0", &current), ("ed25519:1", &old), ("ed25519:2", &current), ("ed25519:2", &old)]
    {
        assert!(!keys.lists(&id(key_id), key), "{key_id}");
    }
}

#[test]
fn what_a_document_takes_is_counted_entry_by_entry() {
    let taken = |document: &Value| {
        let raw = signed(document);
        let length = raw.len();
        verify(raw).unwrap().size_bytes() - length
    };
    let plain = taken(&minimal());
    let key = SigningKey::from_seed(&[7; 32]).verify_key().to_base64();
    let mut more = minimal();
    more["verify_keys"]["ed25519:2"] = json!({ "key": key });
    let entry = size_of::<(KeyId, VerifyKey)>() + id("ed25519:2").shared_bytes();
    assert_eq!(taken(&more) - plain, entry + VerifyKey::SHARED_BYTES);
    assert_eq!(plain, size_of::<ServerKeys>() + RAW_SHARED_BYTES + entry + VerifyKey::SHARED_BYTES);
    let retired = json!({ "ed25519:0": { "key": key, "expired_ts": 5 }, "no ID": {} });
    let retired = taken(&with("old_verify_keys", retired)) - plain;
    let entry = size_of::<(KeyId, OldVerifyKey)>() + id("ed25519:0").shared_bytes();
    let dropped = size_of::<(String, &str)>() + "no ID".len();
    assert_eq!(retired, entry + VerifyKey::SHARED_BYTES + dropped);
}

#[test]
fn size_and_number_of_keys_are_bounded() {
    let mut text = minimal().to_string();
    text.push_str(&" ".repeat(SERVER_KEYS_BYTES_MAX - text.len()));
    assert!(UnverifiedServerKeys::parse(text.clone().into()).is_ok());
    text.push(' ');
    let refused = UnverifiedServerKeys::parse(text.into()).unwrap_err();
    assert_eq!(refused, ServerKeysError::TooLarge(SERVER_KEYS_BYTES_MAX + 1));

    for field in ["verify_keys", "old_verify_keys"] {
        let many = |count: usize| {
            let entries = (0..count).map(|number| (format!("k:{number}"), json!({})));
            parse(&with(field, entries.collect::<serde_json::Map<_, _>>().into()))
        };
        assert!(many(KEYS_PER_DOCUMENT_MAX).is_ok());
        let refused = many(KEYS_PER_DOCUMENT_MAX + 1).unwrap_err();
        assert_eq!(refused, ServerKeysError::TooManyKeys(field));
    }
}

#[test]
fn dropped_ids_are_cut_for_the_log() {
    let key_id = "\u{e9}".repeat(1_000);
    let keys = verify(signed(&with("old_verify_keys", json!({ key_id: {} })))).unwrap();
    assert_eq!(keys.dropped()[0].0, "\u{e9}".repeat(128));
}
