//! Connections to the gate from many addresses, over TLS.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::known::OWN_NAME;

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

pub async fn send(stream: &mut Tls, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
