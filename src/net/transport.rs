//! The one way by which other servers are asked for anything.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

use super::trace::Trace;
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
    /// Takes down how it goes.
    pub trace: Trace,
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

impl NetError {
    /// The kind as a metric label: one of a closed set.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::BlockedAddress(_) => "blocked_address",
            Self::Connect(_) => "connect",
            Self::Dns(_) => "dns",
            Self::Http(_) => "http",
            Self::Timeout(_) => "timeout",
            Self::Tls(_) => "tls",
            Self::TooLarge(_) => "too_large",
        }
    }

    /// The text, which names server, address and cause.
    pub fn text(&self) -> &str {
        match self {
            Self::BlockedAddress(text)
            | Self::Connect(text)
            | Self::Dns(text)
            | Self::Http(text)
            | Self::Timeout(text)
            | Self::Tls(text)
            | Self::TooLarge(text) => text,
        }
    }

    /// The same error with its text passed through `change`.
    pub(super) fn map_text(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::BlockedAddress(text) => Self::BlockedAddress(change(text)),
            Self::Connect(text) => Self::Connect(change(text)),
            Self::Dns(text) => Self::Dns(change(text)),
            Self::Http(text) => Self::Http(change(text)),
            Self::Timeout(text) => Self::Timeout(change(text)),
            Self::Tls(text) => Self::Tls(change(text)),
            Self::TooLarge(text) => Self::TooLarge(change(text)),
        }
    }
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for NetError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_own_label_and_shows_its_text() {
        let text = || "matrix.org: cause".to_owned();
        let all = [
            (NetError::BlockedAddress(text()), "blocked_address"),
            (NetError::Connect(text()), "connect"),
            (NetError::Dns(text()), "dns"),
            (NetError::Http(text()), "http"),
            (NetError::Timeout(text()), "timeout"),
            (NetError::Tls(text()), "tls"),
            (NetError::TooLarge(text()), "too_large"),
        ];
        for (error, label) in all {
            assert_eq!(error.kind(), label);
            assert_eq!(error.to_string(), "matrix.org: cause");
            let longer = error.map_text(|text| format!("{text}!"));
            assert_eq!((longer.kind(), longer.text()), (label, "matrix.org: cause!"));
        }
    }
}
