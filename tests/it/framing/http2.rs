//! The same on HTTP/2, where framing cannot lie but fields and paths can (threats B3 to B5).

use std::ops::ControlFlow::{self, Break, Continue};

use fedgate::gate::Rejection::{
    self, BodyForbidden, FramingAmbiguous, HeadersDisagree, MethodNotAllowed, TargetRefused,
};

use super::{BODY, SEND, TARGET, check_seen, every, gate};
use crate::support::h2_raw::{H2Raw, Outcome};
use crate::support::{Homeserver, OWN_NAME, Origin};

/// What becomes of a stream.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// The homeserver gets the request that was signed.
    Passes,
    /// The gate refuses it.
    Refused(Rejection),
    /// The library ends the stream or the connection, and no request comes of it.
    Ended,
}
use Fate::{Ended, Passes, Refused};

/// Fields instead of, or beside, those of a good request; an empty value takes one away.
type Fields = &'static [(&'static str, &'static str)];

/// A GET with other fields.
const HEADS: &[(&str, Fields, Fate)] = &[
    ("as it should be", &[], Passes),
    ("capitals in a name", &[("X-Up", "y")], Ended),
    ("Connection", &[("connection", "keep-alive")], Ended),
    ("Connection: authorization", &[("connection", "authorization")], Ended),
    ("Transfer-Encoding", &[("transfer-encoding", "chunked")], Ended),
    ("Keep-Alive", &[("keep-alive", "timeout=5")], Ended),
    ("Proxy-Connection", &[("proxy-connection", "close")], Ended),
    ("Upgrade", &[("upgrade", "h2c")], Ended),
    ("TE other than trailers", &[("te", "gzip")], Ended),
    ("TE: trailers", &[("te", "trailers")], Passes),
    ("line end in a value", &[("x", "y\r\nauthorization: z")], Ended),
    ("line feed in a value", &[("x", "y\nz")], Ended),
    ("NUL in a value", &[("x", "y\0z")], Ended),
    ("line end in a name", &[("x\r\ny", "z")], Ended),
    ("colon in a name", &[("x:y", "z")], Ended),
    ("space in a name", &[("x y", "z")], Ended),
    ("unknown pseudo-field", &[(":other", "x")], Ended),
    ("pseudo-field of an answer", &[(":status", "200")], Ended),
    ("two paths", &[("+:path", "/x")], Ended),
    ("no path", &[(":path", "")], Ended),
    ("two slashes", &[(":path", "//_matrix/federation/v1/event/x")], Refused(TargetRefused)),
    ("dot segments", &[(":path", "/x/../_matrix/federation/v1/event/x")], Refused(TargetRefused)),
    ("escaped dots", &[(":path", "/_matrix/%2e%2e/x")], Refused(TargetRefused)),
    ("escaped letter", &[(":path", "/_matrix/f%65deration/v1/event/x")], Refused(TargetRefused)),
    ("backslash", &[(":path", "/_matrix\\federation/v1/event/x")], Refused(TargetRefused)),
    // The library drops it before the gate sees the path: what is verified is still what is
    // forwarded.
    ("fragment", &[(":path", "/_matrix/federation/v1/event/x#y")], Passes),
    ("space in the path", &[(":path", "/_matrix/federation/v1/event/x y")], Ended),
    ("asterisk", &[(":path", "*")], Refused(TargetRefused)),
    ("no leading slash", &[(":path", "_matrix/federation/v1/event/x")], Ended),
    ("absolute form", &[(":path", "https://gate.example/_matrix/federation/v1/event/x")], Ended),
    ("lower-case method", &[(":method", "get")], Refused(MethodNotAllowed)),
    ("TRACE", &[(":method", "TRACE")], Refused(MethodNotAllowed)),
    ("CONNECT", &[(":method", "CONNECT")], Ended),
    ("extended CONNECT", &[(":method", "CONNECT"), (":protocol", "websocket")], Ended),
    ("Host that differs", &[("host", "other.example")], Ended),
    (
        "two lengths",
        &[("content-length", "0"), ("+content-length", "00")],
        Refused(FramingAmbiguous),
    ),
    ("length that never comes", &[("content-length", "12")], Ended),
    (
        "another origin beside",
        &[("+authorization", "X-Matrix origin=evil.example,key=\"ed25519:1\",sig=\"x\"")],
        Refused(HeadersDisagree),
    ),
    (
        "fields that speak for the gate",
        &[
            ("x-forwarded-for", "1.2.3.4"),
            ("x_forwarded_for", "1.2.3.4"),
            ("x-fedgate-origin", "evil.example"),
            ("forwarded", "for=1.2.3.4"),
            ("proxy-authorization", "Basic eA=="),
        ],
        Passes,
    ),
];

