//! The hashes of an event, and the IDs made of them (server-server API, signing events).

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::{Event, IdForm, RoomVersion};
use crate::proto::base64;
use crate::proto::json::{Part, object_member, string_value};

/// A SHA-256 hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventHash([u8; 32]);

impl EventHash {
    /// Unpadded base64 of it.
    pub fn to_base64(self) -> String {
        base64::encode(&self.0)
    }

    /// The same in the URL-safe alphabet.
    pub fn to_base64_url_safe(self) -> String {
        base64::encode_url_safe(&self.0)
    }
}

impl fmt::Debug for EventHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventHash({})", self.to_base64())
    }
}

/// Makes a hash of pieces.
#[derive(Default)]
pub(super) struct Hasher(Sha256);

impl Hasher {
    pub(super) fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    pub(super) fn finish(self) -> EventHash {
        EventHash(self.0.finalize().into())
    }
}

impl Event<'_> {
    /// The content hash: of everything but `unsigned`, `signatures` and `hashes`. Computed once.
    pub fn content_hash(&self) -> EventHash {
        *self.content_hash.get_or_init(|| {
            let mut hasher = Hasher::default();
            let part = |name: &str| match name {
                "hashes" | "signatures" | "unsigned" => Part::Nothing,
                _ => Part::Whole,
            };
            let sink = &mut |piece: &[u8]| hasher.update(piece);
            self.object.write_canonical_part_of(&self.members, part, sink);
            hasher.finish()
        })
    }

    /// The content hash that the event claims to have, `hashes.sha256`; none if that is not 32 bytes
    /// in base64.
    pub fn claimed_content_hash(&self) -> Option<EventHash> {
        let text = self.claimed_hash_text()?;
        let text = string_value(text)?;
        base64::decode_array(text.as_bytes()).ok().map(EventHash)
    }

    /// The text of the value of `hashes.sha256`.
    pub(super) fn claimed_hash_text(&self) -> Option<&[u8]> {
        object_member(self.fields.hashes?, "sha256")
    }

    /// The reference hash: of what is signed.
    pub fn reference_hash(&self, version: RoomVersion) -> EventHash {
        let mut hasher = Hasher::default();
        self.write_signed(version, &mut |piece: &[u8]| hasher.update(piece));
        hasher.finish()
    }

    /// Whether this is what redaction leaves of an event, given its reference hash: there is nothing
    /// else in it that its content hash could be made of. Servers that catch up after an outage send
    /// such copies.
    pub fn is_redacted(&self, reference_hash: EventHash) -> bool {
        let mut hasher = Hasher::default();
        let omitted = ["signatures", "unsigned"];
        self.object.write_canonical_without(&omitted, &mut |piece: &[u8]| hasher.update(piece));
        hasher.finish() == reference_hash
    }

    /// The event's ID, given its reference hash; none if it should carry one and does not.
    pub fn event_id(&self, version: RoomVersion, reference_hash: EventHash) -> Option<String> {
        match version.id_form() {
            IdForm::Given => string_value(self.fields.event_id?).map(String::from),
            IdForm::Base64 => Some(format!("${}", reference_hash.to_base64())),
            IdForm::UrlSafe => Some(format!("${}", reference_hash.to_base64_url_safe())),
        }
    }

    /// The ID of the event's room, given the event's reference hash: from version 12 on that of a
    /// room's create event is made of the hash; none if the event should carry one and does not.
    pub fn room_id(&self, version: RoomVersion, reference_hash: EventHash) -> Option<String> {
        if version.has_hashed_room_ids() && self.is_create() {
            return Some(format!("!{}", reference_hash.to_base64_url_safe()));
        }
        string_value(self.fields.room_id?).map(String::from)
    }

    /// Whether this is the first event of a room.
    pub(super) fn is_create(&self) -> bool {
        let is = |text: Option<&[u8]>, wanted| {
            text.and_then(string_value).is_some_and(|value| value == wanted)
        };
        is(self.fields.event_type, "m.room.create") && is(self.fields.state_key, "")
    }
}
