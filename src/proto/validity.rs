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
    /// Where it was learnt; none when the operator has said so.
    pub provenance: Option<Provenance>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::test_vectors::{id, name, spec_key};

    fn key(effective_until: u64) -> TrustedKey {
        TrustedKey {
            server: name("domain"),
            id: id("ed25519:1"),
            key: spec_key().verify_key(),
            effective_until: Timestamp::from_ms(effective_until),
            provenance: Some(Provenance::Origin),
        }
    }

    #[test]
    fn r41_the_last_millisecond_counts() {
        let now = Timestamp::from_ms(5);
        assert_eq!(key(5).check(now), Ok(()));
        let effective_until = Timestamp::from_ms(4);
        assert_eq!(key(4).check(now), Err(KeyExpired { effective_until, now }));
    }

    #[test]
    fn r42_the_window_ends_seven_days_from_the_fetch_at_most() {
        let week = 604_800_000;
        let until = |valid_until_ts, fetched_at| {
            let fetched_at = Timestamp::from_ms(fetched_at);
            effective_until(Timestamp::from_ms(valid_until_ts), fetched_at).as_ms()
        };
        assert_eq!(until(10, 0), 10);
        assert_eq!(until(10, 20), 10);
        assert_eq!(until(week, 0), week);
        assert_eq!(until(week + 1, 0), week);
        assert_eq!(until(u64::MAX, u64::MAX), u64::MAX);
    }
}
