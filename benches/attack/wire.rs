//! Connections to the gate from many addresses, and the requests that go over them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use fedgate::proto::ed25519::SigningKey;
use fedgate::proto::json::Object;
use fedgate::proto::sign::sign_request;
use fedgate::proto::signed_request::{RequestTarget, SignedRequest};
use fedgate::proto::x_matrix::header_value;
use fedgate::proto::{KeyId, ServerName};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The gate's own name.
pub const OWN_NAME: &str = "gate.example";
/// The known server, whose key is pinned.
pub const KNOWN: &str = "known.example";
const KEY_ID: &str = "ed25519:1";

/// What the homeserver has a long answer to, for everybody.
pub const LONG_ANSWER_TARGET: &str = "/_matrix/federation/v1/version";

pub type Tls = TlsStream<TcpStream>;

/// The gate, as others reach it.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Target {
    pub fn new(address: &str, ca_file: &Path) -> Self {
        let ca = CertificateDer::from(std::fs::read(ca_file).unwrap());
        let connector = |alpn: &[u8]| {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(ca.clone()).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            config.alpn_protocols = vec![alpn.to_vec()];
            TlsConnector::from(Arc::new(config))
        };
        let address = address.parse().unwrap();
        Self { address, http1: connector(b"http/1.1"), http2: connector(b"h2") }
    }

    pub async fn http1(&self, source: Ipv4Addr) -> io::Result<Tls> {
        self.connect(source, &self.http1).await
    }

    pub async fn http2(&self, source: Ipv4Addr) -> io::Result<Tls> {
        self.connect(source, &self.http2).await
    }

    async fn connect(&self, source: Ipv4Addr, connector: &TlsConnector) -> io::Result<Tls> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        let tcp = socket.connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = rustls::pki_types::ServerName::try_from(OWN_NAME).unwrap();
        connector.connect(name, tcp).await
    }
}

fn signing_key() -> SigningKey {
    SigningKey::from_seed(&[42; 32])
}

/// The setting that makes the known server's key known.
pub fn pin() -> String {
    let key = signing_key().verify_key().to_base64();
    format!("[[pins]]\nserver_name = \"{KNOWN}\"\nverify_keys = {{ \"{KEY_ID}\" = \"{key}\" }}\n")
}

/// A whole request that the known server has signed.
pub fn signed(method: &str, path: &str, body: &str) -> Vec<u8> {
    let (origin, own) = (ServerName::parse(KNOWN).unwrap(), ServerName::parse(OWN_NAME).unwrap());
    let target = RequestTarget::parse(path.as_bytes()).unwrap();
    let content = (!body.is_empty()).then(|| Object::scan(body.as_bytes()).unwrap());
    let request = SignedRequest {
        method,
        target: &target,
        origin: &origin,
        destination: &own,
        content: content.as_ref(),
    };
    let signature = sign_request(&request, &signing_key());
    let authorization = header_value(&origin, &own, &KeyId::parse(KEY_ID).unwrap(), &signature);
    [head(method, path, &authorization, body.len()), body.to_owned()].concat().into_bytes()
}

/// The head of a request by `origin` whose signature is made up.
pub fn forged_head(method: &str, path: &str, origin: &str, length: usize) -> String {
    let signature = "A".repeat(86);
    let authorization = format!(
        "X-Matrix origin=\"{origin}\",destination=\"{OWN_NAME}\",key=\"{KEY_ID}\",sig=\"{signature}\""
    );
    head(method, path, &authorization, length)
}

fn head(method: &str, path: &str, authorization: &str, length: usize) -> String {
    let length =
        if method == "PUT" { format!("Content-Length: {length}\r\n") } else { String::new() };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {OWN_NAME}\r\nAuthorization: {authorization}\r\n{length}\r\n"
    )
}

/// Reads an answer with a length, and says its status.
pub async fn read_answer(stream: &mut Tls, buffer: &mut Vec<u8>) -> io::Result<u16> {
    let gone = || io::Error::from(io::ErrorKind::UnexpectedEof);
    buffer.clear();
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(gone());
        }
    };
    let text = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let length: usize = length.and_then(|length| length.trim().parse().ok()).ok_or_else(gone)?;
    while buffer.len() < end + length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(gone());
        }
    }
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(gone)
}

pub async fn send(stream: &mut Tls, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
