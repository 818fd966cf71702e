//! Plain HTTP to the homeserver behind the gate, on the connection that requests are forwarded on.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::Homeserver;
use crate::net::NetError;
use crate::net::trace::{Action, Outcome, Trace};
use crate::proto::ServerName;

/// Most headers of an answer; most bytes of its head: ample for any homeserver.
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 16_384;

/// The way to the homeserver.
#[derive(Debug)]
pub struct LocalHttp {
    /// Where it is.
    pub homeserver: Homeserver,
    /// The name it is asked under: Dendrite answers for its keys only under a name of its own.
    pub host: ServerName,
}

/// What is asked of the homeserver.
#[derive(Debug)]
pub struct Question {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: Cow<'static, str>,
    /// Who asks, where that matters. It appears in no log.
    pub authorization: Option<Credentials>,
    /// JSON, or nothing.
    pub body: Bytes,
    /// Largest answer that is read, in bytes.
    pub bytes_max: usize,
}

/// The value of an `Authorization` header. Not shown by `Debug`.
pub struct Credentials(pub String);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(***)")
    }
}

impl LocalHttp {
    /// One request and its answer, status and body, on a connection of its own. The caller sets the
    /// deadline.
    ///
    /// # Errors
    /// When it cannot be reached, breaks HTTP, or answers more than is read.
    pub async fn ask(&self, question: Question) -> Result<(u16, Bytes), NetError> {
        self.send(question, &Trace::default()).await
    }

    /// The same, with the steps taken down.
    pub(super) async fn send(
        &self,
        question: Question,
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
        question: Question,
        trace: &Trace,
    ) -> Result<(u16, Bytes), NetError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let step = trace.begin(|| Action::Http {
            method: question.method.to_string(),
            host: self.host.to_string(),
            target: question.target.to_string(),
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
    async fn request<S>(&self, stream: S, question: Question) -> Result<(u16, Bytes), NetError>
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
        let Question { method, target, authorization, body, bytes_max } = question;
        let mut request = Request::builder();
        if let Some(Credentials(value)) = authorization {
            request = request.header(http::header::AUTHORIZATION, value);
        }
        let request = request
            .method(method)
            .uri(&*target)
            .header(http::header::HOST, self.host.as_str())
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|error| NetError::Http(format!("homeserver: {error}")))?;
        let answer = async move {
            let response = sender.send_request(request).await.map_err(http)?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), bytes_max).collect().await;
            match body {
                Ok(body) => Ok((status, body.to_bytes())),
                Err(error) if error.is::<LengthLimitError>() => Err(NetError::TooLarge(format!(
                    "homeserver: an answer of more than {bytes_max} bytes"
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
}
