//! Observe mode, and paths outside federation: what passes unverified, and what does not even then.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use tokio::sync::Notify;

use crate::support::homeserver::full;
use crate::support::raw::RawHomeserver;
use crate::support::{Client, Gate, GateOptions, Homeserver, within};

const SEND: &str = "/_matrix/federation/v1/send/1";
const BODY: &[u8] = br#"{"pdus":[]}"#;

/// How long a homeserver takes for its answer where that matters.
const PAUSE: Duration = Duration::from_millis(100);

const OBSERVE: GateOptions = GateOptions {
    store: String::new(),
    sources: "",
    keys: "",
    tls: false,
    settings: "mode = \"observe\"\n[limits]\nbody_bytes_max = 65536",
    listen: "",
    names: "",
    homeserver: None,
    clock: None,
    key_server: "",
    token_file: None,
};

const FORWARD: GateOptions = GateOptions {
    store: String::new(),
    sources: "",
    keys: "",
    tls: false,
    settings: "[limits]\nbody_bytes_max = 65536\nbuffered_bytes_max = 786432",
    listen: "other_paths = \"forward\"",
    names: "",
    homeserver: None,
    clock: None,
    key_server: "",
    token_file: None,
};

/// Refuses what has no Authorization, as Synapse would.
async fn judging_homeserver() -> Homeserver {
    Homeserver::start_with(|request| {
        let mut response = Response::new(full("{}"));
        if !request.headers.contains_key("authorization") {
            *response.status_mut() = StatusCode::UNAUTHORIZED;
        }
        response
    })
    .await
}

#[tokio::test]
async fn observe_mode_forwards_what_would_be_refused_as_it_came() {
    let homeserver = judging_homeserver().await;
    let gate = Gate::start_with(&homeserver, OBSERVE).await;
    let origin = gate.origin("origin.example");
    assert_eq!(gate.metric("fedgate_observe_mode").await, 1.0);
    let good = origin.authorize("PUT", SEND, Some(BODY));
    let elsewhere = origin.authorize_for("elsewhere.example", "PUT", SEND, Some(BODY));
    let unknown = good.replace("ed25519:1", "ed25519:9");
    let away = good.replace("origin.example", "away.example");
    let odd = good.replace("X-Matrix ", "x-matrix  ");
    let cases: [(&str, Option<&str>, &[u8], &str); 10] = [
        ("bad_signature", Some(&odd), b"{\"pdus\":[1]}", "accepted"),
        ("body_ambiguous", Some(&odd), b"{\"a\":1,\"a\":2}", "accepted"),
        ("body_not_json", Some(&good), b"nonsense", "accepted"),
        ("body_not_object", Some(&good), b"[]", "accepted"),
        ("destination_mismatch", Some(&elsewhere), BODY, "accepted"),
        ("header_malformed", Some("X-Matrix origin=\"\""), BODY, "accepted"),
        ("header_missing", Some("Bearer secret"), BODY, "accepted"),
        ("header_missing", None, BODY, "refused"),
        ("key_unknown", Some(&unknown), BODY, "accepted"),
        ("key_unavailable", Some(&away), BODY, "accepted"),
    ];
    let mut client = Client::plain(gate.address).await;
    for (at, (reason, authorization, body, homeserver_says)) in cases.into_iter().enumerate() {
        let headers: Vec<_> =
            authorization.map(|value| ("authorization", value)).into_iter().collect();
        let answer = within(reason, client.request("PUT", SEND, &headers, Some(body))).await;
        assert_eq!(answer.status, if homeserver_says == "refused" { 401 } else { 200 }, "{reason}");
        let seen = homeserver.seen();
        assert_eq!(seen.len(), at + 1, "{reason}");
        let seen = &seen[at];
        assert_eq!((seen.target.as_str(), &seen.body[..]), (SEND, body), "{reason}");
        let forwarded: Vec<_> = seen.headers.get_all("authorization").iter().collect();
        assert_eq!(forwarded, authorization.into_iter().collect::<Vec<_>>(), "{reason}");
        let line = format!(
            "fedgate_observed_total{{homeserver=\"{homeserver_says}\",reason=\"{reason}\"}}"
        );
        assert_eq!(gate.metric(&line).await, 1.0, "{line}");
    }
    // What was refused before the body was read has an operation all the same, or none.
    let line = |endpoint| {
        format!(
            "fedgate_requests_total{{endpoint=\"{endpoint}\",reason=\"bad_signature\",\
             verdict=\"observed\"}}"
        )
    };
    assert_eq!(gate.metric(&line("send")).await, 1.0);
    let allowed = "fedgate_requests_total{endpoint=\"send\",reason=\"\",verdict=\"allowed\"}";
    assert_eq!(gate.metric(allowed).await, 0.0);
    let answer = client.request("PUT", SEND, &[("authorization", &good)], Some(BODY)).await;
    assert_eq!((answer.status, gate.metric(allowed).await), (200, 1.0), "the good is no news");
}

