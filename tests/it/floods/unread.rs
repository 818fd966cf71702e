//! Answers that nobody reads: the memory and the homeserver's connection they hold are let go of.

use super::VERSION;
use super::http2::request;
use crate::support::h2_raw::H2Raw;
use crate::support::homeserver::full;
use crate::support::http2::{SETTINGS, WINDOW_UPDATE};
use crate::support::{Client, Gate, GateOptions, Homeserver, OWN_NAME, within};

/// More than the buffers of all sockets hold.
const ANSWER_BYTES: usize = 64 << 20;
const SETTINGS_OF_LIMITS: &str = "[limits]\nresponse_timeout = \"300ms\"\n";

async fn gate(homeserver: &Homeserver) -> Gate {
    let (settings, listen) = (SETTINGS_OF_LIMITS, super::NO_PROXIES);
    let options = GateOptions { tls: true, settings, listen, ..GateOptions::default() };
    Gate::start_with(homeserver, options).await
}

async fn until_nobody_waits(gate: &Gate) {
    within("the begin", async {
        while gate.metric("fedgate_homeserver_responses_total{status=\"2xx\"}").await == 0.0 {}
    })
    .await;
    within("the end", async { while gate.metric("fedgate_requests_in_flight").await > 0.0 {} })
        .await;
}

#[tokio::test]
async fn r1_an_answer_that_is_not_read_is_given_up_on_http1() {
    let homeserver =
        Homeserver::start_with(|_| http::Response::new(full(vec![b'x'; ANSWER_BYTES]))).await;
    let gate = gate(&homeserver).await;
    let mut client = Client::tls(gate.address, gate.ca.as_ref().unwrap()).await;
    client.send(format!("GET {VERSION} HTTP/1.1\r\nHost: {OWN_NAME}\r\n\r\n").as_bytes()).await;
    until_nobody_waits(&gate).await;
    within("the end", async { while gate.metric("fedgate_connections").await > 0.0 {} }).await;
}

/// The same without any room: no window, and nothing read from the socket.
#[tokio::test]
async fn r3_an_answer_without_a_window_is_given_up_on_http2() {
    let homeserver =
        Homeserver::start_with(|_| http::Response::new(full(vec![b'x'; ANSWER_BYTES]))).await;
    let gate = gate(&homeserver).await;
    let mut client = H2Raw::connect(gate.address, gate.ca.as_ref().unwrap()).await;
    // SETTINGS_INITIAL_WINDOW_SIZE = 0.
    client.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
    client.write(&request(1)).await;
    until_nobody_waits(&gate).await;
}

#[tokio::test]
async fn r3_a_connection_that_reads_nothing_is_ended_on_http2() {
    let homeserver =
        Homeserver::start_with(|_| http::Response::new(full(vec![b'x'; ANSWER_BYTES]))).await;
    let gate = gate(&homeserver).await;
    let mut client = H2Raw::connect(gate.address, gate.ca.as_ref().unwrap()).await;
    // The largest windows there are: it is the socket that fills up.
    client.frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]).await;
    client.frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xfe, 0, 0]).await;
    client.write(&request(1)).await;
    until_nobody_waits(&gate).await;
    within("the end", async { while gate.metric("fedgate_connections").await > 0.0 {} }).await;
    assert_eq!(gate.metric(&super::ended("unread")).await, 1.0);
}

#[tokio::test]
async fn r2_long_answers_that_wait_for_their_clients_take_memory() {
    let homeserver =
        Homeserver::start_with(|_| http::Response::new(full(vec![b'x'; ANSWER_BYTES]))).await;
    let settings = "[limits]\nbody_bytes_max = 100000\nbuffered_bytes_max = 820896\n\
                    buffered_bytes_max_per_network = 820896\n";
    let gate = Gate::start_with(&homeserver, GateOptions { settings, ..GateOptions::default() });
    let gate = gate.await;
    let request = format!("GET {VERSION} HTTP/1.1\r\nHost: {OWN_NAME}\r\n\r\n");
    let mut slow = Client::plain(gate.address).await;
    slow.send(request.as_bytes()).await;
    super::until_metric(&gate, "fedgate_request_body_bytes", 10.0 * 65_536.0).await;
    let mut second = Client::plain(gate.address).await;
    second.send(request.as_bytes()).await;
    let answer = within("an answer", second.answer()).await.unwrap();
    assert_eq!((answer.status, answer.errcode().as_str()), (503, "M_UNKNOWN"));
    assert_eq!(answer.headers["retry-after"], "5");
    let line =
        "fedgate_requests_total{endpoint=\"version\",reason=\"overloaded\",verdict=\"refused\"}";
    assert_eq!(gate.metric(line).await, 1.0);
    // The first one is served as soon as it reads, and its memory is free then.
    let mut came = 0;
    while came < ANSWER_BYTES {
        assert!(within("more", slow.fill()).await);
        came += slow.take_buffered().len();
    }
    let used = "fedgate_request_body_bytes";
    within("the end", async { while gate.metric(used).await > 0.0 {} }).await;
}

#[tokio::test]
async fn r2_a_stranger_with_a_long_answer_gives_way_to_who_holds_less() {
    let homeserver = Homeserver::start_with(|request| {
        let length = if request.target == VERSION { ANSWER_BYTES } else { 2 };
        http::Response::new(full(vec![b'{'; length]))
    })
    .await;
    let settings = "[limits]\nbody_bytes_max = 100000\nbuffered_bytes_max = 820896\n\
                    buffered_bytes_max_per_network = 820896\n";
    let gate = super::gate(&homeserver, super::NO_PROXIES, settings).await;
    let origin = gate.origin("origin.example");
    let request = format!("GET {VERSION} HTTP/1.1\r\nHost: {OWN_NAME}\r\n\r\n");
    let mut slow = Client::plain_from("127.1.0.1", gate.address).await;
    slow.send(request.as_bytes()).await;
    super::until_metric(&gate, "fedgate_request_body_bytes", 10.0 * 65_536.0).await;
    let (head, body) = super::send_request(&origin, 99_999);
    let mut known = Client::plain_from("127.2.0.1", gate.address).await;
    known.send(&[head, body].concat()).await;
    assert_eq!(within("an answer", known.answer()).await.unwrap().status, 200);
    let came = within("the end", slow.until_closed()).await;
    assert!(came.len() < ANSWER_BYTES, "{} bytes", came.len());
    let line =
        "fedgate_requests_total{endpoint=\"version\",reason=\"overloaded\",verdict=\"refused\"}";
    assert_eq!(gate.metric(line).await, 1.0);
}

#[tokio::test]
async fn r2_a_body_that_is_not_held_takes_memory_on_its_way() {
    let homeserver = Homeserver::start().await;
    let listen = "trusted_proxies = []\nother_paths = \"forward\"";
    let gate = super::gate(&homeserver, listen, "").await;
    let mut client = Client::plain_from("127.1.0.1", gate.address).await;
    let head = "PUT /_matrix/client/x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n";
    client.send(format!("{head}12345").as_bytes()).await;
    let used = "fedgate_request_body_bytes";
    super::until_metric(&gate, used, 10.0 * 65_536.0).await;
    client.send(b"67890").await;
    assert_eq!(within("an answer", client.answer()).await.unwrap().status, 200);
    within("the end", async { while gate.metric(used).await > 0.0 {} }).await;
}
