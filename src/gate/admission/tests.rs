//! What is refused before any key is looked up.

use http::{HeaderName, HeaderValue};

use super::*;

const HEADER: &str = r#"X-Matrix origin="o.example",destination="d.example",key="ed25519:1",sig="AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA""#;

fn own() -> Vec<ServerName> {
    ["d.example", "e.example"].map(|name| ServerName::parse(name).unwrap()).to_vec()
}

fn try_admit(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Admitted, Rejection> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let head = RequestHead { method: &method, raw_target: target.as_bytes(), headers: &map };
    admit(head, &own(), 1_000).map_err(|refusal| refusal.rejection)
}

fn refusal(method: &str, target: &str, headers: &[(&str, &str)]) -> Rejection {
    try_admit(method, target, headers).unwrap_err()
}

const EVENT: &str = "/_matrix/federation/v1/event/x";
const SEND: &str = "/_matrix/federation/v1/send/1";

fn with_auth<'a>(values: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    values.iter().map(|value| ("authorization", *value)).collect()
}

fn credentials_of(values: &[&str]) -> Result<Credentials, Rejection> {
    let claim = try_admit("GET", EVENT, &with_auth(values))?.claim;
    let Claim::Signed(credentials) = claim else { panic!("{claim:?}") };
    Ok(credentials)
}

#[test]
fn r1_a_signed_route_without_header_is_401() {
    assert_eq!(refusal("GET", EVENT, &[]), Rejection::HeaderMissing);
    assert_eq!(refusal("GET", EVENT, &with_auth(&["Bearer x"])), Rejection::HeaderMissing);
    let scoped = HEADER.replace("X-Matrix", "X-Matrix-Scoped");
    assert_eq!(refusal("GET", EVENT, &with_auth(&[&scoped])), Rejection::HeaderMissing);
}

#[test]
fn a_target_is_refused_by_what_is_wrong_with_it() {
    assert_eq!(refusal("GET", "/a//b", &[]), Rejection::TargetRefused);
    assert_eq!(refusal("GET", &"/".repeat(8_193), &[]), Rejection::HeadTooLarge);
}

#[test]
fn r9_an_open_route_needs_none_and_minds_none() {
    let target = "/_matrix/federation/v1/version";
    for headers in [vec![], with_auth(&["X-Matrix broken"]), with_auth(&[HEADER])] {
        assert!(matches!(try_admit("GET", target, &headers).unwrap().claim, Claim::Open));
    }
}

#[test]
fn r20_an_origin_outside_the_grammar_is_400() {
    let header = HEADER.replace("o.example", "localhost:http");
    assert_eq!(credentials_of(&[&header]).unwrap_err(), Rejection::HeaderMalformed);
}

