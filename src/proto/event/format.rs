//! Whether an event has the form that its room version asks for, and is within the limits
//! (server-server API, PDU formats of rooms; client-server API, size limits; R88, R89).

use std::borrow::Cow;
use std::fmt;

use super::room_version::is_hash;
use super::{Event, IdForm, RoomVersion, server_of};
use crate::proto::json::{array_values, string_value};
use crate::proto::limits::{
    AUTH_EVENTS_MAX, EVENT_BYTES_MAX, EVENT_FIELD_BYTES_MAX, PREV_EVENTS_MAX,
};

/// How much of a number that is refused is repeated, in characters.
const NUMBER_CHARS_SHOWN: usize = 40;

/// What keeps a text from being an event of a room version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatError {
    /// `auth_events` names the create event, which from room version 12 on the room ID does.
    CreateInAuthEvents,
    /// `depth` is not an integer from 0 to 2^63 - 1.
    Depth,
    /// A number that canonical JSON has no place for, its beginning: refused from version 6 on.
    ForeignNumber(String),
    /// A required field is missing.
    Missing(&'static str),
    /// The field is not, or holds what is not, an ID as the room version forms it.
    NotAnId(&'static str),
    /// The canonical form has this many bytes, more than `EVENT_BYTES_MAX`.
    TooLarge(usize),
    /// The field is longer than `EVENT_FIELD_BYTES_MAX`.
    TooLong {
        /// The field.
        field: &'static str,
        /// Its length in bytes.
        bytes: usize,
    },
    /// The field has more entries than it may.
    TooMany {
        /// The field.
        field: &'static str,
        /// How many it may have.
        max: usize,
    },
    /// The field must not be there.
    Unexpected(&'static str),
    /// A field is not of the JSON type it must have.
    WrongType {
        /// The field.
        field: &'static str,
        /// The type it must have.
        expected: &'static str,
    },
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateInAuthEvents => {
                f.write_str("auth_events names the create event, as the room ID does already")
            }
            Self::Depth => f.write_str("depth is not an integer from 0 to 9223372036854775807"),
            Self::ForeignNumber(number) => write!(
                f,
                "{number} is no integer from -9007199254740991 to 9007199254740991, as this room \
                 version has them"
            ),
            Self::Missing(field) => write!(f, "{field} is missing"),
            Self::NotAnId(field) => {
                write!(f, "{field}: not an ID as this room version forms them")
            }
            Self::TooLarge(bytes) => {
                write!(f, "the event has {bytes} bytes, the limit is {EVENT_BYTES_MAX}")
            }
            Self::TooLong { field, bytes } => {
                write!(f, "{field} has {bytes} bytes, the limit is {EVENT_FIELD_BYTES_MAX}")
            }
            Self::TooMany { field, max } => write!(f, "{field} has more than {max} entries"),
            Self::Unexpected(field) => {
                write!(f, "{field} must not be in this event in this room version")
            }
            Self::WrongType { field, expected } => write!(f, "{field} is not {expected}"),
        }
    }
}

impl std::error::Error for FormatError {}

