//! Where what is known of servers' keys is kept over restarts.

mod encode;
pub mod file;

use std::fmt;

use async_trait::async_trait;

use super::record::ServerRecord;
use super::rules::Rules;
use crate::proto::ServerName;

pub use file::FileStore;

/// Keeps one record per server, and the operator's rules. The seam for stores that several gates
/// share.
///
/// A store keeps data; it judges nothing. Documents are verified by whoever reads them.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// What is kept of `server`. A record that is damaged is an error once, and gone afterwards.
    async fn load(&self, server: &ServerName) -> Result<Option<ServerRecord>, StoreError>;

    /// Keeps `record` in the place of what was kept of `server`. It is durable when this returns.
    async fn save(&self, server: &ServerName, record: ServerRecord) -> Result<(), StoreError>;

    /// Lets go of what is kept of `server`; whether there was anything.
    async fn forget(&self, server: &ServerName) -> Result<bool, StoreError>;

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
