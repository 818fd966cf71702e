//! How much anybody may ask for, over real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::support::client::H2Client;
use crate::support::homeserver::full;
use crate::support::raw::RawHomeserver;
use crate::support::{Answer, Client, Gate, GateOptions, Homeserver, Origin, within};

const TARGET: &str = "/_matrix/federation/v1/query/profile?user_id=%40a%3Agate.example";
const FORGER: &str = "198.51.100.66";
const HONEST: &str = "203.0.113.7";

/// A client of either version, behind a trusted proxy that says where it comes from.
enum Peer {
    Http1(Client),
    Http2(H2Client),
}

impl Peer {
    async fn both(gate: &Gate) -> [Self; 2] {
        let ca = gate.ca.clone().unwrap();
        let http1 = Self::Http1(Client::tls(gate.address, &ca).await);
        [http1, Self::Http2(H2Client::connect(gate.address, &ca).await)]
    }

    async fn get(&mut self, target: &str, authorization: Option<&str>, from: &str) -> Answer {
        let mut headers = vec![("x-forwarded-for", from)];
        headers.extend(authorization.map(|value| ("authorization", value)));
        match self {
            Self::Http1(client) => client.request("GET", target, &headers, None).await,
            Self::Http2(client) => client.request("GET", target, &headers, None).await.unwrap(),
        }
    }
}

async fn tls_gate(homeserver: &Homeserver, settings: &'static str) -> Gate {
    let options = GateOptions { tls: true, settings, ..GateOptions::default() };
    Gate::start_with(homeserver, options).await
}

/// What a 429 says of when to try again, in milliseconds, after a look at the header.
fn retry_after_ms(answer: &Answer) -> u64 {
    assert_eq!((answer.status, answer.errcode().as_str()), (429, "M_LIMIT_EXCEEDED"));
    let ms = answer.json()["retry_after_ms"].as_u64().unwrap();
    let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert_eq!(seconds, ms.div_ceil(1_000), "whole seconds, rounded up");
    ms
}

/// A signature of the origin's, over something else.
fn forged(origin: &Origin) -> String {
    origin.authorize("GET", "/_matrix/federation/v1/query/profile?user_id=x", None)
}

#[tokio::test]
async fn r5_a_forger_elsewhere_does_not_lock_out_the_honest_server() {
    let homeserver = Homeserver::start().await;
    let gate = tls_gate(&homeserver, "[limits]\ncool_down = \"1h\"").await;
    for (at, mut peer) in Peer::both(&gate).await.into_iter().enumerate() {
        let origin = gate.origin(&format!("victim{at}.example"));
        let (forged, good) = (forged(&origin), origin.authorize("GET", TARGET, None));
        let mut refused = 0;
        let limited = loop {
            let answer = within("an answer", peer.get(TARGET, Some(&forged), FORGER)).await;
            if answer.status == 429 {
                break answer;
            }
            assert_eq!(answer.status, 401);
            refused += 1;
        };
        assert!(refused > 3, "three are nothing yet");
        let ms = retry_after_ms(&limited);
        assert!((3_590_000..=3_600_000).contains(&ms), "{ms}");
        let answer = peer.get(TARGET, Some(&good), HONEST).await;
        assert_eq!(answer.status, 200, "the honest server is where it always was");
        let answer = peer.get(TARGET, Some(&good), FORGER).await;
        assert_eq!(answer.status, 429, "whatever comes in its name from there waits");
    }
    let refused = "fedgate_limits_refused_total{limit=\"cool_down\"}";
    assert_eq!(gate.metric(refused).await, 4.0);
    assert_eq!(homeserver.seen().len(), 2);
    gate.reload_unrelated().await;
    let [mut peer, _] = Peer::both(&gate).await;
    let good = Origin::new("victim0.example").authorize("GET", TARGET, None);
    let answer = peer.get(TARGET, Some(&good), FORGER).await;
    assert_eq!(answer.status, 429, "R12: new settings do not end the wait");
}

#[tokio::test]
async fn who_fails_too_often_is_refused_unread_and_others_are_not() {
    let homeserver = Homeserver::start().await;
    let gate = tls_gate(&homeserver, "[limits]\nfailures_per_second = 1").await;
    let origin = gate.origin("origin.example");
    let good = origin.authorize("GET", TARGET, None);
    for (from, mut peer) in
        ["198.51.100.1", "198.51.100.2"].into_iter().zip(Peer::both(&gate).await)
    {
        // The budget grows on the way, in real time.
        for _ in 0..40 {
            assert_eq!(peer.get(TARGET, None, from).await.status, 401);
        }
        let fetches = gate.federation.fetches();
        let unknown = Origin::new("unknown.example").authorize("GET", TARGET, None);
        let ms = retry_after_ms(&peer.get(TARGET, Some(&unknown), from).await);
        assert!((1..=1_000).contains(&ms), "{ms}");
        assert_eq!(gate.federation.fetches(), fetches, "no key was looked for");
        assert_eq!(peer.get(TARGET, Some(&good), HONEST).await.status, 200);
        let version = peer.get("/_matrix/federation/v1/version", None, from).await;
        assert_eq!(version.status, 200, "open routes are counted apart");
        let again = async { while peer.get(TARGET, Some(&good), from).await.status == 429 {} };
        within("the end of it", again).await;
    }
}

