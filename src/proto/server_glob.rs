//! Globs over server names, as `m.room.server_acl` and moderation policy rules have them: `*` is any
//! number of characters, `?` exactly one, case does not count, and neither do ports.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

use super::ServerName;

/// Longest glob in bytes: the longest host there is (230), and some wildcards.
pub const SERVER_GLOB_BYTES_MAX: usize = 255;

/// A glob that some server name could match, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerGlob(Box<str>);

/// What a glob asks for, from cheap to dear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobShape<'a> {
    /// One name, without wildcards.
    Name(&'a str),
    /// `*.example.org`: every name below one; this is the part from the dot on.
    Below(&'a str),
    /// Anything else.
    Other,
}

/// Why a text is not a glob that a server name could match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerGlobError {
    /// It has a character that no server name has.
    Character(char),
    /// There is nothing.
    Empty,
    /// It has a port, which names are compared without.
    Port,
    /// It has this many bytes, more than [`SERVER_GLOB_BYTES_MAX`].
    TooLong(usize),
}

impl fmt::Display for ServerGlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character(character) => {
                write!(f, "no server name has the character {character:?}")
            }
            Self::Empty => f.write_str("there is no name"),
            Self::Port => f.write_str("names are compared without their ports"),
            Self::TooLong(bytes) => {
                write!(f, "it has {bytes} bytes, the limit is {SERVER_GLOB_BYTES_MAX}")
            }
        }
    }
}

impl std::error::Error for ServerGlobError {}

impl ServerGlobError {
    /// What to write instead.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Character(character) if !character.is_ascii() => {
                "write international names as they are sent, as in \"xn--bcher-kva.example\""
            }
            Self::Character(_) | Self::Empty | Self::TooLong(_) => {
                "write a server name, as in \"example.org\", or a glob, as in \"*.example.org\""
            }
            Self::Port => "leave the port out: the rule holds for all of them",
        }
    }
}

impl ServerGlob {
    /// Reads a glob. Upper case, a trailing dot and the spelling of IPv6 addresses do not count.
    ///
    /// # Errors
    /// When no server name could match it.
    pub fn parse(text: &str) -> Result<Self, ServerGlobError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(ServerGlobError::Empty);
        }
        if text.len() > SERVER_GLOB_BYTES_MAX {
            return Err(ServerGlobError::TooLong(text.len()));
        }
        let is_known = |c: char| c.is_ascii_alphanumeric() || "-.*?[]:".contains(c);
        if let Some(character) = text.chars().find(|c| !is_known(*c)) {
            return Err(ServerGlobError::Character(character));
        }
        // The colons of an IPv6 literal are within its brackets.
        let outside = if text.starts_with('[') { text.split_once(']') } else { Some(("", text)) };
        if outside.is_some_and(|(_, rest)| rest.contains(':')) {
            return Err(ServerGlobError::Port);
        }
        let mut glob = canonical_host(&text.to_ascii_lowercase()).into_owned();
        while glob.contains("**") {
            glob = glob.replace("**", "*");
        }
        Ok(Self(glob.into()))
    }

    /// The glob, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it asks for.
    pub fn shape(&self) -> GlobShape<'_> {
        let has_wildcard = |text: &str| text.contains(['*', '?']);
        match self.0.strip_prefix('*') {
            Some(rest) if rest.starts_with('.') && !has_wildcard(rest) => GlobShape::Below(rest),
            None if !has_wildcard(&self.0) => GlobShape::Name(&self.0),
            Some(_) | None => GlobShape::Other,
        }
    }

    /// Whether a server's [`policy_identity`] matches. At most length times length steps: a star that
    /// has found its place is never asked again once a later one has.
    pub fn matches(&self, identity: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), identity.as_bytes());
        let (mut at, mut seen) = (0, 0);
        // Behind the last star: where the pattern and where the text go on.
        let mut star: Option<(usize, usize)> = None;
        while let Some(byte) = text.get(seen) {
            match pattern.get(at) {
                Some(b'*') => {
                    at += 1;
                    star = Some((at, seen));
                }
                Some(wanted) if *wanted == b'?' || wanted == byte => {
                    at += 1;
                    seen += 1;
                }
                Some(_) | None => {
                    let Some((after, from)) = star else { return false };
                    star = Some((after, from + 1));
                    (at, seen) = (after, from + 1);
                }
            }
        }
        pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
    }
}

impl fmt::Display for ServerGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whom a policy takes a server for (threats K1): its host in lower case, without the port, addresses
/// in their one usual spelling. Keys and signatures are compared with the name as it is.
pub fn policy_identity(server: &ServerName) -> Cow<'_, str> {
    let host = server.host_str();
    if host.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'[') {
        Cow::Owned(canonical_host(&host.to_ascii_lowercase()).into_owned())
    } else {
        Cow::Borrowed(host)
    }
}

/// An IPv6 literal in its usual spelling; anything else as it is.
fn canonical_host(host: &str) -> Cow<'_, str> {
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match literal.map(str::parse::<Ipv6Addr>) {
        Some(Ok(address)) => Cow::Owned(format!("[{address}]")),
        Some(Err(_)) | None => Cow::Borrowed(host),
    }
}

#[cfg(test)]
mod tests;
