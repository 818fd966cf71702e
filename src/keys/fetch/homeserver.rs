//! The homeserver behind the gate: the same question as to a notary, over plain HTTP on the
//! connection that requests are forwarded on. It is our own, so its signature is not asked for.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::answer::{ANSWER_BYTES_MAX, Judge, QUERY_TARGET, query};
use super::{FetchError, KeyFetcher, KeyRequest, printable};
use crate::clock::Clock;
use crate::config::Homeserver;
use crate::keys::record::Source;
use crate::keys::rules::Rulebook;
use crate::net::NetError;
use crate::net::trace::{Action, Outcome, Trace, cut};
use crate::proto::server_keys::ServerKeys;
use crate::proto::{ServerName, Timestamp};

/// How long a homeserver without key query is not asked again, in milliseconds: as long as a new
/// version may wait to be noticed.
const NOT_SERVED_MS: u64 = 3_600_000;

/// Most headers of an answer; most bytes of its head: ample for any homeserver.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16_384;

/// Asks the homeserver behind the gate.
pub struct HomeserverFetcher {
    homeserver: Homeserver,
    host: ServerName,
    rules: Rulebook,
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
    ) -> Self {
        Self { homeserver, host, rules, clock, not_served_at: Mutex::new(None) }
    }

    async fn ask(&self, question: Bytes, trace: &Trace) -> Result<(u16, Bytes), NetError> {
        let connect = |error: std::io::Error| {
            NetError::Connect(format!("homeserver at {}: {error}", self.place()))
        };
        let step = trace.begin(|| Action::Dial { to: self.place(), proxy: None });
        match &self.homeserver {
            Homeserver::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(connect);
                step.result(&stream, |_stream| Outcome::Connected);
                self.exchange(stream?, question, trace).await
            }
            Homeserver::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(connect);
                step.result(&stream, |_stream| Outcome::Connected);
                self.exchange(stream?, question, trace).await
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
        let answer = self.request(stream, question).await;
        step.result(&answer, |(status, body)| Outcome::Answer {
            status: *status,
            bytes: body.len(),
            location: None,
        });
        answer
    }

    /// One request and its answer on a connection of its own.
    async fn request<S>(&self, stream: S, question: Bytes) -> Result<(u16, Bytes), NetError>
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
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            match body {
                Ok(body) => Ok((status, body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => Err(NetError::TooLarge(format!(
                    "homeserver: key query of more than {ANSWER_BYTES_MAX} bytes"
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

#[async_trait]
impl KeyFetcher for HomeserverFetcher {
    fn source(&self) -> &Source {
        &Source::Homeserver
    }

    async fn fetch(&self, request: &KeyRequest) -> Result<Vec<ServerKeys>, FetchError> {
        if self.is_not_served() {
            return Err(FetchError::NotServed);
        }
        let (status, body) =
            self.ask(query(request), &request.trace).await.map_err(FetchError::Net)?;
        if is_unrecognized(status, &body) {
            self.remember_not_served(status);
            return Err(FetchError::NotServed);
        }
        if status != 200 {
            return Err(FetchError::Status(status));
        }
        let rules = self.rules.in_force();
        let judge = Judge { notary: None, banned: rules.banned() };
        let judged = judge.judge(&request.server, &body)?;
        for reason in &judged.refused {
            request.trace.note(|| Action::Document, || Outcome::Refused { text: cut(reason) });
            tracing::warn!(
                target: "fedgate::keys",
                server = %request.server,
                source = "homeserver",
                reason = %printable(reason),
                "ignored one document of the homeserver's answer"
            );
        }
        Ok(judged.accepted)
    }
}

#[cfg(test)]
mod tests;
