//! The rules for requests that bring one membership event, as far as they need no state of the room
//! (server-server API, joining, leaving, knocking, inviting; R90, R91).

use std::borrow::Cow;
use std::fmt;

use super::{Event, server_of};
use crate::proto::ServerName;
use crate::proto::json::{object_member, string_value};

/// A request whose body is, or holds, a membership event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipRequest {
    /// `PUT /v1/exchange_third_party_invite/{roomId}`: an incomplete invite, which the server of the
    /// invited user asks for in the name of who invited.
    ExchangeThirdPartyInvite,
    /// `PUT /v1/invite/{roomId}/{eventId}` and `PUT /v2/invite/{roomId}/{eventId}`.
    Invite,
    /// `PUT /v1/send_join/{roomId}/{eventId}` and `PUT /v2/send_join/{roomId}/{eventId}`.
    SendJoin,
    /// `PUT /v1/send_knock/{roomId}/{eventId}`.
    SendKnock,
    /// `PUT /v1/send_leave/{roomId}/{eventId}` and `PUT /v2/send_leave/{roomId}/{eventId}`.
    SendLeave,
}

/// What a request says beside the event it brings.
#[derive(Clone, Copy, Debug)]
pub struct MembershipContext<'c> {
    /// Which request it is.
    pub request: MembershipRequest,
    /// The server that sent it, authenticated.
    pub origin: &'c ServerName,
    /// The server it was sent to, or every name that this may be.
    pub receivers: &'c [ServerName],
    /// The room ID in the path, percent-decoded.
    pub room_id: &'c str,
}

/// Why a membership event does not belong in the request that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MembershipError {
    /// `state_key` is no user of the receiving server.
    InviteeElsewhere,
    /// The field is no user ID.
    NotAUserId(&'static str),
    /// `content.membership` is not what the request is for.
    OtherMembership(MembershipRequest),
    /// The event is not of the room in the path.
    OtherRoom,
    /// The event's type is not `m.room.member`.
    OtherType,
    /// `sender` is no user of the server that sent the request.
    SenderElsewhere,
    /// `state_key` is not the sender.
    StateKeyNotSender,
    /// `content.third_party_invite.signed` lacks the member, or has it of another type.
    ThirdPartyInvite(&'static str),
    /// `content.third_party_invite.signed.mxid` is not the `state_key`.
    ThirdPartyInvitee,
}

impl fmt::Display for MembershipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InviteeElsewhere => f.write_str("state_key is no user of this server"),
            Self::NotAUserId(field) => write!(f, "{field} is not a user ID"),
            Self::OtherMembership(request) => {
                write!(f, "content.membership is not \"{}\"", request.membership())
            }
            Self::OtherRoom => f.write_str("room_id is not that of the request"),
            Self::OtherType => f.write_str("the event's type is not m.room.member"),
            Self::SenderElsewhere => {
                f.write_str("sender is no user of the server that sends the request")
            }
            Self::StateKeyNotSender => f.write_str("state_key is not the sender"),
            Self::ThirdPartyInvite(member) => {
                write!(f, "content.third_party_invite.signed has no {member} as it must have")
            }
            Self::ThirdPartyInvitee => {
                f.write_str("content.third_party_invite.signed.mxid is not the state_key")
            }
        }
    }
}

impl std::error::Error for MembershipError {}

impl MembershipRequest {
    /// The `content.membership` of the events it brings.
    pub const fn membership(self) -> &'static str {
        match self {
            Self::ExchangeThirdPartyInvite | Self::Invite => "invite",
            Self::SendJoin => "join",
            Self::SendKnock => "knock",
            Self::SendLeave => "leave",
        }
    }
}

/// Whether the ID is one of a user of the server. Of the ID only the sigil and what follows the first
/// colon are looked at: there are users whose names today's grammar has no place for.
pub fn user_is_on(user_id: &str, server: &ServerName) -> bool {
    let domain = user_id.strip_prefix('@').and_then(|id| Some(id.split_once(':')?.1));
    domain == Some(server.as_str())
}

impl Event<'_> {
    /// Checks a membership event against the request that brings it.
    ///
    /// Synapse asks for the same, except that it leaves the room ID in the path of invites unread.
    /// What is asked of an exchanged invite is what the room's auth rules ask without its state.
    ///
    /// # Errors
    /// What is wrong first.
    pub fn check_membership(&self, context: &MembershipContext<'_>) -> Result<(), MembershipError> {
        let request = context.request;
        if self.event_type().as_deref() != Some("m.room.member") {
            return Err(MembershipError::OtherType);
        }
        let content = self.fields.content.unwrap_or_default();
        if string_member(content, "membership").as_deref() != Some(request.membership()) {
            return Err(MembershipError::OtherMembership(request));
        }
        if self.fields.room_id.and_then(string_value).as_deref() != Some(context.room_id) {
            return Err(MembershipError::OtherRoom);
        }
        let sender = user_id("sender", self.fields.sender)?;
        let state_key = user_id("state_key", self.fields.state_key)?;
        if request == MembershipRequest::ExchangeThirdPartyInvite {
            return check_third_party_invite(content, &state_key);
        }
        if !user_is_on(&sender, context.origin) {
            return Err(MembershipError::SenderElsewhere);
        }
        if request == MembershipRequest::Invite {
            let is_ours = context.receivers.iter().any(|server| user_is_on(&state_key, server));
            return if is_ours { Ok(()) } else { Err(MembershipError::InviteeElsewhere) };
        }
        if state_key == sender { Ok(()) } else { Err(MembershipError::StateKeyNotSender) }
    }
}

/// Checks that somebody has signed to whom the third-party invite is to go, and that it goes there.
/// Whether the signature is right takes the room's `m.room.third_party_invite`.
fn check_third_party_invite(content: &[u8], state_key: &str) -> Result<(), MembershipError> {
    let invite = object_member(content, "third_party_invite").unwrap_or_default();
    let signed = object_member(invite, "signed").unwrap_or_default();
    let string = |name| string_member(signed, name).ok_or(MembershipError::ThirdPartyInvite(name));
    let mxid = string("mxid")?;
    string("token")?;
    if !object_member(signed, "signatures").is_some_and(|text| text.starts_with(b"{")) {
        return Err(MembershipError::ThirdPartyInvite("signatures"));
    }
    if mxid == state_key { Ok(()) } else { Err(MembershipError::ThirdPartyInvitee) }
}

/// The user ID that the field is.
fn user_id<'a>(
    field: &'static str,
    text: Option<&'a [u8]>,
) -> Result<Cow<'a, str>, MembershipError> {
    let id = text.and_then(string_value).filter(|id| server_of(id, '@').is_some());
    id.ok_or(MembershipError::NotAUserId(field))
}

/// The string that a member of an object is.
fn string_member<'v>(object: &'v [u8], name: &str) -> Option<Cow<'v, str>> {
    object_member(object, name).and_then(string_value)
}
