//! Floods: each network has its part, strangers give way to who comes, and known servers are served
//! all the while (threats R1 to R3).

mod http2;
mod pace;
mod unread;

use crate::support::{Client, Gate, GateOptions, Homeserver, Origin, within};

/// Takes nothing and asks for no signature.
const VERSION: &str = "/_matrix/federation/v1/version";
const EVENT: &str = "/_matrix/federation/v1/event/x";
const SEND: &str = "/_matrix/federation/v1/send/1";

/// Everybody on this machine is a stranger, in the network of its address.
const NO_PROXIES: &str = "trusted_proxies = []";

async fn gate(homeserver: &Homeserver, listen: &'static str, settings: &'static str) -> Gate {
    let options = GateOptions { listen, settings, ..GateOptions::default() };
    Gate::start_with(homeserver, options).await
}

async fn asks(client: &mut Client) -> u16 {
    within("an answer", client.request("GET", VERSION, &[], None)).await.status
}

/// A signed request, whose connection is known from then on.
async fn asks_signed(client: &mut Client, origin: &Origin) -> u16 {
    let authorization = origin.authorize("GET", EVENT, None);
    let headers = [("authorization", authorization.as_str())];
    within("an answer", client.request("GET", EVENT, &headers, None)).await.status
}

/// A request that lacks its signature.
async fn asks_unsigned(client: &mut Client) -> u16 {
    within("an answer", client.request("GET", EVENT, &[], None)).await.status
}

/// The head of a signed request with a body, and the body.
fn send_request(origin: &Origin, bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8)).into_bytes();
    let authorization = origin.authorize("PUT", SEND, Some(&body));
    let head = format!(
        "PUT {SEND} HTTP/1.1\r\nHost: gate.example\r\nAuthorization: {authorization}\r\n\
         Content-Length: {bytes}\r\n\r\n"
    );
    (head.into_bytes(), body)
}

async fn until_metric(gate: &Gate, line: &str, at_least: f64) {
    within(line, async { while gate.metric(line).await < at_least {} }).await;
}

