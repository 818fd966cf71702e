//! A homeserver stand-in that writes down every connection, every byte and every request.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A request as the homeserver got it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

type Responder = dyn Fn(&Seen) -> Response<BoxBody<Bytes, std::io::Error>> + Send + Sync;

pub struct Homeserver {
    pub port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

pub fn full(body: impl Into<Bytes>) -> BoxBody<Bytes, std::io::Error> {
    Full::new(body.into()).map_err(|never| match never {}).boxed()
}

impl Homeserver {
    /// Answers every request with 200 and `{}`.
    pub async fn start() -> Self {
        Self::start_with(|_| Response::new(full("{}"))).await
    }

    pub async fn start_with(
        respond: impl Fn(&Seen) -> Response<BoxBody<Bytes, std::io::Error>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let respond: Arc<Responder> = Arc::new(respond);
        tokio::spawn(accept(listener, Arc::clone(&seen), Arc::clone(&connections), respond));
        Self { port, seen, connections }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Connections so far, whether or not a request came over them.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn accept(
    listener: TcpListener,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    respond: Arc<Responder>,
) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        connections.fetch_add(1, Ordering::SeqCst);
        let (seen, respond) = (Arc::clone(&seen), Arc::clone(&respond));
        tokio::spawn(async move {
            let service =
                service_fn(move |request| answer(request, Arc::clone(&seen), Arc::clone(&respond)));
            // A gate that hangs up is not the homeserver's problem.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(tcp), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Seen>>>,
    respond: Arc<Responder>,
) -> Result<Response<BoxBody<Bytes, std::io::Error>>, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        let mut broken = Response::new(full("broken body"));
        *broken.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(broken);
    };
    let request = Seen {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers,
        body: body.to_bytes(),
    };
    let response = respond(&request);
    seen.lock().unwrap().push(request);
    Ok(response)
}