#[tokio::test]
async fn observe_mode_still_refuses_what_is_not_one_clear_request() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start_with(&homeserver, OBSERVE).await;
    let large = format!("PUT {SEND} HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n");
    let both = format!(
        "PUT {SEND} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\n"
    );
    let cases: [(&str, u16, &str); 5] = [
        ("framing_ambiguous", 400, &both),
        (
            "target_refused",
            400,
            "GET /_matrix/federation/v1/../version HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        (
            "body_forbidden",
            400,
            "GET /_matrix/federation/v1/event/x HTTP/1.1\r\nHost: a\r\n\
             Content-Length: 2\r\n\r\n{}",
        ),
        ("other_path", 404, "GET /_matrix/client/versions HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("body_too_large", 413, &large),
    ];
    for (reason, status, request) in cases {
        let mut client = Client::plain(gate.address).await;
        client.send(request.as_bytes()).await;
        let answer = within(reason, client.answer()).await.expect("an answer");
        assert_eq!(answer.status, status, "{reason}");
    }
    assert_eq!(homeserver.connections(), 0);
}

#[tokio::test]
async fn other_paths_are_refused_unless_asked_for() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let mut client = Client::plain(gate.address).await;
    for target in ["/_matrix/client/versions", "/", "/_matrix/media/v3/config", "/health"] {
        let answer = within(target, client.request("GET", target, &[], None)).await;
        assert_eq!((answer.status, answer.errcode().as_str()), (404, "M_UNRECOGNIZED"), "{target}");
    }
    assert_eq!(homeserver.connections(), 0);
}

#[tokio::test]
async fn other_paths_pass_as_they_come_when_asked_for() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start_with(&homeserver, FORWARD).await;
    let mut client = Client::plain(gate.address).await;
    let headers = [("authorization", "Bearer secret"), ("x-real-ip", "192.0.2.1")];
    let target = "/_matrix/client/v3/sync?since=%7B&filter={}";
    for (method, body) in [("GET", None), ("PUT", Some(&b"not json"[..])), ("DELETE", None)] {
        let target = if method == "GET" { "/_matrix/client/versions?a=%7B" } else { "/b" };
        let answer = within(method, client.request(method, target, &headers, body)).await;
        assert_eq!(answer.status, 200, "{method}");
        let seen = homeserver.seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, target));
        assert_eq!(&seen.body[..], body.unwrap_or_default());
        assert_eq!(seen.headers["authorization"], "Bearer secret");
        assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
        assert!(!seen.headers.contains_key("x-real-ip"));
    }
    let answer = client.request("GET", target, &headers, None).await;
    assert_eq!(answer.status, 400, "what servers would rewrite is refused everywhere");
    let mut client = Client::plain(gate.address).await;
    let answer = client.request("PUT", SEND, &headers, Some(BODY)).await;
    assert_eq!(answer.status, 401, "federation is verified as ever");
    assert_eq!(homeserver.seen().len(), 3);
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_an_answer_gets_it_all_the_same() {
    let asked = Arc::<Notify>::default();
    let tell = Arc::clone(&asked);
    let homeserver = RawHomeserver::start(move |mut server| {
        let asked = Arc::clone(&tell);
        async move {
            while server.request().await.is_some() {
                asked.notify_one();
                // Time for the gate to give up on a client that speaks out of turn.
                if tokio::time::timeout(PAUSE, server.wait_closed()).await.is_ok() {
                    return;
                }
                server.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
            }
        }
    })
    .await;
    let gate = Gate::start_before(&homeserver.url, FORWARD).await;
    for target in ["/_matrix/client/versions", "/_matrix/federation/v1/version"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut client = Client::plain(gate.address).await;
        client.send(request.as_bytes()).await;
        within("the request", asked.notified()).await;
        client.send(request.as_bytes()).await;
        let answer = within(target, client.answer()).await.expect(target);
        assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]), "{target}");
        assert!(within(target, client.answer()).await.is_none(), "half of it would be lost");
    }
}

