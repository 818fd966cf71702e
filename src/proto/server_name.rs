//! Server names (appendices, server name).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use smol_str::SmolStr;

use super::byte_set::ByteSet;
use super::limits::SERVER_NAME_BYTES_MAX;

/// A homeserver's name, within the spec's grammar; compared byte for byte. Up to 23 bytes stand in place,
/// and nothing is allocated; longer ones are shared by their clones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(SmolStr);

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
    /// Nothing stands where the host should be.
    Empty,
    /// The host has an empty label: two dots in a row, or one at either end.
    EmptyLabel,
    /// The host has a character other than letters, digits, `-` and `.`.
    HostCharacter(char),
    /// The host consists of digits and dots but is no IPv4 address.
    Ipv4,
    /// The host is in brackets but is no IPv6 address.
    Ipv6,
    /// What follows the colon is not a port: 1 to 5 digits, at least 1, at most 65535.
    Port,
    /// The name has this many bytes, more than `SERVER_NAME_BYTES_MAX`.
    TooLong(usize),
}

impl fmt::Display for ServerNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the host is missing"),
            Self::EmptyLabel => {
                f.write_str("the host has an empty label (a leading, trailing or double dot)")
            }
            Self::HostCharacter(character) => {
                write!(f, "the host has {character:?}; want letters, digits, '-' and '.'")
            }
            Self::Ipv4 => f.write_str("the host is digits and dots but not an IPv4 address"),
            Self::Ipv6 => f.write_str("the host is in brackets but not an IPv6 address"),
            Self::Port => f.write_str("the port is not a number from 1 to 65535"),
            Self::TooLong(bytes) => {
                write!(f, "the name has {bytes} bytes, the limit is {SERVER_NAME_BYTES_MAX}")
            }
        }
    }
}

impl std::error::Error for ServerNameError {}

impl ServerName {
    /// Parses a server name. Stricter than the grammar where it admits what cannot be connected to:
    /// ports outside 1 to 65535, digits and dots that are no address, empty labels.
    pub fn parse(text: &str) -> Result<Self, ServerNameError> {
        if text.len() > SERVER_NAME_BYTES_MAX {
            return Err(ServerNameError::TooLong(text.len()));
        }
        let (host, port) = split(text);
        check_host(host)?;
        if let Some(port) = port {
            parse_port(port).ok_or(ServerNameError::Port)?;
        }
        Ok(Self(text.into()))
    }

    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host part.
    pub fn host(&self) -> Host<'_> {
        let host = self.host_str();
        let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(Ok(address)) = literal.map(str::parse) {
            Host::Ipv6(address)
        } else if let Ok(address) = host.parse() {
            Host::Ipv4(address)
        } else {
            Host::Dns(host)
        }
    }

    /// The host part as written, IPv6 literals with their brackets.
    pub fn host_str(&self) -> &str {
        split(&self.0).0
    }

    /// The port, if one is given.
    pub fn port(&self) -> Option<u16> {
        split(&self.0).1.and_then(parse_port)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits off what follows the first colon outside the brackets of an IPv6 literal.
fn split(text: &str) -> (&str, Option<&str>) {
    let bracket = if text.starts_with('[') { text.find(']').unwrap_or(0) } else { 0 };
    let colon = text.bytes().skip(bracket).position(|byte| byte == b':');
    match colon.and_then(|after| text.split_at_checked(bracket + after)) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => (text, None),
    }
}

