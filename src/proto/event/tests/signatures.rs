//! Who must sign, and which signatures count (R83, R84, R87).

use super::*;
use crate::proto::limits::EVENT_SIGNATURES_PER_SERVER_MAX;

const AUTHORISING: &str = "content.join_authorised_via_users_server";

fn signers(event: &Value, version: RoomVersion) -> Result<Vec<(String, Role)>, FormatError> {
    let text = event.to_string();
    let signers = Event::scan(text.as_bytes()).unwrap().required_signers(version)?;
    Ok(signers.into_iter().map(|signer| (signer.server.to_string(), signer.role)).collect())
}

fn member(version: RoomVersion, content: Value) -> Value {
    let mut event = message(version);
    event["type"] = json!("m.room.member");
    event["state_key"] = json!("@u:one.example");
    event["content"] = content;
    event
}

#[test]
fn r83_the_senders_server_signs() {
    for version in RoomVersion::ALL {
        let wanted = vec![("one.example".to_owned(), Role::Sender)];
        assert_eq!(signers(&message(version), version), Ok(wanted));
    }
}

#[test]
fn r83_in_versions_1_and_2_the_event_ids_server_signs_too() {
    for version in RoomVersion::ALL {
        let mut event = message(version);
        event["event_id"] = json!("$1:[::1]:8448");
        let mut wanted = vec![("one.example".to_owned(), Role::Sender)];
        if version < RoomVersion::V3 {
            wanted.push(("[::1]:8448".to_owned(), Role::EventId));
        }
        assert_eq!(signers(&event, version), Ok(wanted));
    }
}

#[test]
fn r83_from_version_8_on_the_authorising_server_signs_joins() {
    for version in RoomVersion::ALL {
        let content = |membership: &str, user: Value| json!({ "membership": membership, "join_authorised_via_users_server": user });
        let sender = vec![("one.example".to_owned(), Role::Sender)];
        let mut both = sender.clone();
        both.push(("two.example".to_owned(), Role::Authorising));
        let has = version >= RoomVersion::V8;
        let event = member(version, content("join", json!("@a:two.example")));
        assert_eq!(signers(&event, version), Ok(if has { both } else { sender.clone() }));

        let own = member(version, content("join", json!("@a:one.example")));
        assert_eq!(signers(&own, version), Ok(sender.clone()));
        let leave = member(version, content("leave", json!("@a:two.example")));
        assert_eq!(signers(&leave, version), Ok(sender.clone()));
        let mut other = event.clone();
        other["type"] = json!("m.room.name");
        assert_eq!(signers(&other, version), Ok(sender.clone()));
        for user in [json!("two.example"), json!(null), json!({}), json!("")] {
            let wanted =
                if has { Err(FormatError::NotAnId(AUTHORISING)) } else { Ok(sender.clone()) };
            assert_eq!(signers(&member(version, content("join", user)), version), wanted);
        }
    }
}

#[test]
fn r83_invites_by_third_parties_may_be_sent_by_anyone() {
    for version in RoomVersion::ALL {
        let content =
            |membership: &str| json!({ "membership": membership, "third_party_invite": {} });
        let given = (version < RoomVersion::V3).then(|| ("one.example".to_owned(), Role::EventId));
        let invite = member(version, content("invite"));
        assert_eq!(signers(&invite, version), Ok(given.into_iter().collect()));
        let sender = vec![("one.example".to_owned(), Role::Sender)];
        assert_eq!(signers(&member(version, content("join")), version), Ok(sender.clone()));
        let plain = member(version, json!({ "membership": "invite" }));
        assert_eq!(signers(&plain, version), Ok(sender.clone()));
        let mut other = invite;
        other["type"] = json!("m.room.name");
        assert_eq!(signers(&other, version), Ok(sender));
    }
}

