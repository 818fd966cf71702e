//! What is refused: for each refusal a request, and the world in which it meets it.

use std::io::Error as IoError;

use bytes::Bytes;
use fedgate::gate::Rejection;
use fedgate::proto::event::RoomVersion;
use futures_util::stream;
use http::Request;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use serde_json::json;

use super::ten_thousand_names;
use crate::support::client::H2Body;
use crate::support::event::membership;
use crate::support::{OWN_NAME, Origin};

pub const GET: &str = "/_matrix/federation/v1/query/profile?user_id=%40a%3Agate.example";
pub const PUT: &str = "/_matrix/federation/v1/send/1";
/// Where the homeserver's answer never ends.
pub const HELD: &str = "/_matrix/federation/v1/send/held";
const NO_LIMITS: &str = "";
const DENY: &str = "[policy]\ndeny = [\"origin.*\"]";

/// What remains of an HTTP/1.1 connection after the refusal. An HTTP/2 connection always lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    Closed,
    Reusable,
}
pub use After::{Closed, Reusable};

/// The state of everything around the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// All is well, and all servers publish their keys.
    Ordinary,
    /// The origin is not to be reached.
    OriginGone,
    /// The origin's key document has run out.
    DocumentExpired,
    /// The origin publishes the key as an old one.
    KeyRetired,
    /// The settings ban the origin.
    Banned,
    /// The gate is a notary.
    Notary,
    /// The same, and has been asked for much just now.
    NotaryInUse,
    /// All memory for bodies is in use.
    Full,
    HomeserverGone,
    HomeserverSilent,
}

/// Something that is refused.
pub struct Case {
    pub world: World,
    pub settings: &'static str,
    pub request: Sent,
    pub after: After,
    pub on_http2: bool,
}

pub struct Sent {
    pub method: &'static str,
    pub target: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Whether the body is all that the headers promise; else the rest never comes.
    pub whole: bool,
    /// Sent instead of all that, where only HTTP/1.1 can say it.
    pub raw: Option<&'static str>,
}

pub fn origin() -> Origin {
    Origin::new("origin.example")
}

pub fn sent(method: &'static str, target: &str) -> Sent {
    let target = target.to_owned();
    Sent { method, target, headers: Vec::new(), body: Vec::new(), whole: true, raw: None }
}

/// A request that would pass as it is.
pub fn get() -> Sent {
    sent("GET", GET).header("authorization", &origin().authorize("GET", GET, None))
}

/// A PUT signed for `signed`, with a body of `body`.
pub fn put(signed: &[u8], body: &[u8]) -> Sent {
    let value = origin().authorize("PUT", PUT, Some(signed));
    sent("PUT", PUT).header("authorization", &value).body(body)
}

/// A join of the user `@u` of the origin, signed at a depth of 7.
fn join(state_key: &str, depth: u64) -> Sent {
    let target = "/_matrix/federation/v2/send_join/!room:one.example/$e";
    let mut event = membership(&origin(), RoomVersion::V10, "join", state_key);
    event["depth"] = json!(depth);
    let body = event.to_string();
    let value = origin().authorize("PUT", target, Some(body.as_bytes()));
    sent("PUT", target).header("authorization", &value).body(body.as_bytes())
}

fn raw(text: &'static str) -> Sent {
    Sent { raw: Some(text), ..get() }
}

impl Sent {
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn second(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.header("content-length", &body.len().to_string())
    }

    /// Promises a body and sends nothing of it.
    fn promise(mut self, bytes: usize) -> Self {
        self.whole = false;
        self.body.clear();
        self.header("content-length", &bytes.to_string())
    }

