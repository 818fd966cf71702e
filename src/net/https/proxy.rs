//! A proxy on the way to other servers.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, Uri};
use hyper::service::Service;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;

use super::dialer::bounded;
use crate::net::NetError;

/// Most causes of an error that are told: hyper-util's own, the connection's, the system's.
const CAUSES_MAX: usize = 4;

/// A proxy that connections to other servers are made through. It is asked for addresses only, so
/// that it dials what was checked.
///
/// Neither `Debug` nor an error shows the credentials.
#[derive(Clone)]
pub struct OutboundProxy {
    kind: Kind,
    /// Scheme, host and port, for errors.
    shown: String,
}

#[derive(Clone)]
enum Kind {
    Http(TowerToHyperService<Tunnel<HttpConnector>>),
    Socks5(TowerToHyperService<SocksV5<HttpConnector>>),
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyScheme {
    /// HTTP/1.1 with CONNECT.
    Http,
    /// SOCKS5 (RFC 1928, RFC 1929).
    Socks5,
}

/// Why a proxy can not be used. Fit for the operator; the host is not shown, as credentials may have
/// got into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("outbound.proxy: the host is neither a name nor an address; write \"scheme://host:port\"")]
pub struct ProxyError;

impl OutboundProxy {
    /// The proxy at `host` (a name or an address, IPv6 without brackets) and `port`. Its own address
    /// is the operator's choice: the system resolves it and no policy is asked. `credentials` are
    /// user name and password; a SOCKS5 handshake has room for 234 bytes of them.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] when `host` can not be part of a URL.
    pub fn new(
        scheme: ProxyScheme,
        host: &str,
        port: u16,
        credentials: Option<(&str, &str)>,
    ) -> Result<Self, ProxyError> {
        let authority = match host.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, port).to_string(),
            Err(_) => format!("{host}:{port}"),
        };
        // How the proxy itself is reached, with either scheme: over TCP.
        let place: Uri = format!("http://{authority}").parse().map_err(|_cause| ProxyError)?;
        // A URL has room for more than a place.
        if host.is_empty()
            || place.host().map(|host| format!("{host}:{port}")) != Some(authority.clone())
        {
            return Err(ProxyError);
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let (name, kind) = match scheme {
            ProxyScheme::Http => {
                let mut tunnel = Tunnel::new(place, connector);
                if let Some((user, password)) = credentials {
                    let encoded = BASE64_STANDARD.encode(format!("{user}:{password}"));
                    let value = HeaderValue::try_from(format!("Basic {encoded}"));
                    tunnel = tunnel.with_auth(value.map_err(|_cause| ProxyError)?);
                }
                ("http", Kind::Http(TowerToHyperService::new(tunnel)))
            }
            ProxyScheme::Socks5 => {
                let mut socks = SocksV5::new(place, connector);
                if let Some((user, password)) = credentials {
                    socks = socks.with_auth(user.to_owned(), password.to_owned());
                }
                ("socks5", Kind::Socks5(TowerToHyperService::new(socks)))
            }
        };
        Ok(Self { kind, shown: format!("{name}://{authority}") })
    }

    /// A connection to exactly `address` through the proxy. The caller sets the deadline.
    pub(super) async fn connect(&self, address: SocketAddr) -> Result<TcpStream, NetError> {
        let target = Uri::try_from(address.to_string()).map_err(|cause| self.failed(&cause))?;
        let stream = match &self.kind {
            Kind::Http(tunnel) => tunnel.call(target).await.map_err(|cause| self.failed(&cause))?,
            Kind::Socks5(socks) => socks.call(target).await.map_err(|cause| self.failed(&cause))?,
        };
        Ok(stream.into_inner())
    }

    fn failed(&self, error: &(dyn Error + 'static)) -> NetError {
        let causes = std::iter::successors(Some(error), |&error| error.source());
        let causes: Vec<String> = causes.take(CAUSES_MAX).map(|cause| bounded(&cause)).collect();
        NetError::Connect(format!("{self}: {}; see outbound.proxy", causes.join(": ")))
    }
}

impl fmt::Debug for OutboundProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutboundProxy({})", self.shown)
    }
}

impl fmt::Display for OutboundProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {}", self.shown)
    }
}
