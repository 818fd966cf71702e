//! Key documents in memory.

use std::sync::Arc;

use moka::future::Cache;

use super::known::{Collision, KnownKeys};
use crate::proto::server_keys::ServerKeys;
use crate::proto::validity::Provenance;
use crate::proto::{ServerName, Timestamp};

/// How many bytes of documents count as one entry of the cache. A usual server has one document of
/// less than 4 KiB; a server with more counts as several, so that the setting bounds the memory.
const ENTRY_BYTES: usize = 4_096;

/// A checked document with the time and the source of its fetch.
#[derive(Clone, Debug)]
pub struct StoredKeys {
    /// The document.
    pub keys: ServerKeys,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// From where.
    pub provenance: Provenance,
}

/// What has come of a document.
#[derive(Clone, Debug)]
pub struct Inserted {
    /// All that is known of the server now.
    pub known: Arc<KnownKeys>,
    /// The key IDs the document shows with another body than known.
    pub collisions: Vec<Collision>,
}

/// Keeps keys in memory, bounded. When it is full, a TinyLFU filter decides who stays: servers seen
/// once do not push out those that are seen often.
#[derive(Clone, Debug)]
pub struct KeyCache {
    cache: Cache<ServerName, Arc<KnownKeys>>,
}

impl KeyCache {
    /// A cache for the keys of up to `entries_max` servers with documents of usual size.
    pub fn new(entries_max: u64) -> Self {
        let cache = Cache::builder()
            .max_capacity(entries_max)
            .weigher(|_: &ServerName, known: &Arc<KnownKeys>| {
                let entries = known.size_bytes().div_ceil(ENTRY_BYTES).max(1);
                u32::try_from(entries).unwrap_or(u32::MAX)
            })
            .build();
        Self { cache }
    }

    /// What is known of the keys of `server`.
    pub async fn get(&self, server: &ServerName) -> Option<Arc<KnownKeys>> {
        self.cache.get(server).await
    }

    /// Adds a document to what is known of its server (see [`KnownKeys::add`]).
    pub async fn insert(&self, keys: StoredKeys) -> Inserted {
        let server = keys.keys.server_name().clone();
        let mut collisions = Vec::new();
        let entry = self
            .cache
            .entry(server)
            .and_upsert_with(|known| {
                let mut known = known.map(|entry| (**entry.value()).clone()).unwrap_or_default();
                collisions = known.add(keys);
                std::future::ready(Arc::new(known))
            })
            .await;
        Inserted { known: entry.into_value(), collisions }
    }

    /// How many servers' keys are kept.
    pub async fn servers(&self) -> u64 {
        self.cache.run_pending_tasks().await;
        self.cache.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::keyring::KeyAnswer;
    use crate::keys::testing::{TestServer, at, key_id};

    #[tokio::test]
    async fn documents_of_one_server_come_together() {
        let store = KeyCache::new(10);
        let mut server = TestServer::new("a.example");
        let first = server.add_key("ed25519:1");
        store.insert(server.stored(at(0), Provenance::Origin)).await;
        server.keys.clear();
        server.add_key("ed25519:2");
        let inserted = store.insert(server.stored(at(1), Provenance::Origin)).await;
        assert_eq!(inserted.collisions, vec![]);
        let known = store.get(&server.name).await.unwrap();
        for known in [known, inserted.known] {
            let KeyAnswer::Valid(key) = known.answer(&key_id("ed25519:1"), at(2)) else {
                panic!("the key learnt first is gone")
            };
            assert_eq!(key.key, first);
            assert!(matches!(known.answer(&key_id("ed25519:2"), at(2)), KeyAnswer::Valid(_)));
        }
        assert_eq!(store.servers().await, 1);
    }

    #[tokio::test]
    async fn the_store_is_bounded() {
        let store = KeyCache::new(16);
        for n in 0..100 {
            let mut server = TestServer::new(&format!("s{n}.example"));
            server.add_key("ed25519:1");
            store.insert(server.stored(at(0), Provenance::Origin)).await;
        }
        let kept = store.servers().await;
        assert!((1..=16).contains(&kept), "{kept} servers kept");
    }

    #[tokio::test]
    async fn a_large_document_counts_as_several_entries() {
        let store = KeyCache::new(8);
        let mut server = TestServer::new("large.example");
        server.add_key("ed25519:1");
        server.filler = 40_000;
        store.insert(server.stored(at(0), Provenance::Origin)).await;
        assert_eq!(store.servers().await, 0, "10 entries' worth in a store of 8");
    }

    #[tokio::test]
    async fn concurrent_inserts_lose_nothing() {
        let store = KeyCache::new(100);
        let mut inserts = Vec::new();
        for n in 0..8 {
            let mut server = TestServer::new("a.example");
            server.add_key(&format!("ed25519:{n}"));
            let (store, stored) = (store.clone(), server.stored(at(0), Provenance::Notary));
            inserts.push(tokio::spawn(async move { store.insert(stored).await }));
        }
        for insert in inserts {
            insert.await.unwrap();
        }
        let known = store.get(&TestServer::new("a.example").name).await.unwrap();
        for n in 0..8 {
            let answer = known.answer(&key_id(&format!("ed25519:{n}")), at(1));
            assert!(matches!(answer, KeyAnswer::Valid(_)), "{n}: {answer:?}");
        }
    }
}
