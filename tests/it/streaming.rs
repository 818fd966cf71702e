//! Responses on their way back: they stream, they stay as they are, and what breaks off is seen to
//! break off. Requests whose homeserver connection turns out dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::sync::Notify;

use crate::support::client::H2Client;
use crate::support::homeserver::full;
use crate::support::raw::{RawHomeserver, ServerSide};
use crate::support::{Client, Gate, GateOptions, Homeserver, Origin, within};

const TARGET: &str = "/_matrix/federation/v1/media/download/abc";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

async fn gate_before(homeserver: &RawHomeserver, tls: bool) -> (Gate, Origin) {
    let options = GateOptions { tls, ..GateOptions::default() };
    let gate = Gate::start_before(&homeserver.url, options).await;
    let origin = gate.origin("origin.example");
    (gate, origin)
}

/// Sends a signed GET for `TARGET`, and reads nothing.
async fn ask(client: &mut Client, origin: &Origin) {
    let authorization = origin.authorize("GET", TARGET, None);
    let head = format!(
        "GET {TARGET} HTTP/1.1\r\nHost: gate.example\r\nAuthorization: {authorization}\r\n\r\n"
    );
    client.send(head.as_bytes()).await;
}

/// A response body that is long, and at each place known.
#[derive(Clone)]
struct LongBody {
    length: usize,
    written: Arc<AtomicUsize>,
    stalled: Arc<Notify>,
}

/// So long without progress is back-pressure.
const STALL: Duration = Duration::from_millis(500);

/// A prime, so that the pattern never falls in step with a buffer.
const PATTERN_BYTES: usize = 65_521;

fn pattern() -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| rng.u8(..)).take(PATTERN_BYTES).collect()
}

impl LongBody {
    fn new(length: usize) -> Self {
        Self { length, written: Arc::default(), stalled: Arc::default() }
    }

    async fn write(self, mut server: ServerSide) {
        let pattern = pattern();
        server.request().await.unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", self.length);
        server.write(head.as_bytes()).await;
        let mut left = self.length;
        while left > 0 {
            let piece = &pattern[..left.min(PATTERN_BYTES)];
            let mut writing = std::pin::pin!(server.write(piece));
            let written = match tokio::time::timeout(STALL, &mut writing).await {
                Ok(written) => written,
                Err(_) => {
                    self.stalled.notify_one();
                    writing.await
                }
            };
            assert!(written, "the gate hung up");
            left -= piece.len();
            self.written.fetch_add(piece.len(), Ordering::SeqCst);
        }
        server.wait_closed().await;
    }
}

/// Compares a body with the pattern as it comes.
#[derive(Default)]
struct Comparison {
    at: usize,
}