#[tokio::test]
async fn b7_open_routes_have_a_rate_of_their_own() {
    let homeserver = Homeserver::start().await;
    let gate = tls_gate(&homeserver, "[limits]\nopen_per_second = 1").await;
    for (from, mut peer) in
        ["198.51.100.1", "198.51.100.2"].into_iter().zip(Peer::both(&gate).await)
    {
        let version = "/_matrix/federation/v1/version";
        let mut passed = 0;
        let limited = loop {
            let answer = peer.get(version, None, from).await;
            if answer.status != 200 {
                break answer;
            }
            passed += 1;
        };
        assert!(passed >= 10, "{passed}");
        assert!(retry_after_ms(&limited) <= 1_000);
        assert_eq!(peer.get(version, None, HONEST).await.status, 200);
    }
}

/// A homeserver that answers one request for each permit, and counts those it has.
async fn holding(permits: &Arc<Semaphore>, here: &Arc<AtomicUsize>) -> RawHomeserver {
    let (permits, here) = (Arc::clone(permits), Arc::clone(here));
    RawHomeserver::start(move |mut server| {
        let (permits, here) = (Arc::clone(&permits), Arc::clone(&here));
        async move {
            while server.request().await.is_some() {
                here.fetch_add(1, Ordering::SeqCst);
                permits.acquire().await.unwrap().forget();
                here.fetch_sub(1, Ordering::SeqCst);
                server.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
            }
        }
    })
    .await
}

fn spawn_get(mut peer: Peer, value: &str) -> tokio::task::JoinHandle<u16> {
    let value = value.to_owned();
    tokio::spawn(async move { peer.get(TARGET, Some(&value), HONEST).await.status })
}

async fn until(what: &str, gate: &Gate, line: &str, value: f64) {
    within(what, async { while gate.metric(line).await != value {} }).await;
}

#[tokio::test]
async fn an_origins_queue_is_bounded_and_whoever_leaves_gives_up_his_place() {
    let (permits, here) = (Arc::new(Semaphore::new(0)), Arc::default());
    let homeserver = holding(&permits, &here).await;
    let settings = "[limits]\norigin_concurrent = 1\norigin_queue = 1";
    let options = GateOptions { tls: true, settings, ..GateOptions::default() };
    let gate = Gate::start_before(&homeserver.url, options).await;
    const WAITING: &str = "fedgate_limits_waiting";
    for version in 0..2 {
        let origin = gate.origin("origin.example");
        let value = origin.authorize("GET", TARGET, None);
        let peer = async || {
            let [http1, http2] = Peer::both(&gate).await;
            if version == 0 { http1 } else { http2 }
        };
        let first = spawn_get(peer().await, &value);
        within("the first", async {
            while here.load(Ordering::SeqCst) != 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let second = spawn_get(peer().await, &value);
        until("the second in the queue", &gate, WAITING, 1.0).await;
        assert_eq!(retry_after_ms(&peer().await.get(TARGET, Some(&value), HONEST).await), 1_000);
        let other = gate.origin("other.example").authorize("GET", TARGET, None);
        let other = spawn_get(peer().await, &other);
        within("other origins", async {
            while here.load(Ordering::SeqCst) != 2 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        // The client goes away with its connection.
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled());
        until("an empty queue", &gate, WAITING, 0.0).await;
        let third = spawn_get(peer().await, &value);
        until("the third in the queue", &gate, WAITING, 1.0).await;
        assert_eq!(here.load(Ordering::SeqCst), 2);
        permits.add_permits(3);
        for request in [first, third, other] {
            assert_eq!(within("an answer", request).await.unwrap(), 200);
        }
    }
}

#[tokio::test]
async fn a_place_is_free_again_when_the_answer_has_been_read() {
    let homeserver = Homeserver::start_with(|_| http::Response::new(full("{}"))).await;
    let settings = "[limits]\norigin_concurrent = 1\norigin_queue = 0";
    let gate = tls_gate(&homeserver, settings).await;
    let origin = gate.origin("origin.example");
    let value = origin.authorize("GET", TARGET, None);
    for mut peer in Peer::both(&gate).await {
        for _ in 0..20 {
            let again =
                async { while peer.get(TARGET, Some(&value), HONEST).await.status != 200 {} };
            within("a place", again).await;
        }
    }
    assert_eq!(homeserver.seen().len(), 40);
}
