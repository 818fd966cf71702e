//! Permission to forward. A forwarder takes a [`Permit`] by value, so nothing can be forwarded that
//! the gate has not let through.

use super::rejection::Refusal;
use crate::proto::ServerName;
use crate::proto::verify::VerifiedOrigin;

/// Permission to forward one request.
#[derive(Debug)]
pub struct Permit(Grant);

#[derive(Debug)]
enum Grant {
    Observed(Refusal),
    Open,
    Other,
    Verified(VerifiedOrigin),
}

/// What happens to the request's `Authorization` headers on the way to the homeserver.
#[derive(Debug, PartialEq, Eq)]
pub enum Authorization {
    /// They pass as they came: nothing was verified, and the homeserver judges them itself.
    AsReceived,
    /// They are replaced by these values, the canonical form of each that has verified.
    Rewritten(Vec<String>),
}

impl Permit {
    /// For one of the spec's open operations.
    pub(super) const fn open() -> Self {
        Self(Grant::Open)
    }

    /// For a path outside federation, where the operator asked for that.
    pub(super) const fn other() -> Self {
        Self(Grant::Other)
    }

    /// For a verified request.
    pub(super) const fn verified(origin: VerifiedOrigin) -> Self {
        Self(Grant::Verified(origin))
    }

    /// For a request that would have been refused, in observe mode.
    pub(super) const fn observed(refusal: Refusal) -> Self {
        Self(Grant::Observed(refusal))
    }

    /// The server that signed the request, if one did.
    pub fn origin(&self) -> Option<&ServerName> {
        match &self.0 {
            Grant::Verified(origin) => Some(origin.origin()),
            Grant::Observed(_) | Grant::Open | Grant::Other => None,
        }
    }

    /// The refusal that observe mode held back.
    pub const fn observed_refusal(&self) -> Option<&Refusal> {
        match &self.0 {
            Grant::Observed(refusal) => Some(refusal),
            Grant::Open | Grant::Other | Grant::Verified(_) => None,
        }
    }

    /// Uses the permit up: what is to be done with the request's `Authorization` headers.
    pub fn consume(self) -> Authorization {
        match self.0 {
            Grant::Observed(_) | Grant::Open | Grant::Other => Authorization::AsReceived,
            Grant::Verified(origin) => Authorization::Rewritten(origin.authorization()),
        }
    }
}
