//! An operator's look at one server, with what this keyring knows of it.

use std::sync::Arc;

use super::Keyring;
use crate::keys::backoff::Memory;
use crate::keys::inquiry::{
    BackOff, BackOffReason, Beforehand, Inquirer, Inquiry, StoreState, Stored,
};
use crate::proto::{KeyId, ServerName};

impl Keyring {
    /// All there is to say of `server` (see [`Inquirer::ask`]). It counts as no use of the server,
    /// and neither memory nor store learn from it.
    pub async fn inquire(&self, server: &ServerName, ids: &[KeyId]) -> Inquiry {
        let before = self.beforehand(server).await;
        let parts = &self.0.parts;
        let rules = Arc::clone(&parts.rules.in_force());
        let (stages, policy, clock) = (&parts.stages, &parts.policy, parts.clock.as_ref());
        Inquirer { stages, policy, rules: &rules, clock }.ask(server, ids, before).await
    }

    /// The same without asking anybody.
    pub async fn look_at(&self, server: &ServerName) -> Inquiry {
        let before = self.beforehand(server).await;
        let parts = &self.0.parts;
        let rules = Arc::clone(&parts.rules.in_force());
        let (policy, clock) = (&parts.policy, parts.clock.as_ref());
        Inquirer { stages: &[], policy, rules: &rules, clock }.look(server, before)
    }

    async fn beforehand(&self, server: &ServerName) -> Beforehand {
        let parts = &self.0.parts;
        let stored = match &parts.store {
            None => Stored::Not(StoreState::Unused, None),
            Some(store) => match store.load(server).await {
                Ok(record) => Stored::Read(record),
                Err(error) => Stored::Not(StoreState::Unreadable, Some(error.to_string())),
            },
        };
        let memory = parts.cache.peek(server);
        Beforehand { memory, stored, back_off: self.back_off(server).await }
    }

    async fn back_off(&self, server: &ServerName) -> Option<BackOff> {
        let now = self.0.parts.clock.now();
        let (reason, causes) = match self.0.shared.floors.recall(server, now).await? {
            Memory::Absent => (BackOffReason::Absent, None),
            Memory::Failed { causes, .. } => (BackOffReason::Failed, Some(causes.to_string())),
        };
        let remaining = self.0.shared.floors.remaining(server, now).await?;
        Some(BackOff { reason, remaining_s: remaining.as_secs(), causes })
    }
}
