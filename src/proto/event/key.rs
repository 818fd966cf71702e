//! Which keys may verify an event, by its own time (server-server API, signing events; R84 to R86).

use std::fmt;

use super::RoomVersion;
use crate::proto::ed25519::VerifyKey;
use crate::proto::server_keys::ServerKeys;
use crate::proto::validity::effective_until;
use crate::proto::{KeyId, Timestamp};

/// A server's key, current or retired, and until when it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKey {
    /// From `verify_keys`.
    Current {
        /// The key.
        key: VerifyKey,
        /// The lesser of `valid_until_ts` and 7 days from the fetch.
        effective_until: Timestamp,
    },
    /// From `old_verify_keys`.
    Retired {
        /// The key.
        key: VerifyKey,
        /// When it was retired.
        expired_ts: Timestamp,
    },
}

/// Why a key may not verify an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUnfit {
    /// The event is later than this copy of the key is good for; a newer one may do.
    CopyTooOld {
        /// The end of the copy's validity.
        effective_until: Timestamp,
        /// The event's time.
        origin_server_ts: Timestamp,
    },
    /// The event is later than the key's end.
    Retired {
        /// When the key was retired.
        expired_ts: Timestamp,
        /// The event's time.
        origin_server_ts: Timestamp,
    },
}

impl fmt::Display for KeyUnfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CopyTooOld { effective_until, origin_server_ts } => write!(
                f,
                "this copy of the key is good for events up to {effective_until} ms, the event is \
                 of {origin_server_ts} ms"
            ),
            Self::Retired { expired_ts, origin_server_ts } => write!(
                f,
                "the key was retired at {expired_ts} ms, the event is of {origin_server_ts} ms"
            ),
        }
    }
}

impl std::error::Error for KeyUnfit {}

impl EventKey {
    /// The key `id` of a document that was fetched at `fetched_at`.
    pub fn of(document: &ServerKeys, id: &KeyId, fetched_at: Timestamp) -> Option<Self> {
        if let Some(key) = document.verify_keys().get(id) {
            let effective_until = effective_until(document.valid_until_ts(), fetched_at);
            return Some(Self::Current { key: key.clone(), effective_until });
        }
        let old = document.old_verify_keys().get(id)?;
        Some(Self::Retired { key: old.key.clone(), expired_ts: old.expired_ts })
    }

    /// The key itself.
    pub fn key(&self) -> &VerifyKey {
        match self {
            Self::Current { key, .. } | Self::Retired { key, .. } => key,
        }
    }

    /// Whether the key may verify an event of that time; the last millisecond counts.
    ///
    /// `valid_until_ts` is ignored in room versions 1 to 4 (R85). That a retired key is not used for
    /// later events holds in all of them (R86).
    pub fn check(&self, version: RoomVersion, origin_server_ts: Timestamp) -> Result<(), KeyUnfit> {
        match *self {
            Self::Current { effective_until, .. }
                if version.has_key_validity() && effective_until < origin_server_ts =>
            {
                Err(KeyUnfit::CopyTooOld { effective_until, origin_server_ts })
            }
            Self::Retired { expired_ts, .. } if expired_ts < origin_server_ts => {
                Err(KeyUnfit::Retired { expired_ts, origin_server_ts })
            }
            Self::Current { .. } | Self::Retired { .. } => Ok(()),
        }
    }
}
