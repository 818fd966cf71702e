//! Request lines and header fields (threats B4, B5, B13, B15).

use fedgate::gate::Rejection::{
    ExpectationUnsupported, HeadersDisagree, MethodNotAllowed, OtherPath, RequestMalformed,
    TargetRefused,
};

use super::{
    Case, Passes, PassesLast, Refused, RefusedAlone, SEND, TARGET, check_seen, fill_in, gate,
    run_all,
};
use tokio::io::AsyncWriteExt;

use crate::support::{Client, Gate, GateOptions, Homeserver, NOW_MS, Origin, Silent, within};

#[rustfmt::skip]
const LINES: &[Case] = &[
    ("as it should be", b"GET <T> HTTP/1.1\r\n<H><G>\r\n", Passes),
    ("HTTP/1.0", b"GET <T> HTTP/1.0\r\n<H><G>\r\n", PassesLast),
    ("HTTP/1.0 without Host", b"GET <T> HTTP/1.0\r\n<G>\r\n", PassesLast),
    ("HTTP/1.0 kept alive", b"GET <T> HTTP/1.0\r\n<H><G>Connection: keep-alive\r\n\r\n", PassesLast),
    ("HTTP/0.9", b"GET <T>\r\n\r\n", Refused(RequestMalformed)),
    ("HTTP/1.2", b"GET <T> HTTP/1.2\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("HTTP/2.0", b"GET <T> HTTP/2.0\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("HTTP/01.1", b"GET <T> HTTP/01.1\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("http/1.1", b"GET <T> http/1.1\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refused(RequestMalformed)),
    ("empty line in front", b"\r\nGET <T> HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("two spaces before the target", b"GET  <T> HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("two spaces after the target", b"GET <T>  HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("space at the end of the line", b"GET <T> HTTP/1.1 \r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("tab instead of a space", b"GET\t<T> HTTP/1.1\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("tab after the target", b"GET <T>\tHTTP/1.1\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("space in the target", b"GET <T>?a b HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("tab in the target", b"GET <T>?a\tb HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("another version in the target", b"GET <T> HTTP/1.1 HTTP/1.1\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("NUL in the target", b"GET <T>?\0 HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("control byte in the target", b"GET <T>?\x01 HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("delete in the target", b"GET <T>?\x7f HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("UTF-8 in the target", b"GET <T>?\xc3\xa9 HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("other bytes in the target", b"GET <T>?\xff HTTP/1.1\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("carriage return in the target", b"GET <T>?\rx HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("fragment", b"GET <T>#x HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("empty fragment", b"GET <T># HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("backslash", b"GET <T>\\x HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("quote", b"GET <T>?\" HTTP/1.1\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("absolute form", b"GET http://gate.example<T> HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("absolute form of another host", b"GET http://other.example<T> HTTP/1.1\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("authority form", b"GET gate.example:8448 HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("no leading slash", b"GET _matrix/federation/v1/event/x HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("asterisk", b"GET * HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("OPTIONS of an asterisk", b"OPTIONS * HTTP/1.1\r\n<H>\r\n", Refused(TargetRefused)),
    ("no target", b"GET HTTP/1.1\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("empty target", b"GET  HTTP/1.1\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("two slashes in front", b"GET /<T> HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("two slashes inside", b"GET /_matrix//federation/v1/event/x HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("dot segments", b"GET /_matrix/x/../federation/v1/event/x HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("escaped dot segments", b"GET /_matrix/key/v2/server/%2e%2E/x HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("escape in the fixed part", b"GET /_matrix/%66ederation/v1/event/x HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("escaped slash in the fixed part", b"GET /_matrix/federation%2fv1/event/x HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("path parameter", b"GET /_matrix;a/federation/v1/event/x HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("other case of the path", b"GET /_MATRIX/federation/v1/event/x HTTP/1.1\r\n<H><G>\r\n", Refused(TargetRefused)),
    ("root", b"GET / HTTP/1.1\r\n<H><G>\r\n", RefusedAlone(OtherPath)),
    ("CONNECT", b"CONNECT gate.example:8448 HTTP/1.1\r\n<H><G>\r\n", RefusedAlone(MethodNotAllowed)),
    ("CONNECT of a path", b"CONNECT <T> HTTP/1.1\r\n<H><G>\r\n", RefusedAlone(MethodNotAllowed)),
    ("TRACE", b"TRACE <T> HTTP/1.1\r\n<H><G>\r\n", RefusedAlone(MethodNotAllowed)),
    ("lower-case method", b"get <T> HTTP/1.1\r\n<H><G>\r\n", RefusedAlone(MethodNotAllowed)),
    ("method longer by a letter", b"GETT <T> HTTP/1.1\r\n<H><G>\r\n", RefusedAlone(MethodNotAllowed)),
    ("method that is no token", b"G@T <T> HTTP/1.1\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("NUL in the method", b"GE\0T <T> HTTP/1.1\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("a TLS greeting", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n", Refused(RequestMalformed)),
];

#[rustfmt::skip]
const FIELDS: &[Case] = &[
    ("no Host", b"GET <T> HTTP/1.1\r\n<G>\r\n", Refused(RequestMalformed)),
    ("two Hosts", b"GET <T> HTTP/1.1\r\n<H>Host: other.example\r\n<G>\r\n", Refused(RequestMalformed)),
    ("the same Host twice", b"GET <T> HTTP/1.1\r\n<H><H><G>\r\n", Refused(RequestMalformed)),
    ("Host with a user", b"GET <T> HTTP/1.1\r\nHost: a@gate.example\r\n<G>\r\n", Refused(RequestMalformed)),
    ("Host with a path", b"GET <T> HTTP/1.1\r\nHost: gate.example/x\r\n<G>\r\n", Refused(RequestMalformed)),
    ("line feed alone after the request line", b"GET <T> HTTP/1.1\n<H><G>\r\n", Refused(RequestMalformed)),
    ("line feed alone after a field", b"GET <T> HTTP/1.1\r\n<H><G>X: y\n\r\n", Refused(RequestMalformed)),
    ("line feeds alone at the end", b"GET <T> HTTP/1.1\r\n<H>X: y\r\n<G>\n", Refused(RequestMalformed)),
    ("carriage return in a value", b"GET <T> HTTP/1.1\r\n<H><G>X: y\rz\r\n\r\n", Refused(RequestMalformed)),
    ("NUL in a value", b"GET <T> HTTP/1.1\r\n<H><G>X: y\0z\r\n\r\n", Refused(RequestMalformed)),
    ("control byte in a value", b"GET <T> HTTP/1.1\r\n<H><G>X: y\x01z\r\n\r\n", Refused(RequestMalformed)),
    ("NUL in a name", b"GET <T> HTTP/1.1\r\n<H><G>X\0: y\r\n\r\n", Refused(RequestMalformed)),
    ("space in a name", b"GET <T> HTTP/1.1\r\n<H><G>X Y: z\r\n\r\n", Refused(RequestMalformed)),
    ("space before a name", b"GET <T> HTTP/1.1\r\n X: y\r\n<H><G>\r\n", Refused(RequestMalformed)),
    ("no name", b"GET <T> HTTP/1.1\r\n<H><G>: y\r\n\r\n", Refused(RequestMalformed)),
    ("no colon", b"GET <T> HTTP/1.1\r\n<H><G>X\r\n\r\n", Refused(RequestMalformed)),
    ("folded line", b"GET <T> HTTP/1.1\r\n<H><G>X: y\r\n z\r\n\r\n", Refused(RequestMalformed)),
    ("line folded with a tab", b"GET <T> HTTP/1.1\r\n<H><G>X: y\r\n\tz\r\n\r\n", Refused(RequestMalformed)),
    ("folded Authorization", b"GET <T> HTTP/1.1\r\n<H>Authorization: X-Matrix\r\n origin=a\r\n\r\n", Refused(RequestMalformed)),
    ("upgrade to a socket", b"GET <T> HTTP/1.1\r\n<H><G>Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n", Passes),
    ("upgrade to HTTP/2", b"GET <T> HTTP/1.1\r\n<H><G>Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", Passes),
    ("bytes after an upgrade", b"GET <T> HTTP/1.1\r\n<H><G>Connection: Upgrade\r\nUpgrade: x\r\n\r\nGET <T> HTTP/1.1\r\n<H><G>\r\n", PassesLast),
    ("Connection: close", b"GET <T> HTTP/1.1\r\n<H><G>Connection: close\r\n\r\n", PassesLast),
    ("Connection: authorization", b"GET <T> HTTP/1.1\r\n<H><G>Connection: authorization\r\n\r\n", Refused(RequestMalformed)),
    ("Connection: close, authorization", b"GET <T> HTTP/1.1\r\n<H><G>Connection: close, Authorization\r\n\r\n", Refused(RequestMalformed)),
    ("Connection: x-forwarded-for", b"GET <T> HTTP/1.1\r\n<H><G>Connection: X-Forwarded-For\r\n\r\n", Refused(RequestMalformed)),
    ("Connection: content-length", b"PUT <S> HTTP/1.1\r\n<H><P>Content-Length: 12\r\nConnection: content-length\r\n\r\n<B>", Refused(RequestMalformed)),
    ("Connection: host", b"GET <T> HTTP/1.1\r\n<H><G>Connection: host\r\n\r\n", Refused(RequestMalformed)),
    ("fields that speak for the gate", b"GET <T> HTTP/1.1\r\n<H><G>X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\nx-forwarded-proto: gopher\r\nX-Forwarded-Host: evil.example\r\nX-FORWARDED-Port: 1\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nX-Original-URL: /\r\nX-Fedgate-Origin: evil.example\r\nX-Matrix-Origin: evil.example\r\n\r\n", Passes),
    ("the same under aliases", b"GET <T> HTTP/1.1\r\n<H><G>X_Forwarded_For: 1.2.3.4\r\nX-Forwarded_For: 1.2.3.4\r\nX_Fedgate_Origin: evil.example\r\nX_Real_IP: 1.2.3.4\r\nTransfer_Encoding: chunked\r\nAuthorization_: x\r\nHost_: x\r\n\r\n", Passes),
    ("fields about another hop", b"GET <T> HTTP/1.1\r\n<H><G>Keep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: X\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\n\r\n", Passes),
    ("another scheme beside", b"GET <T> HTTP/1.1\r\n<H>Authorization: Bearer x\r\n<G>\r\n", Passes),
    ("another origin beside", b"GET <T> HTTP/1.1\r\n<H><G>Authorization: X-Matrix origin=\"evil.example\",destination=\"gate.example\",key=\"ed25519:1\",sig=\"x\"\r\n\r\n", RefusedAlone(HeadersDisagree)),
    ("another destination beside", b"GET <T> HTTP/1.1\r\n<H><G>Authorization: X-Matrix origin=\"origin.example\",destination=\"evil.example\",key=\"ed25519:2\",sig=\"x\"\r\n\r\n", RefusedAlone(HeadersDisagree)),
    ("the same key twice", b"GET <T> HTTP/1.1\r\n<H><G><G>\r\n", RefusedAlone(HeadersDisagree)),
    ("Expect of something else", b"GET <T> HTTP/1.1\r\n<H><G>Expect: 200-ok\r\n\r\n", RefusedAlone(ExpectationUnsupported)),
    ("Expect of two things", b"GET <T> HTTP/1.1\r\n<H><G>Expect: 100-continue, 100-continue\r\n\r\n", RefusedAlone(ExpectationUnsupported)),
    ("Expect without a body", b"GET <T> HTTP/1.1\r\n<H><G>Expect: 100-continue\r\n\r\n", Passes),
    ("a second request at once", b"GET <T> HTTP/1.1\r\n<H><G>\r\nGET <T> HTTP/1.1\r\n<H><G>\r\n", PassesLast),
    ("an unsigned second request at once", b"GET <T> HTTP/1.1\r\n<H><G>\r\nGET <T> HTTP/1.1\r\n<H>\r\n", PassesLast),
    ("garbage after the request", b"GET <T> HTTP/1.1\r\n<H><G>\r\n\0\0", PassesLast),
];

#[tokio::test]
async fn b5_a_request_line_has_one_reading_or_is_refused() {
    run_all(LINES).await;
}

#[tokio::test]
async fn b13_fields_have_one_reading_and_none_speaks_for_the_gate() {
    run_all(FIELDS).await;
}

/// HTTP/1.0 knows no interim answers (RFC 9110, 10.1.1): nothing is sent before the final one.
#[tokio::test]
async fn b15_expect_is_ignored_on_http10() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, false).await;
    let mut client = Client::plain(gate.address).await;
    client
        .send(&fill_in(
            b"PUT <S> HTTP/1.0\r\n<H><P>Content-Length: 12\r\nExpect: 100-continue\r\n\r\n<B>",
        ))
        .await;
    let answer = within("an answer", client.any_answer()).await.unwrap();
    assert_eq!(answer.status, 200);
    check_seen(&homeserver.seen()[0], "http", "Expect on HTTP/1.0");
}

/// A request sent while the one before is being worked on costs that one nothing. It is served
/// itself, or finds the connection closed, as the gate notices it late or early.
#[tokio::test]
async fn a_request_sent_too_early_leaves_the_one_before_alone() {
    let homeserver = Homeserver::start().await;
    let silent = Silent::bind().await;
    let options = GateOptions { homeserver: Some(silent.setting()), ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    gate.origin("origin.example");
    let mut client = Client::plain(gate.address).await;
    let request = fill_in(b"GET <T> HTTP/1.1\r\n<H><G>\r\n");
    client.send(&request).await;
    let mut working = within("the request", silent.head()).await;
    client.send(&request).await;
    let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    working.write_all(answer).await.unwrap();
    assert_eq!(within("an answer", client.answer()).await.unwrap().status, 200);
    within("the end, or the next request", async {
        tokio::select! {
            closed = client.is_closed() => assert!(closed),
            _next = silent.head() => {}
        }
    })
    .await;
}

/// Behind a proxy that is trusted, the client it names; never more than one value.
#[tokio::test]
async fn b13_a_trusted_proxy_names_one_client() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let origin = gate.origin("origin.example");
    let value = origin.authorize("GET", TARGET, None);
    let headers = [
        ("authorization", value.as_str()),
        ("x-forwarded-for", "192.0.2.1, 198.51.100.7"),
        ("x-forwarded-for", "127.0.0.9"),
        ("x-forwarded-proto", "https"),
    ];
    let mut client = Client::plain(gate.address).await;
    assert_eq!(client.request("GET", TARGET, &headers, None).await.status, 200);
    let seen = homeserver.seen().remove(0).headers;
    let all = |name| seen.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(all("x-forwarded-for"), ["198.51.100.7"]);
    assert_eq!(all("x-forwarded-proto"), ["https"]);
}

/// Synapse signs with every key it has: each is verified, and each is passed on, in one form.
#[tokio::test]
async fn two_keys_of_one_origin_are_both_passed_on() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let (one, two) = (
        Origin::with_key("two.example", "ed25519:1", [1; 32]),
        Origin::with_key("two.example", "ed25519:2", [2; 32]),
    );
    let document = one.sign_document(&serde_json::json!({
        "server_name": "two.example",
        "valid_until_ts": NOW_MS + 1_000_000,
        "verify_keys": {
            "ed25519:1": { "key": one.key.verify_key().to_base64() },
            "ed25519:2": { "key": two.key.verify_key().to_base64() },
        },
    }));
    gate.federation.publish(&one.name, document);
    let signed = [one.authorize("PUT", SEND, Some(b"{}")), two.authorize("PUT", SEND, Some(b"{}"))];
    let respelt: Vec<_> = signed.iter().map(|v| v.replace("X-Matrix ", "x-matrix  ")).collect();
    let headers = [("authorization", respelt[0].as_str()), ("authorization", &respelt[1])];
    let mut client = Client::plain(gate.address).await;
    assert_eq!(client.request("PUT", SEND, &headers, Some(b"{}")).await.status, 200);
    let seen = homeserver.seen().remove(0).headers;
    let passed: Vec<_> = seen.get_all("authorization").iter().collect();
    assert_eq!(passed, signed.iter().collect::<Vec<_>>());
}
