//! Through proxies on loopback that note what they are asked for.

use tokio::io::copy_bidirectional;

use super::*;

/// How a proxy answers.
#[derive(Clone, Copy)]
enum Answer {
    Connect,
    Refuse,
    /// Accepts the connection and says nothing.
    Silence,
}

/// A stand-in for a proxy.
struct StandIn {
    address: SocketAddr,
    /// The targets it was asked for, and the credentials it was given.
    asked: Arc<Mutex<Vec<(String, String)>>>,
    task: JoinHandle<()>,
}

impl StandIn {
    async fn start(scheme: ProxyScheme, answer: Answer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut silent = Vec::new();
            loop {
                let (mut client, _) = listener.accept().await.expect("a connection");
                if matches!(answer, Answer::Silence) {
                    silent.push(client);
                    continue;
                }
                let question = match scheme {
                    ProxyScheme::Http => http_question(&mut client).await,
                    ProxyScheme::Socks5 => socks_question(&mut client).await,
                };
                let target = question.0.clone();
                seen.lock().expect("unpoisoned").push(question);
                let reply: &[u8] = match (scheme, answer) {
                    (ProxyScheme::Http, Answer::Connect) => b"HTTP/1.1 200 OK\r\n\r\n",
                    (ProxyScheme::Http, _) => b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n",
                    (ProxyScheme::Socks5, Answer::Connect) => &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
                    // Not allowed by the rules.
                    (ProxyScheme::Socks5, _) => &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0],
                };
                client.write_all(reply).await.expect("sent");
                if matches!(answer, Answer::Connect) {
                    let mut server = TcpStream::connect(target).await.expect("the target");
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                }
            }
        });
        Self { address, asked, task }
    }

    fn proxy(&self, scheme: ProxyScheme, credentials: Option<(&str, &str)>) -> OutboundProxy {
        OutboundProxy::new(scheme, "127.0.0.1", self.address.port(), credentials).expect("a proxy")
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().expect("unpoisoned").clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn http_question(client: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        assert_ne!(client.read_buf(&mut bytes).await.expect("a request"), 0);
    }
    let head = String::from_utf8(bytes).expect("text");
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split_once(' '));
    let authorization =
        head.lines().find_map(|line| line.strip_prefix("Proxy-Authorization: ")).unwrap_or("");
    (target.expect("CONNECT").0.to_owned(), authorization.to_owned())
}

async fn socks_question(client: &mut TcpStream) -> (String, String) {
    let [5, 1, method] = bytes(client).await else { panic!("not one method of SOCKS5") };
    client.write_all(&[5, method]).await.expect("sent");
    let mut credentials = String::new();
    if method == 2 {
        let [version] = bytes(client).await;
        assert_eq!(version, 1);
        for _ in ["user", "password"] {
            let [length] = bytes(client).await;
            let mut text = vec![0; length.into()];
            client.read_exact(&mut text).await.expect("a text");
            credentials.push_str(&String::from_utf8(text).expect("text"));
            credentials.push(' ');
        }
        client.write_all(&[1, 0]).await.expect("sent");
    }
    let [5, 1, 0, kind] = bytes(client).await else { panic!("not a request to connect") };
    assert_eq!(kind, 1, "an IPv4 address, not a name");
    let ip: [u8; 4] = bytes(client).await;
    let port = u16::from_be_bytes(bytes(client).await);
    (SocketAddr::from((ip, port)).to_string(), credentials)
}

async fn bytes<const N: usize>(client: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    client.read_exact(&mut bytes).await.expect("as many bytes");
    bytes
}

/// A transport through `proxy` that may dial `allowed`.
fn through(proxy: OutboundProxy, allowed: &str, authority: &Authority) -> HttpsTransport {
    through_within(proxy, allowed, authority, Timeouts::default())
}

fn through_within(
    proxy: OutboundProxy,
    allowed: &str,
    authority: &Authority,
    timeouts: Timeouts,
) -> HttpsTransport {
    let names = Names::default().with("example.org", &["10.0.0.1", "127.0.0.1"]);
    let policy = AddressPolicy::new(vec![allowed.parse().expect("a range")]);
    let (names, roots) = (Arc::new(names), authority.roots());
    let metrics = NetMetrics::new().expect("metrics");
    HttpsTransport::new(names, policy, roots, Some(proxy), ports(1), timeouts, &metrics)
        .expect("a transport")
}

const SCHEMES: [ProxyScheme; 2] = [ProxyScheme::Http, ProxyScheme::Socks5];
const CREDENTIALS: Option<(&str, &str)> = Some(("alice", "s3cret"));

