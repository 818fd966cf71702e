//! Events (PDUs), each judged by itself: format, content hash, signatures. Whether the room allows an
//! event takes the room's state and is the homeserver's business.
//!
//! An [`Event`] borrows its text. What is hashed and signed is made from it piece by piece, without a
//! tree of values and without a copy.

mod edu;
mod format;
mod hash;
mod judge;
mod key;
mod membership;
mod redaction;
mod room_version;
mod shape;
mod signers;
#[cfg(test)]
mod tests;
mod told_version;
mod transaction;
mod verdict;
mod wanted_keys;

use std::borrow::Cow;
use std::sync::OnceLock;

pub use self::edu::{EduVerdict, edu_claims};
pub use self::format::FormatError;
pub use self::hash::EventHash;
pub use self::judge::{Case, FindKey, KeyTimes, judge, judge_all};
pub use self::key::{EventKey, KeyUnfit};
pub use self::membership::{MembershipContext, MembershipError, MembershipRequest, user_is_on};
pub use self::redaction::Redaction;
pub use self::room_version::{IdForm, RoomVersion, UnrecognisedRoomVersion};
pub use self::signers::{RequiredSigner, Role};
pub use self::told_version::{
    InviteBody, InviteBodyError, answered_room_version, stated_room_version,
};
pub use self::transaction::{Transaction, TransactionError};
pub use self::verdict::{
    CheckedSignature, CheckedSigner, Judgement, Refusal, SignatureState, SignerState, Skipped,
    Verdict,
};
use super::json::{JsonError, Object, Part, RawMember, string_value};
use super::{ServerName, Timestamp};

/// One event as it is sent between servers: one unambiguous JSON object, of whatever room version.
#[derive(Debug)]
pub struct Event<'a> {
    object: Object<'a>,
    /// All members of the object.
    members: Vec<RawMember<'a>>,
    fields: Fields<'a>,
    /// Once it has been asked for: it is the same in all room versions.
    content_hash: OnceLock<EventHash>,
}

/// The text of the members that mean something here.
#[derive(Debug, Default)]
struct Fields<'a> {
    auth_events: Option<&'a [u8]>,
    content: Option<&'a [u8]>,
    depth: Option<&'a [u8]>,
    event_id: Option<&'a [u8]>,
    hashes: Option<&'a [u8]>,
    origin_server_ts: Option<&'a [u8]>,
    prev_events: Option<&'a [u8]>,
    room_id: Option<&'a [u8]>,
    sender: Option<&'a [u8]>,
    signatures: Option<&'a [u8]>,
    state_key: Option<&'a [u8]>,
    event_type: Option<&'a [u8]>,
}

impl<'a> Event<'a> {
    /// Reads an event. Nothing is asked of its members yet: that depends on the room version and is
    /// for [`Self::check_format`].
    ///
    /// # Errors
    /// The text is not exactly one unambiguous JSON object.
    pub fn scan(text: &'a [u8]) -> Result<Self, JsonError> {
        Object::scan(text).map(Self::read)
    }

    /// The same for the text of a value within a body that has been scanned: what is known of the
    /// body is not looked at again.
    ///
    /// # Errors
    /// The value is no object.
    pub fn scan_in(body: &Object<'a>, text: &'a [u8]) -> Result<Self, JsonError> {
        body.scan_value(text).map(Self::read)
    }

    fn read(object: Object<'a>) -> Self {
        let members: Vec<_> = object.raw_members().collect();
        let mut fields = Fields::default();
        for RawMember { name, value, .. } in &members {
            let field = match name.as_ref() {
                "auth_events" => &mut fields.auth_events,
                "content" => &mut fields.content,
                "depth" => &mut fields.depth,
                "event_id" => &mut fields.event_id,
                "hashes" => &mut fields.hashes,
                "origin_server_ts" => &mut fields.origin_server_ts,
                "prev_events" => &mut fields.prev_events,
                "room_id" => &mut fields.room_id,
                "sender" => &mut fields.sender,
                "signatures" => &mut fields.signatures,
                "state_key" => &mut fields.state_key,
                "type" => &mut fields.event_type,
                _ => continue,
            };
            *field = Some(value);
        }
        Self { object, members, fields, content_hash: OnceLock::new() }
    }

    /// The event's type, if it has one that is a string.
    pub fn event_type(&self) -> Option<Cow<'a, str>> {
        string_value(self.fields.event_type?)
    }

    /// Who sent it, if that is a string.
    pub fn sender(&self) -> Option<Cow<'a, str>> {
        string_value(self.fields.sender?)
    }

    /// When its server says it was made: any integer, negative ones as 0, those beyond 64 bits as the
    /// latest time there is.
    pub fn origin_server_ts(&self) -> Option<Timestamp> {
        let text = std::str::from_utf8(self.fields.origin_server_ts?).ok()?;
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let ms = if digits.len() < text.len() { 0 } else { digits.parse().unwrap_or(u64::MAX) };
        Some(Timestamp::from_ms(ms))
    }

    /// Hands the canonical form of the whole event to `sink`, in one or more slices.
    pub fn write_canonical(&self, sink: &mut impl FnMut(&[u8])) {
        self.object.write_canonical(sink);
    }

    /// Hands the canonical form of the redacted event to `sink`. It has no `unsigned`.
    pub fn write_redacted(&self, version: RoomVersion, sink: &mut impl FnMut(&[u8])) {
        self.write_redacted_without("", version, sink);
    }

    /// Hands what signatures cover, and what the reference hash is made of, to `sink`: the redacted
    /// event without `signatures` and `unsigned` (server-server API, signing events; R81).
    pub fn write_signed(&self, version: RoomVersion, sink: &mut impl FnMut(&[u8])) {
        self.write_redacted_without("signatures", version, sink);
    }

    fn write_redacted_without(
        &self,
        omitted: &str,
        version: RoomVersion,
        sink: &mut impl FnMut(&[u8]),
    ) {
        let redaction = version.redaction();
        let content = redaction.content(&self.event_type().unwrap_or_default());
        let part = |name: &str| {
            if name == omitted { Part::Nothing } else { redaction.member(name, content) }
        };
        self.object.write_canonical_part_of(&self.members, part, sink);
    }
}

/// The server in an ID with a domain: `@user:domain`, `!opaque:domain`, `$opaque:domain`.
fn server_of(id: &str, sigil: char) -> Option<ServerName> {
    let (_, domain) = id.strip_prefix(sigil)?.split_once(':')?;
    ServerName::parse(domain).ok()
}
