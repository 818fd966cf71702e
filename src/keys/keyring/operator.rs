//! The operator's hand on keys: pins, bans, letting go, asking anew.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::flight::{FlightEnd, Landing, Quest};
use super::{Inner, KeyAnswer, KeyAnswers, Keyring, KeysUnavailable};
use crate::keys::known::KnownKeys;
use crate::keys::record::{ServerRecord, Source};
use crate::keys::rules::{Change, Rulebook, RulesError, Subject};
use crate::keys::store::StoreError;
use crate::proto::server_keys::ServerKeys;
use crate::proto::{KeyId, ServerName, Timestamp};

/// Why a change of the rules did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmendError {
    /// Something stands against it.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// It could not be kept, and is not in force.
    #[error("nothing is changed: {0}")]
    Store(#[from] StoreError),
}

impl Keyring {
    /// The rules in force.
    pub fn rules(&self) -> &Rulebook {
        &self.0.parts.rules
    }

    /// Makes a change of the rules; whether it changed anything. It is durable, where there is a
    /// store, and in force when this returns.
    ///
    /// # Errors
    /// When the settings stand against it or it cannot be kept; then nothing has changed.
    pub async fn amend(&self, change: &Change) -> Result<bool, AmendError> {
        let inner = &self.0;
        // One change after the other: each is made on what the last one has left. This may be the
        // keyring of settings that have been replaced meanwhile.
        let rules = inner.shared.rules.lock().await;
        let Some(made) = rules.drafted(change)? else { return Ok(false) };
        if let Some(store) = &inner.parts.store {
            store.save_rules(&made).await?;
        }
        rules.enact(made);
        tracing::info!(target: "fedgate::keys", ?change, "rules changed by the operator");
        if let Change::Ban(Subject::Key(key)) = change {
            inner.verify_again(key, &rules);
        }
        Ok(true)
    }

    /// The servers after `after` whose keys are kept, in the order of their names, at most `max`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn servers(
        &self,
        after: Option<&ServerName>,
        max: usize,
    ) -> Result<Vec<ServerName>, StoreError> {
        if let Some(store) = &self.0.parts.store {
            return store.servers(after, max).await;
        }
        let held = self.0.parts.cache.used_since(Timestamp::default());
        let mut names: Vec<ServerName> = held.into_iter().map(|(server, _)| server).collect();
        names.retain(|name| after.is_none_or(|after| name > after));
        names.sort_unstable();
        names.truncate(max);
        Ok(names)
    }

    /// Lets go of everything that is known of `server`, in memory and in the store: its keys, what
    /// their IDs are bound to, the failures. Returns what was known.
    ///
    /// # Errors
    /// When the store cannot be changed; memory has been cleared all the same.
    pub async fn flush(&self, server: &ServerName) -> Result<Option<ServerRecord>, StoreError> {
        let inner = &self.0;
        // A fetch under way would bring back what it has begun with. Those who come meanwhile wait.
        let (_done, landing) = loop {
            let (done, wait) = oneshot::channel::<()>();
            let flight = wait.map(|_dropped| FlightEnd::LookAgain).boxed().shared();
            let running = {
                let mut flights =
                    inner.shared.flights.lock().unwrap_or_else(PoisonError::into_inner);
                match flights.get(server) {
                    Some(running) => running.clone(),
                    None => {
                        flights.insert(server.clone(), flight);
                        break (done, Landing::of(inner, server));
                    }
                }
            };
            running.await;
        };
        let known = inner.known_unused(server, inner.parts.clock.now()).await;
        let forgotten = match &inner.parts.store {
            Some(store) => inner.forget(store.as_ref(), server).await,
            None => Ok(()),
        };
        inner.shared.flushes.fetch_add(1, Ordering::SeqCst);
        inner.parts.cache.forget(server);
        inner.shared.floors.succeeded(server).await;
        drop(landing);
        forgotten?;
        tracing::info!(target: "fedgate::keys", %server, "keys let go of by the operator");
        Ok(known.map(|known| known.to_record()))
    }

    /// Asks the sources for the keys of `server` now, whatever is known and whenever they were last
    /// asked. Returns how many of its keys are valid afterwards.
    ///
    /// # Errors
    /// When no source gave anything newer, with what each of them said.
    pub async fn refresh(&self, server: &ServerName) -> Result<usize, KeysUnavailable> {
        let inner = &self.0;
        let now = inner.parts.clock.now();
        let known = inner.known_unused(server, now).await;
        let ids = known.as_ref().map(|known| known.valid_ids(now)).unwrap_or_default();
        let window = known.as_ref().and_then(|known| known.current_window(now));
        let end = window.map_or(now, |(_, end)| end);
        let deadline = Instant::now() + inner.parts.policy.fetch_timeout;
        let quest = Quest { ids, is_known: true, refresh_after: Some(end) };
        match inner.join_or_start(server, quest, deadline)?.await {
            FlightEnd::Answered { known, .. } => Ok(inner.valid_keys(server, &known)),
            FlightEnd::LookAgain => {
                let known = inner.known_unused(server, now).await;
                Ok(known.map_or(0, |known| inner.valid_keys(server, &known)))
            }
            FlightEnd::Unavailable(error) => Err(error),
        }
    }
}

impl Inner {
    /// The answers that need no look at what is known: all of them are ruled by the operator, or one
    /// of them is pinned.
    pub(super) fn ruled(
        &self,
        server: &ServerName,
        ids: &[KeyId],
        now: Timestamp,
    ) -> Option<KeyAnswers> {
        let rules = self.parts.rules.in_force();
        let ruled: SmallVec<[_; 1]> = ids.iter().map(|id| rules.answer(server, id, now)).collect();
        let pinned = |answer: &Option<KeyAnswer>| matches!(answer, Some(KeyAnswer::Valid(_)));
        let is_enough = ruled.iter().any(pinned) || ruled.iter().all(Option::is_some);
        is_enough
            .then(|| ruled.into_iter().map(|said| said.unwrap_or(KeyAnswer::Unknown)).collect())
    }

    /// Says so when a document shows another key under a pinned ID.
    pub(super) fn compare_with_pins(&self, document: &ServerKeys, source: &Source) {
        let rules = self.parts.rules.in_force();
        let server = document.server_name();
        for (id, shown) in document.verify_keys().iter() {
            let Some(pinned) = rules.rules().pin(server, id).filter(|key| *key != shown) else {
                continue;
            };
            self.parts.metrics.collided(source.kind());
            tracing::warn!(
                target: "fedgate::keys",
                %server,
                %id,
                pinned = pinned.to_base64(),
                shown = shown.to_base64(),
                %source,
                "another key is shown under a pinned key ID; the pinned one is used"
            );
        }
    }

    /// How many keys of `server` may be used now.
    fn valid_keys(&self, server: &ServerName, known: &KnownKeys) -> usize {
        let now = self.parts.clock.now();
        let ids = known.valid_ids(now);
        let valid =
            |id: &&KeyId| matches!(self.answer(server, Some(known), id, now), KeyAnswer::Valid(_));
        ids.iter().filter(valid).count()
    }

    /// Verifies again what is in memory and lists `key`, which has just been banned: a document that
    /// nobody else has signed counts no more.
    pub(super) fn verify_again(&self, key: &[u8; 32], rules: &Rulebook) {
        let rules = rules.in_force();
        let verified = |server: &ServerName, known: &KnownKeys| {
            KnownKeys::from_record(known.to_record(), server, rules.banned()).0
        };
        self.parts.cache.revise(|known| known.shows(key), verified);
    }
}
