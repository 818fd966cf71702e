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