#[tokio::test]
async fn an_upload_streams_through_without_being_held() {
    const PIECE: &[u8] = &[b'x'; 1_000_000];
    const PIECES: usize = 20;
    let started = Arc::new(Notify::new());
    let (noted, chunks) = (Arc::clone(&started), "f4240\r\n");
    let homeserver = RawHomeserver::start(move |mut server| {
        let started = Arc::clone(&noted);
        async move {
            while let Some(head) = server.head().await {
                let head = head.to_ascii_lowercase();
                let chunked = head.contains("transfer-encoding: chunked");
                assert_ne!(chunked, head.contains("content-length: 20000000"), "{head}");
                let mut got = server.take(1).await.unwrap();
                // The rest is sent only now.
                started.notify_one();
                if chunked {
                    got.extend(server.take_until(b"0\r\n\r\n").await.unwrap());
                } else {
                    got.extend(server.take(PIECE.len() * PIECES - 1).await.unwrap());
                }
                let bytes = got.iter().filter(|b| **b == b'x').count();
                let response = format!("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{bytes}");
                server.write(response.as_bytes()).await;
            }
        }
    })
    .await;
    let gate = Gate::start_before(&homeserver.url, FORWARD).await;
    for framing in ["Content-Length: 20000000", "Transfer-Encoding: chunked"] {
        let chunked = framing.ends_with("chunked");
        let head =
            format!("POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
        let mut client = Client::plain(gate.address).await;
        client.send(head.as_bytes()).await;
        for piece in 0..PIECES {
            if chunked {
                client.send([chunks.as_bytes(), PIECE, b"\r\n"].concat().as_slice()).await;
            } else {
                client.send(PIECE).await;
            }
            if piece == 0 {
                within("the first piece at the homeserver", started.notified()).await;
            }
        }
        if chunked {
            client.send(b"0\r\n\r\n").await;
        }
        let answer = within(framing, client.answer()).await.expect("an answer");
        assert_eq!((answer.status, &answer.body[..]), (200, &b"20000000"[..]), "{framing}");
        assert!(gate.metric("fedgate_request_body_bytes").await < 65_536.0);
    }
}

#[tokio::test]
async fn no_other_spelling_of_a_federation_path_passes_as_something_else() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start_with(&homeserver, FORWARD).await;
    for target in [
        "/_matrix/%66ederation/v1/event/x",
        "/_matrix/%2566ederation/v1/event/x",
        "/%5fmatrix/federation/v1/event/x",
        "/_Matrix/Federation/v1/event/x",
        "/_matrix//federation/v1/event/x",
        "//_matrix/federation/v1/event/x",
        "/./_matrix/federation/v1/event/x",
        "/a/../_matrix/federation/v1/event/x",
        "/a/%2e%2e/_matrix/federation/v1/event/x",
        "/_matrix;a/federation/v1/event/x",
        "/_matrix/federation;a=b/v1/event/x",
        "/_matrix/federation%2Fv1%2Fevent/x",
        "/_matrix%2Ffederation/v1/event/x",
        "/_matrix\\federation/v1/event/x",
        "/_matrix/federation",
        "/_matrix/federation/",
        "/_matrix/policy/v1/sign",
        "/_matrix/key/v2/other",
        "/_matrix/%6bey/v2/server",
        "/.well-known/matrix%2Fserver",
        "http://gate.example/_matrix/federation/v1/event/x",
        "http://gate.example/_matrix/client/versions",
        "_matrix/federation/v1/event/x",
        "*",
    ] {
        let mut client = Client::plain(gate.address).await;
        let answer = within(target, client.request("GET", target, &[], None)).await;
        assert!(matches!(answer.status, 400 | 401 | 404), "{target}: {answer:?}");
        assert_eq!(homeserver.connections(), 0, "{target}");
    }
}
