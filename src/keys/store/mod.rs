//! Where what is known of servers' keys is kept over restarts.

mod encode;
pub mod file;
mod lease;

use std::fmt;

use async_trait::async_trait;

use super::history::{Entry, KeptEntry};
use super::record::{KeptDocument, ServerRecord};
use super::rules::Rules;
use crate::proto::ed25519::VerifyKey;
use crate::proto::server_keys::UnverifiedServerKeys;
use crate::proto::{KeyId, ServerName, Timestamp};

pub use file::FileStore;
pub use lease::LeasedStore;

/// Keeps one record per server, and the operator's rules. The seam for stores that several gates
/// share.
///
/// A store keeps data; it judges nothing. Documents are verified by whoever reads them.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// What is kept of `server`. A record that is damaged is an error once, and gone afterwards.
    async fn load(&self, server: &ServerName) -> Result<Option<ServerRecord>, StoreError>;

    /// Keeps `record` in the place of what was kept of `server`, and puts `entries` at the end of
    /// its history: both or neither. They are durable when this returns.
    async fn save(
        &self,
        server: &ServerName,
        record: ServerRecord,
        entries: &[Entry],
    ) -> Result<Saved, StoreError>;

    /// Lets go of the record of `server` at `at`; none if there was none. Its history stays, and
    /// tells of it.
    async fn forget(&self, server: &ServerName, at: Timestamp)
    -> Result<Option<Saved>, StoreError>;

    /// The history of `server` from the entry `from` on, in order: at most `max` entries, and no more
    /// after [`PAGE_BYTES`](super::history::PAGE_BYTES). Empty only when there are no more.
    async fn history(
        &self,
        server: &ServerName,
        from: u64,
        max: usize,
    ) -> Result<Vec<KeptEntry>, StoreError>;

    /// The newest document in the history of `server` that lists `key` under `id`, among its current
    /// or its retired keys. A look at the whole history, for when the record has let go of it.
    async fn document_of(
        &self,
        server: &ServerName,
        id: &KeyId,
        key: &VerifyKey,
    ) -> Result<Option<KeptDocument>, StoreError>;

    /// The servers after `after` in the order of their names, at most `max`.
    async fn servers(
        &self,
        after: Option<&ServerName>,
        max: usize,
    ) -> Result<Vec<ServerName>, StoreError>;

    /// How many servers there is a record of.
    async fn count(&self) -> Result<u64, StoreError>;

    /// How much is kept, as far as is known without looking.
    fn size(&self) -> StoreSize;

    /// The rules that were made at run time.
    async fn load_rules(&self) -> Result<Rules, StoreError>;

    /// Keeps the rules made at run time. They are durable when this returns.
    async fn save_rules(&self, rules: &Rules) -> Result<(), StoreError>;
}

/// What has become of entries that were to be put into a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// How many of them were: the first ones.
    pub written: usize,
    /// Whether there was no room for the next one: an entry says so, and there will be no others.
    pub filled: bool,
}

/// Whether a document lists `key` under `id`, among its current or its retired keys. Its signatures
/// are not looked at.
pub(super) fn lists(document: &KeptDocument, id: &KeyId, key: &VerifyKey) -> bool {
    UnverifiedServerKeys::parse(document.raw.clone()).is_ok_and(|keys| keys.lists(id, key))
}

/// How much a store keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreSize {
    /// Servers there is a record of.
    pub servers: u64,
    /// Bytes it takes on disk.
    pub bytes: u64,
}

/// Why a store could not do its work; the text names the file, the cause and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// A record is damaged and was let go of.
    Damaged(String),
    /// The store can not be read or written just now: disk full, read-only, gone.
    Io(String),
    /// Another process holds the file.
    Locked(String),
    /// The file was written by a newer fedgate.
    Newer(String),
}

impl StoreError {
    /// The kind as a metric label: one of a closed set.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Damaged(_) => "damaged",
            Self::Io(_) => "io",
            Self::Locked(_) => "locked",
            Self::Newer(_) => "newer",
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(text) | Self::Io(text) | Self::Locked(text) | Self::Newer(text) => {
                f.write_str(text)
            }
        }
    }
}

impl std::error::Error for StoreError {}
