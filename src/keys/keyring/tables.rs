//! The tables of keys that sign much, which make their signatures cheaper to check.

use std::time::Duration;

use super::Keyring;
use crate::proto::ed25519::HotKeys;

/// How often tables are made. A key that has earned one can wait.
const TABLES_INTERVAL: Duration = Duration::from_secs(1);

impl Keyring {
    /// The tables there are, and what keys are used for.
    pub fn hot_keys(&self) -> &HotKeys {
        &self.0.shared.hot_keys
    }

    /// Makes tables for keys that have earned one, apart from any request. Runs for ever.
    pub async fn make_tables(&self) {
        let mut interval = tokio::time::interval(TABLES_INTERVAL);
        loop {
            interval.tick().await;
            while self.hot_keys().make_one() {
                tokio::task::yield_now().await;
            }
        }
    }
}
