//! The origin itself: `GET /_matrix/key/v2/server`.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{FetchError, KeyFetcher, KeyRequest};
use crate::keys::record::Source;
use crate::keys::rules::Rulebook;
use crate::net::FederationTransport;
use crate::net::transport::FederationRequest;
use crate::proto::limits::SERVER_KEYS_BYTES_MAX;
use crate::proto::server_keys::{ServerKeys, UnverifiedServerKeys};

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
            target: "/_matrix/key/v2/server".to_owned(),
            response_bytes_max: SERVER_KEYS_BYTES_MAX,
            trace: request.trace.clone(),
        };
        let answer =
            self.transport.send(&request.server, question).await.map_err(FetchError::Net)?;
        if answer.status != 200 {
            return Err(FetchError::Status(answer.status));
        }
        // Copied, so that the document keeps no larger buffer in memory.
        let keys = UnverifiedServerKeys::parse(Bytes::copy_from_slice(&answer.body))
            .and_then(|document| document.verify(&request.server, self.rules.in_force().banned()))
            .map_err(|error| FetchError::BadAnswer(error.to_string()))?;
        Ok(vec![keys])
    }
}

#[cfg(test)]
mod tests;
