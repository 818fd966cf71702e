//! New settings for a keyring that is in use.

use std::sync::Arc;

use tokio::sync::MutexGuard;

use super::{Inner, Keyring, KeyringParts, Shared};
use crate::keys::budget::Budget;
use crate::keys::cache::KeyCache;
use crate::keys::keyring::FETCHES_BURST;
use crate::keys::metrics::KeyMetrics;
use crate::keys::rules::{Rulebook, Rules};
use crate::keys::store::KeyStore;

/// The rules of a keyring, held still while new settings are prepared: no rule that the operator makes
/// meanwhile is lost. Nothing has changed until [`Renewal::commit`].
pub struct Renewal<'a> {
    keyring: &'a Keyring,
    rules: MutexGuard<'a, Rulebook>,
}

impl Keyring {
    /// Begins to prepare new settings.
    pub async fn renewal(&self) -> Renewal<'_> {
        Renewal { keyring: self, rules: self.0.shared.rules.lock().await }
    }
}

impl Renewal<'_> {
    /// The rules that new settings make, with those made at run time.
    pub fn rules(&self, settings: Rules) -> Rulebook {
        Rulebook::new(settings, self.rules.made())
    }

    /// Keys in memory; they stay.
    pub fn cache(&self) -> KeyCache {
        self.keyring.0.parts.cache.clone()
    }

    /// Keys on disk; they stay.
    pub fn store(&self) -> Option<Arc<dyn KeyStore>> {
        self.keyring.0.parts.store.clone()
    }

    /// What is counted; it goes on.
    pub fn metrics(&self) -> KeyMetrics {
        self.keyring.0.parts.metrics.clone()
    }

    /// A keyring of these parts that knows what the present one knows: failures, running fetches,
    /// budgets as far as their rates are the same.
    pub fn keyring(&self, parts: KeyringParts) -> Keyring {
        let Inner { parts: before, budget, shared } = self.keyring.0.as_ref();
        let rates = parts.policy.first_seen;
        let budget = if rates == before.policy.first_seen {
            Arc::clone(budget)
        } else {
            Arc::new(Budget::new(rates, FETCHES_BURST))
        };
        let shared: Arc<Shared> = Arc::clone(shared);
        Keyring(Arc::new(Inner { parts, budget, shared }))
    }

    /// From now on the rules of `renewed` count, for the operator's changes too.
    pub fn commit(mut self, renewed: &Keyring) {
        let inner = &renewed.0;
        let before = self.rules.of_settings().banned_keys.clone();
        *self.rules = inner.parts.rules.clone();
        for key in inner.parts.rules.of_settings().banned_keys.difference(&before) {
            inner.verify_again(key, &inner.parts.rules);
        }
    }
}
