//! A store in a file that can be let go of, for the process that takes over, and be taken back.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::RwLock;
use tokio::task::spawn_blocking;

use super::{FileStore, KeyStore, Saved, StoreError, StoreSize};
use crate::keys::history::{Entry, KeptEntry};
use crate::keys::record::{KeptDocument, ServerRecord};
use crate::keys::rules::Rules;
use crate::proto::ed25519::VerifyKey;
use crate::proto::{KeyId, ServerName, Timestamp};

/// Once it has been let go of, nothing is found in it and nothing can be kept: what is in memory has to
/// do for the rest of a process, or until it is taken back.
pub struct LeasedStore {
    path: PathBuf,
    held: RwLock<Option<FileStore>>,
    /// As it was last seen.
    size: Mutex<StoreSize>,
}

impl LeasedStore {
    /// Holds `store`, which is at `path`.
    pub fn new(path: PathBuf, store: FileStore) -> Self {
        let size = Mutex::new(store.size());
        Self { path, held: RwLock::new(Some(store)), size }
    }

    /// Lets go of the file. What was to be written has been when this returns.
    pub async fn release(&self) {
        let store = self.held.write().await.take();
        // Writing takes its time.
        let _panicked = spawn_blocking(move || drop(store)).await;
    }

    /// Opens the file again.
    ///
    /// # Errors
    /// When another process holds it, or it cannot be read any more.
    pub async fn reclaim(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut held = self.held.write().await;
        if held.is_none() {
            let path = self.path.clone();
            let opened = spawn_blocking(move || FileStore::open(&path, now)).await;
            *held = Some(opened.map_err(|_panicked| self.away())??.store);
        }
        Ok(())
    }

    fn away(&self) -> StoreError {
        StoreError::Io(format!(
            "keys.store = {:?}: it is with the fedgate that takes over; keys fetched here meanwhile \
             are kept in memory",
            self.path
        ))
    }
}

#[async_trait]
impl KeyStore for LeasedStore {
    async fn load(&self, server: &ServerName) -> Result<Option<ServerRecord>, StoreError> {
        match self.held.read().await.as_ref() {
            Some(store) => store.load(server).await,
            None => Ok(None),
        }
    }

    async fn save(
        &self,
        server: &ServerName,
        record: ServerRecord,
        entries: &[Entry],
    ) -> Result<Saved, StoreError> {
        let held = self.held.read().await;
        held.as_ref().ok_or_else(|| self.away())?.save(server, record, entries).await
    }

    async fn forget(
        &self,
        server: &ServerName,
        at: Timestamp,
    ) -> Result<Option<Saved>, StoreError> {
        let held = self.held.read().await;
        held.as_ref().ok_or_else(|| self.away())?.forget(server, at).await
    }

    async fn history(
        &self,
        server: &ServerName,
        from: u64,
        max: usize,
    ) -> Result<Vec<KeptEntry>, StoreError> {
        let held = self.held.read().await;
        held.as_ref().ok_or_else(|| self.away())?.history(server, from, max).await
    }

    async fn document_of(
        &self,
        server: &ServerName,
        id: &KeyId,
        key: &VerifyKey,
    ) -> Result<Option<KeptDocument>, StoreError> {
        match self.held.read().await.as_ref() {
            Some(store) => store.document_of(server, id, key).await,
            None => Ok(None),
        }
    }

    async fn servers(
        &self,
        after: Option<&ServerName>,
        max: usize,
    ) -> Result<Vec<ServerName>, StoreError> {
        let held = self.held.read().await;
        held.as_ref().ok_or_else(|| self.away())?.servers(after, max).await
    }

    async fn count(&self) -> Result<u64, StoreError> {
        let held = self.held.read().await;
        held.as_ref().ok_or_else(|| self.away())?.count().await
    }

    fn size(&self) -> StoreSize {
        let mut size = self.size.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(held) = self.held.try_read()
            && let Some(store) = held.as_ref()
        {
            *size = store.size();
        }
        *size
    }

    async fn load_rules(&self) -> Result<Rules, StoreError> {
        let held = self.held.read().await;
        held.as_ref().ok_or_else(|| self.away())?.load_rules().await
    }

    async fn save_rules(&self, rules: &Rules) -> Result<(), StoreError> {
        let held = self.held.read().await;
        held.as_ref().ok_or_else(|| self.away())?.save_rules(rules).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Timestamp;

    #[tokio::test]
    async fn what_is_let_go_of_can_be_opened_by_another_and_be_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.redb");
        let now = Timestamp::from_ms(1);
        let open = || FileStore::open(&path, now);
        let lease = LeasedStore::new(path.clone(), open().unwrap().store);
        assert!(matches!(open(), Err(StoreError::Locked(_))));

        lease.release().await;
        let other = open().unwrap().store;
        let server = ServerName::parse("a.example").unwrap();
        assert!(lease.load(&server).await.unwrap().is_none());
        assert!(matches!(lease.save_rules(&Rules::default()).await, Err(StoreError::Io(_))));
        assert!(matches!(lease.reclaim(now).await, Err(StoreError::Locked(_))));

        drop(other);
        lease.reclaim(now).await.unwrap();
        lease.save_rules(&Rules::default()).await.unwrap();
        assert!(matches!(open(), Err(StoreError::Locked(_))));
    }
}
