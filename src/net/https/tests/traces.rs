//! What a trace tells of each way there is.

use rcgen::CertificateParams;
use serde_json::{Value, json};

use super::*;
use crate::net::trace::{Certificate, Outcome, Step};

/// Sends a request to `server` and returns the steps it took, and whether it was answered.
async fn traced(transport: &HttpsTransport, server: &str) -> (Vec<Step>, bool) {
    let trace = Trace::on();
    let request = FederationRequest { trace: trace.clone(), ..get() };
    let answered = transport.send(&server_name(server), request).await.is_ok();
    let (steps, left_out) = trace.steps();
    assert_eq!(left_out, 0);
    (steps, answered)
}

/// The steps as JSON, each with its depth, without times and certificates.
fn told(steps: &[Step]) -> Vec<Value> {
    let told = steps.iter().map(|step| {
        let mut outcome = serde_json::to_value(&step.outcome).expect("JSON");
        for member in ["remaining_s", "certificate", "text", "no_such_name"] {
            if let Some(outcome) = outcome.as_object_mut() {
                outcome.remove(member);
            }
        }
        json!([step.depth, step.action, outcome])
    });
    told.collect()
}

fn certificates(steps: &[Step]) -> Vec<&Certificate> {
    let shown = steps.iter().filter_map(|step| match &step.outcome {
        Some(Outcome::Secured { certificate, .. } | Outcome::NotSecured { certificate, .. }) => {
            certificate.as_ref()
        }
        _ => None,
    });
    shown.collect()
}

