//! One byte at a time: every deadline is for the whole, whatever pace the bytes come at.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;

use crate::support::client::tls_stream;
use crate::support::http2::{CONTINUATION, END_STREAM, HEADERS, PREFACE, SETTINGS, field, frame};
use crate::support::{Client, Gate, GateOptions, Homeserver, within};

/// Time between two bytes: far shorter than any timeout between reads.
const DRIP: Duration = Duration::from_millis(20);
/// What the gates here are set to.
const DEADLINE: Duration = Duration::from_millis(300);
/// A drip of this many bytes takes ten seconds, if nobody ends it.
const LONG: usize = 500;
const SETTINGS_OF_LIMITS: &str = "[limits]\nhead_timeout = \"300ms\"\nbody_timeout = \"300ms\"\n";

/// A body must keep a pace that no drip keeps; the time for all of it would be long enough.
const SETTINGS_OF_PACE: &str = "[limits]\nbody_rate_min = \"4 KiB\"\nbody_rate_grace = \"300ms\"\n";
/// Both ways in which a body can be late.
const SETTINGS_OF_BODY: [&str; 2] = [SETTINGS_OF_LIMITS, SETTINGS_OF_PACE];

async fn strict_gate(homeserver: &Homeserver, tls: bool) -> Gate {
    gate_with(homeserver, tls, SETTINGS_OF_LIMITS).await
}

async fn gate_with(homeserver: &Homeserver, tls: bool, settings: &'static str) -> Gate {
    let options = GateOptions { tls, settings, ..GateOptions::default() };
    Gate::start_with(homeserver, options).await
}

/// Sends a byte at a time until the gate says something or hangs up.
async fn drip(client: &mut Client, bytes: &[u8]) {
    let began = Instant::now();
    for byte in bytes {
        client.send(&[*byte]).await;
        if tokio::time::timeout(DRIP, client.fill()).await.is_ok() {
            return assert_in_time(began);
        }
    }
    panic!("the gate took all {} bytes", bytes.len());
}

/// Sends a byte at a time until the gate hangs up, whatever it says before.
async fn drip_until_closed(client: &mut Client, bytes: &[u8]) {
    let began = Instant::now();
    for byte in bytes {
        client.send(&[*byte]).await;
        if tokio::time::timeout(DRIP, client.until_closed()).await.is_ok() {
            return assert_in_time(began);
        }
    }
    panic!("the gate took all {} bytes", bytes.len());
}

/// Not before the deadline, and not much later, even on a machine with other things to do.
fn assert_in_time(began: Instant) {
    let took = began.elapsed();
    assert!(took >= DEADLINE * 9 / 10, "{took:?}");
    assert!(took < DEADLINE * 15, "{took:?}");
}

async fn assert_408(client: &mut Client) {
    let answer = within("an end", client.answer()).await.expect("an answer");
    assert_eq!((answer.status, answer.errcode().as_str()), (408, "M_UNKNOWN"));
    assert_eq!(answer.headers["connection"], "close");
    assert!(within("an end", client.is_closed()).await, "the connection is of no more use");
}

fn long_head() -> Vec<u8> {
    let filler = "x".repeat(LONG);
    format!("GET /_matrix/federation/v1/version HTTP/1.1\r\nHost: gate.example\r\nA: {filler}")
        .into_bytes()
}

#[tokio::test]
async fn a_dripped_head_is_ended_and_nobody_else_notices() {
    let homeserver = Homeserver::start().await;
    let gate = strict_gate(&homeserver, true).await;
    let ca = gate.ca.clone().unwrap();
    let plain = strict_gate(&homeserver, false).await;
    let over_tls = async {
        let mut client = Client::tls(gate.address, &ca).await;
        drip(&mut client, &long_head()).await;
        assert_408(&mut client).await;
    };
    let over_tcp = async {
        let mut client = Client::plain(plain.address).await;
        drip(&mut client, &long_head()).await;
        assert_408(&mut client).await;
    };
    let others = async {
        let mut clients =
            [Client::plain(plain.address).await, Client::tls(gate.address, &ca).await];
        let mut pace = tokio::time::interval(DRIP);
        for _ in 0..20 {
            pace.tick().await;
            for client in &mut clients {
                let answer = client.request("GET", "/_matrix/federation/v1/version", &[], None);
                assert_eq!(within("an end", answer).await.status, 200);
            }
        }
    };
    tokio::join!(over_tls, over_tcp, others);
    assert_eq!(homeserver.seen().len(), 40, "only what came whole went on");
    let line = "fedgate_requests_total{endpoint=\"\",reason=\"head_timeout\",verdict=\"refused\"}";
    assert_eq!(gate.metric(line).await, 1.0);
}

