//! Health, metrics and the operator's API, on a listener of their own.

mod api;
mod guard;
mod served;
mod token;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

pub use self::api::{Api, Failure, PREFIX};
pub use self::served::Served;
use self::served::is_api;
pub use self::token::{Token, TokenError, read as read_token};

/// Connections at one time: a scraper, a few probes and a person.
const CONNECTIONS_MAX: usize = 64;

/// Time for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait before accepting again when the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the readiness probe asks.
#[async_trait::async_trait]
pub trait Readiness: Send + Sync + 'static {
    /// `Err` with the reason while requests would not be served.
    async fn check(&self) -> Result<(), String>;
}

/// The admin listener.
pub struct Admin {
    /// The bound socket.
    pub socket: TcpListener,
    /// What `/metrics` shows.
    pub registry: Registry,
    /// What it serves under the settings in force.
    pub current: Arc<ArcSwap<Served>>,
}

impl Admin {
    /// Serves until `stop` turns true.
    pub async fn serve(self, mut stop: watch::Receiver<bool>) {
        let Self { socket, registry, current } = self;
        let answers = Arc::new(Answers { registry, current });
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = stop.wait_for(|stopping| *stopping) => return,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "cannot accept an admin connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let answers = Arc::clone(&answers);
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let answers = Arc::clone(&answers);
                    async move { Ok::<_, Infallible>(answers.answer(request, peer.ip()).await) }
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .serve_connection(TokioIo::new(tcp), service)
                    .await;
                if let Err(error) = served {
                    debug!(%error, "admin connection ended early");
                }
                drop(permit);
            });
            while connections.try_join_next().is_some() {}
        }
    }
}

struct Answers {
    registry: Registry,
    current: Arc<ArcSwap<Served>>,
}

impl Answers {
    async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Response<Full<Bytes>> {
        let current = self.current.load_full();
        if is_api(request.uri().path()) {
            return current.answer(request, peer).await;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        }
        match request.uri().path() {
            "/health" | "/livez" => text(StatusCode::OK, "ok\n"),
            "/ready" | "/readyz" => match current.readiness.check().await {
                Ok(()) => text(StatusCode::OK, "ready\n"),
                Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
            },
            "/metrics" => self.metrics(),
            _ => text(StatusCode::NOT_FOUND, "here are /health, /ready, /metrics and /api/v1\n"),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let encoder = TextEncoder::new();
        let mut out = Vec::new();
        match encoder.encode(&self.registry.gather(), &mut out) {
            Ok(()) => with_type(StatusCode::OK, encoder.format_type(), out),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body)
}

fn with_type(status: StatusCode, kind: &str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    if let Ok(kind) = http::HeaderValue::from_str(kind) {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}
