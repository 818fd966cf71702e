//! Everything about a request that can be judged without a key, without IO and without its body.

mod fields;

use http::{HeaderMap, HeaderValue, Method};
use smallvec::{SmallVec, smallvec};

pub use self::fields::is_stripped;
use self::fields::{
    Fields, check_connection, check_content_encoding, check_content_type, check_expect, check_host,
    check_trailer,
};

use super::rejection::{Refusal, Rejection};
use super::route::{Access, Endpoint, route};
use crate::proto::ed25519::Signature;
use crate::proto::limits::X_MATRIX_HEADERS_MAX;
use crate::proto::signed_request::{RequestTarget, TargetError};
use crate::proto::x_matrix::XMatrix;
use crate::proto::{KeyId, ServerName};

/// Largest body on an open route, in bytes: the biggest honest one is a notary query for the servers of
/// a large room, some thousand.
pub const OPEN_BODY_BYTES_MAX: usize = 1 << 20;

/// Largest head, in bytes of header names and values: eight full X-Matrix headers and as much again.
pub const HEAD_BYTES_MAX: usize = 65_536;

/// How much of a text a peer chose may stand in a log line, in bytes.
const DETAIL_BYTES_MAX: usize = 128;

/// A request's head as received.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The bytes of the request target.
    pub raw_target: &'a [u8],
    /// The header fields.
    pub headers: &'a HeaderMap,
}

/// A head that may proceed.
#[derive(Debug)]
pub struct Admitted {
    /// Which operation, for metrics and logs.
    pub endpoint: Endpoint,
    /// The method.
    pub method: Method,
    /// The target, byte for byte as received.
    pub target: RequestTarget,
    /// What the request has to show, and what it showed.
    pub claim: Claim,
    /// What its body may be.
    pub body: BodyRule,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// What a request claims.
#[derive(Debug)]
pub enum Claim {
    /// Nothing: it is open to all.
    Open,
    /// Nothing: the gate has no business with it.
    Other,
    /// To come from an origin.
    Signed(Credentials),
}

/// Who a request says it is from, and the signatures that should prove it.
#[derive(Debug)]
pub struct Credentials {
    /// The claimed origin.
    pub origin: ServerName,
    /// Our names the request may have been signed for: the one it states, else each of ours (R21).
    pub destinations: Destinations,
    /// One signature per header, with distinct key IDs.
    pub signatures: Signatures,
}

/// Names of ours; where one is stated it is that one.
pub type Destinations = SmallVec<[ServerName; 1]>;

/// Signatures by key ID; most servers have one key.
pub type Signatures = SmallVec<[(KeyId, Signature); 1]>;

/// What body a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRule {
    /// Any bytes up to the cap: nobody signs them.
    Bounded {
        /// The cap in bytes.
        bytes_max: usize,
    },
    /// None at all.
    Empty,
    /// Exactly one JSON object up to the cap.
    Object {
        /// The cap in bytes.
        bytes_max: usize,
    },
    /// Whatever it is: it passes as it comes.
    Unbounded,
}

/// Judges a head. `server_names` are ours; `body_bytes_max` is the cap on signed bodies.
pub fn admit(
    head: RequestHead<'_>,
    server_names: &[ServerName],
    body_bytes_max: usize,
) -> Result<Admitted, Refusal> {
    check_head_size(head)?;
    let method = check_method(head.method)?;
    let target = RequestTarget::parse(head.raw_target).map_err(refuse_target)?;
    let fields = Fields::of(head.headers);
    let length = declared_length(&fields.content_length, &fields.transfer_encoding)?;
    check_host(&fields.host)?;
    check_connection(&fields.connection)?;
    check_trailer(&fields.trailer)?;
    let expects_continue = check_expect(&fields.expect)?;
    let route = route(&method, &target)?;
    let body = BodyRule::new(route.access, &method, body_bytes_max);
    let claim = body
        .check_length(length)
        .and_then(|()| body.check_type(&fields.content_type))
        .and_then(|()| claim(route.access, &fields, server_names))
        .map_err(|refusal| refusal.of_endpoint(route.endpoint))?;
    Ok(Admitted { endpoint: route.endpoint, method, target, claim, body, expects_continue })
}

