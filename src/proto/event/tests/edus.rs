//! For whom EDUs may speak (R92).

use proptest::prelude::*;

use super::*;
use crate::proto::limits::EVENT_FIELD_BYTES_MAX;

const TYPES: [&str; 7] = [
    "m.device_list_update",
    "m.direct_to_device",
    "m.presence",
    "m.receipt",
    "m.signing_key_update",
    "org.matrix.signing_key_update",
    "m.typing",
];

fn claims(edu_type: &str, content: &Value) -> EduVerdict {
    text_claims(&json!({ "edu_type": edu_type, "content": content }).to_string())
}

fn text_claims(text: &str) -> EduVerdict {
    edu_claims(text.as_bytes(), &name("one.example:8448"))
}

/// The content of an EDU of the type that speaks for `user`.
fn content(edu_type: &str, user: &Value) -> Value {
    match edu_type {
        "m.direct_to_device" => {
            json!({ "message_id": "1", "messages": { "@b:two.example": {} }, "sender": user, "type": "m.dummy" })
        }
        "m.presence" => json!({ "push": [{ "presence": "online", "user_id": user }] }),
        "m.receipt" => {
            json!({ "!r:two.example": { "m.read": { user.as_str().unwrap(): { "event_ids": ["$1"] } } } })
        }
        _ => {
            json!({ "device_id": "D", "room_id": "!r:two.example", "typing": true, "user_id": user })
        }
    }
}

fn foreign(user: &str) -> EduVerdict {
    EduVerdict::Foreign { user: user.to_owned(), is_mixed: false }
}

/// The same for an EDU that speaks for own users, too.
fn mixed(user: &str) -> EduVerdict {
    EduVerdict::Foreign { user: user.to_owned(), is_mixed: true }
}

#[test]
fn r92_own_users_are_good_and_others_foreign() {
    for edu_type in TYPES {
        for user in ["@a:one.example:8448", "@:one.example:8448", "@\u{e9}/A \":one.example:8448"] {
            assert_eq!(claims(edu_type, &content(edu_type, &json!(user))), EduVerdict::Good);
        }
        for user in [
            "@a:two.example",
            "@a:one.example",
            "@a:one.example:8448:8448",
            "@a:one.example:84480",
            "@a:one.example:8448 ",
            "@a: one.example:8448",
            "@a:One.example:8448",
            "@a:two.example:one.example:8448",
            "@a:",
        ] {
            let verdict = claims(edu_type, &content(edu_type, &json!(user)));
            assert_eq!(verdict, foreign(user), "{edu_type}");
        }
    }
}

#[test]
fn r92_escapes_hide_nobody() {
    let text = |user: &str| {
        format!("{{\"edu_type\":\"m.\\u0074yping\",\"content\":{{\"user_\\u0069d\":\"{user}\"}}}}")
    };
    assert_eq!(text_claims(&text("\\u0040a\\u003aone.example:8448")), EduVerdict::Good);
    assert_eq!(text_claims(&text("@a:\\u0074wo.example")), foreign("@a:two.example"));
    let receipt = r#"{"edu_type":"m.receipt","content":{"!r":{"m.read":{"@a\u003atwo":{}}}}}"#;
    assert_eq!(text_claims(receipt), foreign("@a:two"));
}

#[test]
fn r92_every_user_of_several_counts() {
    let own = json!({ "user_id": "@a:one.example:8448" });
    let push = |entries: Value| claims("m.presence", &json!({ "push": entries }));
    let other = json!({ "user_id": "@b:two.example" });
    let last = json!({ "user_id": "@c:two.example" });
    assert_eq!(push(json!([own, own])), EduVerdict::Good);
    assert_eq!(push(json!([own, other, last])), mixed("@b:two.example"));
    assert_eq!(push(json!([other, last, own])), mixed("@b:two.example"));
    assert_eq!(push(json!([other, last])), foreign("@b:two.example"));
    assert_eq!(push(json!([own, {}])), EduVerdict::Malformed);
    // A foreign user says more than a missing one.
    assert_eq!(push(json!([{}, other])), foreign("@b:two.example"));
    let receipts = json!({
        "!1:a": { "m.read": { "@a:one.example:8448": {}, "@b:one.example:8448": {} } },
        "!2:a": {
            "m.read": { "@a:one.example:8448": {} },
            "org.example.read": { "@a:one.example:8448": 1, "@x:two.example": null },
        },
    });
    assert_eq!(claims("m.receipt", &receipts), mixed("@x:two.example"));
}

#[test]
fn r92_only_typing_asks_for_the_sigil() {
    for edu_type in TYPES {
        let user = json!("a:one.example:8448");
        let wanted = if edu_type == "m.typing" { EduVerdict::Malformed } else { EduVerdict::Good };
        assert_eq!(claims(edu_type, &content(edu_type, &user)), wanted, "{edu_type}");
    }
}

#[test]
fn r92_what_claims_nobody_is_good() {
    assert_eq!(claims("m.presence", &json!({})), EduVerdict::Good);
    assert_eq!(claims("m.presence", &json!({ "push": [] })), EduVerdict::Good);
    for content in [json!({}), json!({ "!r:a": {} }), json!({ "!r:a": { "m.read": {} } })] {
        assert_eq!(claims("m.receipt", &content), EduVerdict::Good, "{content}");
    }
}

