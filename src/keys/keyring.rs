//! The one entry to keys: memory, else one shared fetch within a total deadline.

use std::time::Duration;

use crate::proto::validity::TrustedKey;
use crate::proto::{KeyId, ServerName, Timestamp};

/// Finds the keys of other servers.
pub struct Keyring {
    // to be filled
}

/// What is known of one requested key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyAnswer {
    /// A current copy is past its window, and no source has a newer one.
    Expired {
        /// The end of the window of the newest copy.
        effective_until: Timestamp,
    },
    /// The server lists the key as retired.
    Retired {
        /// Since when.
        expired_ts: Timestamp,
    },
    /// The server does not list the key.
    Unknown,
    /// Usable now.
    Valid(TrustedKey),
}

/// No source could be asked just now, so nothing can be said of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysUnavailable {
    /// When to try again.
    pub retry_after: Duration,
    /// What each source said, for the log.
    pub causes: String,
}

impl Keyring {
    /// Finds the keys `ids` of `origin` for a request received now; one answer per ID, in order.
    /// No network is used when at least one of them is in memory and valid (R50).
    pub async fn request_keys(
        &self,
        _origin: &ServerName,
        _ids: &[KeyId],
    ) -> Result<Vec<KeyAnswer>, KeysUnavailable> {
        todo!()
    }
}
