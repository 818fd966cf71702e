//! Which operation a request asks for: an anchored table over method and raw path.
//!
//! Only the seven open operations of the spec pass without a signature, by exact method and path.
//! Everything else under a federation prefix is signed, known or not (R1 to R5): the table of signed
//! operations serves metrics, never a decision.

use std::collections::BTreeSet;

use http::Method;

use super::rejection::{Refusal, Rejection};
use crate::proto::signed_request::RequestTarget;

/// An operation, as a metric label. Closed: what is not listed is [`Endpoint::Unlisted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// `GET /_matrix/federation/v1/backfill/{roomId}`
    Backfill,
    /// `GET /_matrix/federation/v1/event/{eventId}`
    Event,
    /// `GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}`
    EventAuth,
    /// `PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}`
    ExchangeThirdPartyInvite,
    /// `POST /_matrix/federation/v1/get_missing_events/{roomId}`
    GetMissingEvents,
    /// `GET /_matrix/federation/v1/hierarchy/{roomId}`
    Hierarchy,
    /// `PUT /_matrix/federation/v{1,2}/invite/{roomId}/{eventId}`
    Invite,
    /// `GET` and `POST /_matrix/key/v2/query`
    KeyQuery,
    /// `GET /_matrix/key/v2/server`
    KeyServer,
    /// `GET /_matrix/federation/v1/make_join/{roomId}/{userId}`
    MakeJoin,
    /// `GET /_matrix/federation/v1/make_knock/{roomId}/{userId}`
    MakeKnock,
    /// `GET /_matrix/federation/v1/make_leave/{roomId}/{userId}`
    MakeLeave,
    /// `GET /_matrix/federation/v1/media/{download,thumbnail}/{mediaId}`
    Media,
    /// `PUT` and `POST /_matrix/federation/v1/3pid/onbind`
    Onbind,
    /// `GET /_matrix/federation/v1/openid/userinfo`
    OpenidUserinfo,
    /// A path outside federation.
    Other,
    /// `POST /_matrix/policy/v1/sign`
    PolicySign,
    /// `GET` and `POST /_matrix/federation/v1/publicRooms`
    PublicRooms,
    /// `GET /_matrix/federation/v1/query/{queryType}`
    Query,
    /// `PUT /_matrix/federation/v1/send/{txnId}`
    Send,
    /// `PUT /_matrix/federation/v{1,2}/send_join/{roomId}/{eventId}`
    SendJoin,
    /// `PUT /_matrix/federation/v1/send_knock/{roomId}/{eventId}`
    SendKnock,
    /// `PUT /_matrix/federation/v{1,2}/send_leave/{roomId}/{eventId}`
    SendLeave,
    /// `GET /_matrix/federation/v1/state/{roomId}`
    State,
    /// `GET /_matrix/federation/v1/state_ids/{roomId}`
    StateIds,
    /// `GET /_matrix/federation/v1/timestamp_to_event/{roomId}`
    TimestampToEvent,
    /// A signed path that the table does not list.
    Unlisted,
    /// `GET /_matrix/federation/v1/user/devices/{userId}`
    UserDevices,
    /// `POST /_matrix/federation/v1/user/keys/{claim,query}`
    UserKeys,
    /// `GET /_matrix/federation/v1/version`
    Version,
    /// `GET /.well-known/matrix/server`
    WellKnown,
}

/// What a request has to show before it is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: one of the spec's open operations.
    Open,
    /// Nothing, and the gate has no business with it.
    Other,
    /// A valid signature of its origin.
    Signed,
}

/// The outcome of routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Which operation.
    pub endpoint: Endpoint,
    /// What it has to show.
    pub access: Access,
}

/// The open operations: fixed part of the path, number of parameters after it, methods. The forms of
/// the key endpoints beyond v1.19 are those deployed servers still ask for (R3, R8).
const OPEN: [(&str, usize, &[Method], Endpoint); 9] = [
    ("/.well-known/matrix/server", 0, &[Method::GET], Endpoint::WellKnown),
    ("/_matrix/federation/v1/version", 0, &[Method::GET], Endpoint::Version),
    ("/_matrix/federation/v1/openid/userinfo", 0, &[Method::GET], Endpoint::OpenidUserinfo),
    ("/_matrix/federation/v1/3pid/onbind", 0, &[Method::PUT, Method::POST], Endpoint::Onbind),
    ("/_matrix/key/v2/server", 0, &[Method::GET], Endpoint::KeyServer),
    ("/_matrix/key/v2/server/", 1, &[Method::GET], Endpoint::KeyServer),
    ("/_matrix/key/v2/query", 0, &[Method::POST], Endpoint::KeyQuery),
    ("/_matrix/key/v2/query/", 1, &[Method::GET], Endpoint::KeyQuery),
    ("/_matrix/key/v2/query/", 2, &[Method::GET], Endpoint::KeyQuery),
];

