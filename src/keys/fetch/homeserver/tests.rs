use std::sync::atomic::Ordering;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::clock::ManualClock;
use crate::keys::fetch::testing::{answer, homeserver, read, response, serve};
use crate::keys::testing::{HOUR, TestServer, at, banning, key_metrics, request};
use crate::net::trace::{Action, Outcome};

fn origin() -> TestServer {
    let mut server = TestServer::new("a.example");
    server.add_key("ed25519:1");
    server
}

fn fetcher(homeserver: Homeserver, clock: &Arc<ManualClock>) -> HomeserverFetcher {
    let host = ServerName::parse("our.example:8448").unwrap();
    HomeserverFetcher::new(homeserver, host, banning([]), Arc::clone(clock) as _, key_metrics())
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

const UNRECOGNIZED: &[u8] = br#"{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}"#;

#[tokio::test]
async fn a_homeserver_without_key_query_is_left_alone_for_ever_longer_up_to_an_hour() {
    const MINUTE: u64 = HOUR / 60;
    for status in ["404 Not Found", "405 Method Not Allowed", "400 Bad Request"] {
        let (homeserver, requests) = homeserver(response(status, UNRECOGNIZED)).await;
        let clock = clock();
        let fetcher = fetcher(homeserver, &clock);
        let request = request(&origin(), &["ed25519:1"]);
        let mut begin = 0;
        for (number, minutes) in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().enumerate() {
            let end = begin + minutes * MINUTE;
            for time in [begin, begin + 1, end - 1] {
                clock.set(at(time));
                let fetched = fetcher.fetch(&request).await;
                assert_eq!(fetched.unwrap_err(), FetchError::NotServed, "{status}");
                assert_eq!(requests.load(Ordering::SeqCst), number + 1, "{status} at {time}");
            }
            begin = end;
        }
    }
}

#[tokio::test]
async fn a_homeserver_that_has_started_meanwhile_is_asked_again_at_once_from_then_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let clock = clock();
    let fetcher = fetcher(Homeserver::Tcp { host: "127.0.0.1".to_owned(), port }, &clock);
    let request = request(&origin(), &["ed25519:1"]);
    let found = response("200 OK", &answer(&[origin().document()]));
    let missing = response("404 Not Found", UNRECOGNIZED);
    // A proxy in front of it answers in its stead until it is there, then it does by itself.
    for (minute, body, is_found) in [(0, &missing, false), (1, &found, true), (2, &missing, false)]
    {
        clock.set(at(minute * HOUR / 60));
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, body).await
        };
        let (fetched, _) = tokio::join!(fetcher.fetch(&request), server);
        assert_eq!(fetched.is_ok(), is_found, "{minute}");
    }
    // What was said before it was there counts no more: it is asked again after a minute.
    clock.set(at(3 * HOUR / 60 - 1));
    assert_eq!(fetcher.fetch(&request).await.unwrap_err(), FetchError::NotServed);
    clock.set(at(3 * HOUR / 60));
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, &found).await
    };
    let (fetched, _) = tokio::join!(fetcher.fetch(&request), server);
    assert!(fetched.is_ok());
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

