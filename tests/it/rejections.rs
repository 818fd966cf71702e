//! Every refusal over real sockets: what the peer is told, what is counted, that the homeserver is
//! left alone, and what becomes of the client's connection.

mod gone;

use std::io::Error as IoError;

use bytes::Bytes;
use fedgate::gate::Rejection;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use serde_json::json;

use crate::support::client::{H2Body, H2Client};
use crate::support::{
    Answer, Client, Gate, GateOptions, Homeserver, NOW_MS, OWN_NAME, Origin, Silent, within,
};

const GET: &str = "/_matrix/federation/v1/query/profile?user_id=%40a%3Agate.example";
const PUT: &str = "/_matrix/federation/v1/send/1";
const HELD: &str = "/_matrix/federation/v1/send/held";
const NO_LIMITS: &str = "";

/// What remains of an HTTP/1.1 connection after the refusal. An HTTP/2 connection always lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Closed,
    Reusable,
}
use After::{Closed, Reusable};

/// The state of everything around the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum World {
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
struct Case {
    world: World,
    settings: &'static str,
    request: Sent,
    after: After,
    on_http2: bool,
}

struct Sent {
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Whether the body is all that the headers promise; else the rest never comes.
    whole: bool,
    /// Sent instead of all that, where only HTTP/1.1 can say it.
    raw: Option<&'static str>,
}

fn origin() -> Origin {
    Origin::new("origin.example")
}

fn sent(method: &'static str, target: &str) -> Sent {
    let target = target.to_owned();
    Sent { method, target, headers: Vec::new(), body: Vec::new(), whole: true, raw: None }
}

/// A request that would pass as it is.
fn get() -> Sent {
    sent("GET", GET).header("authorization", &origin().authorize("GET", GET, None))
}

/// A PUT signed for `signed`, with a body of `body`.
fn put(signed: &[u8], body: &[u8]) -> Sent {
    let value = origin().authorize("PUT", PUT, Some(signed));
    sent("PUT", PUT).header("authorization", &value).body(body)
}

fn raw(text: &'static str) -> Sent {
    Sent { raw: Some(text), ..get() }
}

