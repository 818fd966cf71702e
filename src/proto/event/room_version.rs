//! Room versions, and in what they differ as far as one event alone shows it.

use std::fmt;

use super::redaction::Redaction;

/// A room version of the specification. Events of any other are not judged (R93): their rules are
/// unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoomVersion {
    /// Version 1.
    V1,
    /// Version 2.
    V2,
    /// Version 3: event IDs are hashes.
    V3,
    /// Version 4: their base64 is URL-safe.
    V4,
    /// Version 5: keys must have been valid when an event was sent.
    V5,
    /// Version 6: strict canonical JSON.
    V6,
    /// Version 7.
    V7,
    /// Version 8: restricted joins.
    V8,
    /// Version 9.
    V9,
    /// Version 10.
    V10,
    /// Version 11: new redaction rules.
    V11,
    /// Version 12: room IDs are hashes.
    V12,
}

/// The room version is none that is known here; its events are not judged (R93).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnrecognisedRoomVersion;

impl fmt::Display for UnrecognisedRoomVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the room version is none of 1 to 12, whose rules are known")
    }
}

impl std::error::Error for UnrecognisedRoomVersion {}

/// How events of a room version get their IDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdForm {
    /// The server that made the event chose it: `$opaque:domain`.
    Given,
    /// `$` and the reference hash in base64.
    Base64,
    /// `$` and the reference hash in URL-safe base64.
    UrlSafe,
}

impl RoomVersion {
    /// All of them, oldest first.
    pub const ALL: [Self; 12] = [
        Self::V1,
        Self::V2,
        Self::V3,
        Self::V4,
        Self::V5,
        Self::V6,
        Self::V7,
        Self::V8,
        Self::V9,
        Self::V10,
        Self::V11,
        Self::V12,
    ];

    /// The version that the identifier names, as in `content.room_version` of `m.room.create`.
    pub fn parse(identifier: &str) -> Result<Self, UnrecognisedRoomVersion> {
        let named = Self::ALL.into_iter().find(|version| version.as_str() == identifier);
        named.ok_or(UnrecognisedRoomVersion)
    }

    /// The identifier.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "1",
            Self::V2 => "2",
            Self::V3 => "3",
            Self::V4 => "4",
            Self::V5 => "5",
            Self::V6 => "6",
            Self::V7 => "7",
            Self::V8 => "8",
            Self::V9 => "9",
            Self::V10 => "10",
            Self::V11 => "11",
            Self::V12 => "12",
        }
    }

    /// Where event IDs come from.
    pub const fn id_form(self) -> IdForm {
        match self {
            Self::V1 | Self::V2 => IdForm::Given,
            Self::V3 => IdForm::Base64,
            Self::V4
            | Self::V5
            | Self::V6
            | Self::V7
            | Self::V8
            | Self::V9
            | Self::V10
            | Self::V11
            | Self::V12 => IdForm::UrlSafe,
        }
    }

    /// What is left of an event that is redacted.
    pub const fn redaction(self) -> Redaction {
        match self {
            Self::V1 | Self::V2 | Self::V3 | Self::V4 | Self::V5 => Redaction::V1,
            Self::V6 | Self::V7 => Redaction::V6,
            Self::V8 => Redaction::V8,
            Self::V9 | Self::V10 => Redaction::V9,
            Self::V11 | Self::V12 => Redaction::V11,
        }
    }

    /// Whether a key must have been valid when an event was sent (version 5, signing key validity
    /// period).
    pub fn has_key_validity(self) -> bool {
        self >= Self::V5
    }

    /// Whether numbers that canonical JSON has no place for make an event bad (version 6, canonical
    /// JSON). In older rooms they are there and stay.
    pub fn has_strict_numbers(self) -> bool {
        self >= Self::V6
    }

    /// Whether another server than the sender's may have to authorise a join (version 8).
    pub fn has_restricted_joins(self) -> bool {
        self >= Self::V8
    }

    /// Whether the room ID is the ID of the create event, which carries none (version 12).
    pub fn has_hashed_room_ids(self) -> bool {
        self >= Self::V12
    }
}

impl fmt::Display for RoomVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl IdForm {
    /// Whether `text` is an event ID of this form: `$opaque:domain`, or `$` and the 43 characters
    /// that 32 bytes take.
    pub fn matches(self, text: &str) -> bool {
        match self {
            Self::Given => super::server_of(text, '$').is_some(),
            Self::Base64 => text.strip_prefix('$').is_some_and(|hash| is_hash(hash, b"+/")),
            Self::UrlSafe => text.strip_prefix('$').is_some_and(|hash| is_hash(hash, b"-_")),
        }
    }
}

/// Whether the text could be 32 bytes in an alphabet with these two beside letters and digits.
pub(super) fn is_hash(text: &str, more: &[u8; 2]) -> bool {
    text.len() == 43
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
}