/// Over real sockets: while eight queries are unanswered, what is asked gathers in the next ones.
#[tokio::test]
async fn many_servers_are_asked_for_over_few_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let homeserver = Homeserver::Tcp { host: "127.0.0.1".to_owned(), port };
    let fetcher = Arc::new(fetcher(homeserver, &clock()));
    let (asked, mut asking) = tokio::sync::mpsc::unbounded_channel();
    let callers: Vec<_> = (0..100)
        .map(|n| {
            let (fetcher, asked) = (Arc::clone(&fetcher), asked.clone());
            tokio::spawn(async move {
                let mut server = TestServer::new(&format!("s{n}.example"));
                server.add_key("ed25519:1");
                asked.send(()).unwrap();
                fetcher.fetch(&request(&server, &["ed25519:1"])).await
            })
        })
        .collect();
    // The first answer is held back until everybody has asked.
    let (mut first, _) = listener.accept().await.unwrap();
    let mut question = read(&mut first).await;
    for _ in 0..100 {
        asking.recv().await.unwrap();
    }
    let mut names = Vec::new();
    loop {
        let body = question.split_once("\r\n\r\n").unwrap().1;
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let servers = body["server_keys"].as_object().unwrap();
        let documents: Vec<Vec<u8>> = servers
            .keys()
            .map(|name| {
                let mut server = TestServer::new(name);
                server.add_key("ed25519:1");
                server.document()
            })
            .collect();
        names.push(servers.len());
        let answer = response("200 OK", &answer(&documents));
        first.write_all(&answer).await.unwrap();
        if names.iter().sum::<usize>() == 100 {
            break;
        }
        (first, _) = listener.accept().await.unwrap();
        question = read(&mut first).await;
    }
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().len(), 1);
    }
    assert_eq!(names, [1, 1, 1, 1, 1, 1, 1, 1, 32, 32, 28]);
}

/// What `probe` finds of a homeserver that answers so, and how often that one is asked by then and
/// by the end of a fetch.
async fn probed(answer: Vec<u8>) -> (Result<usize, FetchError>, usize, usize) {
    let (homeserver, requests) = homeserver(answer).await;
    let fetcher = fetcher(homeserver, &clock());
    fetcher.probe().await;
    let by_probe = requests.load(Ordering::SeqCst);
    let fetched = fetcher.fetch(&request(&origin(), &["ed25519:1"])).await;
    (fetched.map(|documents| documents.len()), by_probe, requests.load(Ordering::SeqCst))
}

#[tokio::test]
async fn the_probe_finds_that_there_is_no_key_query() {
    let unrecognized = br#"{"errcode":"M_UNRECOGNIZED","error":"Unrecognized request"}"#;
    for status in ["404 Not Found", "405 Method Not Allowed", "400 Bad Request"] {
        let found = probed(response(status, unrecognized)).await;
        assert_eq!(found, (Err(FetchError::NotServed), 1, 1), "{status}");
    }
}

#[tokio::test]
async fn after_any_other_answer_to_the_probe_the_homeserver_is_asked() {
    let found = probed(response("200 OK", br#"{"server_keys":[]}"#)).await;
    assert_eq!(found, (Ok(0), 1, 2));
    let found = probed(response("502 Bad Gateway", b"starting")).await;
    assert_eq!(found, (Err(FetchError::Status(502)), 1, 2));
}

#[tokio::test]
async fn the_probe_asks_for_nobodys_keys() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let fetcher = fetcher(Homeserver::Tcp { host: "127.0.0.1".to_owned(), port }, &clock());
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, &response("200 OK", br#"{"server_keys":[]}"#)).await
    };
    let ((), question) = tokio::join!(fetcher.probe(), server);
    assert!(question.starts_with("POST /_matrix/key/v2/query HTTP/1.1\r\n"), "{question}");
    assert!(question.contains("\r\nhost: our.example:8448\r\n"), "{question}");
    assert!(question.ends_with("\r\n\r\n{\"server_keys\":{}}"), "{question}");
}

#[tokio::test]
async fn a_homeserver_that_is_not_up_yet_is_asked_when_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("federation.sock");
    let fetcher = fetcher(Homeserver::Unix(path.clone()), &clock());
    fetcher.probe().await;
    let listener = UnixListener::bind(&path).unwrap();
    let request = request(&origin(), &["ed25519:1"]);
    let body = response("200 OK", &answer(&[origin().document()]));
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, &body).await
    };
    let (documents, _) = tokio::join!(fetcher.fetch(&request), server);
    assert_eq!(documents.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_probe_does_not_wait_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let fetcher = fetcher(Homeserver::Tcp { host: "127.0.0.1".to_owned(), port }, &clock());
    let started = tokio::time::Instant::now();
    fetcher.probe().await;
    assert_eq!(started.elapsed(), PROBE_TIMEOUT);
    drop(listener);
}
