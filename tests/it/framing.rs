//! Raw HTTP that two parsers could read differently: refused with nothing sent to the homeserver,
//! or passed as exactly the one request that was signed (threats B1 to B5, B12, B13, B15).

mod chunks;
mod heads;
mod http2;
mod lengths;

use fedgate::gate::Rejection;

use crate::support::homeserver::Seen;
use crate::support::{Client, Gate, GateOptions, Homeserver, OWN_NAME, Origin, within};

const TARGET: &str = "/_matrix/federation/v1/event/x";
const SEND: &str = "/_matrix/federation/v1/send/1";
/// Twelve bytes, `c` in hexadecimal, and not canonical.
const BODY: &str = r#"{"pdus": []}"#;

/// What becomes of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The homeserver gets the one request that was signed; the connection lives on.
    Passes,
    /// The same, and the connection is closed after the answer.
    PassesLast,
    /// Refused, and the connection is closed.
    Refused(Rejection),
    /// Refused, and the connection lives on.
    RefusedAlone(Rejection),
}
use Outcome::{Passes, PassesLast, Refused, RefusedAlone};

/// A name, what is sent, and what becomes of it. In what is sent, these stand for something else:
/// `<H>` for the Host field, `<T>` and `<S>` for targets, `<G>` and `<P>` for Authorization fields
/// that are valid for `GET <T>` and for `PUT <S>` with the body `<B>`.
type Case = (&'static str, &'static [u8], Outcome);

fn fill_in(raw: &[u8]) -> Vec<u8> {
    let origin = Origin::new("origin.example");
    let get = origin.authorize("GET", TARGET, None);
    let put = origin.authorize("PUT", SEND, Some(BODY.as_bytes()));
    let places = [
        (b"<H>", format!("Host: {OWN_NAME}\r\n")),
        (b"<G>", format!("Authorization: {get}\r\n")),
        (b"<P>", format!("Authorization: {put}\r\n")),
        (b"<T>", TARGET.to_owned()),
        (b"<S>", SEND.to_owned()),
        (b"<B>", BODY.to_owned()),
    ];
    let mut out = Vec::new();
    let mut rest = raw;
    while let Some(byte) = rest.first() {
        if let Some((place, text)) = places.iter().find(|(place, _)| rest.starts_with(*place)) {
            out.extend_from_slice(text.as_bytes());
            rest = &rest[place.len()..];
        } else {
            out.push(*byte);
            rest = &rest[1..];
        }
    }
    out
}

/// A gate that believes nobody's `X-Forwarded-For`, with an origin that it can verify.
async fn gate(homeserver: &Homeserver, tls: bool) -> Gate {
    let options = GateOptions {
        tls,
        settings: "[limits]\nhead_timeout = \"5s\"\nbody_timeout = \"5s\"",
        listen: "trusted_proxies = []",
        ..GateOptions::default()
    };
    let gate = Gate::start_with(homeserver, options).await;
    gate.origin("origin.example");
    gate
}

/// What reaches the homeserver is the request that was signed, in our own framing, with nothing in
/// it that speaks for the gate or about another hop.
fn check_seen(seen: &Seen, scheme: &str, name: &str) {
    let (target, body) = match seen.method.as_str() {
        "GET" => (TARGET, ""),
        _ => (SEND, BODY),
    };
    let content = (!body.is_empty()).then_some(body.as_bytes());
    assert_eq!(seen.target, target, "{name}");
    assert_eq!(&seen.body[..], body.as_bytes(), "{name}");
    let signed = Origin::new("origin.example").authorize(&seen.method, target, content);
    let all = |field: &str| {
        let values = seen.headers.get_all(field).iter();
        values.map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(all("authorization"), [signed], "{name}");
    assert_eq!(all("host"), [OWN_NAME], "{name}");
    assert_eq!(all("x-forwarded-for"), ["127.0.0.1"], "{name}");
    assert_eq!(all("x-forwarded-proto"), [scheme], "{name}");
    let length: Vec<_> = content.iter().map(|body| body.len().to_string()).collect();
    assert_eq!(all("content-length"), length, "{name}");
    // `connection` may be pingora's own: it says how this hop is kept.
    for field in seen.headers.keys().map(http::HeaderName::as_str) {
        let foreign = field.contains('_')
            || field.starts_with("x-fedgate")
            || FOREIGN.contains(&field)
            || (field.starts_with("x-forwarded-") && !OURS.contains(&field));
        assert!(!foreign, "{name}: {field} reached the homeserver");
    }
}

const OURS: [&str; 2] = ["x-forwarded-for", "x-forwarded-proto"];
const FOREIGN: [&str; 13] = [
    "expect",
    "forwarded",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-matrix-origin",
    "x-original-url",
    "x-real-ip",
];

async fn run((name, raw, outcome): Case) {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, false).await;
    let mut client = Client::plain(gate.address).await;
    client.send(&fill_in(raw)).await;
    let answer = client.answer().await.unwrap_or_else(|| panic!("{name}: no answer"));
    let (refused, lives_on) = match outcome {
        Passes => (None, true),
        PassesLast => (None, false),
        Refused(rejection) => (Some(rejection), false),
        RefusedAlone(rejection) => (Some(rejection), true),
    };
    match refused {
        None => {
            assert_eq!(answer.status, 200, "{name}: {:?}", gate.refusals().await);
            assert_eq!(homeserver.seen().len(), 1, "{name}");
            check_seen(&homeserver.seen()[0], "http", name);
        }
        Some(rejection) => {
            let refusals = gate.refused().await;
            assert_eq!(refusals, [(rejection.code().to_owned(), 1.0)], "{name}");
            assert_eq!(answer.status, rejection.status().as_u16(), "{name}");
            assert_eq!(answer.errcode(), rejection.errcode(), "{name}");
            assert_eq!(homeserver.connections(), 0, "{name}");
        }
    }
    if lives_on {
        client.send(&fill_in(b"GET <T> HTTP/1.1\r\n<H><G>\r\n")).await;
        let next = client.answer().await.unwrap_or_else(|| panic!("{name}: no next answer"));
        assert_eq!(next.status, 200, "{name}: the next request");
    } else {
        assert!(client.is_closed().await, "{name}: closed, and nothing more was sent");
    }
    let seen = usize::from(refused.is_none()) + usize::from(lives_on);
    assert_eq!(homeserver.seen().len(), seen, "{name}: requests at the homeserver");
}

/// Runs a table.
async fn run_all(cases: &'static [Case]) {
    every(cases.iter().map(|case| (case.0, run(*case)))).await;
}

/// Runs all cases, and reports every one that fails, not just the first.
async fn every<F>(cases: impl Iterator<Item = (&'static str, F)>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut failed = Vec::new();
    for (name, case) in cases {
        if tokio::spawn(async move { within(name, case).await }).await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:#?}");
}
