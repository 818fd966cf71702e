//! Server names (appendices, server name).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A homeserver's name, within the spec's grammar; compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(Arc<str>);

/// The host part of a server name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A DNS name.
    Dns(&'a str),
    /// An IPv4 literal.
    Ipv4(Ipv4Addr),
    /// An IPv6 literal, without its brackets.
    Ipv6(Ipv6Addr),
}

/// Why a text is not a server name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerNameError {
    // helpers fill: Empty, TooLong, Host, Port ...
    /// Placeholder.
    Empty,
}

impl ServerName {
    /// Parses a server name.
    pub fn parse(_text: &str) -> Result<Self, ServerNameError> {
        todo!()
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host part.
    pub fn host(&self) -> Host<'_> {
        todo!()
    }

    /// The host part as written, IPv6 literals with their brackets.
    pub fn host_str(&self) -> &str {
        todo!()
    }

    /// The port, if one is given.
    pub fn port(&self) -> Option<u16> {
        todo!()
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
