//! What single header fields may say, and which of them end here.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST,
    TRAILER, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::shown;
use crate::gate::rejection::{Refusal, Rejection};

/// Digits of the highest port, 65,535.
const PORT_DIGITS_MAX: usize = 5;

/// The values of one field in the order of the head; of most there is one.
pub(super) type Values<'h> = SmallVec<[&'h HeaderValue; 1]>;

/// The fields that have a say in admission, found in one walk over the head.
#[derive(Default)]
pub(super) struct Fields<'h> {
    pub(super) authorization: Values<'h>,
    pub(super) connection: Values<'h>,
    pub(super) content_encoding: Values<'h>,
    pub(super) content_length: Values<'h>,
    pub(super) content_type: Values<'h>,
    pub(super) expect: Values<'h>,
    pub(super) host: Values<'h>,
    pub(super) trailer: Values<'h>,
    pub(super) transfer_encoding: Values<'h>,
}

impl<'h> Fields<'h> {
    pub(super) fn of(headers: &'h HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            let values = match name {
                name if name == AUTHORIZATION => &mut fields.authorization,
                name if name == CONNECTION => &mut fields.connection,
                name if name == CONTENT_ENCODING => &mut fields.content_encoding,
                name if name == CONTENT_LENGTH => &mut fields.content_length,
                name if name == CONTENT_TYPE => &mut fields.content_type,
                name if name == EXPECT => &mut fields.expect,
                name if name == HOST => &mut fields.host,
                name if name == TRAILER => &mut fields.trailer,
                name if name == TRANSFER_ENCODING => &mut fields.transfer_encoding,
                _ => continue,
            };
            values.push(value);
        }
        fields
    }
}

/// A host and perhaps a port (RFC 9110, 7.2), by its bytes: which host it is decides nothing here.
/// Underscores are not in the grammar, but proxies send names of their own with them.
pub(super) fn check_host(values: &[&HeaderValue]) -> Result<(), Refusal> {
    match values.iter().find(|host| !is_host(host.as_bytes())) {
        None => Ok(()),
        Some(host) => Err(Refusal::new(
            Rejection::RequestMalformed,
            format_args!("Host is {}", shown(host.as_bytes())),
        )),
    }
}

fn is_host(value: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
    if value.iter().all(plain) {
        return true;
    }
    let bracket = value.iter().rposition(|byte| *byte == b']').map_or(0, |at| at + 1);
    let Some((literal, rest)) = value.split_at_checked(bracket) else { return false };
    let in_literal = |byte: &u8| byte.is_ascii_hexdigit() || b":.".contains(byte);
    let literal_is_plain = match literal {
        [] => true,
        [b'[', inside @ .., b']'] => inside.iter().all(in_literal),
        _ => false,
    };
    let mut parts = rest.split(|byte| *byte == b':');
    let name = parts.next().unwrap_or_default();
    let name_is_plain = name.iter().all(plain) && (literal.is_empty() || name.is_empty());
    let port = parts.next().unwrap_or_default();
    let port_is_plain = port.len() <= PORT_DIGITS_MAX && port.iter().all(u8::is_ascii_digit);
    literal_is_plain && name_is_plain && port_is_plain && parts.next().is_none()
}

/// Only options that say something about the connection itself: any other would make a hop strip a
/// header that the next one relies on (threats B13).
pub(super) fn check_connection(values: &[&HeaderValue]) -> Result<(), Refusal> {
    const ALLOWED: [&str; 6] =
        ["close", "keep-alive", "te", "upgrade", "http2-settings", "proxy-connection"];
    for value in values {
        let options = str::from_utf8(value.as_bytes()).unwrap_or("\u{fffd}").split(',');
        for option in options.map(str::trim).filter(|o| !o.is_empty()) {
            if !ALLOWED.iter().any(|allowed| allowed.eq_ignore_ascii_case(option)) {
                return Err(Refusal::new(
                    Rejection::RequestMalformed,
                    format_args!("Connection names {}", shown(option.as_bytes())),
                ));
            }
        }
    }
    Ok(())
}

