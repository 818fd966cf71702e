//! Where the version of a room is told: invites, the homeserver's answers to `make_join` and
//! `make_knock`, and the event that made the room. What is told may name a version that is not known
//! here; that is for [`RoomVersion::parse`] to say (R93).

use std::borrow::Cow;
use std::fmt;

use super::{Event, RoomVersion};
use crate::proto::json::{Object, object_member, string_value};
use crate::proto::limits::ROOM_VERSION_CHARS_MAX;

/// The version of a room of which none is told (server-server API, `make_join`; client-server API,
/// `m.room.create`).
const DEFAULT: &str = "1";

/// The body of `PUT /v2/invite/{roomId}/{eventId}`. That of version 1 of the request is the event
/// itself.
#[derive(Clone, Debug)]
pub struct InviteBody<'a> {
    /// The text of the invite, an object.
    pub event: &'a [u8],
    /// The text of the array of what the invited user may see of the room, if there is one. What is
    /// no array is none, as Synapse has it.
    pub invite_room_state: Option<&'a [u8]>,
    /// The identifier of the room's version, at most `ROOM_VERSION_CHARS_MAX` characters.
    pub room_version: Cow<'a, str>,
}

/// Why a body is none of an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteBodyError {
    /// `event` is missing or no object.
    Event,
    /// `room_version` is missing, no string, or longer than `ROOM_VERSION_CHARS_MAX`.
    RoomVersion,
}

impl fmt::Display for InviteBodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event => f.write_str("event is not an object"),
            Self::RoomVersion => write!(
                f,
                "room_version is not a string of at most {ROOM_VERSION_CHARS_MAX} characters"
            ),
        }
    }
}

impl std::error::Error for InviteBodyError {}

impl<'a> InviteBody<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// `event` or `room_version` is not what it must be.
    pub fn read(body: &Object<'a>) -> Result<Self, InviteBodyError> {
        let (mut event, mut state, mut version) = (None, None, None);
        for (name, value) in body.members() {
            match name.as_ref() {
                "event" => event = Some(value),
                "invite_room_state" => state = Some(value),
                "room_version" => version = identifier(value),
                _ => {}
            }
        }
        Ok(Self {
            event: event.filter(|text| text.starts_with(b"{")).ok_or(InviteBodyError::Event)?,
            invite_room_state: state.filter(|text| text.starts_with(b"[")),
            room_version: version.ok_or(InviteBodyError::RoomVersion)?,
        })
    }
}

/// The version of the room that a homeserver's answer to `make_join` or `make_knock` is for; 1 where
/// the answer says nothing. None if what it says is no string of at most `ROOM_VERSION_CHARS_MAX`
/// characters.
pub fn answered_room_version<'a>(answer: &Object<'a>) -> Option<Cow<'a, str>> {
    let told = answer.members().find(|(name, _)| name == "room_version");
    told.map_or(Some(DEFAULT.into()), |(_, value)| identifier(value))
}

/// The version of the room that an answer of Synapse's admin API describes (room details). None if it
/// says none that is a string of at most `ROOM_VERSION_CHARS_MAX` characters.
pub fn stated_room_version<'a>(answer: &Object<'a>) -> Option<Cow<'a, str>> {
    answer.members().find(|(name, _)| name == "version").and_then(|(_, value)| identifier(value))
}

impl<'a> Event<'a> {
    /// The version of the room that this event made. One that says nothing is of version 1 if it has
    /// the shape of that; if not, it has been redacted. None then, and if it is no create event, its
    /// content no object, or what it says no string of at most `ROOM_VERSION_CHARS_MAX` characters.
    pub fn created_room_version(&self) -> Option<Cow<'a, str>> {
        let content =
            self.fields.content.filter(|text| self.is_create() && text.starts_with(b"{"))?;
        match object_member(content, "room_version") {
            Some(told) => identifier(told),
            None => self.fits_version(RoomVersion::V1).then(|| DEFAULT.into()),
        }
    }
}

fn identifier(value: &[u8]) -> Option<Cow<'_, str>> {
    // Short of looking at all of a long one.
    string_value(value).filter(|text| text.chars().nth(ROOM_VERSION_CHARS_MAX).is_none())
}
