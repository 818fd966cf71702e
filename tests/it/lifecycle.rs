//! Starting, stopping, new certificates, and what the operator can see.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fedgate::app::{App, Outside};
use fedgate::clock::ManualClock;
use fedgate::config::{Config, Sources, TlsFiles};
use fedgate::net::NetMetrics;
use fedgate::proto::Timestamp;
use fedgate::proxy::tls::Certificate;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::support::client::{H2Client, tls_stream};
use crate::support::federation::FakeFederation;
use crate::support::gate::write_certificate;
use crate::support::http2::{GOAWAY, PREFACE, SETTINGS, frame, kinds};
use crate::support::raw::RawHomeserver;
use crate::support::{Client, Gate, GateOptions, Homeserver, NOW_MS, within};

const VERSION: &str = "/_matrix/federation/v1/version";

/// A homeserver that answers when it is told to.
struct Holding {
    homeserver: RawHomeserver,
    /// A request has come.
    asked: Arc<Notify>,
    /// It may be answered.
    release: Arc<Notify>,
}

impl Holding {
    async fn start() -> Self {
        let (asked, release) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let (tell, wait) = (Arc::clone(&asked), Arc::clone(&release));
        let homeserver = RawHomeserver::start(move |mut server| {
            let (asked, release) = (Arc::clone(&tell), Arc::clone(&wait));
            async move {
                while server.request().await.is_some() {
                    asked.notify_one();
                    release.notified().await;
                    server.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
                }
            }
        })
        .await;
        Self { homeserver, asked, release }
    }
}

async fn ask_version(client: &mut Client) {
    let request = format!("GET {VERSION} HTTP/1.1\r\nHost: gate.example\r\n\r\n");
    client.send(request.as_bytes()).await;
}

/// Waits until nobody listens there any more.
async fn until_refused(gate: &Gate) {
    within("the end of listening", async {
        while TcpStream::connect(gate.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn stopping_lets_requests_end_and_takes_no_new_ones() {
    let holding = Holding::start().await;
    let gate = Gate::start_before(&holding.homeserver.url, GateOptions::default()).await;
    let mut idle = Client::plain(gate.address).await;
    let mut client = Client::plain(gate.address).await;
    ask_version(&mut client).await;
    within("the request", holding.asked.notified()).await;

    gate.begin_stop();
    until_refused(&gate).await;
    assert!(within("the end of an idle connection", idle.is_closed()).await);
    let ready = gate.admin_get("/ready").await;
    assert_eq!((ready.status, &ready.body[..]), (503, &b"draining\n"[..]));
    assert_eq!(gate.admin_get("/health").await.status, 200, "it still works");

    holding.release.notify_one();
    let answer = within("the answer", client.answer()).await.expect("an answer");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
    assert_eq!(answer.headers["connection"], "close", "the order came before the answer");
    assert!(within("the end of the connection", client.is_closed()).await);
    within("the end of the gate", gate.stop()).await;
}

#[tokio::test]
async fn an_idle_connection_may_be_used_once_more_after_a_handover() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let address = gate.address;
    let mut idle = Client::plain(address).await;
    let answer = idle.request("GET", VERSION, &[], None).await;
    assert_eq!(
        (answer.status, &answer.headers["connection"]),
        (200, &"keep-alive".parse().unwrap())
    );

    let ending = tokio::spawn(gate.hand_over());
    within("the end of listening", async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let answer = within("an answer", idle.request("GET", VERSION, &[], None)).await;
    assert_eq!((answer.status, &answer.headers["connection"]), (200, &"close".parse().unwrap()));
    assert!(within("the end of the connection", idle.is_closed()).await);
    within("the end of the gate", ending).await.unwrap();
}

#[tokio::test]
async fn stopping_tells_http2_clients_and_lets_their_requests_end() {
    let holding = Holding::start().await;
    let options = GateOptions { tls: true, ..GateOptions::default() };
    let gate = Gate::start_before(&holding.homeserver.url, options).await;
    let ca = gate.ca.clone().unwrap();
    let mut idle = Client::tls_for(gate.address, &ca, b"h2").await;
    idle.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await;
    let mut client = H2Client::connect(gate.address, &ca).await;
    let asking = tokio::spawn(async move { client.request("GET", VERSION, &[], None).await });
    within("the request", holding.asked.notified()).await;

    gate.begin_stop();
    let mut frames = Vec::new();
    while !kinds(&frames).contains(&GOAWAY) {
        assert!(within("the word to go away", idle.fill()).await, "{:?}", kinds(&frames));
        frames.extend(idle.take_buffered());
    }
    drop(idle);
    holding.release.notify_one();
    let answer = within("the answer", asking).await.unwrap().expect("an answer");
    assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]));
    within("the end of the gate", gate.stop()).await;
}

#[tokio::test]
async fn draining_takes_no_longer_than_it_may() {
    let holding = Holding::start().await;
    let settings = "[limits]\ndrain_timeout = \"200ms\"\n";
    let options = GateOptions { settings, ..GateOptions::default() };
    let gate = Gate::start_before(&holding.homeserver.url, options).await;
    let mut client = Client::plain(gate.address).await;
    ask_version(&mut client).await;
    within("the request", holding.asked.notified()).await;
    // The homeserver never answers.
    within("the end of the gate", gate.stop()).await;
    assert!(within("the end of the connection", client.answer()).await.is_none());
}

/// Greets every TLS client until the test ends.
pub async fn greet(certificate: &Arc<Certificate>) -> std::net::SocketAddr {
    let acceptor = certificate.acceptor().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            // A client that does not trust the certificate hangs up.
            if let Ok(mut stream) = acceptor.accept(tcp).await {
                let _gone = stream.shutdown().await;
            }
        }
    });
    address
}

