//! What the homeserver is sent: the verified request in its one form, and who sent it.

use crate::support::client::H2Client;
use crate::support::{Client, Gate, GateOptions, Homeserver, OWN_NAME, Origin, within};

const TARGET: &str = "/_matrix/federation/v1/event/%24abc?x=%C3%A9";
const VERSION: &str = "/_matrix/federation/v1/version";

async fn get(gate: &Gate, target: &str, headers: &[(&str, &str)]) -> u16 {
    let mut client = Client::plain(gate.address).await;
    within(target, client.request("GET", target, headers, None)).await.status
}

#[tokio::test]
async fn a_trusted_proxy_says_who_the_client_is_and_a_stranger_does_not() {
    let headers = [
        ("x-forwarded-for", "192.0.2.66"),
        ("x-forwarded-for", "198.51.100.7, 127.0.0.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-real-ip", "192.0.2.66"),
        ("forwarded", "for=192.0.2.66"),
        ("x_forwarded_for", "192.0.2.66"),
        ("x-fedgate-origin", "evil.example"),
        ("te", "trailers"),
        ("connection", "keep-alive, te"),
        ("keep-alive", "timeout=5"),
        ("accept", "application/json"),
    ];
    let cases = [
        ("", "198.51.100.7", "https"),
        ("trusted_proxies = [\"127.0.0.1/32\"]", "127.0.0.9", "https"),
        ("trusted_proxies = [\"10.0.0.0/8\"]", "127.0.0.1", "http"),
        ("trusted_proxies = []", "127.0.0.1", "http"),
    ];
    for (listen, address, scheme) in cases {
        let homeserver = Homeserver::start().await;
        let options = GateOptions { listen, ..GateOptions::default() };
        let gate = Gate::start_with(&homeserver, options).await;
        assert_eq!(get(&gate, VERSION, &headers).await, 200, "{listen}");
        let seen = &homeserver.seen()[0].headers;
        let all = |name| seen.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(all("x-forwarded-for"), [address], "{listen}");
        assert_eq!(all("x-forwarded-proto"), [scheme], "{listen}");
        let mut names: Vec<_> = seen.keys().map(|name| name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "host", "x-forwarded-for", "x-forwarded-proto"], "{listen}");
    }
}

#[tokio::test]
async fn authorization_is_forwarded_in_its_one_form() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let origin = gate.origin("origin.example");
    let canonical = origin.authorize("GET", TARGET, None);
    let sig = canonical.split("sig=\"").nth(1).unwrap().trim_end_matches('"');
    let (name, key) = ("origin.example", "ed25519:1");
    let spellings = [
        canonical.clone(),
        canonical.replace("X-Matrix", "x-mAtRiX"),
        canonical.replace("X-Matrix ", "X-Matrix    "),
        canonical.replace(',', ", "),
        format!("X-Matrix key={key},origin={name},sig={sig},destination={OWN_NAME}"),
        format!("X-Matrix sig=\"{sig}==\",key=\"{key}\",origin=\"{name}\""),
        format!("X-Matrix origin=\"{name}\",key=\"{key}\",sig=\"{sig}\",unknown=\"a b\""),
        canonical.replace(sig, &sig.replace('+', "-").replace('/', "_")),
        canonical.replace("key=\"ed", "key=\"\\e\\d"),
    ];
    for (at, spelling) in spellings.iter().enumerate() {
        assert_eq!(get(&gate, TARGET, &[("authorization", spelling)]).await, 200, "{spelling}");
        let seen = homeserver.seen();
        let forwarded: Vec<_> = seen[at].headers.get_all("authorization").iter().collect();
        assert_eq!(forwarded, [&canonical], "{spelling}");
        assert_eq!(seen[at].target, TARGET);
    }
}

#[tokio::test]
async fn each_of_several_signatures_that_counts_is_forwarded_and_no_other() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let origin = gate.origin("origin.example");
    let good = origin.authorize("GET", TARGET, None);
    let retired = good.replace("ed25519:1", "ed25519:0");
    let strange = good.replace("ed25519:1", "curve25519:1");
    let headers = [
        ("authorization", retired.as_str()),
        ("authorization", "Bearer secret"),
        ("authorization", good.as_str()),
        ("authorization", strange.as_str()),
    ];
    assert_eq!(get(&gate, TARGET, &headers).await, 200);
    let seen = homeserver.seen();
    let forwarded: Vec<_> = seen[0].headers.get_all("authorization").iter().collect();
    assert_eq!(forwarded, [&good]);
}

