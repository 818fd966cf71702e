//! HTTP/2 frames that cost the sender nothing (threat R3).

use super::{NO_PROXIES, VERSION, ended};
use crate::support::h2_raw::{H2Raw, Outcome};
use crate::support::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, field, frame, kinds,
};
use crate::support::{Client, Gate, GateOptions, Homeserver, OWN_NAME, within};

/// More than may come at one time of anything.
const FLOOD: usize = 2_000;

async fn gate(homeserver: &Homeserver, listen: &'static str) -> Gate {
    let options = GateOptions { tls: true, listen, ..GateOptions::default() };
    Gate::start_with(homeserver, options).await
}

/// A header block that asks for the version.
fn version() -> Vec<u8> {
    let fields =
        [(":method", "GET"), (":scheme", "https"), (":authority", OWN_NAME), (":path", VERSION)];
    fields.map(|(name, value)| field(name, value)).concat()
}

pub(super) fn request(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &version())
}

/// A client that has said hello, over which anything may follow.
async fn hello(gate: &Gate) -> Client {
    let mut client = Client::tls_for(gate.address, gate.ca.as_ref().unwrap(), b"h2").await;
    client.send(crate::support::http2::PREFACE).await;
    client.send(&frame(SETTINGS, 0, 0, &[])).await;
    client
}

/// Waits until the gate has dealt with everything before.
async fn ping(client: &mut Client) -> bool {
    client.send(&frame(PING, 0, 0, &[7; 8])).await;
    let pong = frame(PING, ACK, 0, &[7; 8]);
    let mut seen = Vec::new();
    loop {
        seen.extend(client.take_buffered());
        if seen.windows(pong.len()).any(|part| part == pong) {
            return true;
        }
        if !within("a pong", client.fill()).await {
            return false;
        }
    }
}

#[tokio::test]
async fn r3_frames_that_carry_nothing_end_the_connection() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, NO_PROXIES).await;
    let floods: [(&str, Vec<u8>); 5] = [
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("an unknown frame", frame(0xbb, 0, 1, &[])),
    ];
    for (n, (what, one)) in floods.into_iter().enumerate() {
        let mut client = hello(&gate).await;
        client.send(&one.repeat(FLOOD)).await;
        within(what, client.until_closed()).await;
        assert_eq!(gate.metric(&ended("control_frames")).await, (n + 1) as f64, "{what}");
    }
    assert_eq!(homeserver.connections(), 0);
}

#[tokio::test]
async fn an_honest_client_may_send_many_of_them() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, NO_PROXIES).await;
    let mut client = H2Raw::connect(gate.address, gate.ca.as_ref().unwrap()).await;
    client.write(&frame(PING, 0, 0, &[0; 8]).repeat(900)).await;
    client.write(&request(1)).await;
    assert!(matches!(within("an answer", client.outcome(1)).await, Outcome::Answered(..)));
}

#[tokio::test]
async fn r3_requests_that_are_taken_back_end_the_connection() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, NO_PROXIES).await;
    let mut client = hello(&gate).await;
    let mut taken_back = 0;
    for stream in (1..).step_by(2).take(FLOOD) {
        let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        client.send(&[request(stream), reset].concat()).await;
        if !ping(&mut client).await {
            break;
        }
        taken_back += 1;
    }
    // A few more when the machine is slow: it is a hundred a minute.
    assert!((100..FLOOD / 2).contains(&taken_back), "{taken_back}");
    assert_eq!(gate.metric(&ended("resets")).await, 1.0);
}

/// The proxy is trusted to know its clients, and one of them must not take it down.
#[tokio::test]
async fn a_trusted_proxy_may_take_requests_back() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, "").await;
    let mut client = hello(&gate).await;
    for stream in (1..).step_by(2).take(300) {
        let reset = frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
        client.send(&[request(stream), reset].concat()).await;
        assert!(ping(&mut client).await, "stream {stream}");
    }
}

/// Ends with a GOAWAY of the HTTP/2 library: what it bounds itself, and what fedgate therefore does
/// not count.
#[tokio::test]
async fn r3_what_the_library_bounds() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, NO_PROXIES).await;
    let block = version();
    // A long field, put into the table, and pointed at with one byte again and again (RFC 7541, 6.1).
    let bomb = {
        let value = "x".repeat(4_000);
        let mut bytes = vec![0x40, 1, b'a', 127, 0xa1, 0x1e];
        bytes.extend(value.as_bytes());
        bytes.extend([0xbe; 10_000]);
        [block.clone(), bytes].concat()
    };
    let open = frame(HEADERS, END_HEADERS, 1, &block);
    let backed_out: Vec<u8> = (1..)
        .step_by(2)
        .take(200)
        .flat_map(|stream| {
            let begun = frame(HEADERS, END_HEADERS, stream, &block);
            // A window that grows by nothing is an error of the stream (RFC 9113, 6.9).
            [begun, frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
        })
        .collect();
    let pieces = |payload: &[u8]| {
        let begun = frame(HEADERS, END_STREAM, 1, &block);
        [begun, frame(CONTINUATION, 0, 1, payload).repeat(FLOOD)].concat()
    };
    let floods: [(&str, Vec<u8>); 7] = [
        ("CONTINUATION", pieces(b"\0\x01a\x01b")),
        ("CONTINUATION of nothing", pieces(b"")),
        ("a bomb", frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)),
        ("empty DATA", [open.clone(), frame(DATA, 0, 1, &[]).repeat(FLOOD)].concat()),
        ("resets that the gate makes", backed_out),
        ("fields without names", frame(HEADERS, END_HEADERS, 1, &[0; 30_000])),
        ("fields without values", {
            let field = [0, 1, b'a', 0];
            frame(
                HEADERS,
                END_HEADERS | END_STREAM,
                1,
                &[block.clone(), field.repeat(8_000)].concat(),
            )
        }),
    ];
    for (what, bytes) in floods {
        let mut client = hello(&gate).await;
        client.send(&bytes).await;
        let rest = within(what, client.until_closed()).await;
        assert!(kinds(&rest).contains(&GOAWAY), "{what}: {:?}", kinds(&rest));
    }
    assert_eq!(homeserver.seen().len(), 0, "nothing of it was a request");
}

#[tokio::test]
async fn r3_so_many_streams_and_no_more() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, NO_PROXIES).await;
    let mut client = hello(&gate).await;
    // Requests that never end.
    for stream in (1..).step_by(2).take(33) {
        client.send(&frame(HEADERS, END_HEADERS, stream, &put(1))).await;
    }
    let refused = |bytes: &[u8]| {
        let mut bytes = bytes;
        let mut refused = Vec::new();
        while bytes.len() >= 9 {
            let length = usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
            if bytes[3] == RST_STREAM && bytes[9..13] == [0, 0, 0, 7] {
                refused.push(bytes[8]);
            }
            bytes = bytes.get(9 + length..).unwrap_or_default();
        }
        refused
    };
    let mut seen = Vec::new();
    within("a refusal", async {
        while refused(&seen).is_empty() {
            assert!(client.fill().await);
            seen.extend(client.take_buffered());
        }
    })
    .await;
    assert_eq!(refused(&seen), [65], "the 33rd");
}

/// A request with a body on an open route.
fn put(length: usize) -> Vec<u8> {
    let length = length.to_string();
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", OWN_NAME),
        (":path", "/_matrix/key/v2/query"),
        ("content-length", &length),
    ];
    fields.map(|(name, value)| field(name, value)).concat()
}
