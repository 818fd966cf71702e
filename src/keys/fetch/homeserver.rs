//! The homeserver behind the gate: the same question as to a notary, over plain HTTP on the
//! connection that requests are forwarded on. It is our own, so its signature is not asked for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::Method;
use tokio::time::timeout;

use super::answer::{ANSWER_BYTES_MAX, Answer, Judge, QUERY_TARGET, query};
use super::batch::{Ask, Batcher};
use super::local::{LocalHttp, Question};
use super::{FetchError, KeyFetcher, KeyRequest};
use crate::clock::Clock;
use crate::config::Homeserver;
use crate::keys::metrics::KeyMetrics;
use crate::keys::record::Source;
use crate::keys::rules::Rulebook;
use crate::net::NetError;
use crate::net::trace::Trace;
use crate::proto::server_keys::ServerKeys;
use crate::proto::{ServerName, Timestamp};

/// How long a homeserver without key query is not asked again at first, in milliseconds: what answers
/// may be a proxy in front of one that is starting. Each time twice as long.
const NOT_SERVED_MS_MIN: u64 = 60_000;

/// How long at most, in milliseconds: as long as a new version may wait to be noticed.
const NOT_SERVED_MS_MAX: u64 = 3_600_000;

/// How long the homeserver may take to answer the probe: as long as a query for keys has by default.
const PROBE_TIMEOUT: Duration = Duration::from_secs(8);

/// Asks the homeserver behind the gate, for several servers at a time where many are wanted.
pub struct HomeserverFetcher {
    connection: Arc<Connection>,
    rules: Rulebook,
    queries: Batcher<Connection>,
}

/// The way to the homeserver.
struct Connection {
    http: LocalHttp,
    clock: Arc<dyn Clock>,
    /// Since when it is not asked, having answered that it has no key query.
    not_served: Mutex<Option<NotServed>>,
}

#[derive(Clone, Copy)]
struct NotServed {
    since: Timestamp,
    length_ms: u64,
}

impl NotServed {
    fn holds(self, now: Timestamp) -> bool {
        self.since <= now && now < self.since.plus_ms(self.length_ms)
    }
}

impl HomeserverFetcher {
    /// A fetcher that asks `homeserver` under our own name `host` (Dendrite answers key queries
    /// only under a name of its own) and refuses the keys that `rules` ban.
    pub fn new(
        homeserver: Homeserver,
        host: ServerName,
        rules: Rulebook,
        clock: Arc<dyn Clock>,
        metrics: KeyMetrics,
    ) -> Self {
        let not_served = Mutex::new(None);
        let http = LocalHttp { homeserver, host };
        let connection = Arc::new(Connection { http, clock, not_served });
        let queries = Batcher::new(Arc::clone(&connection), Source::Homeserver, metrics);
        Self { connection, rules, queries }
    }
}

impl Connection {
    fn is_not_served(&self) -> bool {
        self.lock_not_served().is_some_and(|it| it.holds(self.clock.now()))
    }

    fn lock_not_served(&self) -> MutexGuard<'_, Option<NotServed>> {
        self.not_served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember_not_served(&self, status: u16) {
        let since = self.clock.now();
        let mut not_served = self.lock_not_served();
        // Of several that were asked at one time, the first has said so for all.
        if not_served.is_some_and(|before| before.holds(since)) {
            return;
        }
        let doubled = not_served.map(|before| before.length_ms.saturating_mul(2));
        let length_ms = doubled.map_or(NOT_SERVED_MS_MIN, |doubled| doubled.min(NOT_SERVED_MS_MAX));
        if not_served.replace(NotServed { since, length_ms }).is_none() {
            tracing::info!(
                target: "fedgate::keys",
                status,
                "the homeserver has no key query; it is not asked for keys, the other sources are"
            );
        }
    }

    fn remember_served(&self) {
        if self.lock_not_served().take().is_some() {
            tracing::info!(
                target: "fedgate::keys",
                "the homeserver has a key query after all: it is asked for keys"
            );
        }
    }
}

/// Whether the answer says that there is no such endpoint.
fn is_unrecognized(status: u16, body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Error {
        errcode: String,
    }
    matches!(status, 404 | 405)
        || (status != 200
            && serde_json::from_slice::<Error>(body)
                .is_ok_and(|error| error.errcode == "M_UNRECOGNIZED"))
}

impl Ask for Connection {
    async fn ask(&self, body: Bytes, bytes_max: usize, trace: &Trace) -> Result<Bytes, FetchError> {
        let target = QUERY_TARGET.into();
        let method = Method::POST;
        let question = Question { method, target, authorization: None, body, bytes_max };
        let (status, answer) = self.http.send(question, trace).await.map_err(FetchError::Net)?;
        if is_unrecognized(status, &answer) {
            self.remember_not_served(status);
            return Err(FetchError::NotServed);
        }
        if status != 200 {
            return Err(FetchError::Status(status));
        }
        self.remember_served();
        Ok(answer)
    }
}

#[async_trait]
impl KeyFetcher for HomeserverFetcher {
    fn source(&self) -> &Source {
        self.queries.source()
    }

    async fn fetch(&self, request: &KeyRequest) -> Result<Vec<ServerKeys>, FetchError> {
        if self.connection.is_not_served() {
            return Err(FetchError::NotServed);
        }
        let judge = |answer: &Answer| {
            let rules = self.rules.in_force();
            Judge { notary: None, banned: rules.banned() }.judge(&request.server, answer)
        };
        self.queries.fetch(request, judge).await
    }

    /// Asks for the keys of nobody, which costs the homeserver nothing: one with a key query answers
    /// with an empty list, one without as to any path it does not know.
    async fn probe(&self) {
        let untraced = Trace::default();
        let asking = self.connection.ask(query(&[]), ANSWER_BYTES_MAX, &untraced);
        let answer = timeout(PROBE_TIMEOUT, asking).await.unwrap_or_else(|_elapsed| {
            let text = format!("no answer within {PROBE_TIMEOUT:?}");
            Err(FetchError::Net(NetError::Timeout(text)))
        });
        match answer.and_then(|body| Answer::split(&body, &[])) {
            Ok(_) => tracing::info!(
                target: "fedgate::keys",
                "the homeserver has a key query: it is asked for keys"
            ),
            // Told when it was noticed.
            Err(FetchError::NotServed) => {}
            Err(error) => tracing::info!(
                target: "fedgate::keys",
                %error,
                "cannot tell yet whether the homeserver has a key query; it is asked when a key is \
                 wanted"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