impl Comparison {
    fn feed(&mut self, mut bytes: &[u8], pattern: &[u8]) {
        while !bytes.is_empty() {
            let expected = &pattern[self.at % PATTERN_BYTES..];
            let (now, later) = bytes.split_at(bytes.len().min(expected.len()));
            assert_eq!(now, &expected[..now.len()], "near byte {}", self.at);
            self.at += now.len();
            bytes = later;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_megabytes_stream_at_the_pace_of_the_client() {
    let body = LongBody::new(200_000_000);
    let script = body.clone();
    let homeserver = RawHomeserver::start(move |server| script.clone().write(server)).await;
    let (gate, origin) = gate_before(&homeserver, false).await;
    let mut client = Client::plain(gate.address).await;
    ask(&mut client, &origin).await;

    within("an end", body.stalled.notified()).await;
    // What the stand-in got rid of is in four socket buffers and in the gate.
    let written = body.written.load(Ordering::SeqCst);
    assert!(written < 40_000_000, "{written} bytes left the homeserver for a client at rest");

    within("an end", async {
        let (status, headers) = client.head().await.unwrap();
        assert_eq!((status, headers["content-length"].to_str().unwrap()), (200, "200000000"));
        let (pattern, mut comparison) = (pattern(), Comparison::default());
        comparison.feed(&client.take_buffered(), &pattern);
        while comparison.at < body.length && client.fill().await {
            comparison.feed(&client.take_buffered(), &pattern);
        }
        assert_eq!(comparison.at, body.length);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_streams_at_the_pace_of_the_client_too() {
    let body = LongBody::new(80_000_000);
    let script = body.clone();
    let homeserver = RawHomeserver::start(move |server| script.clone().write(server)).await;
    let (gate, origin) = gate_before(&homeserver, true).await;
    let mut client = H2Client::connect(gate.address, gate.ca.as_ref().unwrap()).await;
    let request = http::Request::get(format!("https://gate.example{TARGET}"))
        .header("authorization", origin.authorize("GET", TARGET, None))
        .body(full(""))
        .unwrap();
    let response = within("an end", client.sender.send_request(request)).await.unwrap();

    within("an end", body.stalled.notified()).await;
    let written = body.written.load(Ordering::SeqCst);
    assert!(written < 40_000_000, "{written} bytes left the homeserver for a client at rest");

    within("an end", async {
        let (mut stream, pattern) = (response.into_body(), pattern());
        let mut comparison = Comparison::default();
        while let Some(frame) = stream.frame().await {
            comparison.feed(frame.unwrap().data_ref().unwrap(), &pattern);
        }
        assert_eq!(comparison.at, body.length);
    })
    .await;
}

#[tokio::test]
async fn a_multipart_media_response_arrives_as_it_was_sent() {
    let kind = "multipart/mixed; boundary=\"gc0p4Jq0M2Yt08jU534c0p\"";
    let mut body = b"--gc0p4Jq0M2Yt08jU534c0p\r\nContent-Type: application/json\r\n\r\n{}\r\n\
        --gc0p4Jq0M2Yt08jU534c0p\r\nContent-Type: image/png\r\n\r\n"
        .to_vec();
    body.extend(pattern());
    body.extend(b"\r\n--gc0p4Jq0M2Yt08jU534c0p--");
    let expected = body.clone();
    let homeserver = Homeserver::start_with(move |_| {
        let mut response = http::Response::new(full(body.clone()));
        response.headers_mut().insert("content-type", kind.parse().unwrap());
        response.headers_mut().insert("content-encoding", "identity".parse().unwrap());
        response
    })
    .await;
    let gate = Gate::start_tls(&homeserver).await;
    let origin = gate.origin("origin.example");
    let ca = gate.ca.clone().unwrap();
    let authorization = origin.authorize("GET", TARGET, None);
    // Asking for a compressed answer changes nothing: the gate never compresses.
    let headers = [("authorization", authorization.as_str()), ("accept-encoding", "gzip")];

    let mut client = Client::tls(gate.address, &ca).await;
    let one = within("an end", client.request("GET", TARGET, &headers, None)).await;
    let mut client = H2Client::connect(gate.address, &ca).await;
    let two = within("an end", client.request("GET", TARGET, &headers, None)).await.unwrap();
    for answer in [one, two] {
        assert_eq!((answer.status, &answer.headers["content-type"]), (200, &kind.parse().unwrap()));
        assert_eq!(answer.headers["content-encoding"], "identity");
        assert!(answer.body == expected, "the body is the same");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_reaches_the_client_as_broken() {
    const BROKEN: [&str; 2] = [
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"a\":",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n",
    ];
    for response in BROKEN {
        let homeserver = RawHomeserver::start(move |mut server| async move {
            server.request().await;
            server.write(response.as_bytes()).await;
        })
        .await;
        let (gate, origin) = gate_before(&homeserver, true).await;
        let ca = gate.ca.clone().unwrap();

        let mut client = Client::tls(gate.address, &ca).await;
        ask(&mut client, &origin).await;
        let answer = within("an end", client.answer()).await;
        assert!(answer.is_none(), "HTTP/1.1 shows no end of {response:?}: {answer:?}");

        let mut client = H2Client::connect(gate.address, &ca).await;
        let authorization = origin.authorize("GET", TARGET, None);
        let headers = [("authorization", authorization.as_str())];
        let answer = within("an end", client.request("GET", TARGET, &headers, None)).await;
        assert!(answer.is_err(), "HTTP/2 shows no end of {response:?}: {answer:?}");
        assert_eq!(homeserver.seen().len(), 2, "what has been answered in part is not repeated");
    }
}

#[tokio::test]
async fn a_homeserver_behind_a_unix_socket_is_served() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("federation.sock");
    let homeserver = RawHomeserver::start_unix(&path, |server| server.answer_all(OK));
    let (gate, origin) = gate_before(&homeserver, false).await;
    let mut client = Client::plain(gate.address).await;
    let target = "/_matrix/federation/v1/send/1";
    let body = br#"{"pdus":[]}"#;
    let authorization = origin.authorize("PUT", target, Some(body));
    for _ in 0..2 {
        let headers = [("authorization", authorization.as_str())];
        let answer = within("an end", client.request("PUT", target, &headers, Some(body))).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
    }
    let seen = homeserver.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|r| r.is("PUT") && r.body == body[..]), "{seen:?}");
    assert_eq!(seen[1].connection, 0, "the connection is used again");
}

#[tokio::test]
async fn an_answer_before_the_body_was_read_reaches_the_client() {
    let homeserver = RawHomeserver::start(|mut server| async move {
        server.head().await;
        let early = "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        server.write(early.as_bytes()).await;
        server.wait_closed().await;
    })
    .await;
    let (gate, origin) = gate_before(&homeserver, false).await;
    let target = "/_matrix/federation/v1/send/1";
    let body = format!(r#"{{"a":"{}"}}"#, "x".repeat(12_000_000));
    let authorization = origin.authorize("PUT", target, Some(body.as_bytes()));
    let mut client = Client::plain(gate.address).await;
    let headers = [("authorization", authorization.as_str())];
    let answer =
        within("an end", client.request("PUT", target, &headers, Some(body.as_bytes()))).await;
    assert_eq!((answer.status, &answer.body[..]), (413, &b"{}"[..]));
}
