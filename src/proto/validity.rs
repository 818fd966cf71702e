//! Until when a key may be used.

use super::ed25519::VerifyKey;
use super::limits::KEY_VALIDITY_MS_MAX;
use super::{KeyId, ServerName, Timestamp};

/// Where a key was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provenance {
    /// The homeserver behind the gate.
    Homeserver,
    /// A notary.
    Notary,
    /// The origin itself.
    Origin,
}

/// The end of a key's validity: `valid_until_ts`, but at most 7 days from the fetch (R42).
pub fn effective_until(valid_until_ts: Timestamp, fetched_at: Timestamp) -> Timestamp {
    valid_until_ts.min(fetched_at.plus_ms(KEY_VALIDITY_MS_MAX))
}

/// A key that may sign requests: from `verify_keys` of a checked document, with its window and source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey {
    /// Whose key it is.
    pub server: ServerName,
    /// Its ID.
    pub id: KeyId,
    /// The key itself.
    pub key: VerifyKey,
    /// The last millisecond in which it may be used for requests.
    pub effective_until: Timestamp,
    /// Where it was learnt.
    pub provenance: Provenance,
}

/// A key is past its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyExpired {
    /// The end of the window.
    pub effective_until: Timestamp,
    /// The time of the check.
    pub now: Timestamp,
}

impl TrustedKey {
    /// Whether the key may authenticate a request received at `now`; the last millisecond counts.
    pub fn check(&self, now: Timestamp) -> Result<(), KeyExpired> {
        if now <= self.effective_until {
            Ok(())
        } else {
            Err(KeyExpired { effective_until: self.effective_until, now })
        }
    }
}
