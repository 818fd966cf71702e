//! What is left of a redacted event: the five algorithms of room versions 1 to 12 (client-server API
//! and rooms, redactions).

use super::RoomVersion;
use crate::proto::json::Part;
use crate::proto::json::Part::{Members, Whole};

/// A redaction algorithm, named after the first room version that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Redaction {
    /// Room versions 1 to 5.
    V1,
    /// 6 and 7: `m.room.aliases` keeps nothing.
    V6,
    /// 8: `m.room.join_rules` keeps `allow`.
    V8,
    /// 9 and 10: `m.room.member` keeps `join_authorised_via_users_server`.
    V9,
    /// 11 and 12: more of the content, less beside it.
    V11,
}

/// Members of the content that are kept.
type Kept = &'static [(&'static str, Part)];

const ALIASES: Kept = &[("aliases", Whole)];
const CREATE: Kept = &[("creator", Whole)];
const HISTORY_VISIBILITY: Kept = &[("history_visibility", Whole)];
const JOIN_RULES_V1: Kept = &[("join_rule", Whole)];
const JOIN_RULES_V8: Kept = &[("allow", Whole), ("join_rule", Whole)];
const MEMBER_V1: Kept = &[("membership", Whole)];
const MEMBER_V9: Kept = &[("join_authorised_via_users_server", Whole), ("membership", Whole)];
const MEMBER_V11: Kept = &[
    ("join_authorised_via_users_server", Whole),
    ("membership", Whole),
    ("third_party_invite", Members(&[("signed", Whole)])),
];
const POWER_LEVELS_V1: Kept = &[
    ("ban", Whole),
    ("events", Whole),
    ("events_default", Whole),
    ("kick", Whole),
    ("redact", Whole),
    ("state_default", Whole),
    ("users", Whole),
    ("users_default", Whole),
];
const POWER_LEVELS_V11: Kept = &[
    ("ban", Whole),
    ("events", Whole),
    ("events_default", Whole),
    ("invite", Whole),
    ("kick", Whole),
    ("redact", Whole),
    ("state_default", Whole),
    ("users", Whole),
    ("users_default", Whole),
];
const REDACTION: Kept = &[("redacts", Whole)];

impl Redaction {
    /// The first room version that has it.
    pub const fn since(self) -> RoomVersion {
        match self {
            Self::V1 => RoomVersion::V1,
            Self::V6 => RoomVersion::V6,
            Self::V8 => RoomVersion::V8,
            Self::V9 => RoomVersion::V9,
            Self::V11 => RoomVersion::V11,
        }
    }

    /// How much of the content of an event of type `event_type` is kept.
    pub(super) fn content(self, event_type: &str) -> Part {
        match event_type {
            "m.room.aliases" if self < Self::V6 => Members(ALIASES),
            "m.room.create" if self < Self::V11 => Members(CREATE),
            "m.room.create" => Whole,
            "m.room.history_visibility" => Members(HISTORY_VISIBILITY),
            "m.room.join_rules" if self < Self::V8 => Members(JOIN_RULES_V1),
            "m.room.join_rules" => Members(JOIN_RULES_V8),
            "m.room.member" if self < Self::V9 => Members(MEMBER_V1),
            "m.room.member" if self < Self::V11 => Members(MEMBER_V9),
            "m.room.member" => Members(MEMBER_V11),
            "m.room.power_levels" if self < Self::V11 => Members(POWER_LEVELS_V1),
            "m.room.power_levels" => Members(POWER_LEVELS_V11),
            "m.room.redaction" if self >= Self::V11 => Members(REDACTION),
            _ => Members(&[]),
        }
    }

    /// How much of the event's member `name` is kept; `content` is what is kept of the content.
    pub(super) fn member(self, name: &str, content: Part) -> Part {
        match name {
            "auth_events" | "depth" | "event_id" | "hashes" | "origin_server_ts"
            | "prev_events" | "room_id" | "sender" | "signatures" | "state_key" | "type" => Whole,
            "membership" | "origin" | "prev_state" if self < Self::V11 => Whole,
            "content" => content,
            _ => Part::Nothing,
        }
    }
}
