//! Server names, key IDs and base64.

use std::net::Ipv6Addr;

/// Host and port of a server name; none if the text is none.
pub fn server_name(text: &str) -> Option<(&str, Option<u16>)> {
    if text.len() > 230 {
        return None;
    }
    let host_end = if text.starts_with('[') {
        text.find(']')? + 1
    } else {
        text.find(':').unwrap_or(text.len())
    };
    let (host, rest) = text.split_at(host_end);
    let port = match rest.strip_prefix(':') {
        Some(digits) => Some(port(digits)?),
        None if rest.is_empty() => None,
        None => return None,
    };
    let is_host = match host.strip_prefix('[') {
        Some(literal) => literal.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
        None => is_dns_name(host) || is_ipv4(host),
    };
    is_host.then_some((host, port))
}

fn port(digits: &str) -> Option<u16> {
    if digits.is_empty() || digits.len() > 5 || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let value = digits.bytes().fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    u16::try_from(value).ok().filter(|port| *port > 0)
}

/// Labels of letters, digits and hyphens, among which is something else than a digit.
fn is_dns_name(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '-'))
    };
    host.split('.').all(is_label) && host.contains(|c: char| !c.is_ascii_digit() && c != '.')
}

fn is_ipv4(host: &str) -> bool {
    let is_part = |part: &str| {
        let plain = part == "0" || (!part.is_empty() && !part.starts_with('0'));
        plain
            && part.len() <= 3
            && part.chars().all(|c| c.is_ascii_digit())
            && part.parse::<u16>().unwrap() < 256
    };
    host.split('.').count() == 4 && host.split('.').all(is_part)
}

/// Whether the text is a key ID, and that of an Ed25519 key.
pub fn is_ed25519_key_id(text: &str) -> bool {
    is_key_id(text) && text.starts_with("ed25519:")
}

/// Whether the text is a key ID of any algorithm.
pub fn is_key_id(text: &str) -> bool {
    let printable =
        text.chars().all(|c| ('!'..='~').contains(&c) && c != '"' && c != ',' && c != '\\');
    let colon = text.find(':');
    printable && text.len() <= 128 && colon.is_some_and(|at| at > 0 && at + 1 < text.len())
}

/// The `N` bytes that a text is the base64 of, padded or not, of either alphabet or both, whatever
/// the bits are that are left over.
pub fn base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    let length = (N * 4).div_ceil(3);
    let (characters, padding) = text.as_bytes().split_at_checked(length)?;
    if padding.len() > (4 - length % 4) % 4 || padding.iter().any(|byte| *byte != b'=') {
        return None;
    }
    let mut bits = Vec::with_capacity(length * 6);
    for character in characters {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits.extend((0..6).rev().map(|bit| value >> bit & 1));
    }
    let mut bytes = [0; N];
    for (byte, bits) in bytes.iter_mut().zip(bits.chunks(8)) {
        *byte = bits.iter().fold(0, |byte, bit| byte << 1 | bit);
    }
    Some(bytes)
}

/// Unpadded base64, of the URL-safe alphabet if asked for.
pub fn to_base64(bytes: &[u8], url_safe: bool) -> String {
    let mut alphabet: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').collect();
    alphabet.extend(if url_safe { b"-_" } else { b"+/" });
    let bits: Vec<u8> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let value = |chunk: &[u8]| {
        let value = chunk.iter().fold(0, |value, bit| value << 1 | bit);
        usize::from(value << (6 - chunk.len()))
    };
    bits.chunks(6).map(|chunk| char::from(alphabet[value(chunk)])).collect()
}
