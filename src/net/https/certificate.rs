//! What a certificate says, for people. Nothing is decided by it.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{ASN1Time, FromDer as _, GeneralName, X509Certificate};

use crate::net::trace::{Certificate, cut};

/// Most names that are told of: a certificate brings as many as its owner likes.
const NAMES_MAX: usize = 8;

/// The parts of `certificate` that people look at; none when it can not be read.
pub(super) fn described(certificate: &CertificateDer<'_>) -> Option<Certificate> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names = alternatives.map_or(&[][..], |names| &names.value.general_names);
    let names: Vec<String> = names.iter().filter_map(shown).collect();
    let validity = certificate.validity();
    Some(Certificate {
        names_left_out: names.len().saturating_sub(NAMES_MAX),
        names: names.into_iter().take(NAMES_MAX).collect(),
        issuer: cut(&certificate.issuer().to_string()),
        not_before_ts: ms(validity.not_before),
        not_after_ts: ms(validity.not_after),
    })
}

/// A name as it is compared with a server's; other kinds of names never count.
fn shown(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(name) = name {
        return Some(cut(name));
    }
    let GeneralName::IPAddress(bytes) = name else { return None };
    let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
    let ip = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
    ip.ok().map(|ip| ip.to_string())
}

fn ms(time: ASN1Time) -> Option<u64> {
    u64::try_from(time.timestamp()).ok()?.checked_mul(1_000)
}
