//! The origin itself: `GET /_matrix/key/v2/server`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{FetchError, KeyFetcher, KeyRequest};
use crate::keys::record::Source;
use crate::keys::rules::Rulebook;
use crate::net::FederationTransport;
use crate::net::transport::FederationRequest;
use crate::proto::ServerName;
use crate::proto::limits::SERVER_KEYS_BYTES_MAX;
use crate::proto::server_keys::{ServerKeys, UnverifiedServerKeys};

/// Where a server publishes its keys.
pub(super) const SERVER_TARGET: &str = "/_matrix/key/v2/server";

/// Asks each server for its own keys.
pub struct OriginFetcher {
    transport: Arc<dyn FederationTransport>,
    rules: Rulebook,
}

impl OriginFetcher {
    /// A fetcher that asks over `transport` and refuses the keys that `rules` ban.
    pub fn new(transport: Arc<dyn FederationTransport>, rules: Rulebook) -> Self {
        Self { transport, rules }
    }
}

#[async_trait]
impl KeyFetcher for OriginFetcher {
    fn source(&self) -> &Source {
        &Source::Origin
    }

    async fn fetch(&self, request: &KeyRequest) -> Result<Vec<ServerKeys>, FetchError> {
        let question = FederationRequest {
            body: None,
            target: SERVER_TARGET.to_owned(),
            response_bytes_max: SERVER_KEYS_BYTES_MAX,
            trace: request.trace.clone(),
        };
        let answer =
            self.transport.send(&request.server, question).await.map_err(FetchError::Net)?;
        if answer.status != 200 {
            return Err(FetchError::Status(answer.status));
        }
        document_of(&request.server, &answer.body, &self.rules).map(|keys| vec![keys])
    }
}

/// The key document that `body` is, if it is one of `server` with a signature of its own.
pub(super) fn document_of(
    server: &ServerName,
    body: &[u8],
    rules: &Rulebook,
) -> Result<ServerKeys, FetchError> {
    // Copied, so that the document keeps no larger buffer in memory.
    UnverifiedServerKeys::parse(Bytes::copy_from_slice(body))
        .and_then(|document| document.verify(server, rules.in_force().banned()))
        .map_err(|error| FetchError::BadAnswer(error.to_string()))
}

#[cfg(test)]
mod tests;
