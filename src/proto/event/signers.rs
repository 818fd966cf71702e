//! Which servers must have signed an event (server-server API, validating hashes and signatures;
//! R83).

use super::{Event, FormatError, IdForm, RoomVersion, server_of};
use crate::proto::ServerName;
use crate::proto::json::{object_members, string_value};

/// Why a server must have signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The sender is its user.
    Sender,
    /// It gave the event its ID (room versions 1 and 2).
    EventId,
    /// Its user authorised a restricted join (from room version 8 on).
    Authorising,
}

/// A server that must have signed an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredSigner {
    /// The server.
    pub server: ServerName,
    /// Why; the first reason of several.
    pub role: Role,
}

/// What of the content of an `m.room.member` event decides who must sign.
#[derive(Default)]
struct Membership {
    is_invite: bool,
    is_join: bool,
    is_by_third_party: bool,
    authorising_user: Option<String>,
}

impl Event<'_> {
    /// The servers that must have signed the event, each once. None for an invite that came of a
    /// third-party invite in room versions from 3 on: any server may have sent it.
    ///
    /// # Errors
    /// An ID whose server must have signed is malformed.
    pub fn required_signers(
        &self,
        version: RoomVersion,
    ) -> Result<Vec<RequiredSigner>, FormatError> {
        let membership = self.membership();
        let mut signers: Vec<RequiredSigner> = Vec::new();
        let mut require = |id: Option<&str>, sigil, field, role| {
            let server = id.and_then(|id| server_of(id, sigil));
            let server = server.ok_or(FormatError::NotAnId(field))?;
            if !signers.iter().any(|signer| signer.server == server) {
                signers.push(RequiredSigner { server, role });
            }
            Ok(())
        };
        if !(membership.is_invite && membership.is_by_third_party) {
            require(self.sender().as_deref(), '@', "sender", Role::Sender)?;
        }
        if version.id_form() == IdForm::Given {
            let id = self.fields.event_id.and_then(string_value);
            require(id.as_deref(), '$', "event_id", Role::EventId)?;
        }
        if version.has_restricted_joins()
            && membership.is_join
            && let Some(user) = membership.authorising_user
        {
            let field = "content.join_authorised_via_users_server";
            require(Some(&user), '@', field, Role::Authorising)?;
        }
        Ok(signers)
    }

    /// Reads the content of an `m.room.member` event; of others there is nothing to know.
    fn membership(&self) -> Membership {
        let mut membership = Membership::default();
        if self.event_type().is_none_or(|event_type| event_type != "m.room.member") {
            return membership;
        }
        for (name, value) in self.fields.content.and_then(object_members).into_iter().flatten() {
            match name.as_ref() {
                "membership" => {
                    let value = string_value(value).unwrap_or_default();
                    membership.is_invite = value == "invite";
                    membership.is_join = value == "join";
                }
                "third_party_invite" => membership.is_by_third_party = true,
                // What is no string is no user ID either, and is refused as such.
                "join_authorised_via_users_server" => {
                    membership.authorising_user =
                        Some(string_value(value).unwrap_or_default().into_owned());
                }
                _ => {}
            }
        }
        membership
    }
}