/// The signed operations the metrics tell apart; a trailing slash is allowed on each, as Synapse
/// does.
const SIGNED: [(&str, usize, Endpoint); 33] = [
    ("/_matrix/federation/v1/backfill/", 1, Endpoint::Backfill),
    ("/_matrix/federation/v1/event/", 1, Endpoint::Event),
    ("/_matrix/federation/v1/event_auth/", 2, Endpoint::EventAuth),
    ("/_matrix/federation/v1/exchange_third_party_invite/", 1, Endpoint::ExchangeThirdPartyInvite),
    ("/_matrix/federation/v1/get_missing_events/", 1, Endpoint::GetMissingEvents),
    ("/_matrix/federation/v1/hierarchy/", 1, Endpoint::Hierarchy),
    ("/_matrix/federation/v1/invite/", 2, Endpoint::Invite),
    ("/_matrix/federation/v2/invite/", 2, Endpoint::Invite),
    ("/_matrix/federation/v1/make_join/", 2, Endpoint::MakeJoin),
    ("/_matrix/federation/v1/make_knock/", 2, Endpoint::MakeKnock),
    ("/_matrix/federation/v1/make_leave/", 2, Endpoint::MakeLeave),
    ("/_matrix/federation/v1/media/download/", 1, Endpoint::Media),
    ("/_matrix/federation/v1/media/thumbnail/", 1, Endpoint::Media),
    ("/_matrix/federation/v1/publicRooms", 0, Endpoint::PublicRooms),
    ("/_matrix/federation/v1/query/", 1, Endpoint::Query),
    ("/_matrix/federation/v1/send/", 1, Endpoint::Send),
    ("/_matrix/federation/v1/send_join/", 2, Endpoint::SendJoin),
    ("/_matrix/federation/v2/send_join/", 2, Endpoint::SendJoin),
    ("/_matrix/federation/v1/send_knock/", 2, Endpoint::SendKnock),
    ("/_matrix/federation/v1/send_leave/", 2, Endpoint::SendLeave),
    ("/_matrix/federation/v2/send_leave/", 2, Endpoint::SendLeave),
    ("/_matrix/federation/v1/state/", 1, Endpoint::State),
    ("/_matrix/federation/v1/state_ids/", 1, Endpoint::StateIds),
    ("/_matrix/federation/v1/timestamp_to_event/", 1, Endpoint::TimestampToEvent),
    (
        "/_matrix/federation/unstable/org.matrix.msc3030/timestamp_to_event/",
        1,
        Endpoint::TimestampToEvent,
    ),
    ("/_matrix/federation/v1/user/devices/", 1, Endpoint::UserDevices),
    ("/_matrix/federation/v1/user/keys/claim", 0, Endpoint::UserKeys),
    ("/_matrix/federation/unstable/user/keys/claim", 0, Endpoint::UserKeys),
    ("/_matrix/federation/v1/user/keys/query", 0, Endpoint::UserKeys),
    ("/_matrix/policy/v1/sign", 0, Endpoint::PolicySign),
    ("/_matrix/policy/unstable/org.matrix.msc4284/sign", 0, Endpoint::PolicySign),
    ("/_matrix/federation/unstable/org.matrix.msc2946/hierarchy/", 1, Endpoint::Hierarchy),
    ("/_matrix/federation/unstable/org.matrix.msc3916.v2/media/download/", 1, Endpoint::Media),
];

/// Prefixes under which everything is signed unless listed as open.
const SIGNED_PREFIXES: [&str; 2] = ["/_matrix/federation", "/_matrix/policy"];

/// The prefix of the key endpoints: open as listed, nothing else.
const KEY_PREFIX: &str = "/_matrix/key";

/// How many leading segments of a path under our prefixes name the operation: `_matrix`,
/// `federation`, the version, the operation. An escape in one of them is another spelling of a path
/// that some router decodes and some does not.
const FIXED_SEGMENTS: usize = 4;

/// How often a path may be percent-decoded before it is given up as an attempt to hide something.
const DECODE_ROUNDS_MAX: usize = 4;

/// Finds the operation of a request.
pub fn route(method: &Method, target: &RequestTarget) -> Result<Route, Refusal> {
    let path = target.path();
    if let Some((_, _, methods, endpoint)) = OPEN.iter().find(|(f, n, ..)| matches(f, *n, path)) {
        if methods.contains(method) {
            return Ok(Route { endpoint: *endpoint, access: Access::Open });
        }
        return Err(Refusal::new(Rejection::MethodNotAllowed, format_args!("{method} {path}")));
    }
    if SIGNED_PREFIXES.iter().any(|prefix| under(prefix, path)) {
        let endpoint = signed_endpoint(path);
        // A path that is listed has its fixed part in plain letters.
        if endpoint == Endpoint::Unlisted {
            refuse_escapes_in_fixed_part(path)?;
        }
        return Ok(Route { endpoint, access: Access::Signed });
    }
    if under(KEY_PREFIX, path) {
        return Err(Refusal::new(Rejection::OtherPath, "no such key endpoint"));
    }
    refuse_hidden_prefix(path)?;
    Ok(Route { endpoint: Endpoint::Other, access: Access::Other })
}

fn signed_endpoint(path: &str) -> Endpoint {
    let path = path.strip_suffix('/').unwrap_or(path);
    SIGNED
        .iter()
        .find(|(fixed, parameters, _)| matches(fixed, *parameters, path))
        .map_or(Endpoint::Unlisted, |(_, _, endpoint)| *endpoint)
}

