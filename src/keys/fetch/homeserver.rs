//! The homeserver behind the gate: the same question as to a notary, over plain HTTP on the
//! connection that requests are forwarded on. It is our own, so its signature is not asked for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::answer::{ANSWER_BYTES_MAX, Answer, Judge, QUERY_TARGET, query};
use super::batch::{Ask, Batcher};
use super::{FetchError, KeyFetcher, KeyRequest};
use crate::clock::Clock;
use crate::config::Homeserver;
use crate::keys::metrics::KeyMetrics;
use crate::keys::record::Source;
use crate::keys::rules::Rulebook;
use crate::net::NetError;
use crate::net::trace::{Action, Outcome, Trace};
use crate::proto::server_keys::ServerKeys;
use crate::proto::{ServerName, Timestamp};

/// How long a homeserver without key query is not asked again, in milliseconds: as long as a new
/// version may wait to be noticed.
const NOT_SERVED_MS: u64 = 3_600_000;

/// Most headers of an answer; most bytes of its head: ample for any homeserver.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16_384;

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
    homeserver: Homeserver,
    host: ServerName,
    clock: Arc<dyn Clock>,
    /// When it last answered that it has no key query.
    not_served_at: Mutex<Option<Timestamp>>,
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
        let not_served_at = Mutex::new(None);
        let connection = Arc::new(Connection { homeserver, host, clock, not_served_at });
        let queries = Batcher::new(Arc::clone(&connection), Source::Homeserver, metrics);
        Self { connection, rules, queries }
    }
}

impl Connection {
    async fn post(
        &self,
        question: Bytes,
        bytes_max: usize,
        trace: &Trace,
    ) -> Result<(u16, Bytes), NetError> {
        let connect = |error: std::io::Error| {
            NetError::Connect(format!("homeserver at {}: {error}", self.place()))
        };
        let step = trace.begin(|| Action::Dial { to: self.place(), proxy: None });
        match &self.homeserver {
            Homeserver::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(connect);
                step.result(&stream, |_stream| Outcome::Connected);
                self.exchange(stream?, question, bytes_max, trace).await
            }
            Homeserver::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(connect);
                step.result(&stream, |_stream| Outcome::Connected);
                self.exchange(stream?, question, bytes_max, trace).await
            }
        }
    }

    fn place(&self) -> String {
        match &self.homeserver {
            Homeserver::Tcp { host, port } => format!("{host}:{port}"),
            Homeserver::Unix(path) => path.display().to_string(),
        }
    }

    async fn exchange<S>(
        &self,
        stream: S,
        question: Bytes,
        bytes_max: usize,
        trace: &Trace,
    ) -> Result<(u16, Bytes), NetError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let step = trace.begin(|| Action::Http {
            method: "POST".to_owned(),
            host: self.host.to_string(),
            target: QUERY_TARGET.to_owned(),
        });
        let answer = self.request(stream, question, bytes_max).await;
        step.result(&answer, |(status, body)| Outcome::Answer {
            status: *status,
            bytes: body.len(),
            location: None,
        });
        answer
    }

    /// One request and its answer on a connection of its own.
    async fn request<S>(
        &self,
        stream: S,
        question: Bytes,
        bytes_max: usize,
    ) -> Result<(u16, Bytes), NetError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let http = |error: hyper::Error| NetError::Http(format!("homeserver: {error}"));
        let (mut sender, connection) = http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(http)?;
        let request = Request::post(QUERY_TARGET)
            .header(http::header::HOST, self.host.as_str())
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::CONNECTION, "close")
            .body(Full::new(question))
            .map_err(|error| NetError::Http(format!("homeserver: {error}")))?;
        let answer = async move {
            let response = sender.send_request(request).await.map_err(http)?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), bytes_max).collect().await;
            match body {
                Ok(body) => Ok((status, body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => Err(NetError::TooLarge(format!(
                    "homeserver: key query of more than {bytes_max} bytes"
                ))),
                Err(error) => Err(NetError::Http(format!("homeserver: {error}"))),
            }
        };
        // The connection makes progress only while it is polled; its errors reach `answer`.
        let connection = async move {
            drop(connection.await);
            std::future::pending().await
        };
        tokio::select! {
            answer = answer => answer,
            never = connection => never,
        }
    }

    fn is_not_served(&self) -> bool {
        let now = self.clock.now();
        let not_served_at = *self.lock_not_served_at();
        not_served_at.is_some_and(|at| at <= now && now < at.plus_ms(NOT_SERVED_MS))
    }

    fn lock_not_served_at(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.not_served_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember_not_served(&self, status: u16) {
        let before = self.lock_not_served_at().replace(self.clock.now());
        if before.is_none() {
            tracing::info!(
                target: "fedgate::keys",
                status,
                "the homeserver has no key query; it is not asked for keys, the other sources are"
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
        let (status, answer) = self.post(body, bytes_max, trace).await.map_err(FetchError::Net)?;
        if is_unrecognized(status, &answer) {
            self.remember_not_served(status);
            return Err(FetchError::NotServed);
        }
        if status == 200 { Ok(answer) } else { Err(FetchError::Status(status)) }
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
