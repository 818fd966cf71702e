//! Fetching keys anew before they end, so that no request has to wait for it (threat F8).

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};

use super::flight::{FlightEnd, Quest};
use super::{Inner, Keyring};
use crate::keys::known::KnownKeys;
use crate::proto::{ServerName, Timestamp};

/// How often keys are looked through.
const INTERVAL: Duration = Duration::from_secs(30);

/// Servers that have sent nothing for longer are not refreshed, in milliseconds: most of them will
/// not be heard of again before their keys end.
const SEEN_LATELY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Refreshes running at one time: they must leave room for requests that wait.
const REFRESHES_MAX: usize = 32;

/// Half a lifetime, and up to a tenth of it more: servers learnt in one second are not all asked again
/// in one second. Not earlier: Synapse makes a new document once half of the last one's time is over.
/// In per mille of the lifetime.
const DUE_PER_MILLE: u64 = 500;
const JITTER_PER_MILLE: u64 = 100;

impl Keyring {
    /// Refreshes the keys of servers seen lately once half of their lifetime is over, for ever.
    pub async fn refresh_ahead(&self) {
        let random = RandomState::new();
        loop {
            sleep(INTERVAL).await;
            self.0.refresh_due(&random).await;
        }
    }
}

impl Inner {
    /// Refreshes what is due now.
    pub(super) async fn refresh_due(self: &Arc<Self>, random: &RandomState) {
        let now = self.parts.clock.now();
        let since = Timestamp::from_ms(now.as_ms().saturating_sub(SEEN_LATELY_MS));
        let servers = self.parts.cache.used_since(since).into_iter();
        let due = servers.filter_map(|(server, known)| {
            let (fetched_at, end) = known.current_window(now)?;
            let jitter = random.hash_one((&server, fetched_at)) % (JITTER_PER_MILLE + 1);
            (now >= due_at(fetched_at, end, jitter)).then_some((server, known, end))
        });
        stream::iter(due)
            .for_each_concurrent(REFRESHES_MAX, |(server, known, end)| async move {
                self.refresh(&server, &known, end).await;
            })
            .await;
    }

    async fn refresh(self: &Arc<Self>, server: &ServerName, known: &KnownKeys, end: Timestamp) {
        let now = self.parts.clock.now();
        let mut ids = known.valid_ids(now);
        let rules = self.parts.rules.in_force();
        ids.retain(|id| rules.answer(server, id, now).is_none());
        // A server that has just failed, or has nothing newer, is left alone for its time.
        if ids.is_empty() || self.shared.floors.recall(server, now).await.is_some() {
            return;
        }
        let deadline = Instant::now() + self.parts.policy.fetch_timeout;
        let quest = Quest { ids, is_known: true, refresh_after: Some(end) };
        if let Ok(flight) = self.join_or_start(server, quest, deadline) {
            let renewed = matches!(flight.await, FlightEnd::Answered { .. });
            self.parts.metrics.refreshed(renewed);
        }
    }
}

/// When a document fetched at `fetched_at` whose window ends at `end` is to be fetched anew; `jitter`
/// is in per mille of its lifetime.
fn due_at(fetched_at: Timestamp, end: Timestamp, jitter: u64) -> Timestamp {
    let lifetime = end.as_ms().saturating_sub(fetched_at.as_ms());
    fetched_at.plus_ms(lifetime.saturating_mul(DUE_PER_MILLE + jitter) / 1_000)
}
