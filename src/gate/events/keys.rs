//! The keys that the events of one request are signed with, found together: each key once (R84, R85).

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use tokio::time::timeout_at;

use crate::keys::Keyring;
use crate::keys::keyring::{Allowance, EventKeyAnswer, WantedKey};
use crate::proto::event::EventKey;
use crate::proto::{KeyId, ServerName, Timestamp};

/// Servers of one request that are worked on at one time: more than may be asked.
const CONCURRENT: usize = 16;

/// The keys that are wanted, by server.
#[derive(Debug, Default)]
pub(super) struct WantedKeys(BTreeMap<ServerName, Vec<WantedKey>>);

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct FoundKeys {
    servers: BTreeMap<ServerName, Vec<(KeyId, EventKeyAnswer)>>,
    /// Whether there was time to look for all.
    is_complete: bool,
}

impl WantedKeys {
    /// Adds a key, which should be valid until `minimum`, where it matters.
    pub(super) fn add(&mut self, server: ServerName, id: KeyId, minimum: Option<Timestamp>) {
        let keys = self.0.entry(server).or_default();
        match keys.iter_mut().find(|key| key.id == id) {
            Some(key) => key.minimum_valid_until = key.minimum_valid_until.max(minimum),
            None => keys.push(WantedKey { id, minimum_valid_until: minimum }),
        }
    }

    /// Finds them, within the allowance.
    pub(super) async fn find(self, keyring: &Keyring, allowance: &Allowance) -> FoundKeys {
        let of_server = |(server, wanted): (ServerName, Vec<WantedKey>)| async move {
            let answers = keyring.event_keys(&server, &wanted, allowance).await;
            let ids = wanted.into_iter().map(|key| key.id);
            (server, ids.zip(answers).collect())
        };
        let mut answers =
            std::pin::pin!(stream::iter(self.0).map(of_server).buffer_unordered(CONCURRENT));
        let mut found = FoundKeys::default();
        // Reading the store takes its time too.
        while let Ok(answer) = timeout_at(allowance.until, answers.next()).await {
            let Some((server, keys)) = answer else {
                found.is_complete = true;
                break;
            };
            found.servers.insert(server, keys);
        }
        found
    }
}

impl FoundKeys {
    /// A key, if it is known.
    pub(super) fn key(&self, server: &ServerName, id: &KeyId) -> Option<EventKey> {
        let (_, answer) = self.servers.get(server)?.iter().find(|(found, _)| found == id)?;
        answer.key.clone()
    }

    /// Whether all is known of the keys of `server` that there is to know.
    pub(super) fn is_settled(&self, server: &ServerName) -> bool {
        self.servers
            .get(server)
            .map_or(self.is_complete, |keys| keys.iter().all(|(_, answer)| answer.is_settled))
    }
}
