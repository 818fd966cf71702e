//! R1 to R6, and the ways to spell a signed path as an open or foreign one (threats B6, B7).

use super::*;

fn access(method: &str, path: &str) -> Result<Route, Rejection> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let target = RequestTarget::parse(path.as_bytes()).or(Err(Rejection::TargetRefused))?;
    route(&method, &target).map_err(|refusal| refusal.rejection)
}

fn is_open(method: &str, path: &str) -> bool {
    access(method, path).is_ok_and(|route| route.access == Access::Open)
}

#[test]
fn r2_r3_the_seven_open_operations_are_open() {
    for (method, path) in [
        ("GET", "/.well-known/matrix/server"),
        ("GET", "/_matrix/federation/v1/version"),
        ("GET", "/_matrix/federation/v1/openid/userinfo?access_token=x"),
        ("PUT", "/_matrix/federation/v1/3pid/onbind"),
        ("POST", "/_matrix/federation/v1/3pid/onbind"),
        ("GET", "/_matrix/key/v2/server"),
        ("GET", "/_matrix/key/v2/server/"),
        ("GET", "/_matrix/key/v2/server/ed25519:a"),
        ("POST", "/_matrix/key/v2/query"),
        ("GET", "/_matrix/key/v2/query/example.org"),
        ("GET", "/_matrix/key/v2/query/example.org/ed25519:a"),
    ] {
        assert!(is_open(method, path), "{method} {path}");
    }
}

#[test]
fn r6_an_open_path_with_another_method_is_405() {
    for (method, path) in [
        ("POST", "/_matrix/federation/v1/version"),
        ("HEAD", "/_matrix/key/v2/server"),
        ("DELETE", "/_matrix/federation/v1/3pid/onbind"),
        ("GET", "/_matrix/key/v2/query"),
    ] {
        assert_eq!(access(method, path), Err(Rejection::MethodNotAllowed), "{method} {path}");
    }
}

#[test]
fn r1_r4_every_listed_operation_is_signed_and_known_by_name() {
    for (fixed, parameters, endpoint) in SIGNED {
        let path = format!("{fixed}{}", vec!["%21x:example.org"; parameters].join("/"));
        for path in [path.clone(), format!("{path}/"), format!("{path}?a=b")] {
            let found = access("GET", &path).unwrap();
            assert_eq!(found, Route { endpoint, access: Access::Signed }, "{path}");
        }
    }
}

#[test]
fn r5_unknown_federation_and_policy_paths_are_signed() {
    for path in [
        "/_matrix/federation",
        "/_matrix/federation/",
        "/_matrix/federation/v9/anything",
        "/_matrix/federation/unstable/org.example/thing",
        "/_matrix/federation/v1/version/",
        "/_matrix/federation/v1/version/x",
        "/_matrix/federation/v2/version",
        "/_matrix/federation/v1/query/made_up",
        "/_matrix/policy",
        "/_matrix/policy/v9/x",
        // Escapes of a parameter are nobody's business.
        "/_matrix/federation/v9/anything/%21x",
    ] {
        assert_eq!(access("GET", path).unwrap().access, Access::Signed, "{path}");
    }
}

#[test]
fn b7_an_open_path_in_the_query_opens_nothing() {
    let path = "/_matrix/federation/v1/state/!r:x?a=/_matrix/federation/v1/version";
    assert_eq!(access("GET", path).unwrap().access, Access::Signed);
}

