//! What is read of a room's version (R93).

use super::*;
use crate::proto::limits::ROOM_VERSION_CHARS_MAX;
use crate::proto::test_vectors;

fn invite(body: &Value) -> Result<(String, Option<String>, String), InviteBodyError> {
    let text = body.to_string();
    let body = InviteBody::read(&Object::scan(text.as_bytes()).unwrap())?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.into()).unwrap();
    Ok((text(body.event), body.invite_room_state.map(text), body.room_version.into_owned()))
}

/// Identifiers that are none.
fn no_identifiers() -> [Value; 6] {
    let long = "1".repeat(ROOM_VERSION_CHARS_MAX + 1);
    [json!(null), json!(10), json!(1.0), json!(["1"]), json!({}), json!(long)]
}

#[test]
fn r93_invites_name_their_rooms_version() {
    let body = |version: Value| json!({ "event": { "a": 1 }, "room_version": version });
    let long = "\u{e9}".repeat(ROOM_VERSION_CHARS_MAX);
    for version in ["1", "12", "org.example.v1", "", &long] {
        let wanted = (r#"{"a":1}"#.to_owned(), None, version.to_owned());
        assert_eq!(invite(&body(json!(version))), Ok(wanted));
    }
    for version in no_identifiers() {
        assert_eq!(invite(&body(version)), Err(InviteBodyError::RoomVersion));
    }
    assert_eq!(invite(&json!({ "event": {} })), Err(InviteBodyError::RoomVersion));
}

#[test]
fn invites_hold_an_event() {
    for event in [json!(null), json!([{}]), json!("{}"), json!(1)] {
        let body = json!({ "event": event, "room_version": "1" });
        assert_eq!(invite(&body), Err(InviteBodyError::Event));
    }
    assert_eq!(invite(&json!({ "room_version": "1" })), Err(InviteBodyError::Event));
    // The body of an invite of version 1 is the event.
    assert_eq!(invite(&message(RoomVersion::V1)), Err(InviteBodyError::Event));
}

#[test]
fn invites_may_tell_of_the_room() {
    let state = |state: Value| {
        let body = json!({ "event": {}, "room_version": "1", "invite_room_state": state });
        invite(&body).unwrap().1
    };
    assert_eq!(state(json!([{}, 1])).as_deref(), Some("[{},1]"));
    for nothing in [json!(null), json!({}), json!("[]"), json!(1)] {
        assert_eq!(state(nothing), None);
    }
}

#[test]
fn a_captured_invite_is_read() {
    let captures = test_vectors::captures();
    let capture = captures.iter().find(|capture| capture.target.contains("/v2/invite/")).unwrap();
    let body = Object::scan(capture.body.as_bytes()).unwrap();
    let body = InviteBody::read(&body).unwrap();
    let version = RoomVersion::parse(&body.room_version).unwrap();
    assert!(Event::scan(body.event).unwrap().fits_version(version));
    assert!(body.invite_room_state.is_some());
}

#[test]
fn r93_answers_name_their_rooms_version_or_mean_1() {
    let answered = |answer: &Value| {
        let text = answer.to_string();
        let object = Object::scan(text.as_bytes()).unwrap();
        answered_room_version(&object).map(|version| version.into_owned())
    };
    assert_eq!(answered(&json!({ "event": {}, "room_version": "10" })).as_deref(), Some("10"));
    assert_eq!(answered(&json!({ "event": { "room_version": "9" } })).as_deref(), Some("1"));
    for version in no_identifiers() {
        assert_eq!(answered(&json!({ "room_version": version })), None);
    }
}

#[test]
fn r93_what_the_admin_api_says_of_a_room_names_its_version_or_none() {
    let stated = |details: &Value| {
        let text = details.to_string();
        let object = Object::scan(text.as_bytes()).unwrap();
        stated_room_version(&object).map(|version| version.into_owned())
    };
    assert_eq!(stated(&json!({ "room_id": "!r:b", "version": "10" })).as_deref(), Some("10"));
    assert_eq!(stated(&json!({ "room_id": "!r:b" })), None);
    for version in no_identifiers() {
        assert_eq!(stated(&json!({ "version": version })), None);
    }
}

#[test]
fn r93_create_events_name_their_rooms_version_or_mean_1() {
    let made = |version: RoomVersion, event_type: &str, state_key: &str, content: Value| {
        let mut event = message(version);
        event["type"] = json!(event_type);
        event["state_key"] = json!(state_key);
        event["content"] = content;
        let text = event.to_string();
        let version = Event::scan(text.as_bytes()).unwrap().created_room_version();
        version.map(|version| version.into_owned())
    };
    let created =
        |event_type, state_key, content| made(RoomVersion::V10, event_type, state_key, content);
    let create = |content| created("m.room.create", "", content);
    assert_eq!(create(json!({ "room_version": "org.example" })).as_deref(), Some("org.example"));
    for content in [json!({}), json!({ "creator": "@a:b" }), json!({ "Room_version": "2" })] {
        let old = made(RoomVersion::V1, "m.room.create", "", content.clone());
        assert_eq!(old.as_deref(), Some("1"));
        // Redaction takes the version away, but not the shape.
        assert_eq!(create(content), None);
    }
    for version in no_identifiers() {
        assert_eq!(create(json!({ "room_version": version })), None);
    }
    for content in [json!(null), json!([]), json!("12")] {
        assert_eq!(create(content), None);
    }
    assert_eq!(created("m.room.create", "x", json!({ "room_version": "2" })), None);
    assert_eq!(created("m.room.name", "", json!({ "room_version": "2" })), None);
}
