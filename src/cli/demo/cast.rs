//! Who plays in the demo: a homeserver that remembers what it saw, and remote servers that publish
//! their keys over TLS. All on loopback, none of it on disk.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::DemoError;
use crate::proto::ed25519::SigningKey;
use crate::proto::sign::sign_json;
use crate::proto::{KeyId, ServerName, Timestamp};

/// Largest body the stand-in reads, in bytes; the demo sends a hundred.
const BODY_BYTES_MAX: usize = 65_536;

/// The homeserver behind the gate. It answers everything with `{}`.
pub(super) struct Homeserver {
    /// Where it listens.
    pub(super) port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Homeserver {
    /// Starts it; it runs until `tasks` is dropped.
    pub(super) async fn start(tasks: &mut JoinSet<()>) -> Result<Self, DemoError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        tasks.spawn(serve_homeserver(listener, Arc::clone(&seen)));
        Ok(Self { port, seen })
    }

    /// The requests it has seen, oldest first: method, target and body.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve_homeserver(listener: TcpListener, seen: Arc<Mutex<Vec<String>>>) {
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let seen = Arc::clone(&seen);
        connections.spawn(async move {
            let service = service_fn(move |request| remember(request, Arc::clone(&seen)));
            // A connection that ends is the end of it.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(tcp), service)
                .await;
        });
    }
}

async fn remember(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = http_body_util::Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let line = format!("{} {} {}", head.method, head.uri, body.escape_ascii());
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(line.trim_end().to_owned());
    Ok(Response::new(Full::new(Bytes::from_static(b"{}"))))
}

/// The authority that vouches for the remote servers' certificates.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Result<Self, DemoError> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)? })
    }

    /// What the gate has to trust.
    pub(super) fn roots(&self) -> Result<RootCertStore, DemoError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        Ok(roots)
    }

    fn acceptor(&self) -> Result<TlsAcceptor, DemoError> {
        let key = KeyPair::generate()?;
        let leaf =
            CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &self.issuer)?;
        let chain = vec![CertificateDer::from(leaf)];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// A remote server: a name, a signing key, and a TLS listener where it publishes that key.
pub(super) struct Remote {
    pub(super) name: ServerName,
    pub(super) key_id: KeyId,
    pub(super) key: SigningKey,
}

impl Remote {
    /// Starts a server whose key document says `valid_until_ts`.
    pub(super) async fn start(
        authority: &Authority,
        seed: [u8; 32],
        valid_until_ts: Timestamp,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, DemoError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let remote = Self::unreachable(listener.local_addr()?.port(), seed)?;
        let document = remote.document(valid_until_ts)?;
        tasks.spawn(serve_keys(listener, authority.acceptor()?, document));
        Ok(remote)
    }

    /// A server that nobody serves: the port is not listened on.
    pub(super) fn unreachable(port: u16, seed: [u8; 32]) -> Result<Self, DemoError> {
        Ok(Self {
            name: ServerName::parse(&format!("127.0.0.1:{port}"))
                .map_err(DemoError::from_display)?,
            key_id: KeyId::parse("ed25519:demo").map_err(DemoError::from_display)?,
            key: SigningKey::from_seed(&seed),
        })
    }

    fn document(&self, valid_until_ts: Timestamp) -> Result<Bytes, DemoError> {
        let document = json!({
            "server_name": self.name.as_str(),
            "valid_until_ts": valid_until_ts.as_ms(),
            "verify_keys": { self.key_id.as_str(): { "key": self.key.verify_key().to_base64() } },
            "old_verify_keys": {},
        });
        let text = document.to_string();
        sign_json(text.as_bytes(), &self.name, &self.key_id, &self.key)
            .map(Bytes::from)
            .map_err(DemoError::from_display)
    }
}

async fn serve_keys(listener: TcpListener, tls: TlsAcceptor, document: Bytes) {
    while let Ok((tcp, _)) = listener.accept().await {
        let Ok(stream) = tls.accept(tcp).await else { continue };
        let document = document.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            let document = document.clone();
            async move { Ok::<_, Infallible>(Response::new(Full::new(document))) }
        });
        // One fetch at a time is all the demo makes.
        let _ended = hyper::server::conn::http1::Builder::new()
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }
}
