//! What an X-Matrix signature covers.

use std::fmt;

use super::ServerName;
use super::json::Object;

/// A request target that can be signed and forwarded as it is: origin form, printable ASCII, nothing
/// two parsers could read differently.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestTarget(String);

/// Why a request target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    // to be filled: TooLong, NotOriginForm, ForbiddenByte(u8), Fragment, DotSegment, EmptySegment, Backslash, BadEscape ...
    /// Placeholder.
    TooLong,
}

impl RequestTarget {
    /// Checks the raw bytes of a request target (DESIGN: signed target).
    pub fn parse(_raw: &[u8]) -> Result<Self, TargetError> {
        todo!()
    }

    /// The whole target, as received.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first `?`.
    pub fn path(&self) -> &str {
        todo!()
    }
}

impl fmt::Display for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The signed object: method, uri, origin, destination and, iff there is a body, content (R26).
#[derive(Clone, Copy, Debug)]
pub struct SignedRequest<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// The request target.
    pub target: &'a RequestTarget,
    /// The sending server.
    pub origin: &'a ServerName,
    /// The receiving server.
    pub destination: &'a ServerName,
    /// The body.
    pub content: Option<&'a Object<'a>>,
}

impl SignedRequest<'_> {
    /// Hands the signed bytes, the object's canonical JSON, to `sink` in order.
    pub fn write_signed_bytes(&self, _sink: &mut impl FnMut(&[u8])) {
        todo!()
    }
}
