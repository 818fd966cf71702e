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
use tokio::sync::OwnedSemaphorePermit;

pub use self::answer::Notary;
pub use self::publish::Publisher;
pub use self::query::{QueryError, Wanted};

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
    /// All memory for answers is in use by those that are being read.
    Full,
    /// The client's network asks for too many keys; when to try again.
    TooMany(Duration),
}

/// A question that fedgate answers. It holds nothing of the request's body.
pub enum Question {
    /// For the homeserver's own keys.
    Own(Arc<Publisher>),
    /// For the keys of others.
    Others(Arc<Notary>, Vec<Wanted>),
}

/// An answer, with its share of the memory for answers.
#[derive(Debug)]
pub struct Answer {
    /// The JSON text.
    pub body: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl KeyServer {
    /// The question of `GET /_matrix/key/v2/server`; none if the homeserver answers it.
    pub fn own_keys(&self) -> Option<Question> {
        self.publisher.clone().map(Question::Own)
    }

    /// The question of `GET /_matrix/key/v2/query/{serverName}[/{keyId}]`; none if the homeserver
    /// answers it.
    pub fn query_by_get(
        &self,
        path: &str,
        query: Option<&str>,
    ) -> Option<Result<Question, KeyServerError>> {
        let notary = Arc::clone(self.notary.as_ref()?);
        let wanted = query::of_get(path, query).map_err(KeyServerError::Query);
        Some(wanted.map(|wanted| Question::Others(notary, vec![wanted])))
    }

    /// The question of `POST /_matrix/key/v2/query`; none if the homeserver answers it.
    pub fn query_by_post(&self, body: &[u8]) -> Option<Result<Question, KeyServerError>> {
        let notary = Arc::clone(self.notary.as_ref()?);
        let wanted = query::of_post(body, answer::NAMES_MAX).map_err(KeyServerError::Query);
        Some(wanted.map(|wanted| Question::Others(notary, wanted)))
    }
}

impl Question {
    /// The answer for `client`.
    ///
    /// # Errors
    /// When there is no document yet, no memory for the answer, or the client's network asks for too
    /// much.
    pub async fn answer(self, client: IpAddr) -> Result<Answer, KeyServerError> {
        match self {
            Self::Own(publisher) => {
                let document = publisher.document().await.ok_or(KeyServerError::NoDocument)?;
                Ok(Answer { body: document.keys.raw().clone(), _share: None })
            }
            Self::Others(notary, wanted) => notary.answer(wanted, client).await,
        }
    }
}
