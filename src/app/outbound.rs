//! The way to other servers, as the settings have it.

use std::sync::Arc;

use super::StartError;
use crate::config::{self, Outbound};
use crate::net::address::AddressPolicy;
use crate::net::discovery::Ports;
use crate::net::dns::HickoryDns;
use crate::net::https::{HttpsTransport, OutboundProxy, ProxyError, ProxyScheme, Timeouts, roots};
use crate::net::{FederationTransport, NetMetrics};

/// The real way to other servers, which counts in `metrics`.
///
/// # Errors
///
/// [`StartError::Outbound`] when the certificates or the name servers it depends on cannot be used.
pub fn transport(
    outbound: &Outbound,
    metrics: &NetMetrics,
) -> Result<Arc<dyn FederationTransport>, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Outbound(error.to_string());
    let roots = match &outbound.ca_file {
        Some(path) => roots::from_file(path).map_err(|error| failed(&error))?,
        None => roots::from_system(),
    };
    let dns = if outbound.dns_servers.is_empty() {
        HickoryDns::from_system(metrics)
    } else {
        HickoryDns::with_servers(&outbound.dns_servers, metrics)
    };
    let dns = Arc::new(dns.map_err(|error| failed(&error))?);
    let policy = AddressPolicy::new(outbound.allowed_ranges.clone());
    let proxy = outbound.proxy.as_ref().map(outbound_proxy).transpose();
    let proxy = proxy.map_err(|error| failed(&error))?;
    let (ports, timeouts) = (Ports::default(), Timeouts::default());
    let transport = HttpsTransport::new(dns, policy, roots, proxy, ports, timeouts, metrics)
        .map_err(|error| failed(&error))?;
    Ok(Arc::new(transport))
}
fn outbound_proxy(proxy: &config::OutboundProxy) -> Result<OutboundProxy, ProxyError> {
    let scheme = match proxy.scheme {
        config::ProxyScheme::Http => ProxyScheme::Http,
        config::ProxyScheme::Socks5 => ProxyScheme::Socks5,
    };
    let credentials =
        proxy.credentials.as_ref().map(|both| (both.user.as_str(), both.password.as_str()));
    OutboundProxy::new(scheme, &proxy.host, proxy.port, credentials)
}
