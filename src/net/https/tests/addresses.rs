//! What is dialled, and what is not (R49).

use super::*;

fn allowing(allowed: &[&str], names: Names, authority: &Authority, ports: Ports) -> HttpsTransport {
    transport_to(allowed, names, authority, ports, Timeouts::default())
}

async fn error_of(transport: &HttpsTransport, server: &str) -> NetError {
    transport.send(&server_name(server), get()).await.expect_err("nothing to connect to")
}

#[tokio::test]
async fn r49_loopback_is_refused_without_a_connection() {
    let authority = Authority::new();
    let peer = Peer::start(authority.server("example.org"), ok()).await;
    let names = || {
        Names::default()
            .with("example.org", &["127.0.0.1", "::1", "::ffff:127.0.0.1"])
            .with_srv("_matrix-fed._tcp.srv.example", "example.org", peer.port())
            .with("srv.example", &["127.0.0.1"])
    };
    let port = peer.port();
    for server in [
        "example.org".to_owned(),
        "srv.example".to_owned(),
        "127.0.0.1".to_owned(),
        format!("example.org:{port}"),
        format!("127.0.0.1:{port}"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("[::ffff:7f00:1]:{port}"),
    ] {
        let metrics = NetMetrics::new().expect("metrics");
        let transport =
            transport_in(&metrics, &[], names(), &authority, ports(port), Timeouts::default());
        let error = error_of(&transport, &server).await;
        assert_eq!(error.kind(), "blocked_address", "{server}: {error}");
        assert!(error.text().starts_with(&format!("{server}: not dialled: ")), "{error}");
        assert!(error.text().contains("(loopback)"), "{error}");
        assert!(metrics.times_blocked("loopback") >= 1, "{server}");
        assert!(error.text().contains("set outbound.allowed_ranges"), "{error}");
    }
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn r49_of_several_addresses_only_permitted_ones_are_dialled() {
    let authority = Authority::new();
    let peer = Peer::start(authority.server("example.org"), ok()).await;
    let bystander =
        Peer::start_at(Ipv4Addr::new(127, 0, 0, 2), authority.server("example.org"), ok()).await;
    let server = format!("example.org:{}", peer.port());
    let names = || {
        let mixed = ["10.0.0.1", "169.254.169.254", "::1", "127.0.0.1"];
        Names::default().with("example.org", &mixed).with("other.example", &["127.0.0.2"])
    };
    let transport = allowing(&["127.0.0.1/32"], names(), &authority, ports(1));
    let sent = transport.send(&server_name(&server), get()).await;
    assert_eq!(sent.map(|answer| answer.status), Ok(200));
    let error = error_of(&transport, &format!("other.example:{}", bystander.port())).await;
    assert_eq!(error.kind(), "blocked_address", "{error}");
    assert_eq!((peer.connections(), bystander.connections()), (1, 0));
}

#[tokio::test]
async fn r49_redirects_are_not_followed_to_blocked_addresses() {
    let authority = Authority::new();
    let hidden_ip = Ipv4Addr::new(127, 0, 0, 2);
    let document = || answer("200 OK", r#"{"m.server":"evil.example"}"#);
    let hidden = Peer::start_at(hidden_ip, authority.server("127.0.0.2"), document()).await;
    let port = hidden.port();
    for location in [
        format!("https://127.0.0.2:{port}/"),
        format!("https://[::ffff:127.0.0.2]:{port}/"),
        format!("https://inside.example:{port}/"),
    ] {
        let redirect = answer(&format!("302 Found\r\nLocation: {location}"), "");
        let web = Peer::start(authority.server("example.org"), redirect).await;
        let peer = Peer::start(authority.server("example.org"), ok()).await;
        let names = Names::default()
            .with("example.org", &["127.0.0.1"])
            .with("inside.example", &["127.0.0.2"]);
        let ports = Ports { https: web.port(), federation: peer.port() };
        let transport = allowing(&["127.0.0.1/32"], names, &authority, ports);
        // The delegation is passed over; the server itself is found all the same.
        let sent = transport.send(&server_name("example.org"), get()).await;
        assert_eq!(sent.map(|answer| answer.status), Ok(200), "{location}");
        assert_eq!(web.requests().len(), 1);
    }
    assert_eq!(hidden.connections(), 0);
}

#[tokio::test]
async fn r78_redirects_are_followed_over_https_and_without_end_they_are_not() {
    let authority = Authority::new();
    let peer = Peer::start(authority.server("matrix.example.net"), ok()).await;
    let document = answer("200 OK", r#"{"m.server":"matrix.example.net"}"#);
    let second = Peer::start(authority.server("web.example.net"), document).await;
    let plain = Peer::start(authority.server("web.example.net"), ok()).await;
    let names = || {
        ["example.org", "web.example.net", "matrix.example.net"]
            .iter()
            .fold(Names::default(), |names, host| names.with(host, &["127.0.0.1"]))
    };
    let table = [
        (format!("https://web.example.net:{}/x?y", second.port()), 1, Ok(200)),
        (format!("http://web.example.net:{}/", plain.port()), 1, Err("tls")),
        ("/.well-known/matrix/server".to_owned(), 1, Err("tls")),
    ];
    for (location, web_requests, expected) in table {
        let redirect = answer(&format!("301 Moved Permanently\r\nLocation: {location}"), "");
        let web = Peer::start(authority.server("example.org"), redirect).await;
        let ports = Ports { https: web.port(), federation: peer.port() };
        let sent =
            transport(names(), &authority, ports).send(&server_name("example.org"), get()).await;
        // Only with the delegation the name is the one in the peer's certificate.
        let outcome = sent.map(|answer| answer.status).map_err(|error| error.kind());
        assert_eq!(outcome, expected, "{location}");
        assert_eq!(web.requests().len(), web_requests, "{location}");
    }
    let [seen] = &*second.requests() else { panic!("not one request") };
    assert!(seen.head.starts_with("GET /x?y HTTP/1.1\r\n"), "{}", seen.head);
    assert_eq!(plain.connections(), 0);
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_fails() {
    let authority = Authority::new();
    let peer = Peer::start(authority.server("example.org"), ok()).await;
    // Nothing listens on that port of the other addresses, which belong to this test's port only.
    let names = Names::default().with("example.org", &["127.0.0.3", "127.0.0.4", "127.0.0.1"]);
    let server = server_name(&format!("example.org:{}", peer.port()));
    let sent = transport(names, &authority, ports(1)).send(&server, get()).await;
    assert_eq!(sent.map(|answer| answer.status), Ok(200));
}

#[tokio::test]
async fn the_next_srv_target_is_tried_when_one_fails() {
    let authority = Authority::new();
    let peer = Peer::start(authority.server("example.org"), ok()).await;
    let wrong = Peer::start(authority.server("wrong.example"), ok()).await;
    let mut names = Names::default()
        .with("example.org", &["127.0.0.1"])
        .with("a.example", &["127.0.0.1"])
        .with("d.example", &["127.0.0.1"])
        .with_srv("_matrix-fed._tcp.example.org", "a.example", wrong.port())
        .with_srv("_matrix-fed._tcp.example.org", "no-address.example", 1)
        .with_srv("_matrix-fed._tcp.example.org", "d.example", peer.port());
    let targets = names.srv.get_mut("_matrix-fed._tcp.example.org").expect("records");
    for (priority, target) in (1..).zip(targets) {
        target.priority = priority;
    }
    let transport = transport(names, &authority, ports(1));
    let sent = transport.send(&server_name("example.org"), get()).await;
    assert_eq!(sent.map(|answer| answer.status), Ok(200));
    assert_eq!((wrong.connections(), wrong.requests().len()), (1, 0));
}

#[tokio::test]
async fn attempts_are_bounded_per_host_and_in_all() {
    let authority = Authority::new();
    let any = Ipv4Addr::UNSPECIFIED;
    let peer = Peer::start_at(any, authority.server("example.org"), Manner::Close).await;
    let many: Vec<String> = (1..=16).map(|n| format!("127.0.0.{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let server = format!("example.org:{}", peer.port());
    let names = Names::default().with("example.org", &many);
    let error = error_of(&transport(names, &authority, ports(1)), &server).await;
    assert_eq!(error.kind(), "tls", "{error}");
    assert!(error.text().contains("at 127.0.0.4: TLS"), "{error}");

    let mut names = Names::default();
    for host in ["a.example", "b.example", "c.example", "d.example"] {
        names = names.with(host, &many).with_srv("_matrix-fed._tcp.example.org", host, peer.port());
    }
    let before = peer.connections();
    assert_eq!(before, 4);
    let error = error_of(&transport(names, &authority, ports(1)), "example.org").await;
    assert!(error.text().contains("; and 4 more"), "{error}");
    assert_eq!(peer.connections() - before, 8);
}

#[tokio::test]
async fn a_closed_port_and_a_name_without_addresses_are_told_apart() {
    let authority = Authority::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let names = Names::default().with("example.org", &["127.0.0.1"]);
    let transport = transport(names, &authority, ports(port));
    let error = error_of(&transport, &format!("example.org:{port}")).await;
    assert_eq!(error.kind(), "connect", "{error}");
    let error = error_of(&transport, "nowhere.example").await;
    assert_eq!(error.kind(), "dns", "{error}");
    assert!(error.text().contains("the name has no address"), "{error}");
}