/// Whether `path` is `fixed` followed by exactly so many segments. One byte tells most paths apart: this
/// runs for every row of the table and every request.
fn matches(fixed: &str, parameters: usize, path: &str) -> bool {
    let last = fixed.len().saturating_sub(1);
    if path.as_bytes().get(last) != fixed.as_bytes().get(last) {
        return false;
    }
    path.strip_prefix(fixed).is_some_and(|rest| match parameters {
        0 => rest.is_empty(),
        n => rest.bytes().filter(|byte| *byte == b'/').count() + 1 == n,
    })
}

/// Whether `path` is `prefix` or lies below it.
fn under(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn refuse_escapes_in_fixed_part(path: &str) -> Result<(), Refusal> {
    let mut segments = path.as_bytes().split(|byte| *byte == b'/').skip(1).take(FIXED_SEGMENTS);
    let escaped = segments.find(|segment| segment.contains(&b'%'));
    escaped.map_or(Ok(()), |segment| {
        Err(Refusal::new(
            Rejection::TargetRefused,
            format_args!("escape in the fixed part of the path: {}", segment.escape_ascii()),
        ))
    })
}

/// Refuses a path that a lenient router would take for one of ours: forwarded as "other", it would pass
/// unverified. Routers decode, fold case, merge slashes, read backslashes as slashes and cut off path
/// parameters (`;x`), each in an order of its own, so that what came of cutting and of not cutting is
/// followed. Dot segments that only show then are refused wherever they lead.
fn refuse_hidden_prefix(path: &str) -> Result<(), Refusal> {
    let refuse = |what| Err(Refusal::new(Rejection::TargetRefused, what));
    let mut readings = BTreeSet::from([path.to_ascii_lowercase()]);
    for _ in 0..DECODE_ROUNDS_MAX {
        let cut: Vec<_> = readings.iter().map(|reading| without_parameters(reading)).collect();
        readings.extend(cut);
        if readings.iter().any(|reading| is_ours(reading)) {
            return refuse("another spelling of a federation path");
        }
        if readings.iter().any(|reading| segments(reading).any(|s| matches!(s, "." | ".."))) {
            return refuse("a hidden dot segment");
        }
        let decoded = readings.iter().map(|reading| percent_decode_ascii(reading)).collect();
        if decoded == readings {
            return Ok(());
        }
        readings = decoded;
    }
    refuse("path is percent-encoded over and over")
}

/// Whether a path in lower case lies below one of our prefixes once empty segments are dropped.
fn is_ours(path: &str) -> bool {
    let merged: String = segments(path).flat_map(|segment| ["/", segment]).collect();
    let mut prefixes = SIGNED_PREFIXES.iter().chain(&[KEY_PREFIX, "/.well-known/matrix/server"]);
    prefixes.any(|prefix| under(prefix, &merged))
}

/// The segments of a path that are not empty.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split(['/', '\\']).filter(|segment| !segment.is_empty())
}

/// The path with each segment up to where some router ends it: path parameters are cut off; a query, a
/// space or a control character was decoded, and may end the path.
fn without_parameters(path: &str) -> String {
    let ends = |c: char| matches!(c, ';' | '?' | '#') || c <= ' ';
    let cut = path.split('/').map(|segment| segment.split(ends).next().unwrap_or(segment));
    cut.collect::<Vec<_>>().join("/")
}

/// Decodes the escapes that stand for ASCII, letters in lower case; others cannot spell one of our
/// prefixes.
fn percent_decode_ascii(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let hex = after.get(..2).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.filter(u8::is_ascii) {
            Some(byte) => {
                out.push(char::from(byte).to_ascii_lowercase());
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

impl Endpoint {
    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Event => "event",
            Self::EventAuth => "event_auth",
            Self::ExchangeThirdPartyInvite => "exchange_third_party_invite",
            Self::GetMissingEvents => "get_missing_events",
            Self::Hierarchy => "hierarchy",
            Self::Invite => "invite",
            Self::KeyQuery => "key_query",
            Self::KeyServer => "key_server",
            Self::MakeJoin => "make_join",
            Self::MakeKnock => "make_knock",
            Self::MakeLeave => "make_leave",
            Self::Media => "media",
            Self::Onbind => "onbind",
            Self::OpenidUserinfo => "openid_userinfo",
            Self::Other => "other",
            Self::PolicySign => "policy_sign",
            Self::PublicRooms => "public_rooms",
            Self::Query => "query",
            Self::Send => "send",
            Self::SendJoin => "send_join",
            Self::SendKnock => "send_knock",
            Self::SendLeave => "send_leave",
            Self::State => "state",
            Self::StateIds => "state_ids",
            Self::TimestampToEvent => "timestamp_to_event",
            Self::Unlisted => "unlisted",
            Self::UserDevices => "user_devices",
            Self::UserKeys => "user_keys",
            Self::Version => "version",
            Self::WellKnown => "well_known",
        }
    }
}

#[cfg(test)]
mod tests;
