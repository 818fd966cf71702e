//! Certificates: the own one, and those that are trusted.

use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::Finding;
use crate::cli::times;
use crate::clock::Clock;
use crate::config::{Config, TlsFiles};
use crate::proto::server_name::Host;
use crate::proto::{ServerName, Timestamp};

/// A certificate that ends sooner than this is worth a warning, in milliseconds: 14 days, which
/// automatic renewal never lets come.
const EXPIRY_WARNING_MS: u64 = 14 * 24 * 60 * 60 * 1_000;

/// The listener's certificate and key.
pub(super) fn listener(config: &Config, clock: &dyn Clock) -> Vec<Finding> {
    let Some(files) = &config.listen.tls else {
        return vec![Finding::ok("TLS", "none: a proxy in front has to end TLS")];
    };
    match load(files) {
        Ok(chain) => judge(&chain, &config.server_names, clock.now()),
        Err(finding) => vec![finding],
    }
}

/// The certificate authorities of `outbound.ca_file`.
pub(super) fn authorities(config: &Config) -> Option<Finding> {
    let path = config.outbound.ca_file.as_deref()?;
    let fix = "put PEM certificates of authorities there, or leave outbound.ca_file out";
    Some(match certificates(path) {
        Ok(found) => Finding::ok("authorities", format!("{} in {}", found.len(), path.display())),
        Err(cause) => Finding::fail("authorities", cause, fix),
    })
}

