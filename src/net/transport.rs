//! The one way by which other servers are asked for anything.

use async_trait::async_trait;
use bytes::Bytes;

use crate::proto::ServerName;

/// A request to another homeserver's federation port.
#[derive(Clone, Debug)]
pub struct FederationRequest {
    /// GET without a body, or POST with a JSON body.
    pub body: Option<Bytes>,
    /// The request target, starting with `/_matrix/`.
    pub target: String,
    /// Largest answer that is read, in bytes.
    pub response_bytes_max: usize,
}

/// An answer, read whole and bounded.
#[derive(Clone, Debug)]
pub struct FederationResponse {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Sends requests to homeservers by their server names: discovery, dialling, TLS and all.
#[async_trait]
pub trait FederationTransport: Send + Sync + 'static {
    /// Sends one request to `server` and reads the whole answer. The caller sets the deadline.
    async fn send(
        &self,
        server: &ServerName,
        request: FederationRequest,
    ) -> Result<FederationResponse, NetError>;
}

/// Why another server could not be asked. The texts name host and cause, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetError {
    /// Every address is in a range that is not dialled.
    BlockedAddress(String),
    /// No address took the connection.
    Connect(String),
    /// The name could not be resolved.
    Dns(String),
    /// The answer is not proper HTTP, or ended early.
    Http(String),
    /// The deadline passed.
    Timeout(String),
    /// No proper TLS, or the certificate is not for the expected name.
    Tls(String),
    /// The answer is larger than allowed.
    TooLarge(String),
}
