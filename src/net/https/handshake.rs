//! TLS with other servers.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::{CertificateDer, ServerName as TlsName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, ProtocolVersion, RootCertStore,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate;
use super::dialer::bounded;
use crate::net::NetError;
use crate::net::trace::{Action, Certificate, Outcome, Trace};

/// Agrees on TLS with whoever has a certificate for the right name.
pub(super) struct Handshakes {
    config: Arc<ClientConfig>,
    verifier: Arc<WebPkiServerVerifier>,
    timeout: Duration,
}

impl Handshakes {
    pub(super) fn new(roots: RootCertStore, timeout: Duration) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_webpki_verifier(Arc::clone(&verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A server is asked once in hours; tickets would only be memory at strangers' disposal.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), verifier, timeout })
    }

    /// TLS on `tcp` with the owner of a valid certificate for `name`.
    pub(super) async fn connect(
        &self,
        name: &TlsName<'static>,
        tcp: TcpStream,
        trace: &Trace,
    ) -> Result<TlsStream<TcpStream>, NetError> {
        if !trace.is_on() {
            return told(self.shake(Arc::clone(&self.config), name, tcp).await);
        }
        let step = trace.begin(|| action(name));
        let onlooker = Arc::new(Onlooker::beside(Arc::clone(&self.verifier)));
        let mut config = ClientConfig::clone(&self.config);
        config.dangerous().set_certificate_verifier(Arc::clone(&onlooker) as _);
        let result = self.shake(Arc::new(config), name, tcp).await;
        step.end(|| match &result {
            Ok(stream) => secured(stream, onlooker.certificate()),
            Err(error) => not_secured(error, onlooker.certificate()),
        });
        told(result)
    }

    async fn shake(
        &self,
        config: Arc<ClientConfig>,
        name: &TlsName<'static>,
        tcp: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let limit = self.timeout;
        timeout(limit, TlsConnector::from(config).connect(name.clone(), tcp))
            .await
            .map_err(|_elapsed| Failure::Timeout(limit))?
            .map_err(Failure::Tls)
    }
}

enum Failure {
    Timeout(Duration),
    Tls(io::Error),
}

fn told<T>(result: Result<T, Failure>) -> Result<T, NetError> {
    result.map_err(|failure| match failure {
        Failure::Timeout(limit) => NetError::Timeout(format!("no TLS handshake within {limit:?}")),
        Failure::Tls(error) => NetError::Tls(format!("TLS: {}", bounded(&error))),
    })
}

fn action(name: &TlsName<'static>) -> Action {
    let sni = matches!(name, TlsName::DnsName(_));
    Action::Tls { name: name.to_str().into_owned(), sni }
}

fn secured(stream: &TlsStream<TcpStream>, certificate: Option<Certificate>) -> Outcome {
    let version = match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(_) | None => "TLS",
    };
    Outcome::Secured { version: version.to_owned(), certificate }
}

fn not_secured(failure: &Failure, certificate: Option<Certificate>) -> Outcome {
    match failure {
        Failure::Timeout(limit) => Outcome::NotSecured {
            text: format!("no handshake within {limit:?}"),
            meaning: None,
            certificate,
        },
        Failure::Tls(error) => Outcome::NotSecured {
            text: bounded(error),
            meaning: meaning(error).map(str::to_owned),
            certificate,
        },
    }
}

/// What an error means, for those that operators meet.
fn meaning(error: &io::Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(error) = error.get_ref()?.downcast_ref()? else {
        return None;
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest speaks for itself")]
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Some("the certificate has expired")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Some("the certificate is not valid yet, or our clock is wrong")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some("the certificate is for other names")
        }
        // A bad signature is that of an authority with a trusted name and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Some(
            "no trusted authority stands behind the certificate: it is self-signed, the server \
             leaves out an intermediate certificate, or its authority belongs into outbound.ca_file",
        ),
        CertificateError::Revoked => Some("the certificate has been revoked"),
        _ => None,
    }
}

/// Looks at the certificate that is shown, whether or not it is taken. The verifier beside it alone
/// decides.
#[derive(Debug)]
struct Onlooker {
    verifier: Arc<WebPkiServerVerifier>,
    seen: Mutex<Option<CertificateDer<'static>>>,
}

impl Onlooker {
    fn beside(verifier: Arc<WebPkiServerVerifier>) -> Self {
        Self { verifier, seen: Mutex::default() }
    }

    fn certificate(&self) -> Option<Certificate> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        certificate::described(seen.as_ref()?)
    }
}

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &TlsName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen = end_entity.clone().into_owned();
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