fn load(files: &TlsFiles) -> Result<Vec<CertificateDer<'static>>, Finding> {
    let chain = certificates(&files.certificate).map_err(|cause| {
        Finding::fail("TLS", cause, "set listen.tls_certificate to a PEM chain fedgate may read")
    })?;
    let shown = files.private_key.display();
    let key = PrivateKeyDer::from_pem_file(&files.private_key).map_err(|error| {
        let fix = "set listen.tls_private_key to a PEM key fedgate may read";
        Finding::fail("TLS", format!("{shown}: {error}"), fix)
    })?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(|error| {
        let fix = "use an RSA, ECDSA (P-256 or P-384) or Ed25519 key";
        Finding::fail("TLS", format!("{shown}: {error}"), fix)
    })?;
    match CertifiedKey::new(chain.clone(), key).keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            let cause = "the private key is not the certificate's";
            Err(Finding::fail("TLS", cause, "set the two files that were made together"))
        }
        Ok(()) | Err(_) => Ok(chain),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(found) if found.is_empty() => Err(format!("{shown} has no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

fn judge(chain: &[CertificateDer<'_>], names: &[ServerName], now: Timestamp) -> Vec<Finding> {
    let leaf = chain.first().and_then(|leaf| X509Certificate::from_der(leaf).ok());
    let Some((_, leaf)) = leaf else {
        let fix = "set listen.tls_certificate to an X.509 certificate";
        return vec![Finding::fail("TLS", "the first certificate cannot be read", fix)];
    };
    let mut findings = vec![window(&leaf, now)];
    let uncovered: Vec<&str> =
        names.iter().filter(|name| !covers(&leaf, name)).map(ServerName::as_str).collect();
    if !uncovered.is_empty() {
        findings.push(Finding::warn(
            "TLS",
            format!("the certificate is not for {}", uncovered.join(", ")),
            "get one for that name, unless .well-known/matrix/server sends others to a name the \
             certificate is for",
        ));
    }
    if chain.len() == 1 && leaf.issuer() != leaf.subject() {
        findings.push(Finding::warn(
            "TLS",
            "the file has the certificate alone, without the authority's intermediate ones",
            "use the full chain (certbot calls it fullchain.pem), or other servers may refuse it",
        ));
    }
    findings
}

fn window(leaf: &X509Certificate<'_>, now: Timestamp) -> Finding {
    let at = |seconds: i64| {
        Timestamp::from_ms(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000))
    };
    let validity = leaf.validity();
    let (from, until) = (at(validity.not_before.timestamp()), at(validity.not_after.timestamp()));
    let shown = times::show(until);
    if now > until {
        return Finding::fail("TLS", format!("the certificate ended {shown}"), "renew it");
    }
    if now < from {
        let detail = format!("the certificate starts only {}", times::show(from));
        return Finding::fail("TLS", detail, "set the clock right, or use another certificate");
    }
    let left = times::span(until.since(now));
    if until < now.plus_ms(EXPIRY_WARNING_MS) {
        return Finding::warn(
            "TLS",
            format!("the certificate ends in {left}, {shown}"),
            "renew it",
        );
    }
    Finding::ok("TLS", format!("the certificate is valid for {left}, until {shown}"))
}

fn covers(leaf: &X509Certificate<'_>, name: &ServerName) -> bool {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else { return false };
    extension.value.general_names.iter().any(|general| match (general, name.host()) {
        (GeneralName::DNSName(pattern), Host::Dns(host)) => matches_dns(pattern, host),
        (GeneralName::IPAddress(bytes), Host::Ipv4(ip)) => **bytes == ip.octets(),
        (GeneralName::IPAddress(bytes), Host::Ipv6(ip)) => **bytes == ip.octets(),
        _ => false,
    })
}

/// Whether a certificate's DNS name, `*` for its first label allowed, is `host`.
fn matches_dns(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => {
            host.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent))
        }
        None => pattern.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::Level;

    fn made_for(names: &[&str]) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut parameters = rcgen::CertificateParams::new(names).expect("names");
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2026, 3, 1);
        (parameters.self_signed(&key).expect("a certificate"), key)
    }

    fn at(names: &[&str], own: &str, now: &str) -> Vec<(Level, String)> {
        let (certificate, _) = made_for(names);
        let own = [ServerName::parse(own).expect("a name")];
        let now = times::parse(now).expect("a time");
        let findings = judge(&[certificate.der().clone()], &own, now);
        findings.into_iter().map(|finding| (finding.result, finding.detail)).collect()
    }

    #[test]
    fn the_window_of_the_certificate_counts() {
        let result = |now| at(&["example.org"], "example.org", now).first().map(|found| found.0);
        assert_eq!(result("2025-12-31T00:00:00Z"), Some(Level::Fail));
        assert_eq!(result("2026-01-02T00:00:00Z"), Some(Level::Ok));
        assert_eq!(result("2026-02-20T00:00:00Z"), Some(Level::Warn));
        assert_eq!(result("2026-03-02T00:00:00Z"), Some(Level::Fail));
    }

    #[test]
    fn the_names_of_the_certificate_count() {
        let warned = |names: &[&str], own| at(names, own, "2026-01-02T00:00:00Z").len() > 1;
        assert!(!warned(&["example.org"], "example.org:8448"));
        assert!(!warned(&["*.example.org"], "matrix.example.org"));
        assert!(!warned(&["127.0.0.1"], "127.0.0.1:8448"));
        assert!(warned(&["example.net"], "example.org"));
        assert!(warned(&["*.example.org"], "a.b.example.org"));
    }

    #[test]
    fn the_private_key_must_be_the_certificates() {
        let directory = tempfile::tempdir().expect("a directory");
        let (certificate, key) = made_for(&["example.org"]);
        let (_, other) = made_for(&["example.org"]);
        let files = TlsFiles {
            certificate: directory.path().join("c.pem"),
            private_key: directory.path().join("k.pem"),
        };
        std::fs::write(&files.certificate, certificate.pem()).expect("written");
        std::fs::write(&files.private_key, key.serialize_pem()).expect("written");
        assert_eq!(load(&files).expect("it is right").len(), 1);
        std::fs::write(&files.private_key, other.serialize_pem()).expect("written");
        let finding = load(&files).expect_err("another key");
        assert!(finding.detail.contains("not the certificate's"), "{}", finding.detail);
        std::fs::write(&files.certificate, "nothing").expect("written");
        let finding = load(&files).expect_err("no certificate");
        assert!(finding.detail.contains("no certificate"), "{}", finding.detail);
    }
}
