//! What an X-Matrix signature covers.

use std::fmt;

use super::ServerName;
use super::byte_set::ByteSet;
use super::json::{self, Object};
use super::limits::TARGET_BYTES_MAX;

/// A request target that can be signed and forwarded as it is: origin form, printable ASCII, nothing
/// two parsers could read differently.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestTarget {
    text: String,
    /// Where the path ends.
    path_end: usize,
}

/// Why a request target is refused. Offsets are bytes into the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// A backslash stands in the target, or an escaped one (`%5c`) in its path: some parsers read it
    /// as a slash.
    Backslash {
        /// Where it stands.
        offset: usize,
    },
    /// A percent sign in the path is not followed by two hexadecimal digits.
    BadEscape {
        /// Where it stands.
        offset: usize,
    },
    /// A segment of the path is `.` or `..`, escaped or not: some parsers would resolve it.
    DotSegment {
        /// Where the segment starts.
        offset: usize,
    },
    /// The path has an escaped escape of a dot or slash (`%252e`, `%252f`).
    DoubleEscape {
        /// Where it stands.
        offset: usize,
    },
    /// The path has an empty segment (`//`): some parsers would merge it.
    EmptySegment {
        /// Where the segment should start.
        offset: usize,
    },
    /// A byte outside printable ASCII, or one that must be escaped.
    ForbiddenByte {
        /// The byte.
        byte: u8,
        /// Where it stands.
        offset: usize,
    },
    /// The target has a fragment, which is no part of a request.
    Fragment {
        /// Where the `#` stands.
        offset: usize,
    },
    /// The path has an escaped NUL (`%00`).
    Nul {
        /// Where it stands.
        offset: usize,
    },
    /// The target does not start with a slash.
    NotOriginForm,
    /// The target has this many bytes, more than `TARGET_BYTES_MAX`.
    TooLong(usize),
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backslash { offset } => write!(f, "a backslash at byte {offset} of the target"),
            Self::BadEscape { offset } => {
                write!(f, "a percent sign without two hexadecimal digits at byte {offset}")
            }
            Self::DotSegment { offset } => {
                write!(f, "a dot segment ('.' or '..') at byte {offset} of the path")
            }
            Self::DoubleEscape { offset } => {
                write!(f, "a dot or slash that is escaped twice at byte {offset} of the path")
            }
            Self::EmptySegment { offset } => {
                write!(f, "an empty segment ('//') at byte {offset} of the path")
            }
            Self::ForbiddenByte { byte, offset } => {
                write!(f, "byte 0x{byte:02x} at byte {offset} is not allowed in a target")
            }
            Self::Fragment { offset } => write!(f, "a fragment ('#') at byte {offset}"),
            Self::Nul { offset } => write!(f, "an escaped NUL at byte {offset} of the path"),
            Self::NotOriginForm => f.write_str("the target does not start with '/'"),
            Self::TooLong(bytes) => {
                write!(f, "the target has {bytes} bytes, the limit is {TARGET_BYTES_MAX}")
            }
        }
    }
}

impl std::error::Error for TargetError {}

impl RequestTarget {
    /// Checks the raw bytes of a request target. Nothing is decoded or changed: what passes is
    /// signed, routed and forwarded byte for byte (R27, R28).
    pub fn parse(raw: &[u8]) -> Result<Self, TargetError> {
        if raw.len() > TARGET_BYTES_MAX {
            return Err(TargetError::TooLong(raw.len()));
        }
        if raw.first() != Some(&b'/') {
            return Err(TargetError::NotOriginForm);
        }
        let offset = PLAIN.leading(raw);
        if let Some(byte) = raw.get(offset).copied() {
            return Err(match byte {
                b'#' => TargetError::Fragment { offset },
                b'\\' => TargetError::Backslash { offset },
                _ => TargetError::ForbiddenByte { byte, offset },
            });
        }
        let path_end = raw.iter().position(|byte| *byte == b'?').unwrap_or(raw.len());
        // Those bytes are ASCII.
        let text = str::from_utf8(raw).unwrap_or_default().to_owned();
        let target = Self { text, path_end };
        check_path(target.path())?;
        Ok(target)
    }

    /// The whole target, as received.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The query, without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.text.get(self.path_end..)?.strip_prefix('?')
    }

    /// The part before the first `?`.
    pub fn path(&self) -> &str {
        self.text.get(..self.path_end).unwrap_or_default()
    }
}

impl fmt::Display for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The bytes of a target: printable ASCII, but for what must be escaped (`"<>^`{|}`) and what some parsers
/// read as something else (`#`, backslash).
static PLAIN: ByteSet = ByteSet::of(
    b"!$%&'()*+,-./0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~",
);

/// Checks the segments of a path that starts with a slash; the last one may be empty.
fn check_path(path: &str) -> Result<(), TargetError> {
    check_escapes(path.as_bytes())?;
    let mut offset = 1;
    for segment in path.split('/').skip(1) {
        let end = offset + segment.len();
        if segment.is_empty() && end < path.len() {
            return Err(TargetError::EmptySegment { offset });
        }
        if is_dot_segment(segment) {
            return Err(TargetError::DotSegment { offset });
        }
        offset = end + 1;
    }
    Ok(())
}

fn is_dot_segment(segment: &str) -> bool {
    let mut rest = segment;
    let mut dots = 0;
    while let Some(after) = strip_dot(rest) {
        rest = after;
        dots += 1;
    }
    rest.is_empty() && (dots == 1 || dots == 2)
}

fn strip_dot(text: &str) -> Option<&str> {
    [".", "%2e", "%2E"].iter().find_map(|dot| text.strip_prefix(dot))
}

fn check_escapes(path: &[u8]) -> Result<(), TargetError> {
    let escapes = path.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    for (offset, _) in escapes {
        let digits = path.get(offset + 1..offset + 3).unwrap_or_default();
        if digits.len() < 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(TargetError::BadEscape { offset });
        }
        let after = path.get(offset + 3..offset + 5).unwrap_or_default();
        match digits {
            b"00" => return Err(TargetError::Nul { offset }),
            b"5c" | b"5C" => return Err(TargetError::Backslash { offset }),
            b"25" if matches!(after, b"2e" | b"2E" | b"2f" | b"2F") => {
                return Err(TargetError::DoubleEscape { offset });
            }
            _ => {}
        }
    }
    Ok(())
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
    /// What stands before the content among the signed bytes.
    pub const BEFORE_CONTENT: &'static [u8] = br#"{"content":"#;

    /// Hands the signed bytes, the object's canonical JSON, to `sink` in order.
    pub fn write_signed_bytes(&self, sink: &mut impl FnMut(&[u8])) {
        if let Some(content) = self.content {
            sink(Self::BEFORE_CONTENT);
            content.write_canonical(sink);
        }
        self.write_behind_content(sink);
    }

    /// The same but for the content, if there is one, and what stands before it.
    pub fn write_behind_content(&self, sink: &mut impl FnMut(&[u8])) {
        sink(if self.content.is_some() { br#","destination":"# } else { br#"{"destination":"# });
        json::write_string(self.destination.as_str(), sink);
        sink(br#","method":"#);
        json::write_string(self.method, sink);
        sink(br#","origin":"#);
        json::write_string(self.origin.as_str(), sink);
        sink(br#","uri":"#);
        json::write_string(self.target.as_str(), sink);
        sink(b"}");
    }
}

#[cfg(test)]
mod tests;
