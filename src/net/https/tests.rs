//! Over real sockets and TLS, against peers on loopback.

mod addresses;
mod answers;
mod certificates;
mod discovery_rows;
mod proxies;
mod roots_files;
mod traces;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::testing::{Authority, Manner, Peer, answer, ok};
use super::*;
use crate::net::dns::{AnsweredBy, Resolved, SrvTarget};

/// A name server that knows what a test tells it.
#[derive(Default)]
struct Names {
    addresses: BTreeMap<String, Vec<IpAddr>>,
    srv: BTreeMap<String, Vec<SrvTarget>>,
}

impl Names {
    fn with(mut self, host: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        self.addresses.insert(host.to_owned(), addresses);
        self
    }

    fn with_srv(mut self, name: &str, host: &str, port: u16) -> Self {
        let target = SrvTarget { priority: 1, weight: 1, host: host.to_owned(), port };
        self.srv.entry(name.to_owned()).or_default().push(target);
        self
    }
}

#[async_trait]
impl Dns for Names {
    async fn addresses(&self, host: &str) -> Result<Resolved<IpAddr>, NetError> {
        Ok(asked(self.addresses.get(host)))
    }

    async fn srv(&self, name: &str) -> Result<Resolved<SrvTarget>, NetError> {
        Ok(asked(self.srv.get(name)))
    }
}

fn asked<T: Clone>(records: Option<&Vec<T>>) -> Resolved<T> {
    let records = records.cloned().unwrap_or_default();
    Resolved { records, answered_by: AnsweredBy::NameServer, no_such_name: false }
}

fn get() -> FederationRequest {
    FederationRequest {
        body: None,
        target: "/_matrix/key/v2/server".to_owned(),
        response_bytes_max: 65_536,
        trace: Trace::default(),
    }
}

fn server_name(text: &str) -> ServerName {
    ServerName::parse(text).expect("a server name")
}

/// Both ports at `port`: a test that needs two peers sets them apart.
fn ports(port: u16) -> Ports {
    Ports { https: port, federation: port }
}

/// A transport that may dial `allowed`.
fn transport_to(
    allowed: &[&str],
    dns: impl Dns,
    authority: &Authority,
    ports: Ports,
    timeouts: Timeouts,
) -> HttpsTransport {
    let metrics = NetMetrics::new().expect("metrics");
    transport_in(&metrics, allowed, dns, authority, ports, timeouts)
}

/// The same, which counts in `metrics`.
fn transport_in(
    metrics: &NetMetrics,
    allowed: &[&str],
    dns: impl Dns,
    authority: &Authority,
    ports: Ports,
    timeouts: Timeouts,
) -> HttpsTransport {
    let allowed = allowed.iter().map(|range| range.parse().expect("a range")).collect();
    let policy = AddressPolicy::new(allowed);
    HttpsTransport::new(Arc::new(dns), policy, authority.roots(), None, ports, timeouts, metrics)
        .expect("a transport")
}

/// A transport that may dial all of loopback.
fn transport(names: Names, authority: &Authority, ports: Ports) -> HttpsTransport {
    transport_to(&["127.0.0.0/8"], names, authority, ports, Timeouts::default())
}
