//! A listener's certificate that has run out, is exchanged, or cannot be read (fault 43).

use std::path::Path;
use std::sync::Arc;

use fedgate::config::TlsFiles;
use fedgate::proxy::tls::Certificate;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};

use crate::lifecycle::{greet, is_from};
use crate::support::OWN_NAME;
use crate::support::gate::write_certificate;

/// Writes a chain that ran out in 2001, and returns the CA's certificate.
fn write_expired(dir: &Path) -> Vec<u8> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![OWN_NAME.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let leaf = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(dir.join("chain.pem"), leaf.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    issuer.der().to_vec()
}

fn files(dir: &Path) -> TlsFiles {
    TlsFiles { certificate: dir.join("chain.pem"), private_key: dir.join("key.pem") }
}

/// It is shown as it is: without it no handshake could even fail in a way that peers explain. Peers refuse it, until it is renewed.
#[tokio::test]
async fn f43_a_certificate_that_has_run_out_is_renewed_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let expired = write_expired(dir.path());
    let certificate = Certificate::load(files(dir.path())).unwrap();
    let address = greet(&certificate).await;
    assert!(!is_from(&expired, address).await, "peers refuse it");
    let renewed = write_certificate(dir.path());
    certificate.reload().unwrap();
    assert!(is_from(&renewed, address).await);
}

#[tokio::test]
async fn f43_a_certificate_that_cannot_be_read_leaves_the_last_one_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_certificate(dir.path());
    let certificate = Certificate::load(files(dir.path())).unwrap();
    let address = greet(&certificate).await;
    for name in ["chain.pem", "key.pem"] {
        let (path, aside) = (dir.path().join(name), dir.path().join("aside"));
        std::fs::rename(&path, &aside).unwrap();
        let gone = certificate.reload().unwrap_err().to_string();
        assert!(gone.contains(name), "{gone}");
        // Nor can a folder in its place be read, not even by root.
        std::fs::create_dir(&path).unwrap();
        let folder = certificate.reload().unwrap_err().to_string();
        assert!(folder.contains(name), "{folder}");
        assert!(is_from(&first, address).await, "the last good one stays in use");
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
        certificate.reload().unwrap();
    }
    let second = write_certificate(dir.path());
    certificate.reload().unwrap();
    assert!(is_from(&second, address).await && !is_from(&first, address).await);
}

/// Handshakes while it is exchanged.
#[tokio::test]
async fn f43_a_certificate_that_is_exchanged_ends_no_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_certificate(dir.path());
    let certificate = Certificate::load(files(dir.path())).unwrap();
    let address = greet(&certificate).await;
    let second = write_certificate(dir.path());
    let reloading = Arc::clone(&certificate);
    let (shaken, ()) =
        tokio::join!(
            futures_util::future::join_all((0..20).map(|_| async {
                is_from(&first, address).await || is_from(&second, address).await
            })),
            async move { reloading.reload().unwrap() },
        );
    assert!(shaken.into_iter().all(|good| good), "each handshake is with one of the two");
}
