use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::clock::ManualClock;
use crate::keys::testing::{HOUR, TestServer, at, key_metrics, no_bans, request};

fn origin() -> TestServer {
    let mut server = TestServer::new("a.example");
    server.add_key("ed25519:1");
    server
}

fn fetcher(homeserver: Homeserver, clock: &Arc<ManualClock>) -> HomeserverFetcher {
    let host = ServerName::parse("our.example:8448").unwrap();
    HomeserverFetcher::new(homeserver, host, no_bans(), Arc::clone(clock) as _, key_metrics())
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(at(0)))
}

fn response(status: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn answer(document: &[u8]) -> Vec<u8> {
    [br#"{"server_keys":["#, document, b"]}"].concat()
}

/// Reads one request and gives one answer; returns what was read.
async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8]) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"}}}}") {
        assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "the request ended early");
    }
    // The client may hang up before it has read everything.
    drop(stream.write_all(answer).await);
    String::from_utf8(read).unwrap()
}

/// A homeserver on a port of its own that gives the same answer to everybody, and the number of
/// requests it has had.
async fn homeserver(answer: Vec<u8>) -> (Homeserver, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            serve(stream, &answer).await;
        }
    });
    (Homeserver::Tcp { host: "127.0.0.1".to_owned(), port }, requests)
}

async fn fetch(answer: Vec<u8>) -> Result<Vec<ServerKeys>, FetchError> {
    let (homeserver, _) = homeserver(answer).await;
    fetcher(homeserver, &clock()).fetch(&request(&origin(), &["ed25519:1"])).await
}

#[tokio::test]
async fn the_homeserver_is_asked_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let homeserver = Homeserver::Tcp { host: "localhost".to_owned(), port };
    let fetcher = fetcher(homeserver, &clock());
    let request = request(&origin(), &["ed25519:1"]);
    let body = response("200 OK", &answer(&origin().document()));
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, &body).await
    };
    let (documents, question) = tokio::join!(fetcher.fetch(&request), server);
    assert_eq!(documents.unwrap()[0].raw(), &origin().document());
    assert!(question.starts_with("POST /_matrix/key/v2/query HTTP/1.1\r\n"), "{question}");
    assert!(question.contains("\r\nhost: our.example:8448\r\n"), "{question}");
    assert!(question.contains("\r\ncontent-type: application/json\r\n"), "{question}");
    assert!(question.ends_with(
        r#"{"server_keys":{"a.example":{"ed25519:1":{"minimum_valid_until_ts":1700000000000}}}}"#
    ));
}

#[tokio::test]
async fn the_homeserver_is_asked_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("federation.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let fetcher = fetcher(Homeserver::Unix(path), &clock());
    let request = request(&origin(), &["ed25519:1"]);
    let body = response("200 OK", &answer(&origin().document()));
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, &body).await
    };
    let (documents, _) = tokio::join!(fetcher.fetch(&request), server);
    assert_eq!(documents.unwrap().len(), 1);
}

#[tokio::test]
async fn an_answer_that_lasts_until_the_connection_closes_is_read_whole() {
    let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    let documents = fetch([head.as_slice(), &answer(&origin().document())].concat()).await;
    assert_eq!(documents.unwrap().len(), 1);
}

#[tokio::test]
async fn name_and_self_signature_are_demanded_of_it_too() {
    let mut other = TestServer::new("b.example");
    other.add_key("ed25519:1");
    let unsigned = serde_json::to_vec(&origin().unsigned()).unwrap();
    for document in [other.document(), unsigned] {
        let fetched = fetch(response("200 OK", &answer(&document))).await;
        assert!(matches!(fetched, Err(FetchError::BadAnswer(_))), "{fetched:?}");
    }
}

#[tokio::test]
async fn a_homeserver_without_key_query_is_left_alone_for_an_hour() {
    let unrecognized = br#"{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}"#;
    for status in ["404 Not Found", "405 Method Not Allowed", "400 Bad Request"] {
        let (homeserver, requests) = homeserver(response(status, unrecognized)).await;
        let clock = clock();
        let fetcher = fetcher(homeserver, &clock);
        let request = request(&origin(), &["ed25519:1"]);
        for (time, expected) in [(0, 1), (1, 1), (HOUR - 1, 1), (HOUR, 2), (HOUR + 1, 2)] {
            clock.set(at(time));
            let fetched = fetcher.fetch(&request).await;
            assert_eq!(fetched.unwrap_err(), FetchError::NotServed, "{status}");
            assert_eq!(requests.load(Ordering::SeqCst), expected, "{status} at {time}");
        }
    }
}

#[tokio::test]
async fn other_errors_are_not_remembered() {
    let not_found = br#"{"errcode":"M_UNKNOWN","error":"Internal server error"}"#;
    let (homeserver, requests) = homeserver(response("500 Internal Server Error", not_found)).await;
    let fetcher = fetcher(homeserver, &clock());
    for expected in 1..=2 {
        let fetched = fetcher.fetch(&request(&origin(), &["ed25519:1"])).await;
        assert_eq!(fetched.unwrap_err(), FetchError::Status(500));
        assert_eq!(requests.load(Ordering::SeqCst), expected);
    }
}

#[tokio::test]
async fn a_homeserver_that_is_down_is_a_connect_error() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody can listen on port 0.
    let tcp = Homeserver::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
    for homeserver in [tcp, Homeserver::Unix(folder.path().join("no"))] {
        let fetched =
            fetcher(homeserver, &clock()).fetch(&request(&origin(), &["ed25519:1"])).await;
        let Err(FetchError::Net(NetError::Connect(text))) = fetched else { panic!("{fetched:?}") };
        assert!(text.starts_with("homeserver at "), "{text}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let answer = fetch(response("200 OK", &vec![b' '; ANSWER_BYTES_MAX + 1])).await;
    assert!(matches!(answer, Err(FetchError::Net(NetError::TooLarge(_)))), "{answer:?}");
}

#[tokio::test]
async fn an_answer_that_is_no_http_or_ends_early_is_an_http_error() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec();
    for body in [b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(), half, Vec::new()] {
        let answer = fetch(body).await;
        assert!(matches!(answer, Err(FetchError::Net(NetError::Http(_)))), "{answer:?}");
    }
}
