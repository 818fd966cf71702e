//! Forms and limits, by room version (R88, R89).

use super::*;
use crate::proto::limits::{
    AUTH_EVENTS_MAX, EVENT_BYTES_MAX, EVENT_FIELD_BYTES_MAX, PREV_EVENTS_MAX,
};

fn check(event: &Value, version: RoomVersion) -> Result<(), FormatError> {
    check_text(&event.to_string(), version)
}

fn check_text(text: &str, version: RoomVersion) -> Result<(), FormatError> {
    Event::scan(text.as_bytes()).unwrap().check_format(version)
}

/// Asserts what every version says of its message after a change.
fn assert_all(change: impl Fn(&mut Value, RoomVersion), wanted: &Result<(), FormatError>) {
    for version in RoomVersion::ALL {
        let mut event = message(version);
        change(&mut event, version);
        assert_eq!(check(&event, version), *wanted, "{version}: {event}");
    }
}

#[test]
fn each_versions_form_is_taken() {
    assert_all(|_, _| {}, &Ok(()));
    // What is not known is nobody's business.
    assert_all(|event, _| event["org.example"] = json!([null]), &Ok(()));
    assert_all(|event, _| event["state_key"] = json!(""), &Ok(()));
}

#[test]
fn a_form_is_not_taken_for_that_of_other_versions() {
    use RoomVersion::{V2, V3, V4, V11, V12};
    for (form, fits) in [(V2, [V2, RoomVersion::V1]), (V3, [V3, V3]), (V12, [V12, V12])] {
        for version in RoomVersion::ALL {
            let taken = check(&message(form), version).is_ok();
            assert_eq!(taken, fits.contains(&version), "{form} as {version}");
        }
    }
    for version in RoomVersion::ALL {
        let taken = check(&message(V4), version).is_ok();
        assert_eq!(taken, (V4..=V11).contains(&version), "{version}");
    }
}

#[test]
fn required_fields_are_required() {
    let fields = [
        "auth_events",
        "content",
        "depth",
        "hashes",
        "origin_server_ts",
        "prev_events",
        "room_id",
        "sender",
        "signatures",
        "type",
    ];
    for field in fields {
        let remove = |event: &mut Value, _| drop(event.as_object_mut().unwrap().remove(field));
        assert_all(remove, &Err(FormatError::Missing(field)));
    }
    assert_all(
        |event, _| event["hashes"] = json!({ "sha1": "" }),
        &Err(FormatError::Missing("hashes.sha256")),
    );
    for version in RoomVersion::ALL {
        let mut event = message(version);
        event.as_object_mut().unwrap().remove("event_id");
        let missing = Err(FormatError::Missing("event_id"));
        let wanted = if version < RoomVersion::V3 { missing } else { Ok(()) };
        assert_eq!(check(&event, version), wanted);
    }
}

#[test]
fn fields_have_their_types() {
    for (field, expected) in [
        ("auth_events", "an array"),
        ("content", "an object"),
        ("hashes", "an object"),
        ("origin_server_ts", "an integer"),
        ("prev_events", "an array"),
        ("room_id", "a string"),
        ("sender", "a string"),
        ("signatures", "an object"),
        ("state_key", "a string"),
        ("type", "a string"),
    ] {
        let change = |event: &mut Value, _| event[field] = json!(null);
        assert_all(change, &Err(FormatError::WrongType { field, expected }));
    }
    let field = "hashes.sha256";
    assert_all(
        |event, _| event["hashes"]["sha256"] = json!(1),
        &Err(FormatError::WrongType { field, expected: "a string" }),
    );
}

