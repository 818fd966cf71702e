//! TLS for the listener: HTTP/1.1 and HTTP/2 by ALPN, certificate files read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};

use crate::config::TlsFiles;
use crate::stamp::Stamp;

/// Why a certificate cannot be used; the text names the file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or parsed.
    #[error("{path}: {cause}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The files are fine on their own but not together, or not usable.
    #[error("{certificate} and its key cannot be used: {cause}", certificate = certificate.display())]
    Unusable {
        /// The certificate file.
        certificate: PathBuf,
        /// What is wrong.
        cause: String,
    },
}

/// The current certificate, and the files it came from.
#[derive(Debug)]
pub struct Certificate {
    current: ArcSwap<Loaded>,
    /// Held while it is replaced.
    replacing: Mutex<()>,
}

/// A certificate that was read and can be used.
#[derive(Debug)]
pub struct Loaded {
    files: TlsFiles,
    key: Arc<CertifiedKey>,
    /// The files' state before they were read: a change right after that is not missed.
    stamps: Stamps,
}

/// Those of both files.
type Stamps = [Option<Stamp>; 2];

impl Loaded {
    /// Reads certificate and key.
    pub fn read(files: TlsFiles) -> Result<Self, TlsError> {
        let stamps = stamps(&files);
        let key = Arc::new(read(&files)?);
        Ok(Self { files, key, stamps })
    }
}

impl Certificate {
    /// Reads certificate and key.
    pub fn load(files: TlsFiles) -> Result<Arc<Self>, TlsError> {
        let current = ArcSwap::from_pointee(Loaded::read(files)?);
        Ok(Arc::new(Self { current, replacing: Mutex::default() }))
    }

    /// From now on this one is used.
    pub fn replace(&self, loaded: Loaded) {
        let _turn = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        self.current.store(Arc::new(loaded));
    }

    /// The TLS settings that always use the current certificate.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, TlsError> {
        let resolver = Arc::clone(self);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&self.current.load().files, &error))?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Reads the files again. On an error the last good certificate stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let _turn = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.current.load().files.clone();
        self.current.store(Arc::new(Loaded::read(files)?));
        Ok(())
    }

    /// Looks at the files at this interval, and reloads when one has changed. Runs for ever. Polling
    /// sees what a directory watch misses: swapped links, network file systems, mounted secrets.
    pub async fn watch(self: Arc<Self>, interval: Duration) {
        let mut failed = None;
        loop {
            tokio::time::sleep(interval).await;
            let current = self.current.load_full();
            // A mounted file system may take its time.
            let files = current.files.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || stamps(&files)).await else {
                continue;
            };
            if now == current.stamps || failed == Some(now) {
                continue;
            }
            match self.reload() {
                Ok(()) => {
                    info!(file = %current.files.certificate.display(), "certificate reloaded")
                }
                Err(error) => {
                    failed = Some(now);
                    error!(%error, "certificate not reloaded; the last good one stays in use");
                }
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().key))
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    [&files.certificate, &files.private_key].map(|path| Stamp::of(path))
}

fn read(files: &TlsFiles) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| file_error(&files.certificate, &error))?;
    if chain.is_empty() {
        return Err(file_error(&files.certificate, &"holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.private_key)
        .map_err(|error| file_error(&files.private_key, &error))?;
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .map_err(|error| unusable(files, &error))
}

fn file_error(path: &Path, cause: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), cause: cause.to_string() }
}

fn unusable(files: &TlsFiles, cause: &dyn std::fmt::Display) -> TlsError {
    TlsError::Unusable { certificate: files.certificate.clone(), cause: cause.to_string() }
}