/// What is said of a message with these signatures of its server: `good`, `bad` or `none` by key ID.
fn state(version: RoomVersion, signatures: &[(&str, &str)]) -> (SignerState, Verdict) {
    let mut event = hashed(message(version));
    for (key_id, kind) in signatures {
        sign(&mut event, version, "one.example", key_id);
        let signature = &mut event["signatures"]["one.example"][key_id];
        match *kind {
            "good" => {}
            "bad" => *signature = json!("A".repeat(86)),
            "short" => *signature = json!("AAAA"),
            "padded" => *signature = json!(format!("{}==", signature.as_str().unwrap())),
            _ => *signature = json!(null),
        }
    }
    let judgement = judged(&event, version).unwrap();
    (judgement.signers[0].state(), judgement.verdict())
}

#[test]
fn r84_one_good_signature_is_enough_and_one_bad_one_too_much() {
    let refused = |state| {
        let server = name("one.example");
        Verdict::Refused(Refusal { server, state })
    };
    for version in RoomVersion::ALL {
        let (first, second) = ("ed25519:1", "ed25519:2");
        let unknown = "ed25519:unknown";
        let policy = "ed25519:policy_server";
        for signatures in [
            &[(first, "good")][..],
            &[(first, "padded")],
            &[(first, "good"), (second, "good")],
            &[(first, "good"), (unknown, "bad")],
            &[(first, "good"), (policy, "bad")],
            &[(first, "good"), ("rsa:1", "bad")],
            &[(first, "good"), ("nonsense \u{1b}", "bad")],
        ] {
            let wanted = (SignerState::Signed, Verdict::Good);
            assert_eq!(state(version, signatures), wanted, "{signatures:?}");
        }
        for signatures in [
            &[(first, "bad")][..],
            &[(first, "short")],
            &[(first, "null")],
            &[(first, "good"), (second, "bad")],
            &[(first, "bad"), (second, "good")],
        ] {
            let wanted = (SignerState::Invalid, refused(SignerState::Invalid));
            assert_eq!(state(version, signatures), wanted, "{signatures:?}");
        }
        for signatures in [&[(unknown, "good")][..], &[(policy, "good")], &[("rsa:1", "good")]] {
            let wanted = (SignerState::NoUsableKey, refused(SignerState::NoUsableKey));
            assert_eq!(state(version, signatures), wanted, "{signatures:?}");
        }
        let unsigned = (SignerState::Unsigned, refused(SignerState::Unsigned));
        assert_eq!(state(version, &[]), unsigned);
    }
}

#[test]
fn each_skipped_signature_says_why() {
    let version = RoomVersion::V11;
    let mut event = hashed(message(version));
    let ids = ["ed25519:policy_server", "ed25519:unknown", "nonsense", "rsa:1"];
    for key_id in ids {
        sign(&mut event, version, "one.example", key_id);
    }
    let judgement = judged(&event, version).unwrap();
    let found: Vec<_> =
        judgement.signers[0].signatures.iter().map(|it| (it.key_id.as_str(), it.state)).collect();
    let skipped =
        [Skipped::PolicyServer, Skipped::UnknownKey, Skipped::Algorithm, Skipped::Algorithm];
    let wanted: Vec<_> = ids.into_iter().zip(skipped.map(SignatureState::Skipped)).collect();
    assert_eq!(found, wanted);
    assert_eq!(state(version, &[]).0, SignerState::Unsigned);
}

#[test]
fn a_key_is_not_looked_for_where_it_cannot_help() {
    let version = RoomVersion::V11;
    let mut event = hashed(message(version));
    for (server, key_id) in [
        ("one.example", "ed25519:policy_server"),
        ("one.example", "rsa:1"),
        ("three.example", "ed25519:1"),
    ] {
        sign(&mut event, version, server, key_id);
    }
    let text = event.to_string();
    let asked = |_: &ServerName, id: &KeyId| panic!("{id} was asked for");
    judge(in_known_room(&Event::scan(text.as_bytes()).unwrap(), version), &asked).unwrap();
}

