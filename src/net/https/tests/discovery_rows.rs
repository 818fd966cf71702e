//! Every row of the discovery table: who is connected to, with which `Host`, SNI and certificate
//! (R73, R77).

use super::*;
use crate::net::discovery::DialHost;

/// One row. `PORT` in a text stands for the federation peer's port.
struct Row {
    server: &'static str,
    /// What the well-known document says, if there is one.
    delegated: Option<&'static str>,
    /// The name of an SRV record; it leads to the federation peer.
    srv: Option<&'static str>,
    /// The host whose addresses lead to the federation peer, if that is looked up.
    dialled: Option<&'static str>,
    host_header: &'static str,
    sni: Option<&'static str>,
    certificate: &'static str,
}

const ROW: Row = Row {
    server: "example.org",
    delegated: None,
    srv: None,
    dialled: None,
    host_header: "example.org",
    sni: Some("example.org"),
    certificate: "example.org",
};

async fn holds(row: Row) {
    let authority = Authority::new();
    let peer = Peer::start(authority.server(row.certificate), ok()).await;
    let fill = |text: &str| text.replace("PORT", &peer.port().to_string());
    let document = row.delegated.map_or_else(
        || answer("404 Not Found", ""),
        |delegated| answer("200 OK", &format!(r#"{{"m.server":"{}"}}"#, fill(delegated))),
    );
    let web = Peer::start(authority.server("example.org"), document).await;
    // The peers share one address; only the ports tell them apart. The name of the server itself
    // resolves for the well-known document, others only where a row says so.
    let mut names = Names::default().with("example.org", &["127.0.0.1"]);
    if let Some(dialled) = row.dialled {
        names = names.with(dialled, &["127.0.0.1"]);
    }
    if let Some(srv) = row.srv {
        names = names.with_srv(srv, row.dialled.expect("a target"), peer.port());
    }
    // With an SRV record or a port, the default port must not be what makes it work.
    let default_is_right = row.srv.is_none()
        && !row.server.contains("PORT")
        && !row.delegated.is_some_and(|name| name.contains("PORT"));
    let federation = if default_is_right { peer.port() } else { 1 };
    let ports = Ports { https: web.port(), federation };

    let answer = transport(names, &authority, ports)
        .send(&server_name(&fill(row.server)), get())
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", row.server));
    assert_eq!((answer.status, &*answer.body), (200, b"{}".as_slice()));
    let [seen] = &*peer.requests() else { panic!("not one request: {:?}", peer.requests()) };
    assert!(seen.head.starts_with("GET /_matrix/key/v2/server HTTP/1.1\r\n"), "{}", seen.head);
    assert_eq!(seen.header("host"), Some(&*fill(row.host_header)));
    assert_eq!(seen.sni.as_deref(), row.sni);
    for seen in web.requests() {
        assert!(seen.head.starts_with("GET /.well-known/matrix/server HTTP/1.1\r\n"));
        assert_eq!(seen.header("host"), Some("example.org"));
        assert_eq!(seen.sni.as_deref(), Some("example.org"));
    }
    let asks_well_known = row.server == "example.org";
    assert_eq!(web.connections(), usize::from(asks_well_known));
}

#[tokio::test]
async fn r73_step_1_an_address() {
    let ip = Row { sni: None, certificate: "127.0.0.1", ..ROW };
    holds(Row { server: "127.0.0.1", host_header: "127.0.0.1", ..ip }).await;
    holds(Row { server: "127.0.0.1:PORT", host_header: "127.0.0.1:PORT", ..ip }).await;
}

#[tokio::test]
async fn r73_step_2_a_port() {
    holds(Row { server: "example.org:PORT", host_header: "example.org:PORT", ..ROW }).await;
}

#[tokio::test]
async fn r73_step_3_1_delegation_to_an_address() {
    let ip = Row { sni: None, certificate: "127.0.0.1", ..ROW };
    holds(Row { delegated: Some("127.0.0.1"), host_header: "127.0.0.1", ..ip }).await;
    holds(Row { delegated: Some("127.0.0.1:PORT"), host_header: "127.0.0.1:PORT", ..ip }).await;
}

/// The delegated name of the rows below.
const DELEGATED: Row = Row {
    delegated: Some("matrix.example.net"),
    host_header: "matrix.example.net",
    sni: Some("matrix.example.net"),
    certificate: "matrix.example.net",
    ..ROW
};

#[tokio::test]
async fn r73_step_3_2_delegation_with_a_port() {
    holds(Row {
        delegated: Some("matrix.example.net:PORT"),
        dialled: Some("matrix.example.net"),
        host_header: "matrix.example.net:PORT",
        ..DELEGATED
    })
    .await;
}

#[tokio::test]
async fn r73_steps_3_3_and_3_4_delegation_and_srv_records() {
    for srv in ["_matrix-fed._tcp.matrix.example.net", "_matrix._tcp.matrix.example.net"] {
        holds(Row { srv: Some(srv), dialled: Some("srv.example.com"), ..DELEGATED }).await;
    }
}

#[tokio::test]
async fn r73_step_3_5_delegation_and_the_default_port() {
    holds(Row { dialled: Some("matrix.example.net"), ..DELEGATED }).await;
}

#[tokio::test]
async fn r73_steps_4_and_5_srv_records() {
    for srv in ["_matrix-fed._tcp.example.org", "_matrix._tcp.example.org"] {
        holds(Row { srv: Some(srv), dialled: Some("srv.example.com"), ..ROW }).await;
    }
}

#[tokio::test]
async fn r73_step_6_the_default_port() {
    holds(ROW).await;
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
