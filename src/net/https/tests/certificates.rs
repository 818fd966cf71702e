//! A request is only sent to a server whose certificate is right (R77).

use super::*;

/// Sends a request to `server` where `peer` is found, and shows how it fails. No request arrives,
/// whether or not somebody wants to know the steps.
async fn refusal(server: &str, peer: &Peer, names: Names, authority: &Authority) -> NetError {
    let transport = transport(names, authority, Ports { https: 1, federation: peer.port() });
    let server = server.replace("PORT", &peer.port().to_string());
    let traced = FederationRequest { trace: Trace::on(), ..get() };
    let traced = transport.send(&server_name(&server), traced).await.expect_err("no certificate");
    let error = transport.send(&server_name(&server), get()).await.expect_err("no certificate");
    assert_eq!(traced.kind(), error.kind(), "{traced}");
    assert_eq!(peer.requests().len(), 0, "{error}");
    assert!(peer.connections() > 0, "{error}");
    error
}

fn example_org() -> Names {
    Names::default().with("example.org", &["127.0.0.1"])
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    for name in ["example.net", "www.example.org", "*.example.org", "127.0.0.1"] {
        let peer = Peer::start(authority.server(name), ok()).await;
        let error = refusal("example.org:PORT", &peer, example_org(), &authority).await;
        assert_eq!(error.kind(), "tls", "{name}: {error}");
        let start = format!("example.org:{0}: example.org:{0} at 127.0.0.1: TLS: ", peer.port());
        assert!(error.text().starts_with(&start), "{error}");
        assert!(error.text().contains("not valid for name"), "{error}");
    }
}

#[tokio::test]
async fn an_address_needs_a_certificate_with_that_address() {
    let authority = Authority::new();
    for name in ["127.0.0.2", "example.org"] {
        let peer = Peer::start(authority.server(name), ok()).await;
        let error = refusal("127.0.0.1:PORT", &peer, Names::default(), &authority).await;
        assert_eq!(error.kind(), "tls", "{name}: {error}");
    }
}

#[tokio::test]
async fn a_certificate_out_of_its_time_is_refused() {
    let authority = Authority::new();
    let expired = authority
        .server_with("example.org", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    let early = authority
        .server_with("example.org", |params| params.not_before = rcgen::date_time_ymd(3000, 1, 1));
    for (config, cause) in [(expired, "expired"), (early, "not valid yet")] {
        let peer = Peer::start(config, ok()).await;
        let error = refusal("example.org:PORT", &peer, example_org(), &authority).await;
        assert_eq!(error.kind(), "tls", "{error}");
        assert!(error.text().contains(cause), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let peer = Peer::start(Authority::new().server("example.org"), ok()).await;
    let error = refusal("example.org:PORT", &peer, example_org(), &Authority::new()).await;
    assert_eq!(error.kind(), "tls", "{error}");
}

#[tokio::test]
async fn a_well_known_document_needs_a_right_certificate_too() {
    let authority = Authority::new();
    let document = answer("200 OK", r#"{"m.server":"evil.example"}"#);
    let web = Peer::start(authority.server("evil.example"), document).await;
    let peer = Peer::start(authority.server("example.org"), ok()).await;
    let ports = Ports { https: web.port(), federation: peer.port() };
    let transport = transport(example_org(), &authority, ports);
    let sent = transport.send(&server_name("example.org"), get()).await;
    assert_eq!(sent.map(|answer| answer.status), Ok(200));
    assert_eq!((web.connections(), web.requests().len()), (1, 0));
    assert_eq!(peer.requests().len(), 1);
}

#[tokio::test]
async fn a_server_that_only_speaks_http_2_is_refused() {
    let authority = Authority::new();
    let mut config = authority.server("example.org");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let peer = Peer::start(config, ok()).await;
    let error = refusal("example.org:PORT", &peer, example_org(), &authority).await;
    assert_eq!(error.kind(), "tls", "{error}");
}

#[tokio::test]
async fn http_1_1_is_chosen_where_there_is_a_choice() {
    let authority = Authority::new();
    let mut config = authority.server("example.org");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let peer = Peer::start(config, ok()).await;
    let transport = transport(example_org(), &authority, ports(1));
    let server = server_name(&format!("example.org:{}", peer.port()));
    assert_eq!(transport.send(&server, get()).await.map(|answer| answer.status), Ok(200));
}

#[tokio::test]
async fn a_certificate_full_of_names_does_not_fill_the_log() {
    let authority = Authority::new();
    let config = authority.server_with("n.example", |params| {
        for n in 0..500 {
            let name = format!("name-{n}.example").try_into().expect("a name");
            params.subject_alt_names.push(rcgen::SanType::DnsName(name));
        }
    });
    let peer = Peer::start(config, ok()).await;
    let error = refusal("example.org:PORT", &peer, example_org(), &authority).await;
    assert!(error.text().len() < 500, "{}", error.text().len());
}