#[test]
fn r21_a_missing_destination_stands_for_each_of_our_names() {
    let header = HEADER.replace(r#"destination="d.example","#, "");
    assert_eq!(credentials_of(&[&header]).unwrap().destinations[..], own());
    assert_eq!(credentials_of(&[HEADER]).unwrap().destinations[..], own()[..1]);
}

#[test]
fn r22_foreign_destination_is_401() {
    for destination in ["other.example", "D.example", "d.example:8448", ""] {
        let header = HEADER.replace("d.example", destination);
        assert_eq!(
            credentials_of(&[&header]).unwrap_err(),
            Rejection::DestinationMismatch,
            "{destination}"
        );
    }
}

#[test]
fn r23_several_headers_must_agree() {
    let second = HEADER.replace("ed25519:1", "ed25519:2");
    let found = credentials_of(&[HEADER, &second]).unwrap();
    assert_eq!(found.signatures.len(), 2);
    for other in [
        HEADER.to_owned(),
        second.replace("o.example", "p.example"),
        second.replace("d.example", "e.example"),
        second.replace(r#"destination="d.example","#, ""),
    ] {
        let rejection = credentials_of(&[HEADER, &other]).unwrap_err();
        assert_eq!(rejection, Rejection::HeadersDisagree, "{other}");
    }
    let many: Vec<String> =
        (0..9).map(|n| HEADER.replace("ed25519:1", &format!("ed25519:{n}"))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(credentials_of(&many).unwrap_err(), Rejection::HeadersDisagree);
}

#[test]
fn r43_an_unknown_algorithm_alone_does_not_authenticate() {
    let other = HEADER.replace("ed25519:1", "curve25519:1");
    assert_eq!(credentials_of(&[&other]).unwrap_err(), Rejection::KeyUnsupported);
    let nameless = HEADER.replace("ed25519:1", "nocolon");
    assert_eq!(credentials_of(&[&nameless]).unwrap_err(), Rejection::KeyUnsupported);
    assert_eq!(credentials_of(&[&other, HEADER]).unwrap().signatures.len(), 1);
}

#[test]
fn a_signature_that_is_not_64_bytes_is_a_bad_one() {
    let short = HEADER.replace("AAAAAAAA", "");
    assert_eq!(credentials_of(&[&short]).unwrap_err(), Rejection::BadSignature);
}

#[test]
fn b1_framing_that_can_be_read_in_two_ways_is_refused() {
    for headers in [
        &[("content-length", "2"), ("content-length", "2")][..],
        &[("content-length", "2, 2")],
        &[("content-length", "+2")],
        &[("content-length", "02")],
        &[("content-length", "0x2")],
        &[("content-length", "")],
        &[("content-length", "99999999999999999999")],
        &[("content-length", "2"), ("transfer-encoding", "chunked")],
        &[("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
        &[("transfer-encoding", "gzip, chunked")],
        &[("transfer-encoding", "identity")],
        &[("transfer-encoding", "")],
    ] {
        assert_eq!(refusal("PUT", SEND, headers), Rejection::FramingAmbiguous, "{headers:?}");
    }
}

#[test]
fn r32_a_body_on_get_is_refused_by_its_framing_alone() {
    for headers in [("content-length", "1"), ("transfer-encoding", "chunked")] {
        for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
            assert_eq!(refusal(method, EVENT, &[headers]), Rejection::BodyForbidden);
        }
    }
    assert_eq!(refusal("GET", EVENT, &[("content-length", "0")]), Rejection::HeaderMissing);
}

#[test]
fn r39_a_declared_length_over_the_cap_is_refused_unread() {
    assert_eq!(refusal("PUT", SEND, &[("content-length", "1001")]), Rejection::BodyTooLarge);
    assert_eq!(refusal("PUT", SEND, &[("content-length", "1000")]), Rejection::HeaderMissing);
    let query = "/_matrix/key/v2/query";
    let long = [("content-length", "1048577")];
    assert_eq!(refusal("POST", query, &long), Rejection::BodyTooLarge);
}

#[test]
fn b4_unknown_methods_are_405() {
    for method in ["TRACE", "CONNECT", "get", "PROPFIND"] {
        assert_eq!(refusal(method, EVENT, &[]), Rejection::MethodNotAllowed, "{method}");
    }
}

#[test]
fn b11_b15_encodings_and_expectations() {
    for value in ["gzip", "identity, gzip", "br"] {
        let rejection = refusal("PUT", SEND, &[("content-encoding", value)]);
        assert_eq!(rejection, Rejection::ContentEncoding);
    }
    // What nobody signs is not encoded either.
    let rejection = refusal("POST", "/_matrix/key/v2/query", &[("content-encoding", "gzip")]);
    assert_eq!(rejection, Rejection::ContentEncoding);
    let rejection = refusal("PUT", SEND, &[("expect", "nonsense")]);
    assert_eq!(rejection, Rejection::ExpectationUnsupported);
    let mut headers = with_auth(&[HEADER]);
    headers.push(("content-encoding", "Identity"));
    assert!(!try_admit("PUT", SEND, &headers).unwrap().expects_continue);
    headers.push(("expect", "100-Continue"));
    assert!(try_admit("PUT", SEND, &headers).unwrap().expects_continue);
}

#[test]
fn b13_connection_may_not_name_other_headers() {
    for value in ["close, authorization", "x-fedgate-origin", "keep-alive,content-length"] {
        let rejection = refusal("GET", EVENT, &[("connection", value)]);
        assert_eq!(rejection, Rejection::RequestMalformed, "{value}");
    }
    for value in ["close", "Keep-Alive", "keep-alive, Upgrade", ""] {
        let rejection = refusal("GET", EVENT, &[("connection", value)]);
        assert_eq!(rejection, Rejection::HeaderMissing, "{value}");
    }
}

#[test]
fn b12_no_trailer_is_announced_that_would_count() {
    for value in ["authorization", "X-Checksum, Host", "x_fedgate_origin", "x y", "", "te"] {
        let rejection = refusal("GET", EVENT, &[("trailer", value)]);
        assert_eq!(rejection, Rejection::RequestMalformed, "{value}");
    }
    let rejection = refusal("GET", EVENT, &[("trailer", "X-Checksum , server-timing")]);
    assert_eq!(rejection, Rejection::HeaderMissing);
}

#[test]
fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
    for value in
        ["a:b", "a:1:2", "a:123456", "[::1", "::1]", "[::1]a", "a[::1]", "[g]", "a,b", "a/"]
            .into_iter()
            .chain(["[::1%eth0]", "Z::1]", "\\::1]", "[::1]]", "[[::1]"])
    {
        let rejection = refusal("GET", EVENT, &[("host", value)]);
        assert_eq!(rejection, Rejection::RequestMalformed, "{value}");
    }
    for value in
        ["a", "a_b.example:8448", "127.0.0.1:65535", "[::1]", "[2001:db8::1.2.3.4]:443", ""]
    {
        let rejection = refusal("GET", EVENT, &[("host", value)]);
        assert_eq!(rejection, Rejection::HeaderMissing, "{value}");
    }
}

#[test]
fn r33_a_body_is_json_whatever_its_type_unless_that_is_read_another_way() {
    let put = |types: &[&str]| {
        let mut headers = with_auth(&[HEADER]);
        headers.extend(types.iter().map(|value| ("content-type", *value)));
        try_admit("PUT", SEND, &headers).map(|_| ())
    };
    for fine in [
        "application/json",
        "application/json; charset=UTF-8",
        "text/plain",
        "a/b;charset=\"utf-8\"",
        "x",
        "",
    ] {
        assert_eq!(put(&[fine]), Ok(()), "{fine}");
    }
    for odd in [
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/json; charset=utf-8; charset=utf-7",
        // In whatever case.
        "Multipart/Form-Data; boundary=x",
        "Application/X-WWW-Form-Urlencoded",
        "application/json; Charset=utf-16",
        "application/json, multipart/form-data",
    ] {
        assert_eq!(put(&[odd]), Err(Rejection::ContentEncoding), "{odd}");
    }
    // Nobody knows in which encoding.
    let odd = HeaderValue::from_bytes(b"multipart/form-data; boundary=\xe9").unwrap();
    assert_eq!(check_content_type(&[&odd]).unwrap_err().rejection, Rejection::ContentEncoding);
    let two = ["application/json", "application/json"];
    assert_eq!(put(&two), Err(Rejection::ContentEncoding));
    assert_eq!(put(&[]), Ok(()));
}

#[test]
fn r101_names_that_speak_for_the_gate_are_stripped() {
    for name in [
        "x-forwarded-for",
        "x-forwarded-host",
        "forwarded",
        "x-real-ip",
        "x-fedgate-origin",
        "x_forwarded_for",
        "x_fedgate_origin",
        "x-matrix-origin",
        "connection",
        "transfer-encoding",
        "upgrade",
        "te",
        "trailer",
        "expect",
    ] {
        assert!(is_stripped(&HeaderName::from_static(name)), "{name}");
    }
    for name in ["content-type", "user-agent", "host", "accept", "x-request-id", "range"] {
        assert!(!is_stripped(&HeaderName::from_static(name)), "{name}");
    }
}

#[test]
fn an_oversized_head_is_431() {
    let long = "x".repeat(HEAD_BYTES_MAX);
    assert_eq!(refusal("GET", EVENT, &[("x-a", &long)]), Rejection::HeadTooLarge);
    // Names count as values do.
    let headers = |bytes: usize| [("x-a", "y".repeat(bytes - 6)), ("x-b", String::new())];
    for (bytes, rejection) in
        [(HEAD_BYTES_MAX, Rejection::HeaderMissing), (HEAD_BYTES_MAX + 1, Rejection::HeadTooLarge)]
    {
        let headers = headers(bytes);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(refusal("GET", EVENT, &headers), rejection, "{bytes}");
    }
    let target = format!("/_matrix/federation/v1/event/{}", "x".repeat(8_192));
    assert_eq!(refusal("GET", &target, &[]), Rejection::HeadTooLarge);
}

#[test]
fn log_texts_are_bounded_and_printable() {
    assert_eq!(shown(b"a\r\n\x1b[31m\xff"), r"a\r\n\x1b[31m\xff");
    assert_eq!(shown(&[b'a'; 1_000]).len(), 131);
    assert_eq!(shown(&[b'a'; 128]), "a".repeat(128));
}

#[test]
fn r23_eight_headers_are_read_and_no_more() {
    let headers: Vec<_> = (0..=X_MATRIX_HEADERS_MAX)
        .map(|number| HEADER.replace("ed25519:1", &format!("ed25519:{number}")))
        .collect();
    let values: Vec<_> = headers.iter().map(String::as_str).collect();
    let (last, eight) = values.split_last().unwrap();
    assert_eq!(credentials_of(eight).unwrap().signatures.len(), 8);
    assert_eq!(credentials_of(&values).unwrap_err(), Rejection::HeadersDisagree);
    assert!(credentials_of(&[last]).is_ok());
}

#[test]
fn r39_an_open_body_may_have_a_mebibyte() {
    let onbind = "/_matrix/federation/v1/3pid/onbind";
    let of_length = |length| try_admit("PUT", onbind, &[("content-length", length)]);
    assert!(of_length("1048576").is_ok());
    assert_eq!(of_length("1048577").unwrap_err(), Rejection::BodyTooLarge);
}

#[test]
fn a_head_may_have_65_536_bytes_of_headers() {
    let of_length = |bytes: usize| refusal("GET", EVENT, &[("x-a", &"y".repeat(bytes - 3))]);
    assert_eq!(of_length(65_536), Rejection::HeaderMissing);
    assert_eq!(of_length(65_537), Rejection::HeadTooLarge);
}
