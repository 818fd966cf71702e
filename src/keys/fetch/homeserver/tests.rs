use std::sync::atomic::Ordering;

use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::clock::ManualClock;
use crate::keys::fetch::testing::{answer, homeserver, response, serve};
use crate::keys::testing::{HOUR, TestServer, at, banning, request};

fn origin() -> TestServer {
    let mut server = TestServer::new("a.example");
    server.add_key("ed25519:1");
    server
}

fn fetcher(homeserver: Homeserver, clock: &Arc<ManualClock>) -> HomeserverFetcher {
    let host = ServerName::parse("our.example:8448").unwrap();
    HomeserverFetcher::new(homeserver, host, banning([]), Arc::clone(clock) as _)
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(at(0)))
}

#[tokio::test]
async fn the_homeserver_is_asked_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let homeserver = Homeserver::Tcp { host: "localhost".to_owned(), port };
    let fetcher = fetcher(homeserver, &clock());
    let request = request(&origin(), &["ed25519:1"]);
    let body = response("200 OK", &answer(&[origin().document()]));
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
    let body = response("200 OK", &answer(&[origin().document()]));
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, &body).await
    };
    let (documents, _) = tokio::join!(fetcher.fetch(&request), server);
    assert_eq!(documents.unwrap().len(), 1);
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
async fn the_steps_are_told_with_the_documents_that_were_left_out() {
    let mut stranger = TestServer::new("b.example");
    stranger.add_key("ed25519:1");
    let documents = [origin().document(), stranger.document()];
    let body = answer(&documents);
    let length = body.len();
    let (homeserver, _) = homeserver(response("200 OK", &body)).await;
    let Homeserver::Tcp { port, .. } = homeserver else { panic!("not over TCP") };
    let trace = Trace::on();
    let request = KeyRequest { trace: trace.clone(), ..request(&origin(), &["ed25519:1"]) };
    let accepted = fetcher(homeserver, &clock()).fetch(&request).await.unwrap();
    assert_eq!(accepted.len(), 1);
    let (steps, _) = trace.steps();
    let told: Vec<_> = steps.into_iter().map(|step| (step.action, step.outcome)).collect();
    let dial = Action::Dial { to: format!("127.0.0.1:{port}"), proxy: None };
    let http = Action::Http {
        method: "POST".to_owned(),
        host: "our.example:8448".to_owned(),
        target: QUERY_TARGET.to_owned(),
    };
    let text = "a document of b.example, not asked for".to_owned();
    let expected = [
        (dial, Some(Outcome::Connected)),
        (http, Some(Outcome::Answer { status: 200, bytes: length, location: None })),
        (Action::Document, Some(Outcome::Refused { text })),
    ];
    assert_eq!(told, expected);
}