/// What the headers claim, on a route with this access.
fn claim(access: Access, fields: &Fields<'_>, own: &[ServerName]) -> Result<Claim, Refusal> {
    match access {
        Access::Other => Ok(Claim::Other),
        Access::Open => check_content_encoding(&fields.content_encoding).map(|()| Claim::Open),
        Access::Signed => {
            check_content_encoding(&fields.content_encoding)?;
            credentials(&fields.authorization, own).map(Claim::Signed)
        }
    }
}

fn refuse_target(error: TargetError) -> Refusal {
    let too_long = matches!(error, TargetError::TooLong(_));
    Refusal::new(if too_long { Rejection::HeadTooLarge } else { Rejection::TargetRefused }, error)
}

/// How much a head has to say, in bytes.
pub fn head_bytes(head: RequestHead<'_>) -> usize {
    let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    head.raw_target.len() + fields.sum::<usize>()
}

fn check_head_size(head: RequestHead<'_>) -> Result<(), Refusal> {
    let bytes = head_bytes(head) - head.raw_target.len();
    if bytes <= HEAD_BYTES_MAX {
        return Ok(());
    }
    Err(Refusal::new(Rejection::HeadTooLarge, format_args!("{bytes} bytes of headers")))
}

fn check_method(method: &Method) -> Result<Method, Refusal> {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::PUT
        | Method::POST
        | Method::DELETE
        | Method::OPTIONS
        | Method::PATCH => Ok(method.clone()),
        _ => Err(Refusal::new(Rejection::MethodNotAllowed, shown(method.as_str().as_bytes()))),
    }
}

/// The body's declared length; refuses whatever two parsers could read differently (threats B1).
fn declared_length(
    lengths: &[&HeaderValue],
    codings: &[&HeaderValue],
) -> Result<DeclaredLength, Refusal> {
    let ambiguous = |detail: &str| Refusal::new(Rejection::FramingAmbiguous, detail);
    match (lengths, codings) {
        ([_, _, ..], _) => Err(ambiguous("more than one Content-Length")),
        (_, [_, _, ..]) => Err(ambiguous("more than one Transfer-Encoding")),
        ([], []) => Ok(DeclaredLength::None),
        ([_], [_]) => Err(ambiguous("both Content-Length and Transfer-Encoding")),
        ([], [coding]) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            Ok(DeclaredLength::Chunked)
        }
        ([], [_]) => Err(ambiguous("Transfer-Encoding is not chunked alone")),
        ([length], []) => parse_length(length.as_bytes())
            .map(DeclaredLength::Bytes)
            .ok_or_else(|| ambiguous("Content-Length is not a plain number")),
    }
}

/// `0` or digits without leading zeros: `+5`, `05` and `5, 5` are read differently by different
/// parsers.
fn parse_length(text: &[u8]) -> Option<u64> {
    let text = str::from_utf8(text).ok()?;
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeclaredLength {
    Bytes(u64),
    Chunked,
    None,
}

impl BodyRule {
    /// The rule for a route with this access. In federation PUT and POST carry content, and no other
    /// method does (R31, R32).
    fn new(access: Access, method: &Method, object_bytes_max: usize) -> Self {
        let has_content = matches!(*method, Method::PUT | Method::POST);
        match (access, has_content) {
            (Access::Other, _) => Self::Unbounded,
            (_, false) => Self::Empty,
            (Access::Open, true) => Self::Bounded { bytes_max: OPEN_BODY_BYTES_MAX },
            (Access::Signed, true) => Self::Object { bytes_max: object_bytes_max },
        }
    }

    /// The most bytes that are read.
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Bounded { bytes_max } | Self::Object { bytes_max } => bytes_max,
            Self::Empty => 0,
            Self::Unbounded => usize::MAX,
        }
    }

    /// The refusal for a body with more bytes than that.
    pub fn overrun(self) -> Refusal {
        match self {
            Self::Empty => Refusal::new(Rejection::BodyForbidden, "a body where none belongs"),
            Self::Bounded { bytes_max } | Self::Object { bytes_max } => {
                Refusal::new(Rejection::BodyTooLarge, format_args!("more than {bytes_max} bytes"))
            }
            Self::Unbounded => Refusal::new(Rejection::InternalError, "overrun of no bound"),
        }
    }

    fn check_type(self, types: &[&HeaderValue]) -> Result<(), Refusal> {
        match self {
            Self::Object { .. } => check_content_type(types),
            Self::Bounded { .. } | Self::Empty | Self::Unbounded => Ok(()),
        }
    }

    fn check_length(self, declared: DeclaredLength) -> Result<(), Refusal> {
        let over = match (self, declared) {
            (_, DeclaredLength::None) => false,
            (_, DeclaredLength::Bytes(length)) => {
                usize::try_from(length).map_or(true, |length| length > self.bytes_max())
            }
            // A chunked body may still turn out empty, but no honest sender frames nothing.
            (rule, DeclaredLength::Chunked) => rule == Self::Empty,
        };
        if over { Err(self.overrun()) } else { Ok(()) }
    }
}

