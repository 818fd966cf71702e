//! What an X-Matrix signature covers.

use std::fmt;

use smallvec::SmallVec;

use super::ServerName;
use super::byte_set::ByteSet;
use super::json::{self, Object};
use super::limits::TARGET_BYTES_MAX;

/// A target up to this length takes no memory of its own, in bytes: a path with an event ID in it has
/// about a hundred.
const TARGET_BYTES_INLINE: usize = 128;

/// A request target that can be signed and forwarded as it is: origin form, printable ASCII, nothing
/// two parsers could read differently.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestTarget {
    text: SmallVec<[u8; TARGET_BYTES_INLINE]>,
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
        let path_end = check_path(raw)?;
        let (_, query) = raw.split_at_checked(path_end).unwrap_or_default();
        let offset = path_end + PLAIN.leading(query);
        if let Some(byte) = raw.get(offset) {
            return Err(forbidden(*byte, offset));
        }
        Ok(Self { text: SmallVec::from_slice(raw), path_end })
    }

    /// The whole target, as received.
    pub fn as_str(&self) -> &str {
        // Those bytes are ASCII.
        str::from_utf8(&self.text).unwrap_or_default()
    }

    /// The query, without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.as_str().get(self.path_end..)?.strip_prefix('?')
    }

    /// The part before the first `?`.
    pub fn path(&self) -> &str {
        self.as_str().get(..self.path_end).unwrap_or_default()
    }
}

impl fmt::Display for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The bytes of a target: printable ASCII, but for what must be escaped (`"<>^`{|}`) and what some parsers
/// read as something else (`#`, backslash).
static PLAIN: ByteSet = ByteSet::of(
    b"!$%&'()*+,-./0123456789:;=?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~",
);

/// Those of a path that need not be looked at: all but what begins a segment, an escape or a query.
static WITHIN_SEGMENT: ByteSet = ByteSet::of(
    b"!$&'()*+,-.0123456789:;=@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz~",
);

const fn forbidden(byte: u8, offset: usize) -> TargetError {
    match byte {
        b'#' => TargetError::Fragment { offset },
        b'\\' => TargetError::Backslash { offset },
        _ => TargetError::ForbiddenByte { byte, offset },
    }
}

/// Checks the path that a target begins with; where it ends.
fn check_path(target: &[u8]) -> Result<usize, TargetError> {
    let mut offset = 0;
    loop {
        offset += WITHIN_SEGMENT.leading(target.get(offset..).unwrap_or_default());
        match target.get(offset..).unwrap_or_default() {
            [] | [b'?', ..] => return Ok(offset),
            [b'/', segment @ ..] => check_segment(segment, offset + 1)?,
            [b'%', escape @ ..] => check_escape(escape, offset)?,
            [byte, ..] => return Err(forbidden(*byte, offset)),
        }
        offset += 1;
    }
}

/// Checks how a segment begins; the last one may be empty.
fn check_segment(segment: &[u8], offset: usize) -> Result<(), TargetError> {
    if segment.starts_with(b"/") {
        return Err(TargetError::EmptySegment { offset });
    }
    let mut rest = segment;
    let mut dots = 0;
    while let [b'.', after @ ..] | [b'%', b'2', b'e' | b'E', after @ ..] = rest {
        rest = after;
        dots += 1;
    }
    match (dots, rest) {
        (1 | 2, [] | [b'/' | b'?', ..]) => Err(TargetError::DotSegment { offset }),
        _ => Ok(()),
    }
}

/// Checks an escape, given what follows its percent sign.
fn check_escape(escape: &[u8], offset: usize) -> Result<(), TargetError> {
    let Some((digits, after)) = escape.split_first_chunk::<2>() else {
        return Err(TargetError::BadEscape { offset });
    };
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(TargetError::BadEscape { offset });
    }
    match digits {
        b"00" => Err(TargetError::Nul { offset }),
        b"5c" | b"5C" => Err(TargetError::Backslash { offset }),
        b"25" if matches!(after, [b'2', b'e' | b'E' | b'f' | b'F', ..]) => {
            Err(TargetError::DoubleEscape { offset })
        }
        _ => Ok(()),
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
        let mut gathered = Gathered { bytes: [0; GATHERED_BYTES], length: 0, sink };
        gathered.push(if self.content.is_some() { b"," } else { b"{" });
        // Neither in a server name nor in a target is anything that a string would have to escape.
        for piece in
            [br#""destination":""#, self.destination.as_str().as_bytes(), br#"","method":"#]
        {
            gathered.push(piece);
        }
        json::write_string(self.method, &mut |piece: &[u8]| gathered.push(piece));
        for piece in [
            br#","origin":""#,
            self.origin.as_str().as_bytes(),
            br#"","uri":""#,
            &self.target.text,
            br#""}"#,
        ] {
            gathered.push(piece);
        }
        gathered.flush();
    }
}

/// How much of short pieces is gathered, in bytes: two server names and most targets.
const GATHERED_BYTES: usize = 512;

/// Short pieces on their way to a sink: a hash takes many at once faster than one by one.
struct Gathered<'s, F> {
    bytes: [u8; GATHERED_BYTES],
    length: usize,
    sink: &'s mut F,
}

impl<F: FnMut(&[u8])> Gathered<'_, F> {
    fn push(&mut self, piece: &[u8]) {
        let end = self.length + piece.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(piece);
            self.length = end;
        } else {
            self.flush();
            (self.sink)(piece);
        }
    }

    fn flush(&mut self) {
        (self.sink)(self.bytes.get(..self.length).unwrap_or_default());
        self.length = 0;
    }
}

#[cfg(test)]
mod tests;