fn good(method: &str) -> Vec<(String, String)> {
    let (target, body) =
        if method == "PUT" { (SEND, Some(BODY.as_bytes())) } else { (TARGET, None) };
    let value = Origin::new("origin.example").authorize(method, target, body);
    [
        (":method", method),
        (":scheme", "https"),
        (":authority", OWN_NAME),
        (":path", target),
        ("authorization", &value),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// The fields of a good request, changed; a name after `+` stands beside what is there.
fn changed(method: &str, changes: Fields) -> Vec<(String, String)> {
    let mut fields = good(method);
    for (name, value) in changes {
        let (beside, name) = match name.strip_prefix('+') {
            Some(name) => (true, name),
            None => (false, *name),
        };
        match fields.iter().position(|(known, _)| known == name) {
            Some(at) if value.is_empty() => drop(fields.remove(at)),
            Some(at) if !beside => fields[at].1 = (*value).to_owned(),
            Some(_) | None => {
                let pseudo = fields.iter().take_while(|(n, _)| n.starts_with(':')).count();
                let at = if name.starts_with(':') { pseudo } else { fields.len() };
                fields.insert(at, (name.to_owned(), (*value).to_owned()));
            }
        }
    }
    fields
}

async fn send_headers(client: &mut H2Raw, fields: &[(String, String)], end: bool) {
    let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
    client.headers(1, &fields, end).await;
}

async fn run(
    name: &'static str,
    fields: Vec<(String, String)>,
    frames: &'static [Frame],
    fate: Fate,
) {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, true).await;
    let mut client = H2Raw::connect(gate.address, gate.ca.as_ref().unwrap()).await;
    send_headers(&mut client, &fields, frames.is_empty()).await;
    for (at, frame) in frames.iter().enumerate() {
        let end = at + 1 == frames.len();
        match frame {
            Continue(data) => client.data(1, data.as_bytes(), end).await,
            Break((field, value)) => {
                let trailer = [(field.as_bytes(), value.as_bytes())];
                client.headers(1, &trailer, true).await;
            }
        }
    }
    let outcome = client.outcome(1).await;
    match (fate, outcome) {
        (Passes, Outcome::Answered(body)) => {
            assert_eq!(&body[..], b"{}", "{name}");
            assert_eq!(homeserver.seen().len(), 1, "{name}");
            check_seen(&homeserver.seen()[0], "https", name);
            return;
        }
        (Refused(rejection), Outcome::Answered(body)) => {
            let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(told["error"], rejection.public_text(), "{name}");
            let refusals = gate.refused().await;
            assert_eq!(refusals, [(rejection.code().to_owned(), 1.0)], "{name}");
        }
        // Some of these the library answers by itself, with a status and no body.
        (Ended, Outcome::Answered(body)) => assert!(body.is_empty(), "{name}: {body:?}"),
        (Ended, Outcome::Reset(_) | Outcome::Closed) => {}
        (fate, outcome) => panic!("{name}: {outcome:?} instead of {fate:?}"),
    }
    assert_eq!(homeserver.connections(), 0, "{name}");
}

/// DATA, or trailers.
type Frame = ControlFlow<(&'static str, &'static str), &'static str>;

/// Requests with bodies: method, other fields, what follows the head.
const BODIES: &[(&str, &str, Fields, &[Frame], Fate)] = &[
    ("no length", "PUT", &[], &[Continue(BODY)], Passes),
    ("right length", "PUT", &[("content-length", "12")], &[Continue(BODY)], Passes),
    ("many frames", "PUT", &[], &[Continue("{"), Continue(""), Continue("\"pdus\": []}")], Passes),
    ("length too long", "PUT", &[("content-length", "13")], &[Continue(BODY)], Ended),
    ("length too short", "PUT", &[("content-length", "11")], &[Continue(BODY)], Ended),
    (
        "length with a zero in front",
        "PUT",
        &[("content-length", "012")],
        &[Continue(BODY)],
        Refused(FramingAmbiguous),
    ),
    ("length that is no number", "PUT", &[("content-length", "1_2")], &[Continue(BODY)], Ended),
    (
        "length twice",
        "PUT",
        &[("content-length", "12"), ("+content-length", "12")],
        &[Continue(BODY)],
        Refused(FramingAmbiguous),
    ),
    ("GET with a body", "GET", &[], &[Continue("{}")], Refused(BodyForbidden)),
    (
        "GET with a body and its length",
        "GET",
        &[("content-length", "2")],
        &[Continue("{}")],
        Refused(BodyForbidden),
    ),
    ("GET with an empty body", "GET", &[], &[Continue("")], Passes),
    (
        "trailers are dropped",
        "PUT",
        &[("trailer", "authorization")],
        &[Continue(BODY), Break(("authorization", "X-Matrix origin=evil.example"))],
        Passes,
    ),
];

#[tokio::test]
async fn b3_fields_and_paths_on_http2() {
    let cases = HEADS.iter();
    every(
        cases.map(|(name, changes, fate)| (*name, run(name, changed("GET", changes), &[], *fate))),
    )
    .await;
}

#[tokio::test]
async fn b3_bodies_on_http2() {
    let cases = BODIES.iter();
    every(cases.map(|(name, method, changes, frames, fate)| {
        (*name, run(name, changed(method, changes), frames, *fate))
    }))
    .await;
}
