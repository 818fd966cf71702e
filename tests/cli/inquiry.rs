//! `fedgate keys SERVER` as people see it: the built program against a name server and a homeserver
//! with TLS on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Output};
use std::sync::Arc;

use fedgate::clock::{Clock as _, SystemClock};
use fedgate::keys::store::FileStore;
use fedgate::proto::ed25519::SigningKey;
use fedgate::proto::sign::sign_json;
use fedgate::proto::{KeyId, ServerName, Timestamp};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;

const DAY_MS: u64 = 86_400_000;

/// A server of the name `a.test`, whose SRV record leads to a host with one blocked address and one
/// that is allowed.
struct World {
    files: tempfile::TempDir,
    port: u16,
}

impl World {
    async fn with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let (tls, ca) = tls("a.test", change);
        std::fs::write(files.path().join("ca.pem"), ca).expect("written");
        let port = homeserver(tls, key_document()).await;
        let dns = name_server(port).await;
        let folder = files.path().display();
        let settings = format!(
            "server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:8008\"\n\
             [admin]\naddress = \"127.0.0.1:1\"\n[keys]\nsources = [\"origin\"]\nstore = \"{folder}/keys.redb\"\n\
             [outbound]\nca_file = \"{folder}/ca.pem\"\nallowed_ranges = [\"127.0.0.0/8\"]\n\
             dns_servers = [\"{dns}\"]\n"
        );
        std::fs::write(files.path().join("fedgate.toml"), settings).expect("written");
        Self { files, port }
    }

    /// What `fedgate keys a.test` prints and how it exits.
    async fn keys(&self, more: &[&'static str]) -> (String, Option<i32>) {
        let config = self.files.path().join("fedgate.toml");
        let more = more.to_vec();
        let program = move || -> Output {
            Command::new(env!("CARGO_BIN_EXE_fedgate"))
                .args(["keys", "a.test", "--config"])
                .arg(config)
                .args(more)
                .env_clear()
                .output()
                .expect("the program starts")
        };
        let output = tokio::task::spawn_blocking(program).await.expect("it ends");
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(stderr, "");
        (String::from_utf8(output.stdout).expect("UTF-8"), output.status.code())
    }

    /// The lines of what is printed, without times that differ from run to run, with `PORT` for the
    /// homeserver's port and without indentation.
    fn lines(&self, told: &str) -> Vec<String> {
        let without_times = |line: &str| {
            let line = line.trim();
            let (at, rest) = line.split_once(" ms  ").unwrap_or(("", line));
            let rest = if at.bytes().all(|b| b.is_ascii_digit()) { rest.trim() } else { line };
            let took = rest.rsplit_once(" (").filter(|(_, took)| took.ends_with(" ms)"));
            let rest = took.map_or(rest, |(rest, _)| rest);
            rest.replace(&self.port.to_string(), "PORT")
        };
        told.lines().map(without_times).collect()
    }
}

/// A server's side of TLS, and the certificate of its authority in PEM.
fn tls(name: &str, change: impl FnOnce(&mut CertificateParams)) -> (ServerConfig, String) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    params.not_after = rcgen::date_time_ymd(3000, 1, 1);
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let leaf = params.signed_by(&key, &authority).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key.into())
        .expect("a configuration");
    (config, authority.pem())
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn key_document() -> Vec<u8> {
    let valid_until_ts = SystemClock.now().plus_ms(DAY_MS + 60_000).as_ms();
    let document = json!({
        "server_name": "a.test", "valid_until_ts": valid_until_ts, "old_verify_keys": {},
        "verify_keys": {"ed25519:1": {"key": key().verify_key().to_base64()}},
    });
    let name = ServerName::parse("a.test").expect("a name");
    let id = KeyId::parse("ed25519:1").expect("an ID");
    sign_json(document.to_string().as_bytes(), &name, &id, &key()).expect("signed")
}

/// Answers every request with `document`; returns the port.
async fn homeserver(tls: ServerConfig, document: Vec<u8>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let tls = TlsAcceptor::from(Arc::new(tls));
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.expect("a connection");
            let Ok(mut stream) = tls.accept(tcp).await else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut head).await.expect("a request"), 0);
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", document.len());
            stream.write_all(&[head.as_bytes(), &document].concat()).await.expect("sent");
            let _closed = stream.shutdown().await;
        }
    });
    port
}

/// A name server that knows the server and the host its SRV record names.
async fn name_server(port: u16) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
    let address = socket.local_addr().expect("an address");
    let a = |ip: [u8; 4]| RData::A(Ipv4Addr::from(ip).into());
    let host = Name::from_ascii("host.test.").expect("a name");
    let known = [
        ("a.test.", RecordType::A, vec![a([10, 0, 0, 1])]),
        ("host.test.", RecordType::A, vec![a([10, 0, 0, 2]), a([127, 0, 0, 1])]),
        (
            "_matrix-fed._tcp.a.test.",
            RecordType::SRV,
            vec![RData::SRV(SRV::new(10, 5, port, host))],
        ),
    ];
    tokio::spawn(async move {
        let mut packet = [0; 4_096];
        loop {
            let (length, peer) = socket.recv_from(&mut packet).await.expect("a packet");
            let query = packet.get(..length).expect("a packet");
            let mut message = Message::from_vec(query).expect("a query");
            let query = message.queries.first().expect("a question").clone();
            let (name, kind) = (query.name().to_ascii(), query.query_type());
            let found = known.iter().find(|(known, type_, _)| *known == name && *type_ == kind);
            match found {
                Some((_, _, data)) => message.add_answers(
                    data.iter()
                        .map(|data| Record::from_rdata(query.name().clone(), 60, data.clone())),
                ),
                None => {
                    message.metadata.response_code = ResponseCode::NXDomain;
                    &mut message
                }
            };
            message.edns = None;
            let answer = message.into_response().to_vec().expect("an answer");
            socket.send_to(&answer, peer).await.expect("sent");
        }
    });
    address
}