/// The bytes of a DNS name or an IPv4 address.
static HOST: ByteSet =
    ByteSet::of(b"-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

/// Those of an IPv4 address.
static NUMERIC: ByteSet = ByteSet::of(b".0123456789");

fn check_host(host: &str) -> Result<(), ServerNameError> {
    if host.is_empty() {
        return Err(ServerNameError::Empty);
    }
    if let Some(rest) = host.strip_prefix('[') {
        let literal = rest.strip_suffix(']').ok_or(ServerNameError::Ipv6)?;
        return literal.parse::<Ipv6Addr>().map(drop).map_err(|_error| ServerNameError::Ipv6);
    }
    let allowed = HOST.leading(host.as_bytes());
    if let Some(character) = host.get(allowed..).and_then(|rest| rest.chars().next()) {
        return Err(ServerNameError::HostCharacter(character));
    }
    if host.starts_with('.') || host.ends_with('.') || has_two_dots(host) {
        return Err(ServerNameError::EmptyLabel);
    }
    let is_name = NUMERIC.leading(host.as_bytes()) < host.len();
    if is_name || host.parse::<Ipv4Addr>().is_ok() { Ok(()) } else { Err(ServerNameError::Ipv4) }
}

fn has_two_dots(host: &str) -> bool {
    let pairs = host.bytes().zip(host.bytes().skip(1));
    pairs.fold(false, |has, (one, next)| has | (one == b'.' && next == b'.'))
}

fn parse_port(digits: &str) -> Option<u16> {
    let sound = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| sound && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::test_vectors;

    #[test]
    fn the_specs_examples_parse() {
        let vectors = test_vectors::spec();
        let names = vectors["spec_server_names_valid"].as_array().unwrap();
        assert_eq!(names.len(), 6);
        for name in names {
            let name = name.as_str().unwrap();
            assert_eq!(ServerName::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn host_and_port_come_apart() {
        let parts = |text| {
            let name = ServerName::parse(text).unwrap();
            (name.host_str().to_owned(), name.port(), format!("{:?}", name.host()))
        };
        let want = |host: &str, port, debug: &str| (host.to_owned(), port, debug.to_owned());
        assert_eq!(parts("matrix.org"), want("matrix.org", None, r#"Dns("matrix.org")"#));
        assert_eq!(parts("a-1:8448"), want("a-1", Some(8_448), r#"Dns("a-1")"#));
        assert_eq!(parts("1.2.3.4:1"), want("1.2.3.4", Some(1), "Ipv4(1.2.3.4)"));
        assert_eq!(parts("[::1]"), want("[::1]", None, "Ipv6(::1)"));
        assert_eq!(parts("[::1]:65535"), want("[::1]", Some(65_535), "Ipv6(::1)"));
        assert_eq!(parts("a.example:00443"), want("a.example", Some(443), r#"Dns("a.example")"#));
    }

    #[test]
    fn names_keep_their_case() {
        let name = ServerName::parse("Example.ORG").unwrap();
        assert_eq!(name.as_str(), "Example.ORG");
        assert_ne!(name, ServerName::parse("example.org").unwrap());
    }

    #[test]
    fn r20_what_is_outside_the_grammar_is_refused() {
        use ServerNameError::{Empty, EmptyLabel, HostCharacter, Ipv4, Ipv6, Port};
        let cases = [
            ("", Empty),
            (":8448", Empty),
            (".", EmptyLabel),
            ("a.example.", EmptyLabel),
            ("a..example", EmptyLabel),
            (".example", EmptyLabel),
            ("a_b.example", HostCharacter('_')),
            ("a b", HostCharacter(' ')),
            (" a", HostCharacter(' ')),
            ("a\n", HostCharacter('\n')),
            ("a/b", HostCharacter('/')),
            ("a@b", HostCharacter('@')),
            ("b\u{fc}cher.example", HostCharacter('\u{fc}')),
            ("a]", HostCharacter(']')),
            ("1.2.3", Ipv4),
            ("1.2.3.4.5", Ipv4),
            ("1.2.3.400", Ipv4),
            ("01.2.3.4", Ipv4),
            ("2130706433", Ipv4),
            ("[::1", Ipv6),
            ("[]", Ipv6),
            ("[1.2.3.4]", Ipv6),
            ("[fe80::1%eth0]", Ipv6),
            ("[::1]x:1", Ipv6),
            ("[a.example]", Ipv6),
            ("a.example:", Port),
            ("a.example:0", Port),
            ("a.example:65536", Port),
            ("a.example:99999", Port),
            ("a.example:000001", Port),
            ("a.example:+1", Port),
            ("a.example:-1", Port),
            ("a.example: 84", Port),
            ("a.example:8_4", Port),
            ("a.example:1:2", Port),
            ("localhost:http", Port),
            ("::1", Empty),
            ("a.example:\u{661}", Port),
        ];
        for (text, error) in cases {
            assert_eq!(ServerName::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn r20_a_host_has_letters_digits_dashes_and_dots() {
        for character in (0..=u8::MAX).map(char::from) {
            let in_name = ServerName::parse(&format!("a{character}b.example"));
            // A colon ends the host.
            let is_named = character.is_ascii_alphanumeric() || "-.".contains(character);
            assert_eq!(in_name.is_ok(), is_named, "{character:?}");
            // Digits and dots alone have to be an address, and of these only the one with the dot is.
            let numeric = ServerName::parse(&format!("255{character}0.0.0"));
            let is_name = is_named && !character.is_ascii_digit() && character != '.';
            assert_eq!(numeric.is_ok(), is_name || character == '.', "{character:?}");
        }
    }

    #[test]
    fn the_length_is_bounded() {
        let longest = format!("{}.example", "a".repeat(SERVER_NAME_BYTES_MAX - 8));
        assert_eq!(longest.len(), 230);
        assert!(ServerName::parse(&longest).is_ok());
        let longer = format!("a{longest}");
        assert_eq!(ServerName::parse(&longer), Err(ServerNameError::TooLong(231)));
    }
}
