//! Points in time as Matrix writes them.

use std::fmt;
use std::time::Duration;

/// Milliseconds since the Unix epoch, as in `valid_until_ts` and `origin_server_ts`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The largest integer canonical JSON can carry, 2^53 - 1: no honest timestamp is above it.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// A timestamp of `ms` milliseconds since the epoch.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// This time plus `ms` milliseconds, capped at the largest value.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The time from `earlier` until this one; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_time_is_the_largest_integer_of_canonical_json() {
        assert_eq!(Timestamp::MAX.as_ms(), 9_007_199_254_740_991);
    }

    #[test]
    fn times_neither_wrap_nor_turn_back() {
        let [early, late, end] = [5, 7, u64::MAX].map(Timestamp::from_ms);
        assert_eq!((early.plus_ms(2), late.plus_ms(u64::MAX)), (late, end));
        assert_eq!(late.since(early), Duration::from_millis(2));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
