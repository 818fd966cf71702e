//! Asking others for keys.

mod answer;
mod batch;
pub mod homeserver;
mod local;
pub mod notary;
pub mod origin;
mod own_keys;

use std::fmt;

use async_trait::async_trait;

pub use homeserver::HomeserverFetcher;
pub use local::{Credentials, LocalHttp, Question};
pub use notary::NotaryFetcher;
pub use origin::OriginFetcher;

use super::record::Source;
use crate::net::NetError;
use crate::net::trace::Trace;
use crate::proto::server_keys::ServerKeys;
use crate::proto::{KeyId, ServerName, Timestamp};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct KeyRequest {
    /// Whose keys.
    pub server: ServerName,
    /// Which ones at least. Empty asks for all there are, which some notaries answer from memory
    /// alone.
    pub key_ids: Vec<KeyId>,
    /// Until when they must be valid at least.
    pub minimum_valid_until: Timestamp,
    /// Takes down how it goes.
    pub trace: Trace,
    /// Whether the server has been seen before. Those never seen before, whose names any stranger can
    /// make up, are asked for apart from the others.
    pub is_known: bool,
}

/// Why a source gave no keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// The source answered with something that is no acceptable key document.
    BadAnswer(String),
    /// Too many questions wait for the source already; it was not asked.
    Busy,
    /// The source could not be reached.
    Net(NetError),
    /// The source is known to serve no keys of other servers, and was not asked.
    NotServed,
    /// The source answered that it does not serve keys (status other than 200).
    Status(u16),
}

/// Longest error text that is passed on, in characters: some of it is written by other servers.
const ERROR_CHARS_MAX: usize = 300;

impl fmt::Display for FetchError {
    /// The cause in one line of printable text, bounded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, text) = match self {
            Self::BadAnswer(text) => ("unacceptable answer", text),
            Self::Busy => return f.write_str("too many questions wait for it already"),
            Self::Net(NetError::BlockedAddress(text)) => ("blocked address", text),
            Self::Net(NetError::Connect(text)) => ("connect", text),
            Self::Net(NetError::Dns(text)) => ("dns", text),
            Self::Net(NetError::Http(text)) => ("http", text),
            Self::Net(NetError::Timeout(text)) => ("timeout", text),
            Self::Net(NetError::Tls(text)) => ("tls", text),
            Self::Net(NetError::TooLarge(text)) => ("answer too large", text),
            Self::NotServed => return f.write_str("serves no keys of other servers"),
            Self::Status(status) => return write!(f, "answered with HTTP status {status}"),
        };
        write!(f, "{kind}: {}", printable(text))
    }
}

/// `text` without control and non-ASCII characters (escaped), bounded.
fn printable(text: &str) -> String {
    let mut printable = String::new();
    for char in text.chars().take(ERROR_CHARS_MAX) {
        if char == ' ' || char.is_ascii_graphic() {
            printable.push(char);
        } else {
            printable.extend(char.escape_default());
        }
    }
    printable
}

/// One source of keys.
#[async_trait]
pub trait KeyFetcher: Send + Sync + 'static {
    /// Which source this is.
    fn source(&self) -> &Source;

    /// Asks for keys. Documents come back checked; an empty list means the source answered and has
    /// none. The caller sets the deadline.
    async fn fetch(&self, request: &KeyRequest) -> Result<Vec<ServerKeys>, FetchError>;

    /// Finds out ahead of the first question whether the source can be asked at all, where that is
    /// not sure and costs nothing; tells the log, and takes a bounded time.
    async fn probe(&self) {}
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