fn ended(reason: &str) -> String {
    format!("fedgate_connections_ended_early_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn r2_a_network_has_its_number_of_connections() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, NO_PROXIES, "[limits]\nconnections_max_per_network = 2\n").await;
    let mut first = Client::plain_from("127.1.0.1", gate.address).await;
    let mut second = Client::plain_from("127.1.0.2", gate.address).await;
    assert_eq!((asks(&mut first).await, asks(&mut second).await), (200, 200));
    let mut third = Client::plain_from("127.1.0.3", gate.address).await;
    assert!(within("the end", third.is_closed()).await, "hung up on without a word");
    let mut neighbour = Client::plain_from("127.1.1.1", gate.address).await;
    assert_eq!(asks(&mut neighbour).await, 200);
    assert_eq!(gate.metric(&ended("network_full")).await, 1.0);
    assert_eq!(gate.metric("fedgate_connections").await, 3.0);
    drop(first);
    // The place is free again once the gate has noticed.
    within("a place", async {
        loop {
            let mut next = Client::plain_from("127.1.0.4", gate.address).await;
            next.send(format!("GET {VERSION} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
            if next.answer().await.is_some() {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn r5_after_many_refusals_in_a_row_the_next_one_waits() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, NO_PROXIES, "").await;
    let origin = gate.origin("origin.example");
    let mut client = Client::plain_from("127.1.0.1", gate.address).await;
    let (paused, held) = ("fedgate_refusals_paused_total", "fedgate_request_body_bytes");
    for expected in [1.0, 2.0] {
        for _ in 0..16 {
            assert_eq!(asks_unsigned(&mut client).await, 401);
        }
        assert_eq!(gate.metric(paused).await, expected - 1.0);
        // Its head counts as memory meanwhile.
        let head = format!("GET {EVENT} HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "x".repeat(20_000));
        client.send(head.as_bytes()).await;
        until_metric(&gate, paused, expected).await;
        assert!(gate.metric(held).await > 20_000.0);
        assert_eq!(within("an answer", client.answer()).await.unwrap().status, 401);
        assert_eq!(asks_signed(&mut client, &origin).await, 200, "which ends it");
    }
}

#[tokio::test]
async fn r2_a_trusted_proxy_has_no_number_of_connections() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, "", "[limits]\nconnections_max_per_network = 1\n").await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::plain(gate.address).await);
    }
    for client in &mut clients {
        assert_eq!(asks(client).await, 200);
    }
}

#[tokio::test]
async fn r2_strangers_of_all_kinds_give_way_and_known_servers_stay() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, NO_PROXIES, "[limits]\nconnections_max = 4\n").await;
    let origin = gate.origin("origin.example");
    let mut known = Client::plain_from("127.1.0.1", gate.address).await;
    assert_eq!(asks_signed(&mut known, &origin).await, 200);
    // One says nothing, one has begun a head, one a body.
    let (head, body) = send_request(&origin, 5_000);
    let silent = Client::plain_from("127.2.0.1", gate.address).await;
    until_metric(&gate, "fedgate_connections", 2.0).await;
    let mut slow_head = Client::plain_from("127.2.0.1", gate.address).await;
    slow_head.send(&head[..20]).await;
    until_metric(&gate, "fedgate_connections", 3.0).await;
    let mut slow_body = Client::plain_from("127.2.0.1", gate.address).await;
    slow_body.send(&[&head, &body[..4_000]].concat()).await;
    until_metric(&gate, "fedgate_request_body_bytes", 4_000.0).await;
    for (mut stranger, network) in [(silent, 3), (slow_head, 4), (slow_body, 5)] {
        let source = format!("127.{network}.0.1");
        let mut newcomer = Client::plain_from(&source, gate.address).await;
        assert_eq!(asks_signed(&mut newcomer, &origin).await, 200, "{source}");
        assert!(within("the end", stranger.is_closed()).await, "{source}");
        // It stays, and is known now.
        tokio::spawn(async move { newcomer.until_closed().await });
    }
    assert_eq!(gate.metric(&ended("made_room")).await, 3.0);
    let overloaded =
        "fedgate_requests_total{endpoint=\"send\",reason=\"overloaded\",verdict=\"refused\"}";
    assert_eq!(gate.metric(overloaded).await, 1.0);
    assert_eq!(asks_signed(&mut known, &origin).await, 200, "it was there all the time");
    // Now all are known: the one who has been idle for longest goes, and that is not this one.
    let mut last = Client::plain_from("127.6.0.1", gate.address).await;
    assert_eq!(asks(&mut last).await, 200);
    assert_eq!(asks_signed(&mut known, &origin).await, 200);
}

/// For three of the largest bodies, of which each network may have one and a half.
const BUDGETS: &str = "[limits]\nbody_bytes_max = 1000000\nbuffered_bytes_max = 3300000\n\
                       buffered_bytes_max_per_network = 1800000\n";

/// Sends all of a body of 1,000,000 bytes but the last one.
async fn send_most(gate: &Gate, source: &str, origin: &Origin, held_before: f64) -> Client {
    let (head, body) = send_request(origin, 1_000_000);
    let mut client = Client::plain_from(source, gate.address).await;
    client.send(&[&head[..], &body[..999_999]].concat()).await;
    until_metric(gate, "fedgate_request_body_bytes", held_before + 999_999.0).await;
    client
}

#[tokio::test]
async fn r2_a_network_holds_its_part_of_the_memory() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, NO_PROXIES, BUDGETS).await;
    let origin = gate.origin("origin.example");
    let mut first = send_most(&gate, "127.1.0.1", &origin, 0.0).await;
    let (head, body) = send_request(&origin, 900_000);
    let mut second = Client::plain_from("127.1.0.9", gate.address).await;
    second.send(&[&head[..], &body].concat()).await;
    let answer = within("an answer", second.answer()).await.unwrap();
    assert_eq!((answer.status, answer.errcode().as_str()), (429, "M_LIMIT_EXCEEDED"));
    assert_eq!(answer.headers["retry-after"], "5");
    first.send(b"}").await;
    assert_eq!(within("an answer", first.answer()).await.unwrap().status, 200);
    let used = "fedgate_request_body_bytes";
    within("the end", async { while gate.metric(used).await > 0.0 {} }).await;
}

