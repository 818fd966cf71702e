mod edus;
mod formats;
mod memberships;
mod redactions;
mod shapes;
mod signatures;
mod tampering;
mod times;
mod together;
mod told_versions;
mod transactions;
mod vectors;

use serde_json::{Value, json};

use super::*;
use crate::proto::KeyId;
use crate::proto::ed25519::SigningKey;
use crate::proto::test_vectors::{id, name};

/// A time for events, in milliseconds.
const SENT: u64 = 1_795_255_200_000;

/// The private key that stands for a server and a key ID.
fn signing_key(server: &str, key_id: &str) -> SigningKey {
    let mut seed = [7; 32];
    for (to, from) in seed.iter_mut().zip(server.bytes().chain(key_id.bytes())) {
        *to ^= from;
    }
    SigningKey::from_seed(&seed)
}

/// A message whose form is right in the room version.
fn message(version: RoomVersion) -> Value {
    let reference = match version.id_form() {
        IdForm::Given => json!(["$1:one.example", { "sha256": "abc" }]),
        IdForm::Base64 => json!(format!("${}+/", "a".repeat(41))),
        IdForm::UrlSafe => json!(format!("${}-_", "a".repeat(41))),
    };
    let mut event = json!({
        "auth_events": [reference],
        "content": { "body": "hello", "msgtype": "m.text" },
        "depth": 7,
        "hashes": { "sha256": "" },
        "origin_server_ts": SENT,
        "prev_events": [reference],
        "room_id": "!room:one.example",
        "sender": "@u:one.example",
        "signatures": {},
        "type": "m.room.message",
    });
    if version.id_form() == IdForm::Given {
        event["event_id"] = json!("$2:one.example");
    }
    if version.has_hashed_room_ids() {
        event["room_id"] = json!(format!("!{}", "b".repeat(43)));
    }
    event
}

/// The text of an event with the content hash it should have.
fn hashed(mut event: Value) -> Value {
    let text = event.to_string();
    let hash = Event::scan(text.as_bytes()).unwrap().content_hash();
    event["hashes"]["sha256"] = json!(hash.to_base64());
    event
}

/// Signs an event for a server with the key of that ID.
fn sign(event: &mut Value, version: RoomVersion, server: &str, key_id: &str) {
    let text = event.to_string();
    let mut signed = Vec::new();
    let scanned = Event::scan(text.as_bytes()).unwrap();
    scanned.write_signed(version, &mut |piece: &[u8]| signed.extend_from_slice(piece));
    let signature = signing_key(server, key_id).sign(&signed);
    event["signatures"][server][key_id] = json!(signature.to_base64());
}

/// The current key of that name, good for ever.
fn known_key(server: &ServerName, id: &KeyId) -> EventKey {
    EventKey::Current {
        key: signing_key(server.as_str(), id.as_str()).verify_key(),
        effective_until: Timestamp::MAX,
    }
}

fn in_known_room<'a>(event: &'a Event<'a>, version: RoomVersion) -> Case<'a> {
    Case { event, version, key_times: KeyTimes::Observed }
}

/// Judges with keys of which all are known but those of the ID `ed25519:unknown`.
fn judged(event: &Value, version: RoomVersion) -> Result<Judgement, FormatError> {
    let find = |server: &ServerName, id: &KeyId| {
        (id.as_str() != "ed25519:unknown").then(|| known_key(server, id))
    };
    let text = event.to_string();
    judge(in_known_room(&Event::scan(text.as_bytes()).unwrap(), version), &find)
}

#[test]
fn r93_room_versions_that_are_not_known_are_told_apart() {
    for version in RoomVersion::ALL {
        assert_eq!(RoomVersion::parse(version.as_str()), Ok(version));
    }
    for other in ["", "0", "01", "13", "1.0", " 1", "12 ", "org.matrix.hydra.11"] {
        assert_eq!(RoomVersion::parse(other), Err(UnrecognisedRoomVersion), "{other}");
    }
}

#[test]
fn an_event_says_its_id_and_its_rooms_whatever_else_is_wrong_with_it() {
    let mut event = message(RoomVersion::V1);
    event["depth"] = json!("deep");
    let text = event.to_string();
    let scanned = Event::scan(text.as_bytes()).unwrap();
    assert_eq!(scanned.claimed_room_id().as_deref(), Some("!room:one.example"));
    assert_eq!(scanned.any_id(RoomVersion::V1).as_deref(), Some("$2:one.example"));
    let hash = scanned.reference_hash(RoomVersion::V4).to_base64_url_safe();
    assert_eq!(scanned.any_id(RoomVersion::V4), Some(format!("${hash}")));
    event["room_id"] = json!(1);
    let text = event.to_string();
    assert_eq!(Event::scan(text.as_bytes()).unwrap().claimed_room_id(), None);
}

#[test]
fn times_of_any_size_are_read() {
    let time = |text: &str| {
        let text = format!("{{\"origin_server_ts\":{text}}}");
        Event::scan(text.as_bytes()).unwrap().origin_server_ts().map(Timestamp::as_ms)
    };
    assert_eq!(time("0"), Some(0));
    assert_eq!(time("-5"), Some(0));
    assert_eq!(time("1795255200000"), Some(SENT));
    assert_eq!(time("99999999999999999999999"), Some(u64::MAX));
    for no_time in ["1.0", "1e3", "\"5\"", "null", "[]", "-1.5"] {
        assert_eq!(time(no_time), None, "{no_time}");
    }
}
