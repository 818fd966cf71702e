//! What fedgate answers below `/_matrix/key/v2/` itself: the homeserver's own keys, and as a notary
//! those of others (server-server API, retrieving server keys; matrix-doc PR 1423).

pub mod answer;
pub mod metrics;
pub mod publish;
pub mod query;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use self::answer::Notary;
pub use self::publish::Publisher;
pub use self::query::QueryError;

/// What of it fedgate answers; the homeserver answers the rest.
#[derive(Clone, Default)]
pub struct KeyServer {
    /// The homeserver's own keys.
    pub publisher: Option<Arc<Publisher>>,
    /// The keys of others.
    pub notary: Option<Arc<Notary>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyServerError {
    /// The question is malformed.
    Query(QueryError),
    /// The homeserver's keys have not been had yet.
    NoDocument,
    /// The client's network asks for too many keys; when to try again.
    TooMany(Duration),
}

impl KeyServer {
    /// The answer to `GET /_matrix/key/v2/server`; none if the homeserver gives it.
    ///
    /// # Errors
    /// When the homeserver's keys have not been had yet.
    pub async fn server_keys(&self) -> Option<Result<Bytes, KeyServerError>> {
        let document = self.publisher.as_ref()?.document().await;
        let raw = document.map(|document| document.keys.raw().clone());
        Some(raw.ok_or(KeyServerError::NoDocument))
    }

    /// The answer to `GET /_matrix/key/v2/query/{serverName}[/{keyId}]`; none if the homeserver gives
    /// it.
    ///
    /// # Errors
    /// When the question is malformed, or there are too many.
    pub async fn query_by_get(
        &self,
        path: &str,
        query: Option<&str>,
        client: IpAddr,
    ) -> Option<Result<Bytes, KeyServerError>> {
        let notary = self.notary.as_ref()?;
        Some(match query::of_get(path, query) {
            Ok(wanted) => answered(notary.answer(vec![wanted], client).await),
            Err(error) => Err(KeyServerError::Query(error)),
        })
    }

    /// The answer to `POST /_matrix/key/v2/query`; none if the homeserver gives it.
    ///
    /// # Errors
    /// When the question is malformed, or there are too many.
    pub async fn query_by_post(
        &self,
        body: &[u8],
        client: IpAddr,
    ) -> Option<Result<Bytes, KeyServerError>> {
        let notary = self.notary.as_ref()?;
        Some(match query::of_post(body, answer::NAMES_MAX) {
            Ok(wanted) => answered(notary.answer(wanted, client).await),
            Err(error) => Err(KeyServerError::Query(error)),
        })
    }
}

fn answered(answer: Result<Bytes, Duration>) -> Result<Bytes, KeyServerError> {
    answer.map_err(KeyServerError::TooMany)
}
