//! The one way to open a connection to another server.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::RootCertStore;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::Timeouts;
use super::handshake::Handshakes;
use super::proxy::OutboundProxy;
use crate::net::address::{AddressPolicy, Blocked};
use crate::net::discovery::{DialHost, Endpoint};
use crate::net::trace::{Action, Outcome, Trace};
use crate::net::{Dns, NetError, NetMetrics};

/// Most addresses of one host that are tried.
const ATTEMPTS_PER_HOST_MAX: usize = 4;

/// Most addresses that are tried for one connection, over all hosts (SRV targets).
const ATTEMPTS_MAX: usize = 8;

/// Most failed attempts that an error text tells of.
const FAILURES_SHOWN_MAX: usize = 4;

/// Longest cause in an error text, in characters: a certificate brings as many names as its owner
/// likes.
const CAUSE_CHARS_MAX: usize = 300;

/// Opens TLS connections: resolves, checks every address, dials, verifies.
pub(super) struct Dialer {
    dns: Arc<dyn Dns>,
    policy: AddressPolicy,
    tls: Handshakes,
    proxy: Option<OutboundProxy>,
    timeouts: Timeouts,
    metrics: NetMetrics,
}

impl Dialer {
    pub(super) fn new(
        dns: Arc<dyn Dns>,
        policy: AddressPolicy,
        roots: RootCertStore,
        proxy: Option<OutboundProxy>,
        timeouts: Timeouts,
        metrics: NetMetrics,
    ) -> Result<Self, rustls::Error> {
        let tls = Handshakes::new(roots, timeouts.tls)?;
        Ok(Self { dns, policy, tls, proxy, timeouts, metrics })
    }

    pub(super) fn dns(&self) -> &dyn Dns {
        &*self.dns
    }

    /// Connects to the first endpoint and address that takes a TLS connection with the right
    /// certificate. Addresses are tried one after another.
    pub(super) async fn connect<'e>(
        &self,
        endpoints: &'e [Endpoint],
        trace: &Trace,
    ) -> Result<(TlsStream<TcpStream>, &'e Endpoint), NetError> {
        let mut failures = Failures::default();
        let mut attempts_left = ATTEMPTS_MAX;
        for endpoint in endpoints {
            let addresses = match self.permitted(endpoint, &mut failures, trace).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    failures.add(error.map_text(|text| format!("{endpoint}: {text}")));
                    continue;
                }
            };
            for ip in addresses.into_iter().take(ATTEMPTS_PER_HOST_MAX.min(attempts_left)) {
                attempts_left -= 1;
                let address = SocketAddr::new(ip, endpoint.port);
                match self.attempt(endpoint, address, trace).await {
                    Ok(stream) => return Ok((stream, endpoint)),
                    Err(error) => failures.add(error.map_text(|text| match endpoint.host {
                        DialHost::Ip(_) => format!("{endpoint}: {text}"),
                        DialHost::Name(_) => format!("{endpoint} at {ip}: {text}"),
                    })),
                }
            }
        }
        Err(failures.into_error())
    }

    /// The addresses of `endpoint` that may be dialled; the others are noted as failures.
    async fn permitted(
        &self,
        endpoint: &Endpoint,
        failures: &mut Failures,
        trace: &Trace,
    ) -> Result<Vec<IpAddr>, NetError> {
        let mut addresses = match &endpoint.host {
            DialHost::Ip(ip) => vec![*ip],
            DialHost::Name(name) => self.addresses(name, trace).await?,
        };
        if addresses.is_empty() {
            return Err(NetError::Dns("the name has no address".to_owned()));
        }
        addresses.retain(|ip| match self.policy.check(*ip) {
            Ok(()) => true,
            Err(blocked) => {
                self.metrics.blocked(&blocked);
                trace.note(|| Action::Judge { address: *ip }, || outcome_of(&blocked));
                failures.add(not_dialled(endpoint, &blocked));
                false
            }
        });
        Ok(addresses)
    }

    async fn addresses(&self, name: &str, trace: &Trace) -> Result<Vec<IpAddr>, NetError> {
        let step = trace.begin(|| Action::Addresses { host: name.to_owned() });
        let found = self.dns.addresses(name).await;
        step.result(&found, |found| Outcome::Found {
            addresses: found.records.clone(),
            answered_by: found.answered_by,
            no_such_name: found.no_such_name,
        });
        Ok(found?.records)
    }

    /// One TCP connection to exactly `address`.
    async fn tcp(&self, address: SocketAddr) -> Result<TcpStream, NetError> {
        let failed = |error: std::io::Error| NetError::Connect(bounded(&error));
        let connected = async {
            match &self.proxy {
                Some(proxy) => proxy.connect(address).await,
                None => TcpStream::connect(address).await.map_err(failed),
            }
        };
        let limit = self.timeouts.connect;
        let tcp = timeout(limit, connected).await.map_err(|_elapsed| {
            let through = self.proxy.as_ref().map(|proxy| format!(" through {proxy}"));
            let through = through.unwrap_or_default();
            NetError::Timeout(format!("no connection{through} within {limit:?}"))
        })??;
        tcp.set_nodelay(true).map_err(failed)?;
        Ok(tcp)
    }

    /// One TCP connection to exactly `address`, and TLS on it.
    async fn attempt(
        &self,
        endpoint: &Endpoint,
        address: SocketAddr,
        trace: &Trace,
    ) -> Result<TlsStream<TcpStream>, NetError> {
        let step = trace.begin(|| self.dialled(address));
        let tcp = self.tcp(address).await;
        step.result(&tcp, |_stream| Outcome::Connected);
        self.tls.connect(&endpoint.tls_name, tcp?, trace).await
    }

    fn dialled(&self, address: SocketAddr) -> Action {
        Action::Dial {
            to: address.to_string(),
            proxy: self.proxy.as_ref().map(ToString::to_string),
        }
    }
}