impl Event<'_> {
    /// Checks the event's form and size.
    ///
    /// # Errors
    /// What is wrong first. Fields this does not know are let pass, as the specification has it.
    pub fn check_format(&self, version: RoomVersion) -> Result<(), FormatError> {
        let bytes = self.canonical_bytes();
        if bytes > EVENT_BYTES_MAX {
            return Err(FormatError::TooLarge(bytes));
        }
        if version.has_strict_numbers()
            && let Some(number) = self.object.first_foreign_number()
        {
            let shown = number.chars().take(NUMBER_CHARS_SHOWN).collect();
            return Err(FormatError::ForeignNumber(shown));
        }
        let fields = &self.fields;
        required_string("type", fields.event_type)?;
        if fields.state_key.is_some() {
            required_string("state_key", fields.state_key)?;
        }
        self.check_ids(version)?;
        required_object("content", fields.content)?;
        required_object("signatures", fields.signatures)?;
        required_object("hashes", fields.hashes)?;
        let hash = self.claimed_hash_text().ok_or(FormatError::Missing("hashes.sha256"))?;
        string_value(hash)
            .ok_or(FormatError::WrongType { field: "hashes.sha256", expected: "a string" })?;
        required("origin_server_ts", fields.origin_server_ts)?;
        self.origin_server_ts()
            .ok_or(FormatError::WrongType { field: "origin_server_ts", expected: "an integer" })?;
        let depth = required("depth", fields.depth)?;
        let depth = std::str::from_utf8(depth).ok().and_then(|text| text.parse::<i64>().ok());
        depth.filter(|depth| *depth >= 0).ok_or(FormatError::Depth)?;
        references("auth_events", fields.auth_events, AUTH_EVENTS_MAX, version)?;
        references("prev_events", fields.prev_events, PREV_EVENTS_MAX, version)?;
        if version.has_hashed_room_ids() && self.has_create_in_auth_events() {
            return Err(FormatError::CreateInAuthEvents);
        }
        Ok(())
    }

    /// Whether `auth_events` names the event that the room ID is the ID of.
    fn has_create_in_auth_events(&self) -> bool {
        let hash = |value, sigil| Some(string_value(value)?.strip_prefix(sigil)?.to_owned());
        let Some(room) = self.fields.room_id.and_then(|id| hash(id, '!')) else { return false };
        let mut entries = self.fields.auth_events.and_then(array_values).into_iter().flatten();
        entries.any(|entry| hash(entry, '$').as_ref() == Some(&room))
    }

    /// The length of the canonical form.
    pub fn canonical_bytes(&self) -> usize {
        self.object.canonical_bytes()
    }

    /// The sender, the room, and where it is given the event's own ID.
    fn check_ids(&self, version: RoomVersion) -> Result<(), FormatError> {
        let fields = &self.fields;
        let sender = required_string("sender", fields.sender)?;
        server_of(&sender, '@').ok_or(FormatError::NotAnId("sender"))?;
        if version.id_form() == IdForm::Given {
            let id = required_string("event_id", fields.event_id)?;
            if !IdForm::Given.matches(&id) {
                return Err(FormatError::NotAnId("event_id"));
            }
        }
        if version.has_hashed_room_ids() && self.is_create() {
            return fields.room_id.map_or(Ok(()), |_| Err(FormatError::Unexpected("room_id")));
        }
        let room_id = required_string("room_id", fields.room_id)?;
        let is_room_id = if version.has_hashed_room_ids() {
            room_id.strip_prefix('!').is_some_and(|hash| is_hash(hash, b"-_"))
        } else {
            server_of(&room_id, '!').is_some()
        };
        if is_room_id { Ok(()) } else { Err(FormatError::NotAnId("room_id")) }
    }
}

fn required<'a>(field: &'static str, text: Option<&'a [u8]>) -> Result<&'a [u8], FormatError> {
    text.ok_or(FormatError::Missing(field))
}

/// A string within the limit.
fn required_string<'a>(
    field: &'static str,
    text: Option<&'a [u8]>,
) -> Result<Cow<'a, str>, FormatError> {
    let value = string_value(required(field, text)?)
        .ok_or(FormatError::WrongType { field, expected: "a string" })?;
    if value.len() > EVENT_FIELD_BYTES_MAX {
        return Err(FormatError::TooLong { field, bytes: value.len() });
    }
    Ok(value)
}

fn required_object(field: &'static str, text: Option<&[u8]>) -> Result<(), FormatError> {
    if required(field, text)?.starts_with(b"{") {
        Ok(())
    } else {
        Err(FormatError::WrongType { field, expected: "an object" })
    }
}

/// Checks a list of other events: IDs, or in room versions 1 and 2 pairs of an ID and an object of
/// hashes.
fn references(
    field: &'static str,
    text: Option<&[u8]>,
    max: usize,
    version: RoomVersion,
) -> Result<(), FormatError> {
    let entries = array_values(required(field, text)?)
        .ok_or(FormatError::WrongType { field, expected: "an array" })?;
    let form = version.id_form();
    for (at, entry) in entries.enumerate() {
        if at == max {
            return Err(FormatError::TooMany { field, max });
        }
        let id = if form == IdForm::Given { first_of_pair(entry) } else { Some(entry) };
        if !id.and_then(string_value).is_some_and(|id| form.matches(&id)) {
            return Err(FormatError::NotAnId(field));
        }
    }
    Ok(())
}

/// The first of two values of which the second is an object.
fn first_of_pair(value: &[u8]) -> Option<&[u8]> {
    let mut values = array_values(value)?;
    let (id, hashes) = (values.next()?, values.next()?);
    (hashes.starts_with(b"{") && values.next().is_none()).then_some(id)
}
