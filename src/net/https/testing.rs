//! Servers on loopback, with real sockets and real TLS, for the tests of this crate.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.as_ref().der().clone()).expect("a root");
        roots
    }

    pub(crate) fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// A server's side of TLS, with a certificate for `name` (a DNS name or an address).
    pub(crate) fn server(&self, name: &str) -> ServerConfig {
        self.server_with(name, |_| {})
    }

    pub(crate) fn server_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &self.0).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.into())
            .expect("a configuration")
    }
}

/// What a peer does with a connection.
pub(crate) enum Manner {
    /// Answers every request with these bytes and closes.
    Answer(Vec<u8>),
    /// Sends this head, and then zeroes until the other side closes.
    Flood(&'static str),
    /// Answers every request with these bytes, and then no more.
    Stall(Vec<u8>),
    /// Accepts the connection and says nothing.
    Silent,
    /// Answers whatever comes first with these bytes, without TLS, and closes.
    Plain(&'static str),
    /// Closes the connection at once.
    Close,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) sni: Option<String>,
    /// Request line and headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

#[derive(Default)]
struct Log {
    /// The address that each connection came to.
    dialled: Vec<IpAddr>,
    requests: Vec<Seen>,
    flooded_bytes: usize,
}

/// Another server on loopback.
pub(crate) struct Peer {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    task: JoinHandle<()>,
}

impl Peer {
    pub(crate) async fn start(tls: ServerConfig, manner: Manner) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, tls, manner).await
    }

    pub(crate) async fn start_at(ip: impl Into<IpAddr>, tls: ServerConfig, manner: Manner) -> Self {
        let listener = TcpListener::bind((ip.into(), 0)).await.expect("a port");
        Self::start_on(listener, tls, manner)
    }

    pub(crate) fn start_on(listener: TcpListener, tls: ServerConfig, manner: Manner) -> Self {
        let address = listener.local_addr().expect("an address");
        let log = Arc::new(Mutex::new(Log::default()));
        let task = tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), manner, {
            Arc::clone(&log)
        }));
        Self { address, log, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn connections(&self) -> usize {
        self.dialled().len()
    }

    /// The address that each connection came to. One that listens on 0.0.0.0 is on each of loopback.
    pub(crate) fn dialled(&self) -> Vec<IpAddr> {
        self.log.lock().expect("unpoisoned").dialled.clone()
    }

    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.log.lock().expect("unpoisoned").requests.clone()
    }

    pub(crate) fn flooded_bytes(&self) -> usize {
        self.log.lock().expect("unpoisoned").flooded_bytes
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, manner: Manner, log: Arc<Mutex<Log>>) {
    let mut silent = Vec::new();
    let mut stalled = Vec::new();
    loop {
        let (mut tcp, _) = listener.accept().await.expect("a connection");
        let address = tcp.local_addr().expect("an address");
        log.lock().expect("unpoisoned").dialled.push(address.ip());
        match &manner {
            Manner::Close => drop(tcp),
            Manner::Silent => silent.push(tcp),
            Manner::Plain(text) => {
                let _ = tcp.read_buf(&mut Vec::with_capacity(16_384)).await;
                let _ = tcp.write_all(text.as_bytes()).await;
                let _ = tcp.shutdown().await;
            }
            Manner::Answer(bytes) | Manner::Stall(bytes) => {
                let Some((mut stream, seen)) = request(&tls, tcp).await else { continue };
                log.lock().expect("unpoisoned").requests.push(seen);
                let _ = stream.write_all(bytes).await;
                if matches!(manner, Manner::Stall(_)) {
                    let _ = stream.flush().await;
                    stalled.push(stream);
                } else {
                    let _ = stream.shutdown().await;
                }
            }
            Manner::Flood(head) => {
                let Some((mut stream, seen)) = request(&tls, tcp).await else { continue };
                log.lock().expect("unpoisoned").requests.push(seen);
                let mut more = stream.write_all(head.as_bytes()).await.is_ok();
                while more {
                    more = stream.write_all(&[b'0'; 16_384]).await.is_ok();
                    log.lock().expect("unpoisoned").flooded_bytes += 16_384;
                }
            }
        }
    }
}

/// One request from a connection, or nothing when the other side did not like ours.
async fn request(tls: &TlsAcceptor, tcp: TcpStream) -> Option<(TlsStream<TcpStream>, Seen)> {
    let mut stream = tls.accept(tcp).await.ok()?;
    let sni = stream.get_ref().1.server_name().map(str::to_owned);
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8(bytes.clone()).expect("text");
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let seen = Seen { sni: sni.clone(), head: head.to_owned(), body: body.into() };
        let length = seen.header("content-length").map_or(0, |n| n.parse().expect("a length"));
        if body.len() >= length {
            return Some((stream, seen));
        }
    }
}

pub(crate) fn answer(head: &str, body: &str) -> Manner {
    Manner::Answer(
        format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
    )
}

pub(crate) fn ok() -> Manner {
    answer("200 OK", "{}")
}