#[tokio::test]
async fn a_second_head_on_a_connection_has_the_same_deadline() {
    let homeserver = Homeserver::start().await;
    let gate = strict_gate(&homeserver, false).await;
    let mut client = Client::plain(gate.address).await;
    let answer = client.request("GET", "/_matrix/federation/v1/version", &[], None).await;
    assert_eq!(answer.status, 200);
    drip(&mut client, &long_head()).await;
    assert_408(&mut client).await;
}

#[tokio::test]
async fn a_dripped_body_is_ended_on_http1() {
    for settings in SETTINGS_OF_BODY {
        drip_body_on_http1(settings).await;
    }
}

async fn drip_body_on_http1(settings: &'static str) {
    let homeserver = Homeserver::start().await;
    let gate = gate_with(&homeserver, false, settings).await;
    let origin = gate.origin("origin.example");
    let target = "/_matrix/federation/v1/send/1";
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(LONG));
    let authorization = origin.authorize("PUT", target, Some(body.as_bytes()));
    for framing in [format!("Content-Length: {}", body.len()), "Transfer-Encoding: chunked".into()]
    {
        let mut client = Client::plain(gate.address).await;
        let head = format!(
            "PUT {target} HTTP/1.1\r\nHost: gate.example\r\nAuthorization: {authorization}\r\n\
             {framing}\r\n\r\n"
        );
        client.send(head.as_bytes()).await;
        let size = if framing.ends_with("chunked") { "1ff\r\n" } else { "" };
        drip(&mut client, format!("{size}{body}").as_bytes()).await;
        assert_408(&mut client).await;
    }
    assert_eq!(homeserver.connections(), 0, "the homeserver never heard of it");
}

#[tokio::test]
async fn a_dripped_body_is_ended_on_http2() {
    for settings in SETTINGS_OF_BODY {
        drip_body_on_http2(settings).await;
    }
}

async fn drip_body_on_http2(settings: &'static str) {
    let homeserver = Homeserver::start().await;
    let gate = gate_with(&homeserver, true, settings).await;
    let origin = gate.origin("origin.example");
    let target = "/_matrix/federation/v1/send/1";
    let body = Bytes::from(format!("{{\"a\":\"{}\"}}", "x".repeat(LONG)));
    let authorization = origin.authorize("PUT", target, Some(&body));
    let pieces =
        stream::unfold((body, tokio::time::interval(DRIP)), |(mut rest, mut pace)| async {
            pace.tick().await;
            let byte = (!rest.is_empty()).then(|| rest.split_to(1))?;
            Some((Ok::<_, Infallible>(Frame::data(byte)), (rest, pace)))
        });
    let tls = tls_stream(gate.address, gate.ca.as_ref().unwrap(), b"h2").await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = http::Request::put(format!("https://gate.example{target}"))
        .header("authorization", authorization)
        .body(BodyExt::boxed_unsync(StreamBody::new(pieces)))
        .unwrap();
    let began = Instant::now();
    let response = within("an end", sender.send_request(request)).await.unwrap();
    assert_in_time(began);
    assert_eq!(response.status(), 408);
    assert_eq!(homeserver.connections(), 0, "the homeserver never heard of it");
}