/// No trailer may be announced that would count if a hop merged it into the head: trailers are
/// dropped here, but a proxy in front may have done so before (threats B12).
pub(super) fn check_trailer(values: &[&HeaderValue]) -> Result<(), Refusal> {
    let counts = |name: &HeaderName| {
        is_stripped(name)
            || [AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST].contains(name)
    };
    for value in values {
        for name in value.as_bytes().split(|byte| *byte == b',') {
            if HeaderName::from_bytes(name.trim_ascii()).is_ok_and(|name| !counts(&name)) {
                continue;
            }
            return Err(Refusal::new(
                Rejection::RequestMalformed,
                format_args!("Trailer names {}", shown(name)),
            ));
        }
    }
    Ok(())
}

/// Whether the client waits for `100 Continue`; refuses any other expectation (threats B15).
pub(super) fn check_expect(values: &[&HeaderValue]) -> Result<bool, Refusal> {
    let mut expects = false;
    for value in values {
        if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::new(Rejection::ExpectationUnsupported, shown(value.as_bytes())));
        }
        expects = true;
    }
    Ok(expects)
}

pub(super) fn check_content_encoding(values: &[&HeaderValue]) -> Result<(), Refusal> {
    for value in values {
        if !value.as_bytes().eq_ignore_ascii_case(b"identity") {
            return Err(Refusal::new(Rejection::ContentEncoding, shown(value.as_bytes())));
        }
    }
    Ok(())
}

/// A body is JSON whatever its type says (R33), save where the type makes a server read it another way:
/// Twisted reads forms by itself before Synapse does (CVE-2024-52805), and a charset other than UTF-8
/// gives the same bytes another text (threats B11).
pub(super) fn check_content_type(values: &[&HeaderValue]) -> Result<(), Refusal> {
    let Some((value, further)) = values.split_first() else { return Ok(()) };
    if further.is_empty() && is_read_as_utf8(value.as_bytes()) {
        return Ok(());
    }
    Err(Refusal::new(
        Rejection::ContentEncoding,
        format_args!("Content-Type {}", shown(value.as_bytes())),
    ))
}

fn is_read_as_utf8(content_type: &[u8]) -> bool {
    // What servers send.
    if content_type == b"application/json" {
        return true;
    }
    let Ok(text) = str::from_utf8(content_type) else { return false };
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().as_bytes();
    let begins = |name: &[u8]| kind.get(..name.len()).is_some_and(|k| k.eq_ignore_ascii_case(name));
    let is_form =
        begins(b"multipart/") || kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded");
    let mut charsets = parts
        .filter_map(|part| part.split_once('='))
        .filter(|(name, _)| name.eq_ignore_ascii_case("charset"))
        .map(|(_, charset)| charset.trim_matches('"'));
    let is_utf8 = |name: &str| ["utf-8", "utf8"].iter().any(|own| own.eq_ignore_ascii_case(name));
    !is_form && !text.contains(',') && charsets.all(is_utf8)
}

/// Header fields that only say something about one hop, or that a peer could use to speak in the
/// gate's name; they never reach the homeserver (R101, R102, threats B13).
pub fn is_stripped(name: &HeaderName) -> bool {
    const STRIPPED: [&str; 30] = [
        "cf-connecting-ip",
        "connection",
        "expect",
        "forwarded",
        "http2-settings",
        "keep-alive",
        "proxy",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "true-client-ip",
        "upgrade",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
        "x-envoy-original-path",
        "x-host",
        "x-http-method",
        "x-http-method-override",
        "x-matrix-origin",
        "x-method-override",
        "x-original-host",
        "x-original-method",
        "x-original-uri",
        "x-original-url",
        "x-real-ip",
        "x-rewrite-url",
    ];
    let name = name.as_str();
    // Header names are lower-case here. CGI-like servers read `_` as `-`, so a name with `_` is an
    // alias of one of the others.
    STRIPPED.contains(&name)
        || name.starts_with("x-forwarded-")
        || name.starts_with("x-fedgate-")
        || name.contains('_')
}
