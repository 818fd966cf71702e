//! The transport to other servers: discovery, one dialer that everything goes through, one request
//! per connection.

mod certificate;
mod dialer;
mod exchange;
mod handshake;
pub mod proxy;
pub mod roots;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::RootCertStore;

use self::dialer::Dialer;
pub use self::proxy::{OutboundProxy, ProxyError, ProxyScheme};
pub use self::roots::RootsError;
use super::address::AddressPolicy;
use super::discovery::cache::WellKnownCache;
use super::discovery::driver::{Discovered, Discovery};
use super::discovery::well_known::{HttpsAnswer, HttpsGet};
use super::discovery::{Endpoint, Ports};
use super::trace::{Action, Outcome, Trace, cut};
use super::transport::{FederationRequest, FederationResponse, FederationTransport};
use super::{Dns, NetError, NetMetrics};
use crate::proto::ServerName;

/// Time for each stage of a request. The whole is bounded by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the well-known document, with all its redirects.
    pub well_known: Duration,
    /// For a TCP connection to one address.
    pub connect: Duration,
    /// For the TLS handshake on it.
    pub tls: Duration,
    /// From sending a request until the head of the answer is there.
    pub head: Duration,
    /// For the whole body of the answer.
    pub body: Duration,
}

impl Default for Timeouts {
    /// Made so that a server whose first address or whose port 443 drops packets is still reached
    /// within ten seconds.
    fn default() -> Self {
        Self {
            well_known: Duration::from_secs(4),
            connect: Duration::from_secs(3),
            tls: Duration::from_secs(3),
            head: Duration::from_secs(5),
            body: Duration::from_secs(5),
        }
    }
}

/// Sends requests over HTTPS.
pub struct HttpsTransport {
    client: Client,
    ports: Ports,
    well_known: WellKnownCache,
    well_known_timeout: Duration,
}

impl HttpsTransport {
    /// A transport that resolves names with `dns`, dials what `policy` lets it, through `proxy` if
    /// there is one, and trusts certificates that lead to `roots`. It counts in `metrics`.
    ///
    /// # Errors
    ///
    /// The TLS library's, should it not like its own defaults.
    pub fn new(
        dns: Arc<dyn Dns>,
        policy: AddressPolicy,
        roots: RootCertStore,
        proxy: Option<OutboundProxy>,
        ports: Ports,
        timeouts: Timeouts,
        metrics: &NetMetrics,
    ) -> Result<Self, rustls::Error> {
        let dialer = Dialer::new(dns, policy, roots, proxy, timeouts, metrics.clone())?;
        let client = Client { dialer, timeouts };
        let well_known = WellKnownCache::new(fastrand::Rng::new(), metrics.clone());
        Ok(Self { client, ports, well_known, well_known_timeout: timeouts.well_known })
    }

    async fn discover(&self, server: &ServerName, trace: &Trace) -> Result<Discovered, NetError> {
        let discovery = Discovery {
            dns: self.client.dialer.dns(),
            https: &Getter { client: &self.client, trace: trace.within() },
            cache: &self.well_known,
            ports: self.ports,
            well_known_timeout: self.well_known_timeout,
            trace,
        };
        discovery.of(server).await
    }
}

#[async_trait]
impl FederationTransport for HttpsTransport {
    async fn send(
        &self,
        server: &ServerName,
        request: FederationRequest,
    ) -> Result<FederationResponse, NetError> {
        let named = |error: NetError| error.map_text(|text| format!("{server}: {text}"));
        let found = self.discover(server, &request.trace).await.map_err(named)?;
        let answer = self.client.send(&found.endpoints, request).await.map_err(|error| {
            // A server that can not be reached is often one whose delegation is broken.
            named(match &found.well_known_failure {
                Some(cause) => error.map_text(|text| format!("{text}; well-known: {cause}")),
                None => error,
            })
        })?;
        Ok(FederationResponse { status: answer.status, body: answer.body })
    }
}

/// Makes one connection and sends one request on it.
struct Client {
    dialer: Dialer,
    timeouts: Timeouts,
}

impl Client {
    /// Sends `request` to the first of `endpoints` that can be connected to. Once it is sent, no
    /// other is tried.
    async fn send(
        &self,
        endpoints: &[Endpoint],
        request: FederationRequest,
    ) -> Result<HttpsAnswer, NetError> {
        let trace = request.trace.clone();
        let (stream, endpoint) = self.dialer.connect(endpoints, &trace).await?;
        let step = trace.begin(|| asked(endpoint, &request));
        let answer =
            exchange::exchange(stream, &endpoint.host_header, request, self.timeouts).await;
        step.result(&answer, answered);
        answer.map_err(|error| error.map_text(|text| format!("{endpoint}: {text}")))
    }
}

fn asked(endpoint: &Endpoint, request: &FederationRequest) -> Action {
    Action::Http {
        method: if request.body.is_some() { "POST" } else { "GET" }.to_owned(),
        host: endpoint.host_header.clone(),
        target: cut(&request.target),
    }
}

fn answered(answer: &HttpsAnswer) -> Outcome {
    let location =
        answer.location.as_ref().map(|location| cut(&location.escape_ascii().to_string()));
    Outcome::Answer { status: answer.status, bytes: answer.body.len(), location }
}

/// Gets what a discovery wants to know.
struct Getter<'a> {
    client: &'a Client,
    trace: Trace,
}

#[async_trait]
impl HttpsGet for Getter<'_> {
    async fn get(
        &self,
        endpoint: &Endpoint,
        target: &str,
        body_bytes_max: usize,
    ) -> Result<HttpsAnswer, NetError> {
        let request = FederationRequest {
            body: None,
            target: target.to_owned(),
            response_bytes_max: body_bytes_max,
            trace: self.trace.clone(),
        };
        self.client.send(std::slice::from_ref(endpoint), request).await
    }
}

#[cfg(test)]
mod tests;
