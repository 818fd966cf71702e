//! The homeserver's own keys: `GET /_matrix/key/v2/server` (server-server API, publishing keys).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::metrics::NotaryMetrics;
use crate::clock::Clock;
use crate::keys::Keyring;
use crate::keys::cache::StoredKeys;
use crate::keys::fetch::LocalHttp;
use crate::keys::record::Source;
use crate::proto::own_server_keys::OwnServerKeys;
use crate::proto::server_keys::{OldVerifyKey, ServerKeys};
use crate::proto::signing_keys::SigningKeys;
use crate::proto::{KeyId, ServerName, Timestamp};

/// What is published is valid for as long at least, in milliseconds: servers "should avoid returning
/// responses that expire in less than an hour" (R71).
const REMAINING_MS_MIN: u64 = 60 * 60 * 1_000;

/// How long to wait after a failed renewal.
const RETRY: Duration = Duration::from_secs(30);

/// Longest time between two looks at whether a renewal is due.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// Where the document comes from.
pub enum Origin {
    /// The homeserver makes it; the keyring keeps it over restarts.
    Homeserver(LocalHttp, Keyring),
    /// It is made here.
    Own {
        /// The homeserver's signing keys.
        keys: Arc<SigningKeys>,
        /// Those it has used before.
        old: BTreeMap<KeyId, OldVerifyKey>,
        /// How long a document is valid, in milliseconds.
        valid_for_ms: u64,
    },
}

/// Keeps the homeserver's own key document.
pub struct Publisher {
    server_name: ServerName,
    origin: Origin,
    clock: Arc<dyn Clock>,
    metrics: NotaryMetrics,
    current: ArcSwapOption<StoredKeys>,
    /// When the last renewal failed; held while one runs.
    renewal: Mutex<Option<Instant>>,
}

impl Publisher {
    /// Publishes the keys of `server_name`.
    pub fn new(
        server_name: ServerName,
        origin: Origin,
        clock: Arc<dyn Clock>,
        metrics: NotaryMetrics,
    ) -> Self {
        let (current, renewal) = (ArcSwapOption::empty(), Mutex::new(None));
        Self { server_name, origin, clock, metrics, current, renewal }
    }

    /// The document: the last good one, renewed first when it would end within the hour and can be
    /// renewed. None if there has never been one.
    pub async fn document(&self) -> Option<Arc<StoredKeys>> {
        let is_fresh = |document: &Arc<StoredKeys>| self.remaining_ms(document) >= REMAINING_MS_MIN;
        match self.current.load_full().filter(is_fresh) {
            Some(document) => Some(document),
            None => {
                self.renew(is_fresh).await;
                match self.current.load_full() {
                    Some(document) => Some(document),
                    None => self.kept().await,
                }
            }
        }
    }

    /// Renews the document whenever half of its life is over, for ever.
    pub async fn keep_fresh(&self) {
        loop {
            self.renew(|document| {
                let whole = document.keys.valid_until_ts().since(document.fetched_at);
                let half = u64::try_from(whole.as_millis() / 2).unwrap_or(u64::MAX);
                self.remaining_ms(document) >= half.max(REMAINING_MS_MIN)
            })
            .await;
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// The last document before a restart.
    async fn kept(&self) -> Option<Arc<StoredKeys>> {
        match &self.origin {
            Origin::Homeserver(_, keyring) => keyring.newest_document(&self.server_name).await,
            Origin::Own { .. } => None,
        }
    }

    fn remaining_ms(&self, document: &StoredKeys) -> u64 {
        let now = self.clock.now().as_ms();
        document.keys.valid_until_ts().as_ms().saturating_sub(now)
    }

    /// Gets a new document, unless the present one is good enough, or getting one has just failed.
    async fn renew(&self, is_good_enough: impl Fn(&Arc<StoredKeys>) -> bool) {
        let mut failed_at = self.renewal.lock().await;
        // Somebody else may have done it meanwhile.
        if self.current.load_full().is_some_and(|document| is_good_enough(&document))
            || failed_at.is_some_and(|at| at.elapsed() < RETRY)
        {
            return;
        }
        let fetched_at = self.clock.now();
        let renewed = self.get(fetched_at).await;
        self.metrics.renewed(renewed.is_ok());
        *failed_at = renewed.is_err().then(Instant::now);
        match renewed {
            Ok(keys) => {
                let stored = StoredKeys::new(keys, fetched_at, Source::Homeserver);
                self.current.store(Some(Arc::new(stored)));
            }
            Err(cause) => tracing::warn!(
                target: "fedgate::notary",
                server = %self.server_name,
                cause,
                "cannot renew the homeserver's own key document; the last good one is published"
            ),
        }
    }

    async fn get(&self, now: Timestamp) -> Result<ServerKeys, String> {
        match &self.origin {
            Origin::Homeserver(http, keyring) => {
                let keys = http.own_keys(keyring.rules()).await;
                let keys = keys.map_err(|error| error.to_string())?;
                keyring.learn(keys.clone()).await;
                Ok(keys)
            }
            Origin::Own { keys, old, valid_for_ms } => OwnServerKeys {
                server_name: &self.server_name,
                signing_keys: keys,
                old_verify_keys: old,
                valid_until_ts: now.plus_ms(*valid_for_ms),
            }
            .sign()
            .map_err(|error| error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