#[tokio::test]
async fn r2_what_is_refused_at_once_takes_no_memory() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, NO_PROXIES, BUDGETS).await;
    let (origin, away) = (gate.origin("origin.example"), Origin::new("away.example"));
    let mut client = Client::plain_from("127.1.0.1", gate.address).await;
    assert_eq!(asks_signed(&mut client, &away).await, 503, "nobody has its keys");
    let _first = send_most(&gate, "127.1.0.1", &origin, 0.0).await;
    let (head, body) = send_request(&origin, 650_000);
    let mut second = Client::plain_from("127.1.0.1", gate.address).await;
    second.send(&[&head[..], &body[..649_999]].concat()).await;
    until_metric(&gate, "fedgate_request_body_bytes", 1_781_000.0).await;
    assert_eq!(asks_signed(&mut client, &origin).await, 429, "there is no memory to serve it in");
    assert_eq!(asks_signed(&mut client, &away).await, 503);
}

#[tokio::test]
async fn r2_the_network_a_trusted_proxy_names_counts_for_memory() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, "", BUDGETS).await;
    let origin = gate.origin("origin.example");
    let (head, body) = send_request(&origin, 900_000);
    let (most, last) = body.split_at(899_999);
    let head_end = head.len() - 2;
    let from = |client: &str| {
        let named = format!("X-Forwarded-For: {client}\r\n\r\n");
        [&head[..head_end], named.as_bytes(), most].concat()
    };
    let mut first = Client::plain(gate.address).await;
    first.send(&from("192.0.2.1")).await;
    until_metric(&gate, "fedgate_request_body_bytes", 899_999.0).await;
    let mut neighbour = Client::plain(gate.address).await;
    neighbour.send(&from("192.0.2.2")).await;
    assert_eq!(within("an answer", neighbour.answer()).await.unwrap().status, 429);
    let mut other = Client::plain(gate.address).await;
    other.send(&from("198.51.100.1")).await;
    for mut client in [first, other] {
        client.send(last).await;
        assert_eq!(within("an answer", client.answer()).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn r2_who_holds_most_gives_way_when_all_memory_is_in_use() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, NO_PROXIES, BUDGETS).await;
    let origin = gate.origin("origin.example");
    let mut flood = Vec::new();
    for (n, held) in [(1, 0.0), (2, 1_066_000.0)] {
        flood.push(send_most(&gate, &format!("127.{n}.0.1"), &origin, held).await);
    }
    let (head, body) = send_request(&origin, 985_000);
    let mut third = Client::plain_from("127.3.0.1", gate.address).await;
    third.send(&[&head[..], &body[..980_000]].concat()).await;
    until_metric(&gate, "fedgate_request_body_bytes", 3_176_000.0).await;
    let (head, body) = send_request(&origin, 100_000);
    let mut known = Client::plain_from("127.4.0.1", gate.address).await;
    known.send(&[head, body].concat()).await;
    assert_eq!(within("an answer", known.answer()).await.unwrap().status, 200);
    // One of the two largest has made room; all others go on.
    let mut gone = 0;
    for client in &mut flood {
        client.send(b"}").await;
        let answer = within("an answer", client.answer()).await.unwrap();
        if answer.status == 503 {
            assert_eq!(answer.errcode(), "M_UNKNOWN");
            assert_eq!(answer.headers["retry-after"], "5");
            gone += 1;
        } else {
            assert_eq!(answer.status, 200);
        }
    }
    assert_eq!(gone, 1);
}

