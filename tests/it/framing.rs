//! Exchanges on one connection that are more than one input and its verdict; those are in
//! `tests/corpus/` (threats B1, B2, B13, B15).

use tokio::io::AsyncWriteExt;

use crate::support::{
    Client, Gate, GateOptions, Homeserver, NOW_MS, OWN_NAME, Origin, Silent, within,
};

const TARGET: &str = "/_matrix/federation/v1/event/x";
const SEND: &str = "/_matrix/federation/v1/send/1";
/// Twelve bytes, `c` in hexadecimal, and not canonical.
const BODY: &str = r#"{"pdus": []}"#;

/// Fills in `<H>` for the Host field, `<T>` and `<S>` for targets, `<G>` and `<P>` for Authorization
/// fields that are valid for `GET <T>` and for `PUT <S>` with the body `<B>`.
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
async fn gate(homeserver: &Homeserver) -> Gate {
    let options = GateOptions {
        settings: "[limits]\nhead_timeout = \"5s\"\nbody_timeout = \"5s\"",
        listen: "trusted_proxies = []",
        ..GateOptions::default()
    };
    let gate = Gate::start_with(homeserver, options).await;
    gate.origin("origin.example");
    gate
}

/// HTTP/1.0 knows no interim answers (RFC 9110, 10.1.1): nothing is sent before the final one.
#[tokio::test]
async fn b15_expect_is_ignored_on_http10() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver).await;
    let mut client = Client::plain(gate.address).await;
    client
        .send(&fill_in(
            b"PUT <S> HTTP/1.0\r\n<H><P>Content-Length: 12\r\nExpect: 100-continue\r\n\r\n<B>",
        ))
        .await;
    let answer = within("an answer", client.any_answer()).await.unwrap();
    assert_eq!(answer.status, 200);
    let seen = &homeserver.seen()[0];
    assert_eq!((&seen.body[..], seen.headers.get("expect")), (BODY.as_bytes(), None));
}

/// A request sent while the one before is being worked on costs that one nothing. It is served
/// itself, or finds the connection closed, as the gate notices it late or early.
#[tokio::test]
async fn a_request_sent_too_early_leaves_the_one_before_alone() {
    let homeserver = Homeserver::start().await;
    let silent = Silent::bind().await;
    let options = GateOptions { homeserver: Some(silent.setting()), ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    gate.origin("origin.example");
    let mut client = Client::plain(gate.address).await;
    let request = fill_in(b"GET <T> HTTP/1.1\r\n<H><G>\r\n");
    client.send(&request).await;
    let mut working = within("the request", silent.head()).await;
    client.send(&request).await;
    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    working.write_all(answer).await.unwrap();
    assert_eq!(within("an answer", client.answer()).await.unwrap().status, 200);
    within("the end, or the next request", async {
        tokio::select! {
            closed = client.is_closed() => assert!(closed),
            _next = silent.head() => {}
        }
    })
    .await;
}

/// Behind a proxy that is trusted, the client it names; never more than one value.
#[tokio::test]
async fn b13_a_trusted_proxy_names_one_client() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let origin = gate.origin("origin.example");
    let value = origin.authorize("GET", TARGET, None);
    let headers = [
        ("authorization", value.as_str()),
        ("x-forwarded-for", "192.0.2.1, 198.51.100.7"),
        ("x-forwarded-for", "127.0.0.9"),
        ("x-forwarded-proto", "https"),
    ];
    let mut client = Client::plain(gate.address).await;
    assert_eq!(client.request("GET", TARGET, &headers, None).await.status, 200);
    let seen = homeserver.seen().remove(0).headers;
    let all = |name| seen.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(all("x-forwarded-for"), ["198.51.100.7"]);
    assert_eq!(all("x-forwarded-proto"), ["https"]);
}

/// Synapse signs with every key it has: each is verified, and each is passed on, in one form.
#[tokio::test]
async fn two_keys_of_one_origin_are_both_passed_on() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let (one, two) = (
        Origin::with_key("two.example", "ed25519:1", [1; 32]),
        Origin::with_key("two.example", "ed25519:2", [2; 32]),
    );
    let document = one.sign_document(&serde_json::json!({
        "server_name": "two.example",
        "valid_until_ts": NOW_MS + 1_000_000,
        "verify_keys": {
            "ed25519:1": { "key": one.key.verify_key().to_base64() },
            "ed25519:2": { "key": two.key.verify_key().to_base64() },
        },
    }));
    gate.federation.publish(&one.name, document);
    let signed = [one.authorize("PUT", SEND, Some(b"{}")), two.authorize("PUT", SEND, Some(b"{}"))];
    let respelt: Vec<_> = signed.iter().map(|v| v.replace("X-Matrix ", "x-matrix  ")).collect();
    let headers = [("authorization", respelt[0].as_str()), ("authorization", &respelt[1])];
    let mut client = Client::plain(gate.address).await;
    assert_eq!(client.request("PUT", SEND, &headers, Some(b"{}")).await.status, 200);
    let seen = homeserver.seen().remove(0).headers;
    let passed: Vec<_> = seen.get_all("authorization").iter().collect();
    assert_eq!(passed, signed.iter().collect::<Vec<_>>());
}

/// What follows a broken chunk is no request, even when it comes after the answer.
#[tokio::test]
async fn b2_nothing_is_read_after_a_broken_chunk() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver).await;
    let mut client = Client::plain(gate.address).await;
    let broken = b"PUT <S> HTTP/1.1\r\n<H><P>Transfer-Encoding: chunked\r\n\r\nx\r\n";
    client.send(&fill_in(broken)).await;
    let answer = within("an answer", client.answer()).await.unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(answer.headers["connection"], "close");
    client.send(&fill_in(b"GET <T> HTTP/1.1\r\n<H><G>\r\n")).await;
    assert!(within("the end", client.is_closed()).await);
    assert_eq!(homeserver.connections(), 0);
}
