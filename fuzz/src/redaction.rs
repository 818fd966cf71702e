//! What redaction leaves of an event, as the specification lists it for each room version.

use crate::json::{self, Value};

const KEPT_TO_10: [&str; 14] = [
    "event_id",
    "type",
    "room_id",
    "sender",
    "state_key",
    "hashes",
    "signatures",
    "depth",
    "prev_events",
    "prev_state",
    "auth_events",
    "origin",
    "origin_server_ts",
    "membership",
];
const KEPT_FROM_11: [&str; 11] = [
    "event_id",
    "type",
    "room_id",
    "sender",
    "state_key",
    "hashes",
    "signatures",
    "depth",
    "prev_events",
    "auth_events",
    "origin_server_ts",
];
const POWER_LEVELS: [&str; 8] = [
    "ban",
    "events",
    "events_default",
    "kick",
    "redact",
    "state_default",
    "users",
    "users_default",
];

/// The redacted form of an event in a room of a version from 1 to 12.
pub fn redacted(event: &Value, version: u8) -> Value {
    let kept: &[&str] = if version < 11 { &KEPT_TO_10 } else { &KEPT_FROM_11 };
    let mut redacted = only(event, kept);
    let event_type = event.member("type").and_then(Value::text).unwrap_or_default();
    let content = event.member("content");
    if event_type == "m.room.create" && version >= 11 {
        // All of it, whatever it is.
        content.into_iter().for_each(|content| redacted.set("content", content.clone()));
    } else if let Some(content @ Value::Object(_)) = content {
        redacted.set("content", redacted_content(content, event_type, version));
    }
    redacted
}

fn redacted_content(content: &Value, event_type: &str, version: u8) -> Value {
    match event_type {
        "m.room.create" => only(content, &["creator"]),
        "m.room.member" => redacted_membership(content, version),
        "m.room.join_rules" if version >= 8 => only(content, &["join_rule", "allow"]),
        "m.room.join_rules" => only(content, &["join_rule"]),
        "m.room.power_levels" if version >= 11 => {
            only(content, &[&POWER_LEVELS[..], &["invite"]].concat())
        }
        "m.room.power_levels" => only(content, &POWER_LEVELS),
        "m.room.history_visibility" => only(content, &["history_visibility"]),
        "m.room.aliases" if version <= 5 => only(content, &["aliases"]),
        "m.room.redaction" if version >= 11 => only(content, &["redacts"]),
        _ => json::object([]),
    }
}

fn redacted_membership(content: &Value, version: u8) -> Value {
    let mut redacted = only(content, &["membership"]);
    if version >= 9
        && let Some(user) = content.member("join_authorised_via_users_server")
    {
        redacted.set("join_authorised_via_users_server", user.clone());
    }
    if version >= 11
        && let Some(invite @ Value::Object(_)) = content.member("third_party_invite")
    {
        redacted.set("third_party_invite", only(invite, &["signed"]));
    }
    redacted
}

fn only(object: &Value, names: &[&str]) -> Value {
    let mut kept = json::object([]);
    for name in names {
        if let Some(value) = object.member(name) {
            kept.set(name, value.clone());
        }
    }
    kept
}