#[tokio::test]
async fn a_proxy_is_asked_for_exactly_the_checked_address() {
    let authority = Authority::new();
    let peer = Peer::start(authority.server("example.org"), ok()).await;
    let server = server_name(&format!("example.org:{}", peer.port()));
    for scheme in SCHEMES {
        for credentials in [None, CREDENTIALS] {
            let stand_in = StandIn::start(scheme, Answer::Connect).await;
            let proxy = stand_in.proxy(scheme, credentials);
            let transport = through(proxy, "127.0.0.0/8", &authority);
            let sent = transport.send(&server, get()).await;
            assert_eq!(sent.map(|answer| answer.status), Ok(200), "{scheme:?}");
            let given = match (scheme, credentials) {
                (_, None) => "",
                (ProxyScheme::Http, Some(_)) => "Basic YWxpY2U6czNjcmV0",
                (ProxyScheme::Socks5, Some(_)) => "alice s3cret ",
            };
            assert_eq!(stand_in.asked(), [(peer.address().to_string(), given.to_owned())]);
        }
    }
    let seen = peer.requests();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|seen| seen.sni.as_deref() == Some("example.org")));
}

#[tokio::test]
async fn r49_a_proxy_is_never_asked_for_a_blocked_address() {
    let authority = Authority::new();
    for scheme in SCHEMES {
        let stand_in = StandIn::start(scheme, Answer::Connect).await;
        let transport = through(stand_in.proxy(scheme, None), "192.168.0.0/16", &authority);
        for server in ["example.org:443", "127.0.0.1:443", "[::1]:443", "example.org"] {
            let error = transport.send(&server_name(server), get()).await.expect_err("blocked");
            assert_eq!(error.kind(), "blocked_address", "{server}: {error}");
        }
        assert_eq!(stand_in.asked(), []);
    }
}

#[tokio::test]
async fn a_refusing_proxy_is_named_without_its_credentials() {
    let authority = Authority::new();
    for (scheme, shown, cause) in [
        (ProxyScheme::Http, "http", "proxy authorization required"),
        (ProxyScheme::Socks5, "socks5", "connection not allowed"),
    ] {
        let stand_in = StandIn::start(scheme, Answer::Refuse).await;
        let proxy = stand_in.proxy(scheme, CREDENTIALS);
        let place = format!("{shown}://{}", stand_in.address);
        assert_eq!(format!("{proxy:?}"), format!("OutboundProxy({place})"));
        let transport = through(proxy, "127.0.0.0/8", &authority);
        let error = transport.send(&server_name("example.org:9"), get()).await;
        let error = error.expect_err("refused");
        assert_eq!(error.kind(), "connect", "{error}");
        assert!(error.text().contains(&format!("the proxy {place}: ")), "{error}");
        assert!(error.text().to_ascii_lowercase().contains(cause), "{error}");
        assert!(error.text().contains("see outbound.proxy"), "{error}");
        for secret in ["alice", "s3cret", "YWxpY2U6czNjcmV0"] {
            assert!(!error.text().contains(secret), "{error}");
        }
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_told_apart_from_the_server() {
    for scheme in SCHEMES {
        let proxy = OutboundProxy::new(scheme, "127.0.0.1", 1, None).expect("a proxy");
        let transport = through(proxy, "127.0.0.0/8", &Authority::new());
        let error = transport.send(&server_name("example.org:9"), get()).await.expect_err("closed");
        assert_eq!(error.kind(), "connect", "{error}");
        assert!(error.text().contains("://127.0.0.1:1: "), "{error}");
    }
}

#[tokio::test]
async fn a_silent_proxy_is_given_up_on() {
    for scheme in SCHEMES {
        let stand_in = StandIn::start(scheme, Answer::Silence).await;
        let timeouts = Timeouts { connect: Duration::from_millis(50), ..Timeouts::default() };
        let proxy = stand_in.proxy(scheme, None);
        let transport = through_within(proxy, "127.0.0.0/8", &Authority::new(), timeouts);
        let error = transport.send(&server_name("example.org:9"), get()).await.expect_err("silent");
        assert_eq!(error.kind(), "timeout", "{error}");
        assert!(error.text().contains("no connection through the proxy "), "{error}");
    }
}

#[test]
fn a_place_that_can_not_be_is_refused() {
    for host in ["", "a b", "a/b", "user@host", "::1]"] {
        let error = OutboundProxy::new(ProxyScheme::Http, host, 1, CREDENTIALS).map(|_| ());
        let text = error.expect_err(host).to_string();
        assert!(text.starts_with("outbound.proxy: "), "{text}");
    }
    for host in ["::1", "10.0.0.1", "proxy", "proxy_1.internal"] {
        OutboundProxy::new(ProxyScheme::Socks5, host, 1, None).expect(host);
    }
}
