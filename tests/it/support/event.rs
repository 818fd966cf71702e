//! Events of remote servers, hashed and signed.

use fedgate::proto::event::{Event, IdForm, RoomVersion};
use serde_json::{Value, json};

use super::{NOW_MS, Origin};

/// A message of a user of `origin`, whole and signed.
pub fn message(origin: &Origin, version: RoomVersion, text: &str) -> Value {
    let content = json!({ "body": text, "msgtype": "m.text" });
    finish(unsigned(origin, version, "m.room.message", content), origin, version)
}

/// A membership event of the user `@u` of `origin` about `state_key`, whole and signed.
pub fn membership(
    origin: &Origin,
    version: RoomVersion,
    membership: &str,
    state_key: &str,
) -> Value {
    let content = json!({ "membership": membership });
    let mut event = unsigned(origin, version, "m.room.member", content);
    event["state_key"] = json!(state_key);
    finish(event, origin, version)
}

/// The form of an event, without hash and signature.
pub fn unsigned(origin: &Origin, version: RoomVersion, kind: &str, content: Value) -> Value {
    let reference = match version.id_form() {
        IdForm::Given => json!(["$1:one.example", { "sha256": "abc" }]),
        IdForm::Base64 => json!(format!("${}+/", "a".repeat(41))),
        IdForm::UrlSafe => json!(format!("${}-_", "a".repeat(41))),
    };
    let mut event = json!({
        "auth_events": [reference],
        "content": content,
        "depth": 7,
        "hashes": { "sha256": "" },
        "origin_server_ts": NOW_MS,
        "prev_events": [reference],
        "room_id": "!room:one.example",
        "sender": format!("@u:{}", origin.name),
        "signatures": {},
        "type": kind,
    });
    if version.id_form() == IdForm::Given {
        event["event_id"] = json!(format!("$2:{}", origin.name));
    }
    if version.has_hashed_room_ids() {
        event["room_id"] = json!(format!("!{}", "b".repeat(43)));
    }
    event
}

/// Hashes and signs an event.
pub fn finish(mut event: Value, origin: &Origin, version: RoomVersion) -> Value {
    let hash = Event::scan(event.to_string().as_bytes()).unwrap().content_hash();
    event["hashes"]["sha256"] = json!(hash.to_base64());
    sign(event, origin, version)
}

/// Signs an event as it is.
pub fn sign(mut event: Value, origin: &Origin, version: RoomVersion) -> Value {
    let text = event.to_string();
    let mut signed = Vec::new();
    let scanned = Event::scan(text.as_bytes()).unwrap();
    scanned.write_signed(version, &mut |piece: &[u8]| signed.extend_from_slice(piece));
    let signature = origin.key.sign(&signed);
    event["signatures"][origin.name.as_str()][origin.key_id.as_str()] =
        json!(signature.to_base64());
    event
}

/// The ID of an event.
pub fn id(event: &Value, version: RoomVersion) -> String {
    let text = event.to_string();
    let event = Event::scan(text.as_bytes()).unwrap();
    event.event_id(version, event.reference_hash(version)).unwrap()
}
