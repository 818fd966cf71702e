//! Keys in memory: the hot tier, bounded in bytes.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use moka::ops::compute::Op;
use moka::sync::Cache;

use super::known::{KnownKeys, News};
use super::record::Source;
use crate::config::BindingMode;
use crate::proto::server_keys::ServerKeys;
use crate::proto::{ServerName, Timestamp};

/// What an entry takes beside its keys and documents, in bytes: the name, the counters, moka's own
/// nodes.
const ENTRY_BYTES: usize = 352;

/// What [`Bytes`] allocates beside a text: a pointer, a length and a counter.
const SHARED_BYTES: usize = 3 * size_of::<usize>();

/// A checked document with the time and the source of its fetch.
#[derive(Clone, Debug)]
pub struct StoredKeys {
    /// The document.
    pub keys: ServerKeys,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// From where.
    pub source: Source,
    /// The document with our signature, once somebody has asked us for it as a notary.
    countersigned: OnceLock<Bytes>,
}

impl StoredKeys {
    /// A document as it was fetched.
    pub const fn new(keys: ServerKeys, fetched_at: Timestamp, source: Source) -> Self {
        Self { keys, fetched_at, source, countersigned: OnceLock::new() }
    }

    /// The document with our signature, where it has been made.
    pub(crate) fn countersigned(&self) -> Option<&Bytes> {
        self.countersigned.get()
    }

    /// About how much memory this takes, in bytes, itself included.
    pub(crate) fn size_bytes(&self) -> usize {
        let beside = size_of::<Self>() - size_of::<ServerKeys>();
        let countersigned = self.countersigned.get().map_or(0, |text| text.len() + SHARED_BYTES);
        self.keys.size_bytes() + beside + countersigned
    }
}

/// What has come of a document.
#[derive(Clone, Debug)]
pub struct Inserted {
    /// All that is known of the server now.
    pub known: Arc<KnownKeys>,
    /// What is new about the document.
    pub news: News,
}

/// Keeps keys in memory, bounded. When it is full, a TinyLFU filter decides who stays: servers seen
/// once do not push out those that are seen often.
#[derive(Clone, Debug)]
pub struct KeyCache {
    entries: Cache<ServerName, Arc<KnownKeys>>,
}

impl KeyCache {
    /// A cache of about `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Self {
        let entries = Cache::builder()
            .max_capacity(bytes_max)
            .weigher(|_: &ServerName, known: &Arc<KnownKeys>| {
                u32::try_from(known.size_bytes() + ENTRY_BYTES).unwrap_or(u32::MAX)
            })
            .build();
        Self { entries }
    }

    /// What is in memory of the keys of `server`, for a request at `now`.
    pub fn get(&self, server: &ServerName, now: Timestamp) -> Option<Arc<KnownKeys>> {
        let known = self.entries.get(server)?;
        known.used(now);
        Some(known)
    }

    /// The same, without counting it as use.
    pub fn peek(&self, server: &ServerName) -> Option<Arc<KnownKeys>> {
        self.entries.get(server)
    }

    /// Takes in what a store had, unless something newer came first.
    pub fn restore(&self, server: &ServerName, known: Arc<KnownKeys>, now: Timestamp) {
        known.used(now);
        self.entries.entry(server.clone()).or_insert(known);
    }

    /// Adds a document to what is known of its server (see [`KnownKeys::add`]). `base` is what the
    /// caller knows, should the cache have let go of it.
    pub fn insert(
        &self,
        keys: StoredKeys,
        mode: BindingMode,
        base: Option<&Arc<KnownKeys>>,
    ) -> Inserted {
        let server = keys.keys.server_name().clone();
        let fetched_at = keys.fetched_at;
        let mut news = News::default();
        let upserted = self.entries.entry(server).and_upsert_with(|found| {
            let found = found.map(moka::Entry::into_value);
            // What is fetched is fetched for a request.
            let used_at = found.as_ref().map_or(fetched_at, |known| known.used_at());
            let known = found.as_ref().or(base);
            let mut known = known.map(|known| (**known).clone()).unwrap_or_default();
            news = known.add(keys, mode);
            known.used(used_at);
            Arc::new(known)
        });
        Inserted { known: upserted.into_value(), news }
    }

    /// Keeps `signed`, `document` with our signature, beside the document; what is kept of its server
    /// weighs more from then on.
    pub fn keep_countersigned<'d>(&self, document: &'d StoredKeys, signed: Bytes) -> &'d Bytes {
        let kept = document.countersigned.get_or_init(|| signed);
        let entry = self.entries.entry_by_ref(document.keys.server_name());
        entry.and_compute_with(|found| match found {
            None => Op::Nop,
            Some(found) => Op::Put(found.into_value()),
        });
        kept
    }

    /// Every server that a request has asked for since `since`, with what is known of it.
    pub fn used_since(&self, since: Timestamp) -> Vec<(ServerName, Arc<KnownKeys>)> {
        self.entries
            .iter()
            .filter(|(_, known)| known.used_at() >= since)
            .map(|(server, known)| ((*server).clone(), known))
            .collect()
    }

    /// Lets go of what is known of `server`.
    pub fn forget(&self, server: &ServerName) {
        self.entries.invalidate(server);
    }

    /// Changes what is known of every server that `wanted` picks.
    pub fn revise(
        &self,
        wanted: impl Fn(&KnownKeys) -> bool,
        change: impl Fn(&ServerName, &KnownKeys) -> KnownKeys,
    ) {
        let picked = self.entries.iter().filter(|(_, known)| wanted(known));
        let servers: Vec<ServerName> = picked.map(|(server, _)| (*server).clone()).collect();
        for server in servers {
            self.entries.entry(server.clone()).and_compute_with(|found| match found {
                None => Op::Nop,
                Some(found) => {
                    let known = found.into_value();
                    let changed = change(&server, &known);
                    changed.used(known.used_at());
                    Op::Put(Arc::new(changed))
                }
            });
        }
    }

    /// How many servers' keys are kept, and how many bytes they take.
    pub fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size())
    }
}

#[cfg(test)]
mod tests;
