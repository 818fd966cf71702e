//! The tables of what redaction keeps, from the other side: every name that any version keeps, and
//! from which versions on (client-server API and rooms, redactions).

use super::*;

/// The members of an event or a content of `type` that are kept, from every one any version knows.
fn kept(version: RoomVersion, event: &Value) -> Value {
    let text = event.to_string();
    let mut bytes = Vec::new();
    Event::scan(text.as_bytes())
        .unwrap()
        .write_redacted(version, &mut |piece: &[u8]| bytes.extend_from_slice(piece));
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn what_is_kept_beside_the_content() {
    let always = [
        "auth_events",
        "content",
        "depth",
        "event_id",
        "hashes",
        "origin_server_ts",
        "prev_events",
        "room_id",
        "sender",
        "signatures",
        "state_key",
        "type",
    ];
    let before_11 = ["membership", "origin", "prev_state"];
    let never = ["age_ts", "redacts", "unsigned", "Type", "content2", ""];
    let mut event = json!({});
    for name in always.into_iter().chain(before_11).chain(never) {
        event[name] = json!({});
    }
    for version in RoomVersion::ALL {
        let kept = kept(version, &event);
        let names: Vec<_> = kept.as_object().unwrap().keys().map(String::as_str).collect();
        let mut wanted: Vec<_> = always.into();
        if version < RoomVersion::V11 {
            wanted.extend(before_11);
        }
        wanted.sort_unstable();
        assert_eq!(names, wanted, "{version}");
    }
}

#[test]
fn what_is_kept_of_the_content() {
    use RoomVersion::{V1, V6, V8, V9, V11};
    // Type, member, first version that keeps it, first version that no longer does.
    let table: [(&str, &str, RoomVersion, Option<RoomVersion>); 20] = [
        ("m.room.aliases", "aliases", V1, Some(V6)),
        ("m.room.create", "creator", V1, None),
        ("m.room.create", "predecessor", V11, None),
        ("m.room.history_visibility", "history_visibility", V1, None),
        ("m.room.join_rules", "join_rule", V1, None),
        ("m.room.join_rules", "allow", V8, None),
        ("m.room.member", "membership", V1, None),
        ("m.room.member", "join_authorised_via_users_server", V9, None),
        ("m.room.member", "third_party_invite", V11, None),
        ("m.room.power_levels", "ban", V1, None),
        ("m.room.power_levels", "events", V1, None),
        ("m.room.power_levels", "events_default", V1, None),
        ("m.room.power_levels", "invite", V11, None),
        ("m.room.power_levels", "kick", V1, None),
        ("m.room.power_levels", "redact", V1, None),
        ("m.room.power_levels", "state_default", V1, None),
        ("m.room.power_levels", "users", V1, None),
        ("m.room.power_levels", "users_default", V1, None),
        ("m.room.redaction", "redacts", V11, None),
        ("m.room.create", "room_version", V11, None),
    ];
    let types: std::collections::BTreeSet<_> = table.iter().map(|row| row.0).collect();
    for version in RoomVersion::ALL {
        for event_type in types.iter().chain(&["m.room.message", "m.room.Member", ""]) {
            let mut content = json!({ "other": 1 });
            for (_, member, ..) in table {
                content[member] = json!({ "signed": 1, "display_name": 2 });
            }
            let kept = kept(version, &json!({ "type": event_type, "content": content }));
            let names: Vec<_> =
                kept["content"].as_object().unwrap().keys().map(String::as_str).collect();
            let mut wanted: Vec<_> = table
                .iter()
                .filter(|(of, _, from, until)| {
                    of == event_type
                        && version >= *from
                        && until.is_none_or(|until| version < until)
                })
                .map(|row| row.1)
                .collect();
            if *event_type == "m.room.create" && version >= V11 {
                wanted = content.as_object().unwrap().keys().map(String::as_str).collect();
            }
            wanted.sort_unstable();
            assert_eq!(names, wanted, "{version} {event_type}");
        }
    }
}

#[test]
fn of_a_third_party_invite_only_what_is_signed_is_kept() {
    let invite = |third_party_invite: Value| {
        let event = json!({
            "type": "m.room.member",
            "content": { "third_party_invite": third_party_invite },
        });
        kept(RoomVersion::V11, &event)["content"].clone()
    };
    let whole = json!({ "display_name": "b", "signed": { "token": "x", "a": [1] } });
    assert_eq!(
        invite(whole),
        json!({ "third_party_invite": { "signed": { "token": "x", "a": [1] } } })
    );
    assert_eq!(invite(json!({ "display_name": "b" })), json!({ "third_party_invite": {} }));
    assert_eq!(invite(json!([1])), json!({}));
    assert_eq!(invite(json!("signed")), json!({}));
}

#[test]
fn escapes_in_names_and_types_hide_nothing() {
    let text = r#"{"t\u0079pe":"m.room.m\u0065mber","c\u006fntent":{"x":1,"m\u0065mbership":"join"},"unsi\u0067ned":{}}"#;
    let mut bytes = Vec::new();
    let event = Event::scan(text.as_bytes()).unwrap();
    event.write_redacted(RoomVersion::V11, &mut |piece: &[u8]| bytes.extend_from_slice(piece));
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        r#"{"content":{"membership":"join"},"type":"m.room.member"}"#
    );
}