#[test]
fn r92_what_names_no_user_where_one_must_be_is_malformed() {
    for edu_type in TYPES {
        for content in [json!(null), json!([]), json!(""), json!(1), json!("{}")] {
            assert_eq!(claims(edu_type, &content), EduVerdict::Malformed, "{edu_type} {content}");
        }
        let without = format!("{{\"edu_type\":\"{edu_type}\"}}");
        assert_eq!(text_claims(&without), EduVerdict::Malformed);
        for user in ["", "@", "@a", "one.example", "\u{0}"] {
            let verdict = claims(edu_type, &content(edu_type, &json!(user)));
            assert_eq!(verdict, EduVerdict::Malformed, "{edu_type} {user}");
        }
    }
    for edu_type in TYPES.into_iter().filter(|edu_type| *edu_type != "m.receipt") {
        for user in [json!(null), json!(1), json!(["@a:one.example:8448"]), json!({})] {
            let verdict = claims(edu_type, &content(edu_type, &user));
            assert_eq!(verdict, EduVerdict::Malformed, "{edu_type} {user}");
        }
    }
    for push in [json!(null), json!({}), json!(""), json!([1]), json!(["a"]), json!([[]])] {
        assert_eq!(claims("m.presence", &json!({ "push": push })), EduVerdict::Malformed);
    }
    for room in [json!(null), json!([]), json!({ "m.read": ["@a:one.example:8448"] })] {
        assert_eq!(claims("m.receipt", &json!({ "!r:a": room })), EduVerdict::Malformed);
    }
    for no_edu in ["{}", "null", "[]", "\"m.typing\"", r#"{"edu_type":1,"content":{}}"#] {
        assert_eq!(text_claims(no_edu), EduVerdict::Malformed, "{no_edu}");
    }
}

#[test]
fn r92_other_types_are_not_judged() {
    for edu_type in ["", "m.Typing", "m.typing ", "org.matrix.other", "org.example"] {
        for content in [json!(null), json!({ "user_id": "@a:two.example" })] {
            assert_eq!(claims(edu_type, &content), EduVerdict::NotJudged);
        }
    }
}

#[test]
fn r92_a_long_name_is_cut() {
    let user = format!("@{}:two.example", "\u{e9}".repeat(100_000));
    let EduVerdict::Foreign { user: shown, .. } = claims("m.typing", &json!({ "user_id": user }))
    else {
        panic!();
    };
    assert_eq!(shown.chars().count(), EVENT_FIELD_BYTES_MAX);
    assert!(user.starts_with(&shown));
}

#[test]
fn r92_many_receipts_are_read_to_the_last() {
    let users: String = (0..100_000).map(|n| format!("\"@{n}:one.example:8448\":{{}},")).collect();
    let edu = |last: &str| {
        let content = format!("{{\"!r:a\":{{\"m.read\":{{{users}\"{last}\":{{}}}}}}}}");
        text_claims(&format!("{{\"content\":{content},\"edu_type\":\"m.receipt\"}}"))
    };
    assert_eq!(edu("@z:one.example:8448"), EduVerdict::Good);
    assert_eq!(edu("@z:two.example"), mixed("@z:two.example"));
}

/// Values that mean something in one place or another, in places where they do and do not.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let words = [
        "",
        "@a:one.example",
        "@a:two.example",
        "a",
        "@:",
        "join",
        "invite",
        "m.room.member",
        "m.room.create",
        "m.typing",
        "m.presence",
        "m.receipt",
        "m.direct_to_device",
        "!r:a",
        "12",
        "\u{0}\"\\\u{1f600}",
    ];
    let names = [
        "edu_type",
        "content",
        "user_id",
        "push",
        "sender",
        "type",
        "state_key",
        "room_id",
        "membership",
        "third_party_invite",
        "signed",
        "mxid",
        "token",
        "signatures",
        "pdus",
        "edus",
        "origin",
        "event",
        "room_version",
        "invite_room_state",
        "auth_events",
        "prev_events",
        "event_id",
        "",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 80, 8, move |inner| {
        let name = prop::sample::select(names.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            3 => prop::collection::vec((name, inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Nothing that reads strangers' JSON panics, whatever the JSON.
    #[test]
    fn any_json_is_read_without_panic(value in any_json(), is_pretty: bool) {
        let spell = |value: &Value| {
            if is_pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }
        };
        let origin = name("one.example");
        let _ = edu_claims(spell(&value).unwrap().as_bytes(), &origin);
        let text = spell(&json!({ "pdus": [value], "edus": [value], "event": value, "content": value, "room_id": value })).unwrap();
        let bodies = [text, spell(&value).unwrap()];
        for body in &bodies {
            let Ok(object) = Object::scan(body.as_bytes()) else { continue };
            let _ = InviteBody::read(&object);
            let _ = answered_room_version(&object);
            if let Ok(transaction) = Transaction::read(&object) {
                let _ = transaction.names_other_origin(&origin);
                for edu in transaction.edus() {
                    let _ = edu_claims(edu, &origin);
                }
            }
            let event = Event::scan(body.as_bytes()).unwrap();
            let _ = event.created_room_version();
            for version in event.possible_versions() {
                prop_assert!(event.fits_version(version));
            }
            for request in memberships::REQUESTS {
                let receivers = [origin.clone()];
                let context =
                    MembershipContext { request, origin: &origin, receivers: &receivers, room_id: "!r:a" };
                let _ = event.check_membership(&context);
            }
        }
    }

    /// Any bytes at all, scanned before or not.
    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>, text in "[\\[{:,\"\\\\}\\] a]{0,30}") {
        let origin = name("one.example");
        let _ = edu_claims(&bytes, &origin);
        let _ = edu_claims(text.as_bytes(), &origin);
        let text = format!("{{\"edu_type\":\"m.receipt\",\"content\":{{{text}");
        let _ = edu_claims(text.as_bytes(), &origin);
    }
}
