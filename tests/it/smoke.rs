//! One request of each kind through the whole gate.

use crate::support::client::H2Client;
use crate::support::{Client, Gate, Homeserver};

const TARGET: &str = "/_matrix/federation/v1/query/profile?user_id=%40a%3Agate.example";

#[tokio::test]
async fn a_signed_request_reaches_the_homeserver_and_a_forged_one_does_not() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let origin = gate.origin("origin.example");
    let mut client = Client::plain(gate.address).await;

    let good = origin.authorize("GET", TARGET, None);
    let answer = client.request("GET", TARGET, &[("authorization", &good)], None).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
    assert_eq!(homeserver.seen().len(), 1);
    assert_eq!(homeserver.seen()[0].target, TARGET);
    assert_eq!(homeserver.seen()[0].headers["authorization"], good);
    assert_eq!(homeserver.seen()[0].headers["x-forwarded-for"], "127.0.0.1");

    let forged = origin.authorize("GET", "/_matrix/federation/v1/event/x", None);
    let answer = client.request("GET", TARGET, &[("authorization", &forged)], None).await;
    assert_eq!((answer.status, answer.errcode().as_str()), (401, "M_UNAUTHORIZED"));
    assert_eq!(homeserver.seen().len(), 1);

    let answer = client.request("GET", TARGET, &[("authorization", &good)], None).await;
    assert_eq!(answer.status, 200, "the connection lives on after a refusal");
    assert_eq!(gate.federation.fetches(), 1, "r50: a known key costs no traffic");
}

#[tokio::test]
async fn a_signed_body_passes_over_tls_on_both_http_versions() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start_tls(&homeserver).await;
    let origin = gate.origin("origin.example");
    let target = "/_matrix/federation/v1/send/1";
    let body = br#"{"edus": [], "pdus": []}"#;
    let value = origin.authorize("PUT", target, Some(body));
    let headers = [("authorization", value.as_str()), ("content-type", "application/json")];

    let ca = gate.ca.clone().unwrap();
    let mut client = Client::tls(gate.address, &ca).await;
    assert_eq!(client.request("PUT", target, &headers, Some(body)).await.status, 200);
    let mut client = H2Client::connect(gate.address, &ca).await;
    assert_eq!(client.request("PUT", target, &headers, Some(body)).await.unwrap().status, 200);

    for seen in homeserver.seen() {
        assert_eq!(&seen.body[..], body);
        assert_eq!(seen.headers["content-length"], body.len().to_string());
        assert_eq!(seen.headers["x-forwarded-proto"], "https");
    }
    assert_eq!(homeserver.seen().len(), 2);
    gate.stop().await;
}

#[tokio::test]
async fn r41_a_known_key_is_refused_once_its_window_has_passed() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let origin = gate.origin("origin.example");
    let mut client = Client::plain(gate.address).await;
    let value = origin.authorize("GET", TARGET, None);
    let headers = [("authorization", value.as_str())];
    // The document says a day; the last millisecond still counts.
    for (later_ms, status) in [(0, 200), (24 * 60 * 60 * 1_000, 200), (1, 401)] {
        gate.clock.advance_ms(later_ms);
        assert_eq!(client.request("GET", TARGET, &headers, None).await.status, status);
    }
    assert_eq!(gate.federation.fetches(), 2, "the origin was asked for a newer copy");
    assert_eq!(homeserver.seen().len(), 2);
}