/// The steps until the connection is there.
const WAY: [&str; 8] = [
    "the name a.test has no port: well-known and SRV records are asked",
    "well-known https://a.test/.well-known/matrix/server: no delegation, holds for ",
    "addresses of a.test: 10.0.0.1",
    "10.0.0.1: BLOCKED: in 10.0.0.0/8 (private); outbound.allowed_ranges would allow it",
    "SRV _matrix-fed._tcp.a.test: host.test:PORT (priority 10, weight 5)",
    "addresses of host.test: 10.0.0.2, 127.0.0.1",
    "10.0.0.2: BLOCKED: in 10.0.0.0/8 (private); outbound.allowed_ranges would allow it",
    "connection to 127.0.0.1:PORT: connected",
];

/// Each of `expected` begins the line that follows the last one's.
#[track_caller]
fn assert_lines<'a>(lines: &[String], expected: impl IntoIterator<Item = &'a str>) {
    let mut expected = expected.into_iter();
    let first = expected.next().expect("a line");
    let start = lines.iter().position(|line| line.starts_with(first));
    let start = start.unwrap_or_else(|| panic!("no {first:?} in {lines:#?}"));
    for (line, expected) in lines.iter().skip(start + 1).zip(expected) {
        assert!(line.starts_with(expected), "{line:?} instead of {expected:?} in {lines:#?}");
    }
}

#[tokio::test]
async fn a_server_that_is_reached_is_told_of_step_by_step() {
    let world = World::with(|_| {}).await;
    let (told, code) = world.keys(&[]).await;
    let lines = world.lines(&told);
    assert_eq!(code, Some(0), "{told}");
    let body = key().verify_key().to_base64();
    let (listed, verdict) = (format!("lists ed25519:1 {body}"), format!("ed25519:1 {body}"));
    let then = [
        "TLS for a.test: TLS 1.3",
        "certificate for a.test; issued by CN=rcgen self signed cert; valid from 1975-01-01 00:00 UTC",
        "GET /_matrix/key/v2/server, Host: a.test: status 200, ",
        "document of origin, fetched ",
        "valid until ",
        &listed,
        "signed by a.test with ed25519:1, which verifies",
        "",
        "verdict:",
        &verdict,
        "valid until ",
        "shown by origin; first seen ",
        "ACCEPTED: requests of a.test signed with ed25519:1 are accepted, until ",
    ];
    assert_lines(&lines, WAY.into_iter().chain(then));
    assert!(lines.iter().any(|line| line.starts_with("valid until") && line.ends_with("in 1 day")));
    assert!(!world.files.path().join("keys.redb").exists(), "nothing is kept");

    let (told, code) = world.keys(&["--json"]).await;
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!((code, &told["verdict"]["accepted"]), (Some(0), &json!(true)));
    assert_eq!(told["sources"][0]["documents"][0]["verify_keys"][0]["key"], body);
    assert_eq!(told["store"]["state"], "absent");
}

#[tokio::test]
async fn a_server_with_a_bad_certificate_is_told_of_with_what_to_do() {
    let world = World::with(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)).await;
    let (told, code) = world.keys(&[]).await;
    assert_eq!(code, Some(1), "{told}");
    let then = [
        "TLS for a.test: FAILED: the certificate has expired",
        "certificate for a.test; issued by CN=rcgen self signed cert; valid from 1975-01-01 00:00 UTC",
        "",
        "verdict:",
        "REFUSED: requests of a.test are not accepted: origin: tls: ",
        "to do: the server's operator has to put its certificate right; see the step that failed",
    ];
    assert_lines(&world.lines(&told), WAY.into_iter().chain(then));
    assert!(told.contains("until 2020-01-01 00:00 UTC, "), "{told}");
}

#[tokio::test]
async fn a_file_that_a_running_gate_holds_is_no_hindrance() {
    let world = World::with(|_| {}).await;
    let path = world.files.path().join("keys.redb");
    let held = FileStore::open(&path, Timestamp::from_ms(0)).expect("a store");
    let (told, code) = world.keys(&[]).await;
    assert_eq!(code, Some(0), "{told}");
    let locked = "kept on disk: not shown, because a running fedgate holds the file";
    assert!(told.contains(locked) && told.contains("ACCEPTED: "), "{told}");
    let (told, code) = world.keys(&["--offline"]).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains(locked) && told.contains("can not be looked into"), "{told}");
    drop(held);
}
