//! Which certificate authorities are trusted.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Why the file of trusted certificates can not be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// It can not be read, or is not PEM.
    #[error("outbound.ca_file {}: {cause}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: rustls::pki_types::pem::Error,
    },
    /// It holds something that is no certificate.
    #[error("outbound.ca_file {}: certificate {position} can not be used: {cause}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Its place in the file, from 1.
        position: usize,
        /// Why.
        cause: rustls::Error,
    },
    /// It holds no certificate.
    #[error("outbound.ca_file {}: there is no certificate in it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// The certificates in the PEM file at `path`. All of them must be usable: one that is silently left
/// out is found missing much later, and far from here.
///
/// # Errors
///
/// When the file can not be read, holds anything unusable, or nothing.
pub fn from_file(path: &Path) -> Result<RootCertStore, RootsError> {
    let pem = |cause| RootsError::Pem { path: path.to_owned(), cause };
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_file_iter(path).map_err(pem)?.enumerate() {
        roots.add(certificate.map_err(pem)?).map_err(|cause| RootsError::Certificate {
            path: path.to_owned(),
            position: index + 1,
            cause,
        })?;
    }
    if roots.is_empty() {
        return Err(RootsError::Empty { path: path.to_owned() });
    }
    Ok(roots)
}

/// The system's certificates; Mozilla's, as built in, where the system has none (a container image
/// made from scratch).
pub fn from_system() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "some of the system's certificates can not be read");
    }
    let mut roots = RootCertStore::empty();
    let (_, unusable) = roots.add_parsable_certificates(found.certs);
    if unusable > 0 {
        tracing::debug!(unusable, "some of the system's certificates are left out");
    }
    if roots.is_empty() {
        tracing::info!("the system has no certificates: using the built-in set");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}
