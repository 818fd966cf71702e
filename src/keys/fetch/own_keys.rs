//! The homeserver's own keys, as it publishes them: `GET /_matrix/key/v2/server`, asked of itself.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use tokio::time::timeout;

use super::FetchError;
use super::local::{LocalHttp, Question};
use super::origin::{SERVER_TARGET, document_of};
use crate::keys::rules::Rulebook;
use crate::net::NetError;
use crate::proto::limits::SERVER_KEYS_BYTES_MAX;
use crate::proto::server_keys::ServerKeys;

/// How long the homeserver may take: it has the answer in memory.
const TIMEOUT: Duration = Duration::from_secs(5);

impl LocalHttp {
    /// The homeserver's own key document, checked.
    ///
    /// # Errors
    /// When it gives none, or one that others would refuse.
    pub async fn own_keys(&self, rules: &Rulebook) -> Result<ServerKeys, FetchError> {
        let question = Question {
            method: Method::GET,
            target: SERVER_TARGET.into(),
            authorization: None,
            body: Bytes::new(),
            bytes_max: SERVER_KEYS_BYTES_MAX,
        };
        let answer = timeout(TIMEOUT, self.ask(question)).await;
        let answer = answer.unwrap_or_else(|_elapsed| {
            Err(NetError::Timeout(format!("homeserver: no answer within {TIMEOUT:?}")))
        });
        match answer.map_err(FetchError::Net)? {
            (200, body) => document_of(&self.host, &body, rules),
            (status, _) => Err(FetchError::Status(status)),
        }
    }
}