    pub fn http1(&self) -> Vec<u8> {
        if let Some(raw) = self.raw {
            return raw.as_bytes().to_vec();
        }
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {OWN_NAME}\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    pub fn http2(&self) -> Request<H2Body> {
        let uri = format!("https://{OWN_NAME}{}", self.target);
        let mut request = Request::builder().method(self.method).uri(uri);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let body = if self.whole {
            crate::support::homeserver::full(self.body.clone())
        } else {
            never_ending()
        };
        request.body(body).unwrap()
    }
}

pub fn never_ending() -> BoxBody<Bytes, IoError> {
    BodyExt::boxed(StreamBody::new(stream::pending()))
}

fn case(request: Sent, after: After) -> Option<Case> {
    Some(Case { world: World::Ordinary, settings: NO_LIMITS, request, after, on_http2: true })
}

fn case_in(world: World, request: Sent, after: After) -> Option<Case> {
    case(request, after).map(|case| Case { world, ..case })
}

fn case_with(settings: &'static str, request: Sent, after: After) -> Option<Case> {
    case(request, after).map(|case| Case { settings, ..case })
}

fn only_on_http1(case: Option<Case>) -> Option<Case> {
    case.map(|case| Case { on_http2: false, ..case })
}

/// How each refusal comes about; `None` where it takes more than one request.
pub fn provoke(rejection: Rejection) -> Option<Case> {
    let elsewhere = origin().authorize("GET", "/_matrix/federation/v1/event/x", None);
    let foreign = origin().authorize_for("other.example", "GET", GET, None);
    let other_origin = Origin::new("third.example").authorize("GET", GET, None);
    let other_key = Origin::with_key("origin.example", "ed25519:2", [9; 32]);
    let twice = br#"{"a":1,"a":2}"#;
    let unsupported = other_origin.replace("ed25519:1", "rsa:1");
    let unknown = other_key.authorize("GET", GET, None);
    let object = br#"{"a":1}"#;
    let no_pdus = br#"{"pdus":{}}"#;
    match rejection {
        Rejection::BadSignature => case(get().header("authorization", &elsewhere), Reusable),
        Rejection::BodyAmbiguous => case(put(br#"{"a":2}"#, twice), Reusable),
        Rejection::BodyForbidden => case(get().promise(5), Closed),
        Rejection::BodyNotJson => case(put(object, br#"{"a":1"#), Reusable),
        Rejection::BodyNotObject => case(put(object, b"[1]"), Reusable),
        Rejection::BodyTimeout => {
            case_with("[limits]\nbody_timeout = \"300ms\"", put(object, b"").promise(5), Closed)
        }
        Rejection::BodyTooLarge => case(put(object, b"").promise(13_107_201), Closed),
        Rejection::ClientGone | Rejection::InternalError => None,
        Rejection::ContentEncoding => {
            case(put(object, object).header("content-encoding", "gzip"), Closed)
        }
        Rejection::DestinationMismatch => case(get().header("authorization", &foreign), Reusable),
        Rejection::ExpectationUnsupported => case(get().header("expect", "a miracle"), Reusable),
        Rejection::FramingAmbiguous => {
            case(put(object, object).header("content-length", "07"), Closed)
        }
        Rejection::HeadTimeout => only_on_http1(case_with(
            "[limits]\nhead_timeout = \"300ms\"",
            raw("GET / HTTP/1.1\r\nHost: gate.exa"),
            Closed,
        )),
        Rejection::HeadTooLarge => case(sent("GET", &format!("/{}", "a".repeat(8_192))), Closed),
        Rejection::HeaderMalformed => {
            case(get().header("authorization", "X-Matrix origin=,"), Reusable)
        }
        Rejection::HeaderMissing => case(sent("GET", GET), Reusable),
        Rejection::HeadersDisagree => case(get().second("authorization", &other_origin), Reusable),
        Rejection::HomeserverTimeout => case_in(World::HomeserverSilent, get(), Reusable)
            .map(|c| Case { settings: "[limits]\nhomeserver_io_timeout = \"300ms\"", ..c }),
        Rejection::HomeserverUnavailable => case_in(World::HomeserverGone, get(), Reusable),
        Rejection::KeyBanned => case_in(World::Banned, get(), Reusable),
        Rejection::KeyExpired => case_in(World::DocumentExpired, get(), Reusable),
        Rejection::KeyQueryMalformed => key_query_malformed(),
        Rejection::KeyRetired => case_in(World::KeyRetired, get(), Reusable),
        Rejection::KeyUnavailable => case_in(World::OriginGone, get(), Reusable),
        Rejection::KeyUnknown => case(get().header("authorization", &unknown), Reusable),
        Rejection::KeyUnsupported => case(get().header("authorization", &unsupported), Reusable),
        Rejection::MethodNotAllowed => {
            case(sent("POST", "/_matrix/federation/v1/version"), Reusable)
        }
        Rejection::OtherPath => case(sent("GET", "/_matrix/client/versions"), Reusable),
        // The body is not read.
        Rejection::Overloaded => case_in(World::Full, put(object, object), Closed).map(|c| Case {
            settings: "[limits]\nbody_bytes_max = 100\nbuffered_bytes_max = 720996",
            ..c
        }),
        Rejection::PolicyDenied => case_with(DENY, get(), Reusable),
        Rejection::RateLimited => rate_limited(),
        Rejection::RequestMalformed => only_on_http1(case(
            raw("GET / HTTP/1.1\r\nHost: gate.example\r\nHost: other.example\r\n\r\n"),
            Closed,
        )),
        Rejection::TargetRefused => case(sent("GET", "/_matrix//federation/v1/version"), Closed),
        Rejection::EventRefused => event_refused(),
        Rejection::MembershipRefused => case(join("@other:origin.example", 7), Reusable),
        Rejection::TransactionRefused => case(put(no_pdus, no_pdus), Reusable),
        Rejection::UserNotOnOrigin => user_not_on_origin(),
    }
}

fn event_refused() -> Option<Case> {
    case_with("[events]\nmode = \"enforce\"", join("@u:origin.example", 8), Reusable)
}

fn user_not_on_origin() -> Option<Case> {
    let target = "/_matrix/federation/v1/make_join/!r:origin.example/@u:other.example";
    let value = origin().authorize("GET", target, None);
    case(sent("GET", target).header("authorization", &value), Reusable)
}

fn key_query_malformed() -> Option<Case> {
    let target = "/_matrix/key/v2/query/a?minimum_valid_until_ts=soon";
    case_in(World::Notary, sent("GET", target), Reusable)
}

fn rate_limited() -> Option<Case> {
    let names = ten_thousand_names();
    let query = sent("POST", "/_matrix/key/v2/query").body(names.as_bytes());
    case_in(World::NotaryInUse, query, Reusable)
}
