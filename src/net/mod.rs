//! Talking to other servers: where they are, which addresses may be dialled, one transport for all.

pub mod address;
pub mod discovery;
pub mod dns;
pub mod https;
pub mod metrics;
pub mod trace;
pub mod transport;

pub use dns::Dns;
pub use metrics::NetMetrics;
pub use transport::{FederationTransport, NetError};