#[tokio::test]
async fn dripped_http2_frames_end_the_connection() {
    let homeserver = Homeserver::start().await;
    let gate = strict_gate(&homeserver, true).await;
    let ca = gate.ca.clone().unwrap();
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let block = [field(":method", "GET"), field("a", "b")].concat();
    let opened = frame(HEADERS, END_STREAM, 1, &block);
    let continued = frame(CONTINUATION, 0, 1, &[0]).repeat(LONG / 10);
    // What is sent at once, and what comes byte by byte after it.
    let cases: [(&str, Vec<u8>, Vec<u8>); 4] = [
        ("a preface", Vec::new(), PREFACE.to_vec()),
        ("the header of a frame", hello.clone(), [0].repeat(8)),
        ("a settings frame", hello.clone(), frame(SETTINGS, 0, 0, &[0; 600])),
        ("a header block in pieces", [hello, opened].concat(), continued),
    ];
    let all = cases.map(|(what, at_once, slowly)| {
        let (ca, address) = (ca.clone(), gate.address);
        tokio::spawn(async move {
            let mut client = Client::tls_for(address, &ca, b"h2").await;
            client.send(&at_once).await;
            // A short thing is left unfinished: silence does not help it.
            let began = Instant::now();
            if slowly.len() > LONG / 2 {
                drip_until_closed(&mut client, &slowly).await;
            } else {
                client.send(&slowly[..slowly.len() - 1]).await;
                within("an end", client.until_closed()).await;
                assert_in_time(began);
            }
            what
        })
    });
    for one in all {
        let what = within("an end", one).await.unwrap();
        println!("{what} was ended");
    }
    assert_eq!(homeserver.connections(), 0);
}

#[tokio::test]
async fn a_tls_handshake_that_stalls_is_ended() {
    let homeserver = Homeserver::start().await;
    let gate = strict_gate(&homeserver, true).await;
    let mut dripping = Client::plain(gate.address).await;
    let mut silent = Client::plain(gate.address).await;
    // The start of a ClientHello of 508 bytes.
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.resize(LONG, 0);
    let silence = async {
        let began = Instant::now();
        within("an end", silent.until_closed()).await;
        assert_in_time(began);
    };
    tokio::join!(drip_until_closed(&mut dripping, &hello), silence);
    assert_eq!(gate.metric("fedgate_tls_handshake_failures_total").await, 2.0);
}

#[tokio::test]
async fn idle_connections_are_closed_without_a_word() {
    let homeserver = Homeserver::start().await;
    let settings = "[limits]\nidle_timeout = \"1s\"\n";
    let options = GateOptions { tls: true, settings, ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    let ca = gate.ca.clone().unwrap();
    let began = Instant::now();
    let fresh = async {
        let mut client = Client::tls(gate.address, &ca).await;
        assert!(within("an end", client.until_closed()).await.is_empty(), "nothing was asked");
    };
    let used = async {
        let mut client = Client::tls(gate.address, &ca).await;
        let answer = client.request("GET", "/_matrix/federation/v1/version", &[], None).await;
        assert_eq!(answer.status, 200);
        assert!(within("an end", client.is_closed()).await);
    };
    let http2 = async {
        let mut client = Client::tls_for(gate.address, &ca, b"h2").await;
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
        within("an end", client.until_closed()).await;
    };
    tokio::join!(fresh, used, http2);
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(gate.metric("fedgate_connections").await, 0.0);
}

#[tokio::test]
async fn what_is_slow_but_in_time_passes() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let origin = gate.origin("origin.example");
    let target = "/_matrix/federation/v1/send/1";
    let body = br#"{"pdus":[],"edus":[]}"#;
    let authorization = origin.authorize("PUT", target, Some(body));
    let request = format!(
        "PUT {target} HTTP/1.1\r\nHost: gate.example\r\nAuthorization: {authorization}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut client = Client::plain(gate.address).await;
    let mut pace = tokio::time::interval(Duration::from_millis(2));
    for byte in [request.as_bytes(), body].concat() {
        pace.tick().await;
        client.send(&[byte]).await;
    }
    assert_eq!(within("an end", client.answer()).await.expect("an answer").status, 200);
    assert_eq!(&homeserver.seen()[0].body[..], body);
}
