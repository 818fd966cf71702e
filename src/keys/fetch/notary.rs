//! A notary: `POST /_matrix/key/v2/query` to a server whose keys are pinned.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::answer::{Answer, Judge, QUERY_TARGET};
use super::batch::{Ask, Batcher};
use super::{FetchError, KeyFetcher, KeyRequest};
use crate::config::Notary;
use crate::keys::metrics::KeyMetrics;
use crate::keys::record::Source;
use crate::keys::rules::Rulebook;
use crate::net::FederationTransport;
use crate::net::trace::Trace;
use crate::net::transport::FederationRequest;
use crate::proto::ServerName;
use crate::proto::server_keys::ServerKeys;

/// Asks one notary, for several servers at a time where many are wanted.
pub struct NotaryFetcher {
    rules: Rulebook,
    notary: Notary,
    queries: Batcher<Connection>,
}

/// The way to the notary.
struct Connection {
    transport: Arc<dyn FederationTransport>,
    server_name: ServerName,
}

impl NotaryFetcher {
    /// A fetcher that asks `notary` over `transport` and refuses the keys that `rules` ban.
    pub fn new(
        transport: Arc<dyn FederationTransport>,
        rules: Rulebook,
        notary: Notary,
        metrics: KeyMetrics,
    ) -> Self {
        let server_name = notary.server_name.clone();
        let source = Source::Notary(server_name.clone());
        let connection = Arc::new(Connection { transport, server_name });
        Self { rules, notary, queries: Batcher::new(connection, source, metrics) }
    }
}

impl Ask for Connection {
    async fn ask(&self, body: Bytes, bytes_max: usize, trace: &Trace) -> Result<Bytes, FetchError> {
        let question = FederationRequest {
            body: Some(body),
            target: QUERY_TARGET.to_owned(),
            response_bytes_max: bytes_max,
            trace: trace.clone(),
        };
        let answer =
            self.transport.send(&self.server_name, question).await.map_err(FetchError::Net)?;
        if answer.status == 200 { Ok(answer.body) } else { Err(FetchError::Status(answer.status)) }
    }
}

#[async_trait]
impl KeyFetcher for NotaryFetcher {
    fn source(&self) -> &Source {
        self.queries.source()
    }

    async fn fetch(&self, request: &KeyRequest) -> Result<Vec<ServerKeys>, FetchError> {
        let judge = |answer: &Answer| {
            let rules = self.rules.in_force();
            let judge = Judge { notary: Some(&self.notary), banned: rules.banned() };
            judge.judge(&request.server, answer)
        };
        self.queries.fetch(request, judge).await
    }
}

#[cfg(test)]
mod tests;
