//! Every refusal over real sockets: what the peer is told, what is counted, that the homeserver is
//! left alone, and what becomes of the client's connection.

mod cases;
mod gone;

use fedgate::gate::Rejection;
use http::Response;
use serde_json::json;

use self::cases::{
    Case, Closed, GET, HELD, Sent, World, get, never_ending, origin, provoke, put, sent,
};
use crate::support::client::H2Client;
use crate::support::{
    Answer, Client, Gate, GateOptions, Homeserver, NOW_MS, OWN_NAME, Origin, Silent, within,
};

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
    let details = [
        (
            Rejection::KeyQueryMalformed,
            "minimum_valid_until_ts is not an integer from 0 to 9007199254740991",
        ),
        (Rejection::MembershipRefused, "state_key is not the sender"),
        (Rejection::TransactionRefused, "pdus is not an array"),
    ];
    if let Some((_, detail)) = details.iter().find(|(of, _)| *of == rejection) {
        text.push_str(&format!(": {detail}"));
    }
    let mut told = json!({ "errcode": rejection.errcode(), "error": text });
    if rejection == Rejection::RateLimited {
        told["retry_after_ms"] = answer.json()["retry_after_ms"].clone();
        assert!(told["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{context}");
    }
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
            let goes_on =
                matches!(case.world, World::Full | World::HomeserverGone | World::HomeserverSilent);
            let expected = if goes_on { rejection.status().as_u16() } else { 200 };
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