impl Sent {
    fn header(mut self, name: &'static str, value: &str) -> Self {
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

    fn http1(&self) -> Vec<u8> {
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

    fn http2(&self) -> Request<H2Body> {
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

fn never_ending() -> BoxBody<Bytes, IoError> {
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
fn provoke(rejection: Rejection) -> Option<Case> {
    let elsewhere = origin().authorize("GET", "/_matrix/federation/v1/event/x", None);
    let foreign = origin().authorize_for("other.example", "GET", GET, None);
    let other_origin = Origin::new("third.example").authorize("GET", GET, None);
    let other_key = Origin::with_key("origin.example", "ed25519:2", [9; 32]);
    let twice = br#"{"a":1,"a":2}"#;
    let unsupported = other_origin.replace("ed25519:1", "rsa:1");
    let unknown = other_key.authorize("GET", GET, None);
    let object = br#"{"a":1}"#;
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
        Rejection::KeyQueryMalformed => case_in(
            World::Notary,
            sent("GET", "/_matrix/key/v2/query/a?minimum_valid_until_ts=soon"),
            Reusable,
        ),
        Rejection::KeyRetired => case_in(World::KeyRetired, get(), Reusable),
        Rejection::KeyUnavailable => case_in(World::OriginGone, get(), Reusable),
        Rejection::KeyUnknown => case(get().header("authorization", &unknown), Reusable),
        Rejection::KeyUnsupported => case(get().header("authorization", &unsupported), Reusable),
        Rejection::MethodNotAllowed => {
            case(sent("POST", "/_matrix/federation/v1/version"), Reusable)
        }
        Rejection::OtherPath => case(sent("GET", "/_matrix/client/versions"), Reusable),
        Rejection::Overloaded => case_in(World::Full, put(object, object), Reusable).map(|c| {
            Case { settings: "[limits]\nbody_bytes_max = 100\nbuffered_bytes_max = 100", ..c }
        }),
        Rejection::RateLimited => case_in(
            World::NotaryInUse,
            sent("POST", "/_matrix/key/v2/query").body(ten_thousand_names().as_bytes()),
            Reusable,
        ),
        Rejection::RequestMalformed => only_on_http1(case(
            raw("GET / HTTP/1.1\r\nHost: gate.example\r\nHost: other.example\r\n\r\n"),
            Closed,
        )),
        Rejection::TargetRefused => case(sent("GET", "/_matrix//federation/v1/version"), Closed),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Plain,
    Tls,
    Http2,
}

/// A client of either version.
enum Peer {
    Http1(Client),
    Http2(H2Client),
}

impl Peer {
    async fn connect(gate: &Gate, over: Over) -> Self {
        let ca = gate.ca.clone().unwrap_or_default();
        match over {
            Over::Plain => Self::Http1(Client::plain(gate.address).await),
            Over::Tls => Self::Http1(Client::tls(gate.address, &ca).await),
            Over::Http2 => Self::Http2(H2Client::connect(gate.address, &ca).await),
        }
    }

    async fn ask(&mut self, sent: &Sent) -> Answer {
        match self {
            Self::Http1(client) => {
                client.send(&sent.http1()).await;
                client.answer().await.expect("an answer")
            }
            Self::Http2(client) => client.send(sent.http2()).await.expect("an answer"),
        }
    }
}

/// A homeserver that answers, save that its answer to one target never ends.
async fn homeserver() -> Homeserver {
    Homeserver::start_with(|seen| {
        let endless = seen.target == HELD;
        Response::new(if endless { never_ending() } else { crate::support::homeserver::full("{}") })
    })
    .await
}

async fn homeserver_setting(world: World, silent: &Silent) -> Option<String> {
    match world {
        World::HomeserverGone => {
            let gone = Silent::bind().await;
            Some(gone.setting())
        }
        World::HomeserverSilent => Some(silent.setting()),
        World::Ordinary
        | World::Banned
        | World::Notary
        | World::NotaryInUse
        | World::OriginGone
        | World::DocumentExpired
        | World::KeyRetired
        | World::Full => None,
    }
}

fn publish(world: World, gate: &Gate) {
    let origin = origin();
    let document = match world {
        World::OriginGone => return,
        World::DocumentExpired => origin.document_until(NOW_MS - 1),
        World::KeyRetired => {
            let new = Origin::with_key("origin.example", "ed25519:new", [3; 32]);
            let old = json!({ "key": origin.key.verify_key().to_base64(), "expired_ts": 1 });
            new.sign_document(&json!({
                "server_name": "origin.example",
                "valid_until_ts": NOW_MS + 1_000_000,
                "verify_keys": { "ed25519:new": { "key": new.key.verify_key().to_base64() } },
                "old_verify_keys": { origin.key_id.as_str(): old },
            }))
        }
        World::Ordinary
        | World::Banned
        | World::Notary
        | World::NotaryInUse
        | World::Full
        | World::HomeserverGone
        | World::HomeserverSilent => origin.document(),
    };
    gate.federation.publish(&origin.name, document);
}

/// Has a body of nearly all that may be held wait for the end of an endless answer.
async fn fill(gate: &Gate, over: Over) -> Client {
    let mut client = match over {
        Over::Plain => Client::plain(gate.address).await,
        Over::Tls | Over::Http2 => Client::tls(gate.address, gate.ca.as_ref().unwrap()).await,
    };
    let body = format!(r#"{{"a":"{}"}}"#, "a".repeat(88));
    let value = origin().authorize("PUT", HELD, Some(body.as_bytes()));
    let length = body.len();
    let request = format!(
        "PUT {HELD} HTTP/1.1\r\nHost: {OWN_NAME}\r\nAuthorization: {value}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    client.send(request.as_bytes()).await;
    assert_eq!(client.head().await.expect("a head").0, 200);
    client
}

fn ten_thousand_names() -> String {
    let names: Vec<String> = (0..10_000).map(|n| format!("\"s{n}.example\":{{}}")).collect();
    format!("{{\"server_keys\":{{{}}}}}", names.join(","))
}

/// Has a notary asked for as many servers as one network may.
async fn ask_for_much(gate: &Gate, over: Over) {
    let mut client = match over {
        Over::Plain => Client::plain(gate.address).await,
        Over::Tls | Over::Http2 => Client::tls(gate.address, gate.ca.as_ref().unwrap()).await,
    };
    let body = ten_thousand_names();
    let answer = client.request("POST", "/_matrix/key/v2/query", &[], Some(body.as_bytes())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn check(answer: &Answer, rejection: Rejection, context: &str) {
    assert_eq!(answer.status, rejection.status().as_u16(), "{context}");
    let mut text = rejection.public_text().to_owned();
    if rejection == Rejection::KeyQueryMalformed {
        text.push_str(": minimum_valid_until_ts is not an integer from 0 to 9007199254740991");
    }
    let told = json!({ "errcode": rejection.errcode(), "error": text });
    assert_eq!(answer.json(), told, "{context}");
    assert_eq!(answer.headers["content-type"], "application/json", "{context}");
    let retry_after = answer.headers.get("retry-after").map(|v| v.to_str().unwrap());
    if matches!(answer.status, 429 | 503) {
        assert!(retry_after.unwrap().parse::<u32>().unwrap() > 0, "{context}");
    } else {
        assert_eq!(retry_after, None, "{context}");
    }
}

/// Sends a good request where one can still be sent, and sees the end where none can.
async fn check_after(peer: &mut Peer, case: &Case, rejection: Rejection, context: &str) {
    let good = Origin::new("good.example");
    let good = sent("GET", GET).header("authorization", &good.authorize("GET", GET, None));
    match peer {
        Peer::Http1(client) if case.after == Closed => {
            assert!(client.is_closed().await, "{context}: closed, and nothing more was sent");
        }
        Peer::Http1(_) | Peer::Http2(_) => {
            let alone = matches!(case.world, World::HomeserverGone | World::HomeserverSilent);
            let expected = if alone { rejection.status().as_u16() } else { 200 };
            assert_eq!(peer.ask(&good).await.status, expected, "{context}: the next request");
        }
    }
}

async fn run(rejection: Rejection, case: &Case, over: Over) {
    let context = format!("{rejection:?} over {over:?}");
    let homeserver = homeserver().await;
    let silent = Silent::bind().await;
    let options = GateOptions {
        tls: over != Over::Plain,
        settings: case.settings,
        keys: match case.world {
            World::Banned => "banned_servers = [\"origin.example\"]",
            World::NotaryInUse => {
                "first_seen_per_second = 1000\nfirst_seen_per_second_per_network = 1000"
            }
            World::Ordinary
            | World::OriginGone
            | World::DocumentExpired
            | World::KeyRetired
            | World::Notary
            | World::Full
            | World::HomeserverGone
            | World::HomeserverSilent => "",
        },
        key_server: if matches!(case.world, World::Notary | World::NotaryInUse) {
            "queries = \"answer\"\nnotary_key_file = \"DIR/own.key\""
        } else {
            ""
        },
        homeserver: homeserver_setting(case.world, &silent).await,
        ..GateOptions::default()
    };
    let gate = Gate::start_with(&homeserver, options).await;
    publish(case.world, &gate);
    gate.origin("good.example");
    if case.world == World::NotaryInUse {
        ask_for_much(&gate, over).await;
    }
    let _held = if case.world == World::Full { Some(fill(&gate, over).await) } else { None };
    let connections = homeserver.connections();

    let mut peer = Peer::connect(&gate, over).await;
    let answer = peer.ask(&case.request).await;
    check(&answer, rejection, &context);
    if let Peer::Http1(_) = peer {
        let connection = if case.after == Closed { "close" } else { "keep-alive" };
        assert_eq!(answer.headers["connection"], connection, "{context}");
    }
    assert_eq!(gate.refused().await, [(rejection.code().to_owned(), 1.0)], "{context}");
    assert_eq!(homeserver.connections(), connections, "{context}: the homeserver was left alone");
    check_after(&mut peer, case, rejection, &context).await;
}

async fn run_all(over: Over) {
    let mut skipped = Vec::new();
    for rejection in Rejection::ALL {
        match provoke(rejection).filter(|case| case.on_http2 || over != Over::Http2) {
            Some(case) => within(rejection.code(), run(rejection, &case, over)).await,
            None => skipped.push(rejection),
        }
    }
    // `client_gone` has tests of its own. `internal_error` stands for what cannot happen as
    // far as anybody knows; how it would be answered is tested beside `Answer`. On HTTP/2 a head
    // that is slow or broken ends in the library, as a connection or stream error.
    match over {
        Over::Plain | Over::Tls => {
            assert_eq!(skipped, [Rejection::ClientGone, Rejection::InternalError]);
        }
        Over::Http2 => assert_eq!(
            skipped,
            [
                Rejection::ClientGone,
                Rejection::HeadTimeout,
                Rejection::InternalError,
                Rejection::RequestMalformed
            ]
        ),
    }
}

#[tokio::test]
async fn every_refusal_over_plain_http1() {
    run_all(Over::Plain).await;
}

#[tokio::test]
async fn every_refusal_over_http1_in_tls() {
    run_all(Over::Tls).await;
}

#[tokio::test]
async fn every_refusal_over_http2() {
    run_all(Over::Http2).await;
}
