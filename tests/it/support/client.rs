//! Clients of the gate: HTTP/1.1 written by hand, so that anything can be sent, and HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::OWN_NAME;
use super::homeserver::full;

/// A response, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn errcode(&self) -> String {
        self.json()["errcode"].as_str().unwrap().to_owned()
    }
}

pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// One HTTP/1.1 connection.
pub struct Client {
    pub wire: Box<dyn Wire>,
    buffer: BytesMut,
}

impl Client {
    pub async fn plain(address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Self { wire: Box::new(tcp), buffer: BytesMut::new() }
    }

    /// A connection from the loopback address `source`.
    pub async fn plain_from(source: &str, address: SocketAddr) -> Self {
        Self::over(Box::new(tcp_from(source, address).await))
    }

    /// The same with TLS.
    pub async fn tls_from(source: &str, address: SocketAddr, ca: &[u8]) -> Self {
        let tcp = tcp_from(source, address).await;
        Self::over(Box::new(tls_over(tcp, ca, b"http/1.1").await.unwrap()))
    }

    pub async fn tls(address: SocketAddr, ca: &[u8]) -> Self {
        Self::tls_for(address, ca, b"http/1.1").await
    }

    /// A connection for the protocol `alpn`, for bytes of one's own.
    pub async fn tls_for(address: SocketAddr, ca: &[u8], alpn: &[u8]) -> Self {
        let stream = tls_stream(address, ca, alpn).await.unwrap();
        Self { wire: Box::new(stream), buffer: BytesMut::new() }
    }

    /// Over a connection that is open.
    pub fn over(wire: Box<dyn Wire>) -> Self {
        Self { wire, buffer: BytesMut::new() }
    }

    /// Reads until the gate closes the connection, and returns what came.
    pub async fn until_closed(&mut self) -> BytesMut {
        while self.fill().await {}
        self.take_buffered()
    }

    /// Sends a request with a Content-Length when there is a body, and reads the answer.
    pub async fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("Host: {OWN_NAME}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        self.send(&bytes).await;
        self.answer().await.expect("an answer")
    }

    /// Sends raw bytes. A gate that has hung up already shows in the answer.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _hung_up = self.wire.write_all(bytes).await;
        let _hung_up = self.wire.flush().await;
    }

    /// Reads one final response; `None` when the connection ends before one. Interim ones are
    /// skipped.
    pub async fn answer(&mut self) -> Option<Answer> {
        loop {
            let answer = self.any_answer().await?;
            if answer.status >= 200 {
                return Some(answer);
            }
        }
    }

    /// Reads one response, interim or final.
    pub async fn any_answer(&mut self) -> Option<Answer> {
        let (status, headers) = self.head().await?;
        let body = if status < 200 || status == 204 || status == 304 {
            Bytes::new()
        } else if headers.get("transfer-encoding").is_some_and(|v| v == "chunked") {
            self.chunked().await?
        } else {
            let length = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
            self.take(length).await?
        };
        Some(Answer { status, headers, body })
    }

    /// Whether the gate closes the connection without sending anything more.
    pub async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill().await
    }

    /// Reads the head of a response and nothing more.
    pub async fn head(&mut self) -> Option<(u16, HeaderMap)> {
        let head = loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break self.buffer.split_to(at + 4);
            }
            if !self.fill().await {
                return None;
            }
        };
        let text = std::str::from_utf8(&head).unwrap();
        let mut lines = text.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let mut headers = HeaderMap::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap();
            let name: HeaderName = name.to_ascii_lowercase().parse().unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
        Some((status, headers))
    }

    async fn chunked(&mut self) -> Option<Bytes> {
        let mut body = BytesMut::new();
        loop {
            let line = loop {
                if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                    break self.buffer.split_to(at + 2);
                }
                if !self.fill().await {
                    return None;
                }
            };
            let size = std::str::from_utf8(&line[..line.len() - 2]).ok()?;
            let size = usize::from_str_radix(size, 16).ok()?;
            body.extend_from_slice(&self.take(size).await?);
            self.take(2).await?;
            if size == 0 {
                return Some(body.freeze());
            }
        }
    }

    async fn take(&mut self, length: usize) -> Option<Bytes> {
        while self.buffer.len() < length {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.buffer.split_to(length).freeze())
    }

    /// Takes what has been received and not been read.
    pub fn take_buffered(&mut self) -> BytesMut {
        self.buffer.split()
    }

    /// Reads more; false at the end of the connection.
    pub async fn fill(&mut self) -> bool {
        self.wire.read_buf(&mut self.buffer).await.is_ok_and(|n| n > 0)
    }
}

async fn tcp_from(source: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
    let tcp = socket.connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp
}

/// A TLS connection to the gate, whose certificate must be from `ca`.
pub async fn tls_stream(
    address: SocketAddr,
    ca: &[u8],
    alpn: &[u8],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    tls_over(tcp, ca, alpn).await
}

async fn tls_over(
    tcp: TcpStream,
    ca: &[u8],
    alpn: &[u8],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = rustls::pki_types::ServerName::try_from(OWN_NAME).unwrap();
    TlsConnector::from(tls_config(ca, alpn)).connect(name, tcp).await
}

fn tls_config(ca: &[u8], alpn: &[u8]) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(ca.to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(config)
}

/// What a client says to begin with, for HTTP/1.1.
pub fn client_hello(ca: &[u8]) -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from(OWN_NAME).unwrap();
    let config = tls_config(ca, b"http/1.1");
    let mut hello = Vec::new();
    rustls::ClientConnection::new(config, name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

/// One HTTP/2 connection over TLS.
pub struct H2Client {
    pub sender: hyper::client::conn::http2::SendRequest<H2Body>,
}

/// A request body on HTTP/2.
pub type H2Body = BoxBody<Bytes, std::io::Error>;

impl H2Client {
    pub async fn connect(address: SocketAddr, ca: &[u8]) -> Self {
        let stream = tls_stream(address, ca, b"h2").await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    pub async fn request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, hyper::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{OWN_NAME}{target}"))
            .version(http::Version::HTTP_2);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = full(Bytes::copy_from_slice(body.unwrap_or_default()));
        self.send(request.body(body).unwrap()).await
    }

    /// Sends a request, with a Content-Length only when its headers or its body say one.
    pub async fn send(&mut self, request: Request<H2Body>) -> Result<Answer, hyper::Error> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }
}