/// For a dozen requests without a body.
const TWELVE: &str = "[limits]\nbody_bytes_max = 1000\nbuffered_bytes_max = 800000\n\
                      buffered_bytes_max_per_network = 800000\n";

/// Sends so many signed requests, each on a connection of its own.
async fn send_requests(gate: &Gate, source: &str, origin: &Origin, count: usize) -> Vec<Client> {
    let authorization = origin.authorize("GET", EVENT, None);
    let head = format!(
        "GET {EVENT} HTTP/1.1\r\nHost: gate.example\r\nAuthorization: {authorization}\r\n\r\n"
    );
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::plain_from(source, gate.address).await;
        client.send(head.as_bytes()).await;
        clients.push(client);
    }
    clients
}

#[tokio::test]
async fn r2_who_waits_for_keys_gives_way_too() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, NO_PROXIES, TWELVE).await;
    let (origin, silent) = (gate.origin("origin.example"), Origin::new("silent.example"));
    gate.federation.silence("silent.example");
    let used = "fedgate_request_body_bytes";
    let mut most = send_requests(&gate, "127.1.0.1", &silent, 8).await;
    until_metric(&gate, used, 8.0 * 65_536.0).await;
    let _fewer = send_requests(&gate, "127.2.0.1", &silent, 4).await;
    until_metric(&gate, used, 12.0 * 65_536.0).await;
    let mut known = Client::plain_from("127.3.0.1", gate.address).await;
    assert_eq!(asks_signed(&mut known, &origin).await, 200);
    let answers = most.iter_mut().map(|client| Box::pin(client.answer()));
    let (answer, ..) = within("an answer", futures_util::future::select_all(answers)).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.errcode().as_str()), (503, "M_UNKNOWN"));
    assert_eq!(answer.headers["retry-after"], "5");
    assert_eq!(gate.refused().await, [("overloaded".to_owned(), 1.0)], "all others wait");
}

#[tokio::test]
async fn r1_heads_that_are_long_on_their_way_are_held_in_the_same_memory() {
    let homeserver = Homeserver::start().await;
    let settings = "[limits]\nbody_bytes_max = 10000\nbuffered_bytes_max = 731000\n\
                    buffered_bytes_max_per_network = 731000\n";
    let gate = gate(&homeserver, NO_PROXIES, settings).await;
    let head = format!("GET {VERSION} HTTP/1.1\r\nHost: x\r\nA: {}", "x".repeat(60_000));
    let mut clients = Vec::new();
    for held in (1..=13).map(|count| f64::from(count) * 55_000.0) {
        let mut client = Client::plain_from("127.1.0.1", gate.address).await;
        client.send(head.as_bytes()).await;
        until_metric(&gate, "fedgate_request_body_bytes", held).await;
        clients.push(client);
    }
    let mut last = Client::plain_from("127.1.0.1", gate.address).await;
    last.send(head.as_bytes()).await;
    let answer = within("an answer", last.answer()).await.unwrap();
    assert_eq!((answer.status, answer.errcode().as_str()), (429, "M_LIMIT_EXCEEDED"));
    assert!(within("the end", last.is_closed()).await);
    clients.truncate(10);
    let used = "fedgate_request_body_bytes";
    within("room", async { while gate.metric(used).await > 600_000.0 {} }).await;
    clients[0].send(b"\r\n\r\n").await;
    assert_eq!(within("an answer", clients[0].answer()).await.unwrap().status, 200);
    within("the end", async { while gate.metric(used).await > 0.0 {} }).await;
}

#[tokio::test]
async fn r1_a_head_over_the_cap_is_not_waited_for() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, NO_PROXIES, "").await;
    let mut client = Client::plain(gate.address).await;
    let head = format!("GET {VERSION} HTTP/1.1\r\nHost: x\r\nA: {}", "x".repeat(100_000));
    client.send(head.as_bytes()).await;
    let answer = within("an answer", client.answer()).await.unwrap();
    assert_eq!(answer.status, 431);
    assert!(within("the end", client.is_closed()).await);
}