#[tokio::test]
async fn a_request_for_any_of_our_names_passes_as_one_for_that_name() {
    let homeserver = Homeserver::start().await;
    let names = "[\"gate.example\", \"second.example\"]";
    let options = GateOptions { names, ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    let origin = gate.origin("origin.example");
    let mut passed = 0;
    for (name, ours) in [(OWN_NAME, true), ("second.example", true), ("third.example", false)] {
        let stated = origin.authorize_for(name, "GET", TARGET, None);
        let unstated = stated.replace(&format!(",destination=\"{name}\""), "");
        assert_ne!(stated, unstated);
        for value in [&stated, &unstated] {
            let status = get(&gate, TARGET, &[("authorization", value)]).await;
            assert_eq!(status, if ours { 200 } else { 401 }, "{value}");
            if ours {
                let seen = homeserver.seen().pop().unwrap();
                assert_eq!(seen.headers["authorization"], stated, "the name it was signed for");
                passed += 1;
            }
        }
    }
    assert_eq!(homeserver.seen().len(), passed);
    // Signed for one of our names, said to be for another.
    let crossed = origin
        .authorize_for("second.example", "GET", TARGET, None)
        .replace("second.example", OWN_NAME);
    assert_eq!(get(&gate, TARGET, &[("authorization", &crossed)]).await, 401);
    assert_eq!(homeserver.seen().len(), passed);
}

#[tokio::test]
async fn open_requests_pass_with_whatever_they_bring() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let query = br#"{"server_keys":{"a":{}}}"#;
    let onbind: &[u8] = b"nobody signs this";
    let requests: [(&str, &str, Option<&[u8]>); 7] = [
        ("GET", VERSION, None),
        ("GET", "/_matrix/federation/v1/openid/userinfo?access_token=a", None),
        ("PUT", "/_matrix/federation/v1/3pid/onbind", Some(onbind)),
        ("POST", "/_matrix/key/v2/query", Some(query)),
        ("GET", "/_matrix/key/v2/query/a.example?minimum_valid_until_ts=1", None),
        ("GET", "/_matrix/key/v2/server", None),
        ("GET", "/.well-known/matrix/server", None),
    ];
    let mut client = Client::plain(gate.address).await;
    for (method, target, body) in requests {
        for authorization in [None, Some("Bearer a"), Some("X-Matrix broken"), Some("")] {
            let headers: Vec<_> = authorization.map(|a| ("authorization", a)).into_iter().collect();
            let answer = within(target, client.request(method, target, &headers, body)).await;
            assert_eq!(answer.status, 200, "{method} {target} {authorization:?}");
            let seen = homeserver.seen().pop().unwrap();
            assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, target));
            assert_eq!(&seen.body[..], body.unwrap_or_default());
            let forwarded = seen.headers.get("authorization");
            assert_eq!(forwarded.map(|v| v.to_str().unwrap()), authorization, "{target}");
        }
    }
    assert_eq!(gate.federation.fetches(), 0);
    assert_eq!(homeserver.seen().len(), 28);
}

#[tokio::test]
async fn the_host_is_the_one_that_was_asked_for() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start_tls(&homeserver).await;
    let ca = gate.ca.clone().unwrap();
    let mut client = Client::tls(gate.address, &ca).await;
    for host in ["gate.example", "gate.example:8448", "else.example"] {
        within(host, client.request("GET", VERSION, &[("host", host)], None)).await;
        assert_eq!(homeserver.seen().pop().unwrap().headers["host"], host);
    }
    let mut client = H2Client::connect(gate.address, &ca).await;
    within("HTTP/2", client.request("GET", VERSION, &[], None)).await.unwrap();
    let seen = homeserver.seen().pop().unwrap();
    assert_eq!(seen.headers["host"], OWN_NAME);
    assert_eq!(seen.target, VERSION, "in origin form");
}

#[tokio::test]
async fn http2_carries_the_same_target_and_headers() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start_tls(&homeserver).await;
    let origin: Origin = gate.origin("origin.example");
    let canonical = origin.authorize("GET", TARGET, None);
    let odd = canonical.replace("X-Matrix ", "X-MATRIX   ").replace(',', ", ");
    let headers = [("authorization", odd.as_str()), ("x-real-ip", "192.0.2.66")];
    let mut client = H2Client::connect(gate.address, gate.ca.as_ref().unwrap()).await;
    let answer = within("HTTP/2", client.request("GET", TARGET, &headers, None)).await.unwrap();
    assert_eq!(answer.status, 200);
    let seen = homeserver.seen().pop().unwrap();
    assert_eq!(seen.target, TARGET);
    assert_eq!(seen.headers["authorization"], canonical);
    assert_eq!(seen.headers["x-forwarded-proto"], "https");
    assert!(!seen.headers.contains_key("x-real-ip"));
}
