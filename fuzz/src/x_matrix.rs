//! The `Authorization: X-Matrix` header: as no value may hold a comma, commas are all there is to
//! split at.

use crate::names;

/// The parameters of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    pub origin: String,
    pub destination: Option<String>,
    pub key: String,
    pub sig: String,
}

/// What a header value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    OtherScheme,
    Malformed,
    XMatrix(Parameters),
}

/// Reads a header value.
pub fn parse(value: &[u8]) -> Header {
    let scheme_end = value.iter().position(|byte| !is_token(*byte)).unwrap_or(value.len());
    let (scheme, rest) = value.split_at(scheme_end);
    if scheme.to_ascii_lowercase() != b"x-matrix" {
        return Header::OtherScheme;
    }
    if value.len() > 4_096 || rest.first() != Some(&b' ') {
        return Header::Malformed;
    }
    let first = rest.iter().position(|byte| *byte != b' ').unwrap_or(rest.len());
    parameters(&rest[first..]).map_or(Header::Malformed, Header::XMatrix)
}

fn parameters(text: &[u8]) -> Option<Parameters> {
    let pieces: Vec<&[u8]> = text.split(|byte| *byte == b',').collect();
    let mut found: Vec<(String, String)> = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let leading = if at == 0 { 0 } else { count_spaces(piece.iter()) };
        let piece = &piece[leading..];
        let trailing = if at + 1 == pieces.len() { 0 } else { count_spaces(piece.iter().rev()) };
        let piece = &piece[..piece.len() - trailing];
        let equals = piece.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (&piece[..equals], &piece[equals + 1..]);
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return None;
        }
        let name = String::from_utf8(name.to_ascii_lowercase()).unwrap();
        if found.iter().any(|(other, _)| *other == name) {
            return None;
        }
        found.push((name, self::value(value)?));
    }
    let get =
        |name: &str| found.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
    let origin = get("origin")?;
    names::server_name(&origin)?;
    (found.len() <= 32).then_some(())?;
    Some(Parameters { origin, destination: get("destination"), key: get("key")?, sig: get("sig")? })
}

fn value(text: &[u8]) -> Option<String> {
    let plain = |byte: &u8| (b'!'..=b'~').contains(byte) && !b",\"\\".contains(byte);
    let Some(quoted) = text.strip_prefix(b"\"") else {
        return text.iter().all(plain).then(|| String::from_utf8(text.to_vec()).unwrap());
    };
    let mut rest = quoted.strip_suffix(b"\"")?.iter();
    let mut value = String::new();
    while let Some(byte) = rest.next() {
        let byte = if *byte == b'\\' { rest.next()? } else { byte };
        if !plain(byte) && *byte != b' ' {
            return None;
        }
        value.push(char::from(*byte));
    }
    Some(value)
}

fn count_spaces<'a>(bytes: impl Iterator<Item = &'a u8>) -> usize {
    bytes.take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

fn is_token(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9') || b"!#$%&'*+-.^_`|~".contains(&byte)
}
