//! Putting what has been learnt on disk, and the history of it.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::{Inner, Keyring};
use crate::keys::history::{Entry, KeptEntry, Kind};
use crate::keys::known::KnownKeys;
use crate::keys::metrics::Unrecorded;
use crate::keys::record::ServerRecord;
use crate::keys::store::{KeyStore, Saved, StoreError};
use crate::proto::ServerName;

/// How long a fetch waits for its result to be on disk. Memory has it already; a disk that hangs
/// must not hold up the request.
const SAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of entries that wait for a store that does not take them: some thousands of servers' first
/// sights. They are written with what is next saved of their server.
const BACKLOG_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Entries that the store did not take, by server.
#[derive(Debug, Default)]
pub(super) struct Backlog(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    entries: HashMap<ServerName, Vec<Entry>>,
    bytes: usize,
}

impl Backlog {
    /// What waits for `server`, which then waits no more.
    fn take(&self, server: &ServerName) -> Vec<Entry> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = waiting.entries.remove(server).unwrap_or_default();
        waiting.bytes -= entries.iter().map(Entry::size_bytes).sum::<usize>();
        entries
    }

    /// Keeps entries that came before all that waits for `server`; returns those there is no room
    /// for.
    fn put_back(&self, server: &ServerName, entries: Vec<Entry>) -> Vec<Entry> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = entries.iter().map(Entry::size_bytes).sum::<usize>();
        if entries.is_empty() || waiting.bytes + bytes > BACKLOG_BYTES_MAX {
            return entries;
        }
        waiting.bytes += bytes;
        let later = waiting.entries.entry(server.clone()).or_default();
        let later = mem::replace(later, entries);
        waiting.entries.entry(server.clone()).or_default().extend(later);
        Vec::new()
    }
}

impl Keyring {
    /// The history of `server` from the entry `from` on, at most `max` entries and maybe fewer;
    /// empty only when there are no more.
    ///
    /// # Errors
    /// When there is no store, or it cannot be read.
    pub async fn history(
        &self,
        server: &ServerName,
        from: u64,
        max: usize,
    ) -> Result<Vec<KeptEntry>, StoreError> {
        let Some(store) = &self.0.parts.store else {
            let text = "keys.store is \"\": keys are kept in memory only, without their history";
            return Err(StoreError::Io(text.to_owned()));
        };
        store.history(server, from, max).await
    }
}

impl Inner {
    /// Puts what has been learnt of `server` on disk, and what is new about it into its history.
    pub(super) async fn save(
        self: &Arc<Self>,
        server: &ServerName,
        known: &KnownKeys,
        entries: Vec<Entry>,
    ) {
        let Some(store) = &self.parts.store else { return };
        let (inner, store, server) = (Arc::clone(self), Arc::clone(store), server.clone());
        let record = known.to_record();
        let name = server.clone();
        // A task of its own: what comes of it is seen to also when nobody waits for it any more.
        let saving = tokio::spawn(async move {
            inner.save_now(store.as_ref(), &name, record, entries).await;
        });
        // It is queued, and written as soon as the disk takes it.
        if timeout(SAVE_TIMEOUT, saving).await.is_err() {
            tracing::warn!(target: "fedgate::keys", %server, "the store of keys is slow");
        }
    }

    /// Lets go of the record of `server`, in the store.
    pub(super) async fn forget(
        &self,
        store: &dyn KeyStore,
        server: &ServerName,
    ) -> Result<(), StoreError> {
        let at = self.parts.clock.now();
        if let Some(saved) = store.forget(server, at).await? {
            self.recorded(server, &[Entry::Flushed { at }], saved);
        }
        Ok(())
    }

    /// Counts what has become of entries, and says so when there was no room for one.
    fn recorded(&self, server: &ServerName, entries: &[Entry], saved: Saved) {
        let metrics = &self.parts.metrics.history;
        let (written, left_out) = entries.split_at_checked(saved.written).unwrap_or((entries, &[]));
        written.iter().flat_map(Entry::kinds).for_each(|kind| metrics.recorded(kind));
        for _ in left_out.iter().flat_map(Entry::kinds) {
            metrics.unrecorded(Unrecorded::Full);
        }
        if saved.filled {
            metrics.recorded(Kind::Full);
            tracing::warn!(
                target: "fedgate::keys",
                %server,
                "the history of its keys is full: nothing later is recorded there; what is shown is \
                 used and logged as before"
            );
        }
    }

    async fn save_now(
        &self,
        store: &dyn KeyStore,
        server: &ServerName,
        record: ServerRecord,
        news: Vec<Entry>,
    ) {
        let mut entries = self.shared.backlog.take(server);
        entries.extend(news);
        match store.save(server, record, &entries).await {
            Ok(saved) => {
                self.recorded(server, &entries, saved);
            }
            Err(error) => {
                self.parts.metrics.store_failed(&error);
                tracing::warn!(
                    target: "fedgate::keys",
                    %server,
                    %error,
                    "keys are in memory only until this is mended"
                );
                for _ in self.shared.backlog.put_back(server, entries).iter().flat_map(Entry::kinds)
                {
                    self.parts.metrics.history.unrecorded(Unrecorded::Lost);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