#[tokio::test]
async fn the_whole_way_to_a_bad_certificate_is_told() {
    let authority = Authority::new();
    let ends = rcgen::date_time_ymd(2020, 1, 1);
    let expired = authority.server_with("matrix.example.net", |params| params.not_after = ends);
    let peer = Peer::start(expired, ok()).await;
    let document = answer("200 OK", r#"{"m.server":"matrix.example.net"}"#);
    let web = Peer::start(authority.server("example.org"), document).await;
    let (web_port, port) = (web.port(), peer.port());
    let names = Names::default()
        .with("example.org", &["127.0.0.1"])
        .with("srv.example.com", &["10.0.0.1", "127.0.0.1"])
        .with_srv("_matrix._tcp.matrix.example.net", "srv.example.com", port);
    let transport = transport(names, &authority, ports(web_port));
    let (steps, answered) = traced(&transport, "example.org").await;
    assert!(!answered);
    let asked = "name_server";
    let well_known = "/.well-known/matrix/server";
    let (web_place, place) = (format!("127.0.0.1:{web_port}"), format!("127.0.0.1:{port}"));
    let expected = [
        json!([0, {"kind": "server_name", "name": "example.org"},
            {"kind": "name", "form": "name_alone"}]),
        json!([0, {"kind": "well_known", "url": format!("https://example.org{well_known}")},
            {"kind": "delegated", "server": "matrix.example.net", "remembered": false}]),
        json!([1, {"kind": "addresses", "host": "example.org"},
            {"kind": "found", "addresses": ["127.0.0.1"], "answered_by": asked}]),
        json!([1, {"kind": "dial", "to": web_place, "proxy": null}, {"kind": "connected"}]),
        json!([1, {"kind": "tls", "name": "example.org", "sni": true},
            {"kind": "secured", "version": "TLS 1.3"}]),
        json!([1, {"kind": "http", "method": "GET", "host": "example.org", "target": well_known},
            {"kind": "answer", "status": 200, "bytes": 33, "location": null}]),
        json!([0, {"kind": "srv", "name": "_matrix-fed._tcp.matrix.example.net"},
            {"kind": "targets", "targets": [], "answered_by": asked}]),
        json!([0, {"kind": "srv", "name": "_matrix._tcp.matrix.example.net"},
            {"kind": "targets", "answered_by": asked, "targets":
                [{"priority": 1, "weight": 1, "host": "srv.example.com", "port": port}]}]),
        json!([0, {"kind": "addresses", "host": "srv.example.com"},
            {"kind": "found", "addresses": ["10.0.0.1", "127.0.0.1"], "answered_by": asked}]),
        json!([0, {"kind": "judge", "address": "10.0.0.1"}, {"kind": "blocked",
            "range": "10.0.0.0/8", "purpose": "private", "setting": "outbound.allowed_ranges"}]),
        json!([0, {"kind": "dial", "to": place, "proxy": null}, {"kind": "connected"}]),
        json!([0, {"kind": "tls", "name": "matrix.example.net", "sni": true},
            {"kind": "not_secured", "meaning": "the certificate has expired"}]),
    ];
    assert_eq!(told(&steps), expected);
    assert!(steps.iter().all(|step| step.took_ms.is_some()));
    let [_, shown] = certificates(&steps)[..] else { panic!("not two certificates") };
    assert_eq!(shown.names, ["matrix.example.net"]);
    assert!(shown.issuer.starts_with("CN="), "{}", shown.issuer);
    assert_eq!(shown.not_after_ts, Some(1_577_836_800_000));
}

#[tokio::test]
async fn a_good_way_is_told_and_what_is_remembered_the_second_time() {
    let authority = Authority::new();
    let peer = Peer::start(authority.server("127.0.0.1"), ok()).await;
    let port = peer.port();
    let document = answer("200 OK", &format!(r#"{{"m.server":"127.0.0.1:{port}"}}"#));
    let web = Peer::start(authority.server("web.example"), document).await;
    let location = format!("302 Found\r\nLocation: https://web.example:{}/x", web.port());
    let first = Peer::start(authority.server("example.org"), answer(&location, "")).await;
    let names =
        Names::default().with("example.org", &["127.0.0.1"]).with("web.example", &["127.0.0.1"]);
    let transport = transport(names, &authority, ports(first.port()));
    let (steps, answered) = traced(&transport, "example.org").await;
    assert!(answered, "{steps:#?}");
    let redirect = format!("https://web.example:{}/x", web.port());
    let answers: Vec<_> =
        told(&steps).into_iter().filter(|step| step[1]["kind"] == "http").collect();
    let get = |host: &str, target: &str| json!({"kind": "http", "method": "GET", "host": host, "target": target});
    let answer = |status: u16, bytes: usize, location: Option<&str>| json!({"kind": "answer", "status": status, "bytes": bytes, "location": location});
    let key_server = "/_matrix/key/v2/server";
    let bytes = format!(r#"{{"m.server":"127.0.0.1:{port}"}}"#).len();
    let expected = [
        json!([
            1,
            get("example.org", "/.well-known/matrix/server"),
            answer(302, 0, Some(&redirect))
        ]),
        json!([1, get(&format!("web.example:{}", web.port()), "/x"), answer(200, bytes, None)]),
        json!([0, get(&format!("127.0.0.1:{port}"), key_server), answer(200, 2, None)]),
    ];
    assert_eq!(answers, expected);

    let (steps, answered) = traced(&transport, "example.org").await;
    assert!(answered);
    let Some(Outcome::Delegated { server, remembered, remaining_s }) = &steps[1].outcome else {
        panic!("not delegated: {:?}", steps[1]);
    };
    assert_eq!((server, *remembered), (&format!("127.0.0.1:{port}"), true));
    // A day, give or take a tenth.
    assert!((77_000..96_000).contains(remaining_s), "{remaining_s}");
    let kinds: Vec<_> = told(&steps).iter().map(|step| step[1]["kind"].clone()).collect();
    assert_eq!(kinds, ["server_name", "well_known", "dial", "tls", "http"]);
    let tls = &told(&steps)[3];
    assert_eq!(tls[1], json!({"kind": "tls", "name": "127.0.0.1", "sni": false}));
    assert_eq!(certificates(&steps)[0].names, ["127.0.0.1"]);
}

#[tokio::test]
async fn the_proxy_is_named_where_there_is_one() {
    let authority = Authority::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let credentials = Some(("alice", "s3cret"));
    let proxy = OutboundProxy::new(ProxyScheme::Socks5, "127.0.0.1", port, credentials);
    let policy = AddressPolicy::new(vec!["127.0.0.0/8".parse().expect("a range")]);
    let (names, roots) = (Arc::new(Names::default()), authority.roots());
    let proxy = Some(proxy.expect("a proxy"));
    let metrics = NetMetrics::new().expect("metrics");
    let transport =
        HttpsTransport::new(names, policy, roots, proxy, ports(1), Timeouts::default(), &metrics);
    let (steps, answered) = traced(&transport.expect("a transport"), "127.0.0.1:7").await;
    assert!(!answered);
    let through = format!("the proxy socks5://127.0.0.1:{port}");
    let expected = [
        json!([0, {"kind": "server_name", "name": "127.0.0.1:7"},
            {"kind": "name", "form": "address"}]),
        json!([0, {"kind": "dial", "to": "127.0.0.1:7", "proxy": through},
            {"kind": "failed", "error": "connect"}]),
    ];
    assert_eq!(told(&steps), expected);
    assert!(!format!("{steps:?}").contains("s3cret"));
}

#[tokio::test]
async fn what_was_under_way_when_time_ran_out_is_told() {
    let authority = Authority::new();
    let silent = Peer::start(authority.server("example.org"), Manner::Silent).await;
    let names = Names::default().with("example.org", &["127.0.0.1"]);
    let timeouts = Timeouts { well_known: Duration::from_millis(200), ..Timeouts::default() };
    let ports = Ports { https: silent.port(), federation: 1 };
    let transport = transport_to(&["127.0.0.0/8"], names, &authority, ports, timeouts);
    let (steps, _) = traced(&transport, "example.org").await;
    let tls = steps.iter().find(|step| step.depth == 1 && step.outcome.is_none());
    let tls = tls.expect("a step that did not end");
    assert_eq!(
        (told(std::slice::from_ref(tls))[0][1]["kind"].as_str(), tls.took_ms),
        (Some("tls"), None)
    );
    let Some(Outcome::NotDelegated { text, remembered: false, .. }) = &steps[1].outcome else {
        panic!("delegated: {:?}", steps[1]);
    };
    assert!(text.contains("no well-known document within"), "{text}");
}

#[tokio::test]
async fn usual_faults_of_certificates_are_told_in_plain_words() {
    let authority = Authority::new();
    let early =
        |params: &mut CertificateParams| params.not_before = rcgen::date_time_ymd(3000, 1, 1);
    let many = |params: &mut CertificateParams| {
        for n in 0..500 {
            let name = format!("name-{n}.example").try_into().expect("a name");
            params.subject_alt_names.push(rcgen::SanType::DnsName(name));
        }
    };
    let table = [
        (authority.server_with("example.org", early), "not valid yet"),
        (authority.server_with("n.example", many), "for other names"),
        (Authority::new().server("example.org"), "outbound.ca_file"),
    ];
    for (config, meaning) in table {
        let peer = Peer::start(config, ok()).await;
        let names = Names::default().with("example.org", &["127.0.0.1"]);
        let transport = transport(names, &authority, ports(1));
        let (steps, answered) = traced(&transport, &format!("example.org:{}", peer.port())).await;
        assert!(!answered && peer.requests().is_empty());
        let last = told(&steps).pop().expect("a step");
        assert!(
            last[2]["meaning"].as_str().is_some_and(|told| told.contains(meaning)),
            "{steps:?}"
        );
        let size = serde_json::to_string(&steps).expect("JSON").len();
        assert!(size < 5_000, "{size}");
    }
}
