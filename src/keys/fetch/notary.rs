//! A notary: `POST /_matrix/key/v2/query` to a server whose keys are pinned.

use std::sync::Arc;

use async_trait::async_trait;

use super::answer::{ANSWER_BYTES_MAX, Judge, QUERY_TARGET, query};
use super::{FetchError, KeyFetcher, KeyRequest, printable};
use crate::config::Notary;
use crate::keys::record::Source;
use crate::keys::rules::Rulebook;
use crate::net::FederationTransport;
use crate::net::trace::{Action, Outcome, cut};
use crate::net::transport::FederationRequest;
use crate::proto::server_keys::ServerKeys;

/// Asks one notary.
pub struct NotaryFetcher {
    transport: Arc<dyn FederationTransport>,
    rules: Rulebook,
    notary: Notary,
    source: Source,
}

impl NotaryFetcher {
    /// A fetcher that asks `notary` over `transport` and refuses the keys that `rules` ban.
    pub fn new(transport: Arc<dyn FederationTransport>, rules: Rulebook, notary: Notary) -> Self {
        let source = Source::Notary(notary.server_name.clone());
        Self { transport, rules, notary, source }
    }
}

#[async_trait]
impl KeyFetcher for NotaryFetcher {
    fn source(&self) -> &Source {
        &self.source
    }

    async fn fetch(&self, request: &KeyRequest) -> Result<Vec<ServerKeys>, FetchError> {
        let question = FederationRequest {
            body: Some(query(request)),
            target: QUERY_TARGET.to_owned(),
            response_bytes_max: ANSWER_BYTES_MAX,
            trace: request.trace.clone(),
        };
        let notary = &self.notary.server_name;
        let answer = self.transport.send(notary, question).await.map_err(FetchError::Net)?;
        if answer.status != 200 {
            return Err(FetchError::Status(answer.status));
        }
        let pinned = Some((notary, &self.notary.verify_keys));
        let rules = self.rules.in_force();
        let judge = Judge { notary: pinned, banned: rules.banned() };
        let judged = judge.judge(&request.server, &answer.body)?;
        for reason in &judged.refused {
            request.trace.note(|| Action::Document, || Outcome::Refused { text: cut(reason) });
            tracing::warn!(
                target: "fedgate::keys",
                server = %request.server,
                source = %self.source,
                reason = %printable(reason),
                "ignored one document of a notary's answer"
            );
        }
        Ok(judged.accepted)
    }
}

#[cfg(test)]
mod tests;
