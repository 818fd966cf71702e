//! Where checked key documents are kept.

use std::sync::Arc;

use async_trait::async_trait;

use crate::proto::server_keys::ServerKeys;
use crate::proto::validity::Provenance;
use crate::proto::{ServerName, Timestamp};

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

/// Keeps the documents of servers. There is no way to put an unchecked one in.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// The documents of `server` that are kept (several, when one did not hold all its keys).
    async fn get(&self, server: &ServerName) -> Option<Arc<Vec<StoredKeys>>>;

    /// Adds a document.
    async fn insert(&self, keys: StoredKeys);
}