/// Reads the X-Matrix headers: all must agree on origin and destination and carry distinct keys
/// (R10 to R24).
fn credentials(values: &[&HeaderValue], own: &[ServerName]) -> Result<Credentials, Refusal> {
    let mut found: SmallVec<[XMatrix<'_>; 1]> = SmallVec::new();
    for value in values {
        let parsed = XMatrix::parse(value.as_bytes())
            .map_err(|error| Refusal::new(Rejection::HeaderMalformed, error))?;
        found.extend(parsed);
        if found.len() > X_MATRIX_HEADERS_MAX {
            return Err(Refusal::new(
                Rejection::HeadersDisagree,
                format_args!("more than {X_MATRIX_HEADERS_MAX} X-Matrix headers"),
            ));
        }
    }
    let Some(first) = found.first() else {
        return Err(Refusal::new(Rejection::HeaderMissing, "no X-Matrix header"));
    };
    let origin = &first.origin;
    agreed(&found, first, own).map_err(|refusal| refusal.of_origin(origin))
}

/// The credentials of headers that agree with the first of them.
fn agreed(
    found: &[XMatrix<'_>],
    first: &XMatrix<'_>,
    own: &[ServerName],
) -> Result<Credentials, Refusal> {
    if let Some(other) = found.iter().find(|x| x.origin != first.origin) {
        return Err(Refusal::new(
            Rejection::HeadersDisagree,
            format_args!("origins {} and {}", first.origin, other.origin),
        ));
    }
    if found.iter().any(|x| x.destination != first.destination) {
        return Err(Refusal::new(Rejection::HeadersDisagree, "different destinations"));
    }
    Ok(Credentials {
        origin: first.origin.clone(),
        destinations: destinations(first.destination.as_deref(), own)?,
        signatures: signatures(found)?,
    })
}

/// The stated destination, which must be ours byte for byte (R22), else each of our names (R21).
fn destinations(stated: Option<&str>, own: &[ServerName]) -> Result<Destinations, Refusal> {
    let Some(stated) = stated else { return Ok(own.iter().cloned().collect()) };
    let meant = own.iter().find(|name| name.as_str() == stated);
    meant.map(|name| smallvec![name.clone()]).ok_or_else(|| {
        Refusal::new(
            Rejection::DestinationMismatch,
            format_args!("destination is {}", shown(stated.as_bytes())),
        )
    })
}

fn signatures(headers: &[XMatrix<'_>]) -> Result<Signatures, Refusal> {
    let mut signatures = Signatures::new();
    let mut unsupported = None;
    for header in headers {
        let id = match KeyId::parse(&header.key) {
            Ok(id) if id.is_ed25519() => id,
            // R43: it does not authenticate, but another header may.
            _ => {
                unsupported = Some(&header.key);
                continue;
            }
        };
        if signatures.iter().any(|(known, _)| *known == id) {
            return Err(Refusal::new(
                Rejection::HeadersDisagree,
                format_args!("key {id} is used twice"),
            ));
        }
        let signature = Signature::from_base64(&header.sig).ok_or_else(|| {
            Refusal::new(
                Rejection::BadSignature,
                format_args!("signature by {id} is not the base64 of 64 bytes"),
            )
        })?;
        signatures.push((id, signature));
    }
    match (signatures.is_empty(), unsupported) {
        (true, Some(key)) => Err(Refusal::new(
            Rejection::KeyUnsupported,
            format_args!("key ID {}", shown(key.as_bytes())),
        )),
        _ => Ok(signatures),
    }
}

/// A text a peer chose, made fit for a log line: bounded, printable ASCII.
pub fn shown(bytes: &[u8]) -> String {
    let cut = bytes.get(..DETAIL_BYTES_MAX);
    let mut text = cut.unwrap_or(bytes).escape_ascii().to_string();
    if cut.is_some_and(|cut| cut.len() < bytes.len()) {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests;
