//! Name resolution, behind a trait so that tests need no resolver.

use std::net::IpAddr;

use async_trait::async_trait;

use super::NetError;

/// One target of an SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrvTarget {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among targets of the same priority.
    pub weight: u16,
    /// The host, without the final dot.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Resolves names.
#[async_trait]
pub trait Dns: Send + Sync + 'static {
    /// The addresses of `host` (A, AAAA, CNAMEs followed). Empty when there are none.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, NetError>;

    /// The SRV records of `name`. Empty when there are none.
    async fn srv(&self, name: &str) -> Result<Vec<SrvTarget>, NetError>;
}
