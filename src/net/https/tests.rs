//! Over real sockets and TLS, against peers on loopback.

mod addresses;
mod answers;
mod certificates;
mod discovery_rows;
mod proxies;
mod roots_files;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;
use crate::net::dns::SrvTarget;

/// A name server that knows what a test tells it.
#[derive(Default)]
struct Names {
    addresses: BTreeMap<String, Vec<IpAddr>>,
    srv: BTreeMap<String, Vec<SrvTarget>>,
}

impl Names {
    fn with(mut self, host: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        self.addresses.insert(host.to_owned(), addresses);
        self
    }

    fn with_srv(mut self, name: &str, host: &str, port: u16) -> Self {
        let target = SrvTarget { priority: 1, weight: 1, host: host.to_owned(), port };
        self.srv.entry(name.to_owned()).or_default().push(target);
        self
    }
}

#[async_trait]
impl Dns for Names {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, NetError> {
        Ok(self.addresses.get(host).cloned().unwrap_or_default())
    }

    async fn srv(&self, name: &str) -> Result<Vec<SrvTarget>, NetError> {
        Ok(self.srv.get(name).cloned().unwrap_or_default())
    }
}

/// A certificate authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.as_ref().der().clone()).expect("a root");
        roots
    }

    fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    /// A server's side of TLS, with a certificate for `name` (a DNS name or an address).
    fn server(&self, name: &str) -> ServerConfig {
        self.server_with(name, |_| {})
    }

    fn server_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
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
enum Manner {
    /// Answers every request with these bytes and closes.
    Answer(Vec<u8>),
    /// Sends this head, and then zeroes until the other side closes.
    Flood(&'static str),
    /// Accepts the connection and says nothing.
    Silent,
    /// Closes the connection at once.
    Close,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
struct Seen {
    sni: Option<String>,
    /// Request line and headers, in lower case but for the values.
    head: String,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

#[derive(Default)]
struct Log {
    connections: usize,
    requests: Vec<Seen>,
    flooded_bytes: usize,
}

/// Another server on loopback.
struct Peer {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    task: JoinHandle<()>,
}

impl Peer {
    async fn start(tls: ServerConfig, manner: Manner) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, tls, manner).await
    }

    async fn start_at(ip: Ipv4Addr, tls: ServerConfig, manner: Manner) -> Self {
        let listener = TcpListener::bind((ip, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let log = Arc::new(Mutex::new(Log::default()));
        let task = tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), manner, {
            Arc::clone(&log)
        }));
        Self { address, log, task }
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    fn connections(&self) -> usize {
        self.log.lock().expect("unpoisoned").connections
    }

    fn requests(&self) -> Vec<Seen> {
        self.log.lock().expect("unpoisoned").requests.clone()
    }

    fn flooded_bytes(&self) -> usize {
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
    loop {
        let (tcp, _) = listener.accept().await.expect("a connection");
        log.lock().expect("unpoisoned").connections += 1;
        match &manner {
            Manner::Close => drop(tcp),
            Manner::Silent => silent.push(tcp),
            Manner::Answer(answer) => {
                let Some((mut stream, seen)) = request(&tls, tcp).await else { continue };
                log.lock().expect("unpoisoned").requests.push(seen);
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
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

fn answer(head: &str, body: &str) -> Manner {
    Manner::Answer(
        format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
    )
}

fn ok() -> Manner {
    answer("200 OK", "{}")
}

fn get() -> FederationRequest {
    FederationRequest {
        body: None,
        target: "/_matrix/key/v2/server".to_owned(),
        response_bytes_max: 65_536,
    }
}

fn server_name(text: &str) -> ServerName {
    ServerName::parse(text).expect("a server name")
}

/// Both ports at `port`: a test that needs two peers sets them apart.
fn ports(port: u16) -> Ports {
    Ports { https: port, federation: port }
}

/// A transport that may dial `allowed`.
fn transport_to(
    allowed: &[&str],
    names: Names,
    authority: &Authority,
    ports: Ports,
    timeouts: Timeouts,
) -> HttpsTransport {
    let metrics = NetMetrics::new().expect("metrics");
    transport_in(&metrics, allowed, names, authority, ports, timeouts)
}

/// The same, which counts in `metrics`.
fn transport_in(
    metrics: &NetMetrics,
    allowed: &[&str],
    names: Names,
    authority: &Authority,
    ports: Ports,
    timeouts: Timeouts,
) -> HttpsTransport {
    let allowed = allowed.iter().map(|range| range.parse().expect("a range")).collect();
    let policy = AddressPolicy::new(allowed);
    let (names, roots) = (Arc::new(names), authority.roots());
    HttpsTransport::new(names, policy, roots, None, ports, timeouts, metrics).expect("a transport")
}

/// A transport that may dial all of loopback.
fn transport(names: Names, authority: &Authority, ports: Ports) -> HttpsTransport {
    transport_to(&["127.0.0.0/8"], names, authority, ports, Timeouts::default())
}