fn outcome_of(blocked: &Blocked) -> Outcome {
    Outcome::Blocked {
        range: blocked.range.to_string(),
        purpose: blocked.purpose.to_owned(),
        setting: "outbound.allowed_ranges".to_owned(),
    }
}

fn not_dialled(endpoint: &Endpoint, blocked: &Blocked) -> NetError {
    NetError::BlockedAddress(match endpoint.host {
        DialHost::Ip(_) => blocked.to_string(),
        DialHost::Name(_) => format!("{endpoint}: {blocked}"),
    })
}

/// A cause that a stranger may have had a hand in, fit for a log: of bounded length, and without
/// control characters.
pub(super) fn bounded(cause: &dyn Display) -> String {
    let text = cause.to_string();
    let mut shown: String = text
        .chars()
        .take(CAUSE_CHARS_MAX)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect();
    if text.chars().nth(CAUSE_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// What went wrong so far.
#[derive(Default)]
struct Failures {
    most_telling: Option<NetError>,
    texts: Vec<String>,
    unshown: usize,
}

impl Failures {
    fn add(&mut self, error: NetError) {
        if self.texts.len() < FAILURES_SHOWN_MAX {
            self.texts.push(error.text().to_owned());
        } else {
            self.unshown += 1;
        }
        // The attempt that came furthest says most about the server.
        if self.most_telling.as_ref().is_none_or(|known| stage(known) < stage(&error)) {
            self.most_telling = Some(error);
        }
    }

    fn into_error(self) -> NetError {
        let mut text = self.texts.join("; ");
        if self.unshown > 0 {
            text.push_str(&format!("; and {} more", self.unshown));
        }
        match self.most_telling {
            Some(NetError::BlockedAddress(_)) => NetError::BlockedAddress(format!(
                "not dialled: {text}; set outbound.allowed_ranges if it is meant to be"
            )),
            Some(error) => error.map_text(|_one_of_them| text),
            None => NetError::Connect("there is nothing to connect to".to_owned()),
        }
    }
}

/// How far an attempt came.
fn stage(error: &NetError) -> u8 {
    match error {
        NetError::BlockedAddress(_) => 0,
        NetError::Dns(_) => 1,
        NetError::Connect(_) => 2,
        NetError::Timeout(_) => 3,
        NetError::Tls(_) => 4,
        NetError::Http(_) | NetError::TooLarge(_) => 5,
    }
}