#[test]
fn signatures_of_every_required_server_are_needed() {
    let version = RoomVersion::V10;
    let user = json!("@a:two.example");
    let content = json!({ "membership": "join", "join_authorised_via_users_server": user });
    let mut event = hashed(member(version, content));
    let refused = |event: &Value| match judged(event, version).unwrap().verdict() {
        Verdict::Refused(refusal) => Some((refusal.server.to_string(), refusal.state)),
        Verdict::Good | Verdict::Redacted => None,
    };
    sign(&mut event, version, "two.example", "ed25519:1");
    assert_eq!(refused(&event), Some(("one.example".to_owned(), SignerState::Unsigned)));
    sign(&mut event, version, "one.example", "ed25519:1");
    assert_eq!(refused(&event), None);
    event["signatures"]["two.example"] = json!({});
    assert_eq!(refused(&event), Some(("two.example".to_owned(), SignerState::Unsigned)));
    event["signatures"]["two.example"] = json!(5);
    assert_eq!(refused(&event), Some(("two.example".to_owned(), SignerState::Unsigned)));
}

#[test]
fn r87_a_content_that_does_not_match_its_hash_is_redacted_not_refused() {
    for version in RoomVersion::ALL {
        let mut event = hashed(message(version));
        sign(&mut event, version, "one.example", "ed25519:1");
        assert_eq!(judged(&event, version).unwrap().verdict(), Verdict::Good);
        event["unsigned"] = json!({ "age": 5 });
        assert_eq!(judged(&event, version).unwrap().verdict(), Verdict::Good);
        event["content"]["body"] = json!("altered");
        assert_eq!(judged(&event, version).unwrap().verdict(), Verdict::Redacted);
        let text = event.to_string();
        let altered = Event::scan(text.as_bytes()).unwrap();
        assert!(!altered.is_redacted(altered.reference_hash(version)), "nor has it been already");
        event["depth"] = json!(8);
        let verdict = judged(&event, version).unwrap().verdict();
        assert!(matches!(verdict, Verdict::Refused(_)), "{version}");
        // What is not 32 bytes matches nothing.
        let mut event = message(version);
        sign(&mut event, version, "one.example", "ed25519:1");
        assert_eq!(judged(&event, version).unwrap().verdict(), Verdict::Redacted);
    }
}

#[test]
fn an_event_id_that_is_made_of_the_hash_is_not_read_from_the_event() {
    for version in RoomVersion::ALL {
        let mut event = hashed(message(version));
        event["event_id"] = json!("$claimed:one.example");
        sign(&mut event, version, "one.example", "ed25519:1");
        let id = judged(&event, version).unwrap().event_id;
        assert_eq!(id == "$claimed:one.example", version < RoomVersion::V3);
        assert!(version.id_form().matches(&id), "{id}");
    }
}

#[test]
fn a_room_of_version_12_is_named_after_its_create_event() {
    let version = RoomVersion::V12;
    let mut event = message(version);
    event["type"] = json!("m.room.create");
    event["state_key"] = json!("");
    event.as_object_mut().unwrap().remove("room_id");
    let judgement = judged(&event, version).unwrap();
    let hash = judgement.event_id.strip_prefix('$').unwrap();
    assert_eq!(judgement.room_id, format!("!{hash}"));
}

#[test]
fn ids_of_keys_are_cut() {
    let version = RoomVersion::V11;
    let mut event = message(version);
    let long = "é".repeat(1_000);
    sign(&mut event, version, "one.example", &long);
    let judgement = judged(&event, version).unwrap();
    assert_eq!(judgement.signers[0].signatures[0].key_id.chars().count(), 128);
    assert_eq!(id("ed25519:1").as_str(), "ed25519:1");
}

/// Each signature costs a hash of the event: no event may ask for as many as fit into it.
#[test]
fn signatures_of_one_server_are_bounded() {
    let version = RoomVersion::V11;
    let ids: Vec<_> = (0..100).map(|number| format!("ed25519:{number:03}")).collect();
    let signatures: Vec<_> = ids.iter().map(|id| (id.as_str(), "good")).collect();
    let mut event = hashed(message(version));
    for (id, _) in signatures {
        sign(&mut event, version, "one.example", id);
    }
    let judgement = judged(&event, version).unwrap();
    assert_eq!(judgement.signers[0].signatures.len(), EVENT_SIGNATURES_PER_SERVER_MAX);
    let text = event.to_string();
    let wanted = Event::scan(text.as_bytes()).unwrap().wanted_keys(version);
    assert_eq!(wanted.len(), EVENT_SIGNATURES_PER_SERVER_MAX);
}