#[test]
fn b6_other_spellings_of_our_paths_never_pass_as_open_or_foreign() {
    for path in [
        "/_matrix/%66ederation/v1/send/1",
        "/_matrix%2ffederation/v1/send/1",
        "/%5fmatrix/federation/v1/send/1",
        "/_MATRIX/federation/v1/send/1",
        "/_matrix/Federation/v1/send/1",
        "/_matrix/federation;x/v1/send/1",
        "/_matrix;a=b/federation/v1/send/1",
        "/;/_matrix/federation/v1/send/1",
        "/_matrix/;x/federation/v1/send/1",
        "/x/..;/_matrix/federation/v1/send/1",
        "/_matrix/.;x/federation/v1/send/1",
        "/x/..;y%2f_matrix/federation/v1/send/1",
        "/%2f_matrix/federation/v1/send/1/..;/..;/..;/..;/..;",
        "/%2f_matrix/federation/v1/send/1/..%2f..%2f..%2f..%2f..",
        "/_matrix/q%252fr%2f..%2f%2566ederation/v1/send/1",
        "/_matrix;%2fx/%66ederation/v1/send/1",
        "/_matrix;%2fx%2fy/federation/v1/send/1",
        "/%25255fmatrix/federation/v1/send/1",
        "/_matrix%255cfederation/v1/send/1",
        "/%25%35%46matrix/federation/v1/send/1",
        "/x/%252e%252e/_matrix/federation/v1/send/1",
        "/x/..%2f_matrix/federation/v1/send/1",
        "/%2f_matrix/federation/v1/send/1",
        "/_matrix%5cfederation/v1/send/1",
        "/_matrix/%6bey/v2/server",
        "/_matrix/federation/%761/send/1",
        "/_matrix/federation/v1/%73end/1",
        "/.well-known/%6datrix/server",
        "/_matrix/x/..;/federation/v1/send/1",
        "/_matrix/x/%2e%2e;a=b/federation/v1/send/1",
        "/_matrix/.;/federation/v1/send/1",
        "/;/_matrix/federation/v1/send/1",
        "/_matrix/federation%3f/v1/send/1",
        "/_matrix/federation%23/v1/send/1",
        "/_matrix/federation%20/v1/send/1",
        "/_matrix%09/federation/v1/send/1",
        // An escape that comes of decoding twice what is no escape after decoding once.
        "/_matrix%25%2532%2566federation/v1/send/1",
    ] {
        assert_eq!(access("PUT", path), Err(Rejection::TargetRefused), "{path}");
    }
}

#[test]
fn b6_paths_that_hide_dots_or_are_escaped_over_and_over_are_refused() {
    for path in ["/a/b%2f..%2fc", "/a/..;/b", "/a/.;x/b", "/a/%25%32e%25%32e/b", "/%25252541"] {
        assert_eq!(access("GET", path), Err(Rejection::TargetRefused), "{path}");
    }
    for path in ["/a;b=c/d", "/a/;/b", "/a/%252541", "/a%2fb", "/a/..b/.c", "/%25+f", "/a/%c3%a9"] {
        assert_eq!(access("GET", path).map(|found| found.access), Ok(Access::Other), "{path}");
    }
}

#[test]
fn what_no_router_takes_for_one_of_our_paths_is_other() {
    for mark in [":", "@", "$", "%22", "%3c", "%3e", "%25+f", "%25"] {
        let path = format!("/_matrix{mark}/federation/v1/send/1");
        assert_eq!(access("PUT", &path).map(|found| found.access), Ok(Access::Other), "{path}");
    }
}

#[test]
fn escapes_in_parameters_are_left_alone() {
    let path = "/_matrix/federation/v1/event/%24acR1l0raoZnm60CBwAVgqbZqoO%2FmYU81xysh1u7XcJk";
    assert_eq!(access("GET", path).unwrap().endpoint, Endpoint::Event);
}

#[test]
fn unlisted_key_paths_are_not_forwarded() {
    for path in ["/_matrix/key", "/_matrix/key/v3/server", "/_matrix/key/v2/server/a/b"] {
        assert_eq!(access("GET", path), Err(Rejection::OtherPath), "{path}");
    }
}

#[test]
fn client_paths_are_other() {
    for path in ["/_matrix/client/v3/sync?since=1", "/", "/_synapse/admin", "/_matrix/federationx"]
    {
        let expected = Route { endpoint: Endpoint::Other, access: Access::Other };
        assert_eq!(access("GET", path), Ok(expected), "{path}");
    }
}
