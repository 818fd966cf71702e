//! What is sent, and what is taken as an answer.

use tokio::io::DuplexStream;
use tokio::time::Instant;

use super::*;
use crate::net::discovery::DialHost;

/// Sends `request` to a peer that behaves in that manner.
async fn send(
    request: FederationRequest,
    manner: Manner,
) -> (Result<FederationResponse, NetError>, Peer) {
    let authority = Authority::new();
    let peer = Peer::start(authority.server("127.0.0.1"), manner).await;
    let transport = transport(Names::default(), &authority, ports(peer.port()));
    let result = transport.send(&server_name("127.0.0.1"), request).await;
    (result, peer)
}

#[tokio::test]
async fn a_get_says_who_asks_and_offers_no_compression() {
    let (result, peer) = send(get(), ok()).await;
    result.expect("an answer");
    let seen = &peer.requests()[0];
    let agent = concat!("fedgate/", env!("CARGO_PKG_VERSION"));
    assert_eq!(seen.header("user-agent"), Some(agent));
    for absent in ["accept-encoding", "content-length", "transfer-encoding", "content-type"] {
        assert_eq!(seen.header(absent), None, "{}", seen.head);
    }
    assert_eq!(seen.head.matches("127.0.0.1").count(), 1, "one Host: {}", seen.head);
}

#[tokio::test]
async fn a_body_makes_it_a_post_of_json() {
    let body = Bytes::from_static(br#"{"server_keys":{}}"#);
    let target = "/_matrix/key/v2/query".to_owned();
    let request = FederationRequest { body: Some(body.clone()), target, ..get() };
    let (result, peer) = send(request, ok()).await;
    result.expect("an answer");
    let seen = &peer.requests()[0];
    assert!(seen.head.starts_with("POST /_matrix/key/v2/query HTTP/1.1\r\n"), "{}", seen.head);
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("content-length"), Some("18"));
    assert_eq!(seen.body, body);
}

#[tokio::test]
async fn status_and_body_are_handed_on_whatever_they_are() {
    for (head, status) in [("200 OK", 200), ("404 Not Found", 404), ("503 Busy", 503)] {
        let (result, _) = send(get(), answer(head, "some text")).await;
        let response = result.expect("an answer");
        assert_eq!((response.status, &*response.body), (status, b"some text".as_slice()));
    }
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let to_the_end = "HTTP/1.0 200 OK\r\n\r\nabcde";
    for text in [chunked, to_the_end] {
        let (result, _) = send(get(), Manner::Answer(text.as_bytes().to_vec())).await;
        assert_eq!(&*result.expect("an answer").body, b"abcde");
    }
}

#[tokio::test]
async fn the_largest_answer_is_read_and_one_byte_more_is_not() {
    let with_length = |n: usize| answer("200 OK", &"x".repeat(n));
    let chunked = |n: usize| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        Manner::Answer(format!("{head}{n:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(n)).into_bytes())
    };
    let request = || FederationRequest { response_bytes_max: 50_000, ..get() };
    for manner in [with_length(50_000), chunked(50_000)] {
        let (result, _) = send(request(), manner).await;
        assert_eq!(result.expect("an answer").body.len(), 50_000);
    }
    for manner in [with_length(50_001), chunked(50_001)] {
        let (result, _) = send(request(), manner).await;
        let error = result.expect_err("too large");
        assert_eq!(error.kind(), "too_large", "{error}");
        assert!(error.text().contains("larger than 50000 bytes"), "{error}");
    }
}

#[tokio::test]
async fn the_well_known_document_is_asked_for_once() {
    let authority = Authority::new();
    let peer = Peer::start(authority.server("matrix.example.net"), ok()).await;
    let document = format!(r#"{{"m.server":"matrix.example.net:{}"}}"#, peer.port());
    let head = "200 OK\r\nCache-Control: public\r\nCache-Control: max-age=600";
    let web = Peer::start(authority.server("example.org"), answer(head, &document)).await;
    let names = Names::default()
        .with("example.org", &["127.0.0.1"])
        .with("matrix.example.net", &["127.0.0.1"]);
    let transport = transport(names, &authority, ports(web.port()));
    for asked in 1..=3 {
        let sent = transport.send(&server_name("example.org"), get()).await;
        assert_eq!(sent.map(|answer| answer.status), Ok(200));
        assert_eq!((web.connections(), peer.connections()), (1, asked));
    }
    let endpoint = Endpoint {
        host: DialHost::Name("example.org".to_owned()),
        port: web.port(),
        host_header: "example.org".to_owned(),
        tls_name: "example.org".try_into().expect("a name"),
    };
    let getter = Getter { client: &transport.client, trace: Trace::default() };
    let answer = getter.get(&endpoint, "/", 1_024).await.expect("an answer");
    assert_eq!(answer.cache_control.as_deref(), Some(b"public,max-age=600".as_slice()));
}

/// The HTTP part alone, on a pipe and in paused time: the far side reads the request and then runs
/// `peer`. An answer that is there before the request is another matter, and refused.
async fn exchange_with<F>(
    peer: impl FnOnce(DuplexStream) -> F + Send + 'static,
) -> (NetError, Duration)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (near, mut far) = tokio::io::duplex(65_536);
    let task = tokio::spawn(async move {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(far.read_buf(&mut request).await.expect("a request"), 0);
        }
        peer(far).await;
    });
    let start = Instant::now();
    let result = exchange::exchange(near, "example.org", get(), Timeouts::default()).await;
    let taken = start.elapsed();
    task.abort();
    (result.expect_err("no whole answer"), taken)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up_on() {
    let (error, taken) = exchange_with(async |far| {
        let _open = far;
        std::future::pending::<()>().await;
    })
    .await;
    assert_eq!(error, NetError::Timeout("no answer within 5s".to_owned()));
    assert_eq!(taken, Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_drips_is_given_up_on() {
    let (error, taken) = exchange_with(async |mut far| {
        let _ = far.write_all(b"HTTP/1.1 200 OK\r\nX: ").await;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = far.write_all(b"x").await;
        }
    })
    .await;
    assert_eq!(error, NetError::Timeout("no answer within 5s".to_owned()));
    assert_eq!(taken, Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_given_up_on() {
    let (error, taken) = exchange_with(async |mut far| {
        let _ = far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = far.write_all(b"x").await;
        }
    })
    .await;
    assert_eq!(error, NetError::Timeout("the answer did not end within 5s".to_owned()));
    assert_eq!(taken, Duration::from_secs(5));
}