#[test]
fn r89_sizes_are_bounded_in_bytes() {
    for (field, fill) in [("type", ""), ("state_key", ""), ("sender", "@:one.example")] {
        // Two bytes a character: what counts is bytes.
        let with = |bytes: usize| {
            let (left, right) = fill.split_at(usize::from(!fill.is_empty()));
            let rest = bytes - fill.len();
            format!("{left}{}{}{right}", "a".repeat(rest % 2), "é".repeat(rest / 2))
        };
        let longest = with(EVENT_FIELD_BYTES_MAX);
        assert_all(|event, _| event[field] = json!(longest), &Ok(()));
        let bytes = EVENT_FIELD_BYTES_MAX + 1;
        let too_long = with(bytes);
        assert_all(
            |event, _| event[field] = json!(too_long),
            &Err(FormatError::TooLong { field, bytes }),
        );
    }
    for version in RoomVersion::ALL {
        let mut event = message(version);
        let length = event.to_string().len();
        event["content"]["body"] = json!("a".repeat(EVENT_BYTES_MAX - length + "hello".len()));
        assert_eq!(check(&event, version), Ok(()));
        // White space does not count, since what counts is the canonical form.
        assert_eq!(check_text(&format!("{event:#}"), version), Ok(()));
        event["unsigned"] = json!({});
        let wanted = FormatError::TooLarge(EVENT_BYTES_MAX + r#","unsigned":{}"#.len());
        assert_eq!(check(&event, version), Err(wanted));
    }
}

#[test]
fn r89_the_bounds_are_the_specifications() {
    let bounds = [EVENT_BYTES_MAX, EVENT_FIELD_BYTES_MAX, AUTH_EVENTS_MAX, PREV_EVENTS_MAX];
    assert_eq!(bounds, [65_536, 255, 10, 20]);
}

#[test]
fn lists_of_events_are_bounded() {
    for (field, max) in [("auth_events", AUTH_EVENTS_MAX), ("prev_events", PREV_EVENTS_MAX)] {
        let fill = |event: &mut Value, count| {
            let entry = event[field][0].clone();
            event[field] = Value::Array(vec![entry; count]);
        };
        assert_all(|event, _| fill(event, 0), &Ok(()));
        assert_all(|event, _| fill(event, max), &Ok(()));
        assert_all(|event, _| fill(event, max + 1), &Err(FormatError::TooMany { field, max }));
        for entry in [json!(null), json!([]), json!("$1"), json!(["$1:a", 1]), json!(["$1:a"])] {
            assert_all(|event, _| event[field] = json!([entry]), &Err(FormatError::NotAnId(field)));
        }
    }
    let extra = json!([["$1:one.example", {}, 1]]);
    assert_all(
        |event, _| event["prev_events"] = extra.clone(),
        &Err(FormatError::NotAnId("prev_events")),
    );
}

#[test]
fn ids_name_a_server() {
    for sender in ["", "@", "u:one.example", "@u", "@u:", "@u:a b", "$u:one.example"] {
        let change = |event: &mut Value, _| event["sender"] = json!(sender);
        assert_all(change, &Err(FormatError::NotAnId("sender")));
    }
    for room_id in ["", "!", "!room", "#room:one.example", "!room:", "!room:a b"] {
        let change = |event: &mut Value, _| event["room_id"] = json!(room_id);
        assert_all(change, &Err(FormatError::NotAnId("room_id")));
    }
    for id in ["", "$", "$1", "1:one.example", "$1:"] {
        let mut event = message(RoomVersion::V1);
        event["event_id"] = json!(id);
        assert_eq!(check(&event, RoomVersion::V1), Err(FormatError::NotAnId("event_id")));
    }
}

#[test]
fn from_version_12_on_a_create_event_has_no_room_id() {
    for version in RoomVersion::ALL {
        let mut event = message(version);
        event["type"] = json!("m.room.create");
        event["state_key"] = json!("");
        let with = check(&event, version);
        let room_id = event.as_object_mut().unwrap().remove("room_id").unwrap();
        let without = check(&event, version);
        if version >= RoomVersion::V12 {
            assert_eq!(with, Err(FormatError::Unexpected("room_id")));
            assert_eq!(without, Ok(()));
        } else {
            assert_eq!(with, Ok(()), "{version}");
            assert_eq!(without, Err(FormatError::Missing("room_id")));
        }
        // With another state key it is not the first event of a room.
        event["state_key"] = json!("x");
        assert_eq!(check(&event, version), Err(FormatError::Missing("room_id")));
        event["room_id"] = room_id;
        assert_eq!(check(&event, version), Ok(()));
    }
}

#[test]
fn from_version_12_on_the_create_event_is_in_no_auth_events() {
    for version in RoomVersion::ALL {
        let mut event = message(version);
        if version.id_form() != IdForm::UrlSafe {
            continue;
        }
        let hash = "c".repeat(43);
        let place = if version.has_hashed_room_ids() { "room_id" } else { "other" };
        event[place] = json!(format!("!{hash}"));
        event["prev_events"] = json!([format!("${hash}")]);
        assert_eq!(check(&event, version), Ok(()));
        event["auth_events"] = json!([format!("${}", "d".repeat(43)), format!("${hash}")]);
        let wanted = Err(FormatError::CreateInAuthEvents);
        let is_wrong = version.has_hashed_room_ids();
        assert_eq!(check(&event, version), if is_wrong { wanted } else { Ok(()) }, "{version}");
    }
}

#[test]
fn r88_numbers_are_strict_from_version_6_on() {
    let bad = ["1.0", "1e3", "1E3", "-0.0", "9007199254740992", "-9007199254740992", "1e-7"];
    let good = ["0", "-0", "9007199254740991", "-9007199254740991", "10", "\"1.5\""];
    for version in RoomVersion::ALL {
        let text = |number: &str, place: &str| {
            let mut event = message(version);
            event[place] = json!({ "a": [{ "b": "PLACE" }] });
            event.to_string().replace("\"PLACE\"", number)
        };
        for place in ["content", "unsigned", "other"] {
            for number in bad {
                let wanted = if version < RoomVersion::V6 {
                    Ok(())
                } else {
                    Err(FormatError::ForeignNumber(number.to_owned()))
                };
                assert_eq!(check_text(&text(number, place), version), wanted, "{version} {number}");
            }
            for number in good {
                assert_eq!(check_text(&text(number, place), version), Ok(()), "{version} {number}");
            }
        }
        let long = format!("1{}", "0".repeat(1_000));
        if let Err(FormatError::ForeignNumber(shown)) = check_text(&text(&long, "other"), version) {
            assert_eq!(shown, format!("1{}", "0".repeat(39)));
        } else {
            assert!(version < RoomVersion::V6);
        }
    }
}

#[test]
fn depth_is_bounded() {
    for version in RoomVersion::ALL {
        let depth = |text: &str| {
            let event = message(version).to_string().replace("\"depth\":7", "\"depth\":PLACE");
            check_text(&event.replace("PLACE", text), version)
        };
        assert_eq!(depth("0"), Ok(()));
        assert_eq!(depth("-1"), Err(FormatError::Depth));
        assert_eq!(depth("\"7\""), Err(FormatError::Depth));
        assert_eq!(depth("9007199254740991"), Ok(()));
        let (longest, too_long) = ("9223372036854775807", "9223372036854775808");
        if version < RoomVersion::V6 {
            assert_eq!(depth(longest), Ok(()));
            assert_eq!(depth(too_long), Err(FormatError::Depth));
            assert_eq!(depth("1.0"), Err(FormatError::Depth));
        } else {
            assert_eq!(depth(longest), Err(FormatError::ForeignNumber(longest.to_owned())));
        }
    }
}
