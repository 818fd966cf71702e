//! Asking others for keys.

use async_trait::async_trait;

use crate::net::NetError;
use crate::proto::server_keys::ServerKeys;
use crate::proto::validity::Provenance;
use crate::proto::{KeyId, ServerName, Timestamp};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// Whose keys.
    pub server: ServerName,
    /// Which ones at least.
    pub key_ids: Vec<KeyId>,
    /// Until when they must be valid at least.
    pub minimum_valid_until: Timestamp,
}

/// Why a source gave no keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The source answered with something that is no acceptable key document.
    BadAnswer(String),
    /// The source could not be reached.
    Net(NetError),
    /// The source answered that it does not serve keys (status other than 200).
    Status(u16),
}

/// One source of keys.
#[async_trait]
pub trait KeyFetcher: Send + Sync + 'static {
    /// Which source this is.
    fn provenance(&self) -> Provenance;

    /// Asks for keys. Documents come back checked; an empty list means the source answered and has
    /// none. The caller sets the deadline.
    async fn fetch(&self, request: &KeyRequest) -> Result<Vec<ServerKeys>, FetchError>;
}
