//! The connection to the homeserver: kept ones that turn out dead, interim answers, and answers
//! without a body.

use crate::support::raw::{RawHomeserver, RawRequest};
use crate::support::{Answer, Client, Gate, GateOptions, Origin, within};

const TARGET: &str = "/_matrix/federation/v1/send/1";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
const BODY: &[u8] = br#"{"pdus":[]}"#;

struct Path {
    homeserver: RawHomeserver,
    gate: Gate,
    origin: Origin,
    client: Client,
}

impl Path {
    async fn to(homeserver: RawHomeserver) -> Self {
        let gate = Gate::start_before(&homeserver.url, GateOptions::default()).await;
        let origin = gate.origin("origin.example");
        let client = Client::plain(gate.address).await;
        Self { homeserver, gate, origin, client }
    }

    /// Sends a signed request; the answer is still to be read.
    async fn send(&mut self, method: &str) {
        let body = matches!(method, "PUT" | "POST").then_some(BODY);
        let authorization = self.origin.authorize(method, TARGET, body);
        let length = body.map_or(String::new(), |b| format!("Content-Length: {}\r\n", b.len()));
        let mut bytes = format!(
            "{method} {TARGET} HTTP/1.1\r\nHost: gate.example\r\n\
             Authorization: {authorization}\r\n{length}\r\n"
        )
        .into_bytes();
        bytes.extend(body.unwrap_or_default());
        self.client.send(&bytes).await;
    }

    async fn request(&mut self, method: &str) -> Answer {
        self.send(method).await;
        within("an end", self.client.answer()).await.expect("an answer")
    }

    fn seen(&self, method: &str) -> Vec<RawRequest> {
        self.homeserver.seen().into_iter().filter(|r| r.is(method)).collect()
    }
}

/// A homeserver whose first connection takes a second request and dies without an answer to it, as
/// one does that closes idle connections at the wrong moment.
async fn dying_after_one() -> RawHomeserver {
    RawHomeserver::start(|mut server| async move {
        if server.number > 0 {
            return server.answer_all(OK).await;
        }
        server.request().await;
        server.write(OK.as_bytes()).await;
        server.request().await;
    })
    .await
}

#[tokio::test]
async fn a_kept_connection_that_dies_costs_a_repeatable_request_nothing() {
    for method in ["GET", "PUT"] {
        let mut path = Path::to(dying_after_one().await).await;
        assert_eq!(path.request("GET").await.status, 200);
        let before = path.seen(method).len();
        assert_eq!(path.request(method).await.status, 200, "{method}");
        let seen = path.seen(method).split_off(before);
        let connections: Vec<usize> = seen.iter().map(|r| r.connection).collect();
        assert_eq!(connections, [0, 1], "{method} is sent once more over a new connection");
        let body = if method == "PUT" { BODY } else { b"" };
        assert!(seen.iter().all(|r| r.body == body), "with the whole body: {seen:?}");
    }
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let mut path = Path::to(dying_after_one().await).await;
    assert_eq!(path.request("GET").await.status, 200);
    let answer = path.request("POST").await;
    assert_eq!((answer.status, answer.errcode().as_str()), (502, "M_UNKNOWN"));
    assert_eq!(path.seen("POST").len(), 1);
    let refusals = "fedgate_requests_total{endpoint=\"send\",reason=\"homeserver_unavailable\",\
        verdict=\"refused\"}";
    assert_eq!(path.gate.metric(refusals).await, 1.0);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_was_kept_is_not_used() {
    let homeserver = RawHomeserver::start(|mut server| async move {
        server.request().await;
        server.write(OK.as_bytes()).await;
    })
    .await;
    let mut path = Path::to(homeserver).await;
    for method in ["GET", "PUT", "GET"] {
        assert_eq!(path.request(method).await.status, 200, "{method}");
    }
}

#[tokio::test]
async fn a_new_connection_that_dies_is_the_homeservers_failure() {
    let homeserver = RawHomeserver::start(|mut server| async move {
        server.request().await;
    })
    .await;
    let mut path = Path::to(homeserver).await;
    for (method, status) in [("PUT", 502), ("POST", 502)] {
        let answer = path.request(method).await;
        assert_eq!((answer.status, answer.errcode().as_str()), (status, "M_UNKNOWN"), "{method}");
        assert_eq!(path.seen(method).len(), 1, "{method} is not repeated");
        path.client = Client::plain(path.gate.address).await;
    }
}

#[tokio::test]
async fn interim_answers_of_the_homeserver_do_not_end_the_request() {
    let homeserver = RawHomeserver::start(|server| {
        server.answer_all(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        )
    })
    .await;
    let mut path = Path::to(homeserver).await;
    for method in ["GET", "PUT", "GET"] {
        let answer = path.request(method).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]), "{method}");
    }
    assert_eq!(path.homeserver.seen().len(), 3);
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_in_step() {
    let cases: [(&str, &'static str, u16); 3] = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 5\r\n\r\n", 304),
    ];
    for (method, response, status) in cases {
        let homeserver = RawHomeserver::start(move |server| server.answer_all(response)).await;
        let mut path = Path::to(homeserver).await;
        for _ in 0..2 {
            path.send(method).await;
            let head = within("an end", path.client.head()).await;
            let (got, headers) = head.expect("the connection is still there");
            assert_eq!(got, status, "{method}");
            assert!(!headers.contains_key("transfer-encoding"), "{method} {status}: {headers:?}");
            if method == "HEAD" {
                assert_eq!(headers["content-length"], "5");
            }
        }
        assert!(path.client.take_buffered().is_empty(), "nothing follows the head");
        assert_eq!(path.homeserver.seen().len(), 2);
    }
}

/// What nginx speaks to its upstreams unless told otherwise. Chunks are not known there: the answer
/// ends with the connection.
#[tokio::test]
async fn an_http_1_0_client_gets_no_chunks() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let homeserver =
        RawHomeserver::start(move |server| async move { server.answer_all(chunked).await }).await;
    for connection in ["close", "keep-alive"] {
        let mut path = Path::to(homeserver.clone()).await;
        let authorization = path.origin.authorize("GET", TARGET, None);
        let request = format!(
            "GET {TARGET} HTTP/1.0\r\nHost: gate.example\r\nConnection: {connection}\r\n\
             Authorization: {authorization}\r\n\r\n"
        );
        path.client.send(request.as_bytes()).await;
        let answer = within("the end", path.client.until_closed()).await;
        let answer = std::str::from_utf8(&answer).unwrap().to_ascii_lowercase();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 ") && head.contains("connection: close"), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert_eq!(body, "{}");
    }
}
