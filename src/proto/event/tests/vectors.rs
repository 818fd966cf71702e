//! What the specification published, and what Synapse made of the events of `tests/vectors/events`.

use std::collections::BTreeMap;

use super::*;
use crate::proto::ed25519::VerifyKey;
use crate::proto::test_vectors;

/// One file of Synapse's judgements.
fn file(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

pub(super) fn files() -> [(Redaction, Value); 5] {
    [
        (
            Redaction::V1,
            file(include_str!("../../../../tests/vectors/events/versions-1-to-5.json")),
        ),
        (
            Redaction::V6,
            file(include_str!("../../../../tests/vectors/events/versions-6-to-7.json")),
        ),
        (Redaction::V8, file(include_str!("../../../../tests/vectors/events/version-8.json"))),
        (
            Redaction::V9,
            file(include_str!("../../../../tests/vectors/events/versions-9-to-10.json")),
        ),
        (
            Redaction::V11,
            file(include_str!("../../../../tests/vectors/events/versions-11-to-12.json")),
        ),
    ]
}

/// The keys of a file, as if their documents had been fetched at its `now`.
pub(super) fn keys(file: &Value) -> BTreeMap<(String, String), EventKey> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let entries = file["keys"].as_array().unwrap().iter().map(|entry| {
        let key = VerifyKey::from_base64(entry["key"].as_str().unwrap()).unwrap();
        let key = match entry["expired_ts"].as_u64() {
            Some(ms) => EventKey::Retired { key, expired_ts: Timestamp::from_ms(ms) },
            None => EventKey::Current {
                key,
                effective_until: Timestamp::from_ms(entry["valid_until_ts"].as_u64().unwrap()),
            },
        };
        ((text(&entry["server"]), text(&entry["id"])), key)
    });
    entries.collect()
}

pub(super) fn written(write: impl FnOnce(&mut dyn FnMut(&[u8]))) -> String {
    let mut bytes = Vec::new();
    write(&mut |piece: &[u8]| bytes.extend_from_slice(piece));
    String::from_utf8(bytes).unwrap()
}

#[test]
fn synapse_agrees_on_every_event() {
    for (redaction, file) in files() {
        let keys = keys(&file);
        let find = |server: &ServerName, id: &KeyId| {
            keys.get(&(server.to_string(), id.to_string())).cloned()
        };
        let events = file["events"].as_array().unwrap();
        assert!(events.len() >= 40, "{redaction:?}");
        for vector in events {
            let version = RoomVersion::parse(vector["room_version"].as_str().unwrap()).unwrap();
            assert_eq!(version.redaction(), redaction);
            let what = format!("{version}: {}", vector["what"]);
            let event = Event::scan(vector["text"].as_str().unwrap().as_bytes()).unwrap();
            let judgement = judge(in_known_room(&event, version), &find).unwrap_or_else(|error| {
                panic!("{what}: {error}");
            });
            assert_eq!(judgement.content_hash.to_base64(), vector["content_hash"], "{what}");
            assert_eq!(judgement.reference_hash.to_base64(), vector["reference_hash"], "{what}");
            assert_eq!(judgement.reference_hash, event.reference_hash(version), "{what}");
            assert_eq!(judgement.event_id, vector["event_id"], "{what}");
            assert_eq!(judgement.room_id, vector["room_id"], "{what}");
            let redacted = written(|mut sink| event.write_redacted(version, &mut sink));
            assert_eq!(redacted, vector["redacted"], "{what}");
            let verdict = match judgement.verdict() {
                Verdict::Good => "good",
                Verdict::Redacted => "redacted",
                Verdict::Refused(_) => "refused",
            };
            assert_eq!(verdict, vector["verdict"], "{what}");
        }
    }
}

#[test]
fn every_room_version_and_verdict_is_among_the_vectors() {
    let mut seen = std::collections::BTreeSet::new();
    for (_, file) in files() {
        for vector in file["events"].as_array().unwrap() {
            seen.insert((vector["room_version"].to_string(), vector["verdict"].to_string()));
        }
    }
    for version in RoomVersion::ALL {
        for verdict in ["good", "refused"] {
            assert!(
                seen.contains(&(json!(version.as_str()).to_string(), format!("\"{verdict}\"")))
            );
        }
    }
    assert!(seen.iter().filter(|(_, verdict)| verdict == "\"redacted\"").count() >= 5);
}

#[test]
fn redacting_what_is_redacted_changes_nothing() {
    for (_, file) in files() {
        for vector in file["events"].as_array().unwrap() {
            let version = RoomVersion::parse(vector["room_version"].as_str().unwrap()).unwrap();
            let redacted = vector["redacted"].as_str().unwrap();
            let event = Event::scan(redacted.as_bytes()).unwrap();
            assert_eq!(written(|mut sink| event.write_redacted(version, &mut sink)), redacted);
            assert_eq!(event.reference_hash(version).to_base64(), vector["reference_hash"]);
            assert!(event.is_redacted(event.reference_hash(version)));
        }
    }
}

#[test]
fn the_specs_event_vectors_agree() {
    let vectors = test_vectors::spec();
    let key = test_vectors::spec_key();
    let vectors = vectors["spec_signing"]["event_signing"].as_array().unwrap();
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let (input, expected) = (&vector["input"], &vector["expected"]);
        let mut event = input.clone();
        let text = event.to_string();
        let hash = Event::scan(text.as_bytes()).unwrap().content_hash();
        event["hashes"]["sha256"] = json!(hash.to_base64());
        assert_eq!(event["hashes"], expected["hashes"]);

        let text = expected.to_string();
        let expected_event = Event::scan(text.as_bytes()).unwrap();
        assert_eq!(expected_event.claimed_content_hash(), Some(hash));
        let signature = &expected["signatures"]["domain"]["ed25519:1"];
        for version in RoomVersion::ALL {
            let signed = written(|mut sink| expected_event.write_signed(version, &mut sink));
            let made = key.sign(signed.as_bytes()).to_base64();
            // They carry `origin`, which redaction keeps in versions before 11 only.
            assert_eq!(*signature == made, version < RoomVersion::V11, "{version}");
        }
        let derived = &vector["derived"]["redacted_signed_bytes_text_v1_redaction"];
        let signed = written(|mut sink| expected_event.write_signed(RoomVersion::V1, &mut sink));
        assert_eq!(signed, *derived);
        let hash = &vector["derived"]["reference_hash_v1_redaction_unpadded_b64"];
        assert_eq!(expected_event.reference_hash(RoomVersion::V3).to_base64(), *hash);
    }
}

#[test]
fn event_ids_have_the_specs_shapes() {
    let shapes = &test_vectors::spec()["spec_event_id_examples"];
    let v3 = shapes["v3_with_slash"].as_str().unwrap();
    let v4 = shapes["v4+"].as_str().unwrap();
    assert!(IdForm::Base64.matches(v3) && !IdForm::UrlSafe.matches(v3));
    assert!(IdForm::UrlSafe.matches(v4) && !IdForm::Base64.matches(v4));
    assert!(!IdForm::Given.matches(v3) && !IdForm::Given.matches(v4));
    assert!(IdForm::Given.matches("$1:domain") && !IdForm::UrlSafe.matches("$1:domain"));
    let (short, long) = (v4.strip_suffix('g').unwrap(), format!("{v4}a"));
    for no_id in ["", "$", "abc", "$1", "$1:", "$:", "@1:domain", short, &long] {
        for form in [IdForm::Given, IdForm::Base64, IdForm::UrlSafe] {
            assert!(!form.matches(no_id), "{no_id}");
        }
    }
}