pub async fn is_from(ca: &[u8], address: std::net::SocketAddr) -> bool {
    within("a handshake", tls_stream(address, ca, b"http/1.1")).await.is_ok()
}

#[tokio::test]
async fn a_new_certificate_is_used_and_a_bad_one_is_not() {
    let files = tempfile::tempdir().unwrap();
    let first = write_certificate(files.path());
    let (chain, key) = (files.path().join("chain.pem"), files.path().join("key.pem"));
    let tls = TlsFiles { certificate: chain.clone(), private_key: key.clone() };
    let certificate = Certificate::load(tls).unwrap();
    let watching = Arc::clone(&certificate).watch(Duration::from_millis(20));
    let watching = tokio::spawn(watching);
    let address = greet(&certificate).await;
    assert!(is_from(&first, address).await);

    let second = write_certificate(files.path());
    within("the new certificate", async { while !is_from(&second, address).await {} }).await;
    assert!(!is_from(&first, address).await);

    for (file, content, says) in [
        (&chain, "no certificate", "chain.pem: holds no certificate"),
        (&key, "no key", "key.pem: "),
    ] {
        let good = std::fs::read(file).unwrap();
        std::fs::write(file, content).unwrap();
        let error = certificate.reload().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert!(is_from(&second, address).await, "the last good one stays in use");
        std::fs::write(file, good).unwrap();
    }
    let other = tempfile::tempdir().unwrap();
    write_certificate(other.path());
    std::fs::copy(other.path().join("key.pem"), &key).unwrap();
    let error = certificate.reload().unwrap_err().to_string();
    assert!(error.contains("chain.pem and its key cannot be used: "), "{error}");
    assert!(is_from(&second, address).await, "the last good one stays in use");
    watching.abort();
}

#[tokio::test]
async fn the_operator_sees_health_readiness_and_metrics() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    for (path, status, body) in [
        ("/health", 200, "ok\n"),
        ("/ready", 200, "ready\n"),
        ("/", 404, "here are /health, /ready, /metrics and /api/v1\n"),
        ("/healthy", 404, "here are /health, /ready, /metrics and /api/v1\n"),
    ] {
        let answer = within(path, gate.admin_get(path)).await;
        assert_eq!((answer.status, &answer.body[..]), (status, body.as_bytes()), "{path}");
    }
    let mut client = Client::plain(gate.admin).await;
    let answer = within("POST", client.request("POST", "/health", &[], Some(b"x"))).await;
    assert_eq!(answer.status, 405);

    let origin = gate.origin("origin.example");
    let target = "/_matrix/federation/v1/event/x";
    let good = origin.authorize("GET", target, None);
    let mut client = Client::plain(gate.address).await;
    for (value, status) in [(good.as_str(), 200), ("X-Matrix nonsense", 400)] {
        let answer = client.request("GET", target, &[("authorization", value)], None).await;
        assert_eq!(answer.status, status);
    }
    drop(client);
    let answer = gate.admin_get("/metrics").await;
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    for line in [
        "fedgate_build_info{version=\"",
        "process_resident_memory_bytes ",
        "fedgate_observe_mode 0",
        "fedgate_requests_total{endpoint=\"event\",reason=\"\",verdict=\"allowed\"} 1",
        "fedgate_requests_total{endpoint=\"event\",reason=\"header_malformed\",verdict=\"refused\"} 1",
        "fedgate_key_lookups_total{",
        "fedgate_homeserver_responses_total{status=\"2xx\"} 1",
        "fedgate_request_duration_seconds_count ",
        "fedgate_request_stage_duration_seconds_count{stage=\"verify\"} 1",
        "fedgate_requests_in_flight 0",
        "fedgate_request_body_bytes 0",
    ] {
        assert!(text.lines().any(|l| l.starts_with(line)), "{line} is missing in\n{text}");
    }
    assert!(!text.contains("origin.example"), "no server is named in a label");
}

#[tokio::test]
async fn readiness_follows_the_homeserver() {
    let port = {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        gone.local_addr().unwrap().port()
    };
    let upstream = format!("http://127.0.0.1:{port}");
    let gate = Gate::start_before(&upstream, GateOptions::default()).await;
    let ready = within("/ready", gate.admin_get("/ready")).await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.starts_with(b"homeserver: "), "{:?}", ready.body);
    assert_eq!(within("/health", gate.admin_get("/health")).await.status, 200);
    let mut client = Client::plain(gate.address).await;
    let answer = within("an answer", client.request("GET", VERSION, &[], None)).await;
    assert_eq!((answer.status, answer.errcode().as_str()), (502, "M_UNKNOWN"));
}

async fn bind(dir: &Path, listen: &str, admin: &str) -> String {
    let text = format!(
        "server_name = \"gate.example\"\nhomeserver = \"http://127.0.0.1:1\"\n[listen]\n\
         address = \"{listen}\"\n[admin]\naddress = \"{admin}\"\n"
    );
    let path = dir.join("fedgate.toml");
    std::fs::write(&path, text).unwrap();
    let config = Config::load(&Sources::default().with_file(Some(path))).unwrap();
    let outside = Outside {
        clock: Arc::new(ManualClock::new(Timestamp::from_ms(NOW_MS))),
        transport: Arc::new(FakeFederation::default()),
        net_metrics: NetMetrics::new().unwrap(),
    };
    let error = App::bind(config, outside).await.err().expect("the address is taken");
    error.to_string()
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    for (setting, error) in [
        ("listen.address", bind(dir.path(), &address, "127.0.0.1:0").await),
        ("admin.address", bind(dir.path(), "127.0.0.1:0", &address).await),
    ] {
        assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
        assert!(error.contains(&format!("change `{setting}`")), "{error}");
    }
}
