//! Where a server name leads: the steps of server discovery (server-server API, resolving server
//! names; R73 to R78).
//!
//! The steps are a machine without any IO: each waiting step says what it wants to know and takes
//! the answer by value. [`driver`] asks the network for it.

pub mod cache;
pub mod driver;
mod srv;
pub mod well_known;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use rustls::pki_types::ServerName as TlsName;

use super::NetError;
use super::dns::SrvTarget;
use crate::proto::ServerName;
use crate::proto::server_name::Host;

/// The ports that are used where a name brings none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// For `.well-known` and its redirects.
    pub https: u16,
    /// For federation.
    pub federation: u16,
}

impl Default for Ports {
    /// 443 and 8448, as the specification has them.
    fn default() -> Self {
        Self { https: 443, federation: 8448 }
    }
}

/// One place to send a request to, and the names to use there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The host to connect to.
    pub host: DialHost,
    /// The port to connect to.
    pub port: u16,
    /// The value of the `Host` header.
    pub host_header: String,
    /// The name that the certificate must be valid for, and that is sent as SNI unless it is an
    /// address. Never the target of an SRV record (R77).
    pub tls_name: TlsName<'static>,
}

/// The host to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialHost {
    /// An address literal.
    Ip(IpAddr),
    /// A DNS name, whose addresses are looked up.
    Name(String),
}

impl fmt::Display for Endpoint {
    /// Host and port, as in a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            DialHost::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f),
            DialHost::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// The state of a discovery.
#[derive(Debug, PartialEq, Eq)]
pub enum ResolutionStep {
    /// The well-known document of a host is needed.
    WellKnown(WellKnownStep),
    /// The SRV records of a name are needed.
    Srv(SrvStep),
    /// The places to try, best first. Never empty.
    Done(Vec<Endpoint>),
}

/// Waits for a well-known document (step 3).
#[derive(Debug, PartialEq, Eq)]
pub struct WellKnownStep {
    origin: Named,
    ports: Ports,
}

/// Waits for SRV records (steps 3.3, 3.4, 4 and 5).
#[derive(Debug, PartialEq, Eq)]
pub struct SrvStep {
    origin: Named,
    service: Service,
    ports: Ports,
}

/// A DNS name without a port: the server's own or the delegated one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    host: String,
    tls_name: TlsName<'static>,
}

/// The two SRV services, in the order they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    MatrixFed,
    /// Deprecated since v1.8 of the specification.
    Matrix,
}

impl ResolutionStep {
    /// The first step for `server`.
    ///
    /// # Errors
    ///
    /// [`NetError::Dns`] when the host is within the grammar of server names but can not be a DNS
    /// name (`a..b`).
    pub fn start(server: &ServerName, ports: Ports) -> Result<Self, NetError> {
        Ok(match Located::of(server, ports)? {
            Located::Here(endpoint) => Self::Done(vec![endpoint]),
            Located::Further(origin) => Self::WellKnown(WellKnownStep { origin, ports }),
        })
    }
}

impl WellKnownStep {
    /// The host whose well-known document is needed.
    pub fn host(&self) -> &str {
        &self.origin.host
    }

    /// Goes on with the delegated name, or `None` when there is no valid document (R74). The
    /// delegated name is not itself looked up through well-known (R76).
    pub fn answered(self, delegated: Option<&ServerName>) -> ResolutionStep {
        let Self { origin, ports } = self;
        match delegated.and_then(|name| Located::of(name, ports).ok()) {
            Some(Located::Here(endpoint)) => ResolutionStep::Done(vec![endpoint]),
            Some(Located::Further(delegated)) => SrvStep::first(delegated, ports),
            None => SrvStep::first(origin, ports),
        }
    }
}

impl SrvStep {
    fn first(origin: Named, ports: Ports) -> ResolutionStep {
        ResolutionStep::Srv(Self { origin, service: Service::MatrixFed, ports })
    }

    /// The name whose SRV records are needed.
    pub fn name(&self) -> String {
        let service = match self.service {
            Service::MatrixFed => "_matrix-fed",
            Service::Matrix => "_matrix",
        };
        format!("{service}._tcp.{}", self.origin.host)
    }

    /// Goes on with the records that were found; `random` orders targets of the same priority.
    ///
    /// # Errors
    ///
    /// [`NetError::Dns`] when the records say that there is no such service (RFC 2782, target ".").
    pub fn answered(
        self,
        targets: Vec<SrvTarget>,
        random: &mut fastrand::Rng,
    ) -> Result<ResolutionStep, NetError> {
        if targets.is_empty() {
            return Ok(self.none_found());
        }
        let name = self.name();
        let Named { host, tls_name } = self.origin;
        let endpoints: Vec<Endpoint> = srv::in_order(targets, random)
            .into_iter()
            .filter(|target| !target.host.is_empty())
            .map(|target| Endpoint {
                host: DialHost::Name(target.host),
                port: target.port,
                host_header: host.clone(),
                tls_name: tls_name.clone(),
            })
            .collect();
        if endpoints.is_empty() {
            return Err(NetError::Dns(format!("{name} says that there is no such service")));
        }
        Ok(ResolutionStep::Done(endpoints))
    }

    fn none_found(self) -> ResolutionStep {
        let Self { origin, service, ports } = self;
        match service {
            Service::MatrixFed => {
                ResolutionStep::Srv(Self { origin, service: Service::Matrix, ports })
            }
            Service::Matrix => ResolutionStep::Done(vec![Endpoint {
                host: DialHost::Name(origin.host.clone()),
                port: ports.federation,
                host_header: origin.host,
                tls_name: origin.tls_name,
            }]),
        }
    }
}

/// How far a name leads on its own. Holds for a server's own name (steps 1 and 2) and for a
/// delegated one (steps 3.1 and 3.2) alike.
enum Located {
    /// An address or an explicit port: all is known.
    Here(Endpoint),
    /// A DNS name alone: there is more to ask.
    Further(Named),
}

impl Located {
    fn of(name: &ServerName, ports: Ports) -> Result<Self, NetError> {
        let literal = |ip: IpAddr| {
            Self::Here(Endpoint {
                host: DialHost::Ip(ip),
                port: name.port().unwrap_or(ports.federation),
                host_header: name.as_str().to_owned(),
                tls_name: ip.into(),
            })
        };
        match (name.host(), name.port()) {
            (Host::Ipv4(ip), _) => Ok(literal(ip.into())),
            (Host::Ipv6(ip), _) => Ok(literal(ip.into())),
            (Host::Dns(host), Some(port)) => Ok(Self::Here(Endpoint {
                host: DialHost::Name(host.to_owned()),
                port,
                host_header: name.as_str().to_owned(),
                tls_name: dns_tls_name(host)?,
            })),
            (Host::Dns(host), None) => {
                Ok(Self::Further(Named { host: host.to_owned(), tls_name: dns_tls_name(host)? }))
            }
        }
    }
}

/// `host` as a name that a certificate can be valid for.
fn dns_tls_name(host: &str) -> Result<TlsName<'static>, NetError> {
    rustls::pki_types::DnsName::try_from(host.to_owned())
        .map(TlsName::DnsName)
        .map_err(|_invalid| NetError::Dns(format!("{host} is not a DNS name")))
}

#[cfg(test)]
mod tests;
