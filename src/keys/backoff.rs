//! Memory of fetches that led nowhere, so that the same server is not asked again at once (R45,
//! R46). It runs on the injected clock.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use crate::proto::{ServerName, Timestamp};

/// Servers remembered. When more fail than this, the least used are forgotten and asked earlier.
const FLOORS_MAX: u64 = 16_384;

/// How long a server is not asked again after it has shown that a requested key does not exist, in
/// milliseconds. The notes' defence against sprayed key IDs asks for one fetch a minute.
const ABSENT_MS: u64 = 60_000;

/// How long a server is not asked again after a first failure, in milliseconds: the floor MSC4499
/// demands.
const FAILED_MS_MIN: u64 = 60_000;

/// How long at most, in milliseconds: the ceiling MSC4499 recommends. A run of failures is forgotten
/// after the same time again.
const FAILED_MS_MAX: u64 = 3_600_000;

/// A time in which a server is not asked.
#[derive(Clone, Debug)]
struct Floor {
    since: Timestamp,
    length_ms: u64,
    reason: Reason,
}

#[derive(Clone, Debug)]
enum Reason {
    Absent,
    Failed { failures: u32, causes: Arc<str> },
}

/// What the memory says of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// The origin itself has just shown all its keys.
    Absent,
    /// Asking has just failed.
    Failed {
        /// Until the next attempt.
        remaining: Duration,
        /// What each source said.
        causes: Arc<str>,
    },
}

/// The servers that are not asked just now.
#[derive(Clone, Debug)]
pub(crate) struct Floors {
    cache: Cache<ServerName, Floor>,
}

impl Floor {
    /// Whether `now` is within. A clock set back ends it: it never lasts longer than its length.
    fn remaining(&self, now: Timestamp) -> Option<Duration> {
        let end = self.since.plus_ms(self.length_ms);
        (self.since <= now && now < end).then(|| end.since(now))
    }
}

impl Floors {
    pub(crate) fn new() -> Self {
        Self { cache: Cache::new(FLOORS_MAX) }
    }

    /// Whether `server` is not to be asked at `now`, and why.
    pub(crate) async fn recall(&self, server: &ServerName, now: Timestamp) -> Option<Memory> {
        let floor = self.cache.get(server).await?;
        let remaining = floor.remaining(now)?;
        Some(match floor.reason {
            Reason::Absent => Memory::Absent,
            Reason::Failed { causes, .. } => Memory::Failed { remaining, causes },
        })
    }

    /// How much longer `server` is not to be asked.
    pub(crate) async fn remaining(&self, server: &ServerName, now: Timestamp) -> Option<Duration> {
        self.cache.get(server).await?.remaining(now)
    }

    /// How many servers are remembered.
    pub(crate) async fn size(&self) -> u64 {
        self.cache.run_pending_tasks().await;
        self.cache.entry_count()
    }

    /// A fetch gave a valid key: whatever went wrong before is over.
    pub(crate) async fn succeeded(&self, server: &ServerName) {
        self.cache.invalidate(server).await;
    }

    /// The origin answered, without a usable requested key.
    pub(crate) async fn absent(&self, server: &ServerName, now: Timestamp) {
        let floor = Floor { since: now, length_ms: ABSENT_MS, reason: Reason::Absent };
        self.cache.insert(server.clone(), floor).await;
    }

    /// No source could say anything. Returns how long the server is left alone: a minute, doubled by
    /// every further failure, up to an hour.
    pub(crate) async fn failed(
        &self,
        server: &ServerName,
        now: Timestamp,
        causes: &Arc<str>,
    ) -> Duration {
        let before = match self.cache.get(server).await {
            Some(Floor { since, length_ms, reason: Reason::Failed { failures, .. } })
                if now < since.plus_ms(length_ms).plus_ms(FAILED_MS_MAX) =>
            {
                failures
            }
            _ => 0,
        };
        let doubled = 1_u64.checked_shl(before).unwrap_or(u64::MAX);
        let length_ms = FAILED_MS_MIN.saturating_mul(doubled).min(FAILED_MS_MAX);
        let reason =
            Reason::Failed { failures: before.saturating_add(1), causes: Arc::clone(causes) };
        self.cache.insert(server.clone(), Floor { since: now, length_ms, reason }).await;
        Duration::from_millis(length_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::testing::at;

    fn server() -> ServerName {
        ServerName::parse("a.example").unwrap()
    }

    async fn fails(floors: &Floors, ms: u64) -> u64 {
        let length = floors.failed(&server(), at(ms), &Arc::from("connect refused")).await;
        u64::try_from(length.as_millis()).unwrap()
    }

    #[tokio::test]
    async fn r46_failures_double_from_1_min_to_1_h() {
        let floors = Floors::new();
        let mut now = 0;
        let mut lengths = Vec::new();
        for _ in 0..12 {
            let length = fails(&floors, now).await;
            lengths.push(length / 1_000);
            now += length;
        }
        assert_eq!(lengths, [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600, 3600, 3600]);
        for _ in 0..100 {
            now += fails(&floors, now).await;
        }
        assert_eq!(fails(&floors, now).await, 3_600_000, "no overflow after many failures");
    }

    #[tokio::test]
    async fn r46_one_success_clears_the_failures() {
        let floors = Floors::new();
        assert_eq!(fails(&floors, 0).await, 60_000);
        assert_eq!(fails(&floors, 60_000).await, 120_000);
        floors.succeeded(&server()).await;
        assert_eq!(floors.recall(&server(), at(60_001)).await, None);
        assert_eq!(fails(&floors, 60_002).await, 60_000);
    }

    #[tokio::test]
    async fn an_answer_of_the_origin_clears_the_failures() {
        let floors = Floors::new();
        fails(&floors, 0).await;
        fails(&floors, 60_000).await;
        floors.absent(&server(), at(180_000)).await;
        assert_eq!(fails(&floors, 240_000).await, 60_000);
    }

    #[tokio::test]
    async fn a_failure_long_ago_does_not_count() {
        let floors = Floors::new();
        assert_eq!(fails(&floors, 0).await, 60_000);
        assert_eq!(fails(&floors, 60_000 + 3_599_999).await, 120_000);
        assert_eq!(fails(&floors, 10_000_000).await, 60_000);
    }

    #[tokio::test]
    async fn the_floor_ends_on_the_millisecond() {
        let floors = Floors::new();
        fails(&floors, 1_000).await;
        let failed = |ms| {
            let (remaining, causes) = (Duration::from_millis(ms), Arc::from("connect refused"));
            Some(Memory::Failed { remaining, causes })
        };
        assert_eq!(floors.recall(&server(), at(1_000)).await, failed(60_000));
        assert_eq!(floors.recall(&server(), at(60_999)).await, failed(1));
        assert_eq!(floors.recall(&server(), at(61_000)).await, None);

        floors.absent(&server(), at(100_000)).await;
        assert_eq!(floors.recall(&server(), at(159_999)).await, Some(Memory::Absent));
        assert_eq!(floors.recall(&server(), at(160_000)).await, None);
    }

    #[tokio::test]
    async fn a_clock_set_back_ends_the_floor() {
        let floors = Floors::new();
        fails(&floors, 1_000_000).await;
        assert_eq!(floors.recall(&server(), at(999_999)).await, None);
    }

    #[tokio::test]
    async fn other_servers_are_not_concerned() {
        let floors = Floors::new();
        fails(&floors, 0).await;
        let other = ServerName::parse("b.example").unwrap();
        assert_eq!(floors.recall(&other, at(1)).await, None);
    }
}
