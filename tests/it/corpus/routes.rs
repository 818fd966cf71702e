//! Every operation of the specification, with every method and under many spellings of its path, all
//! unsigned: only the open ones pass, by exact method and path (threats B6, B7).

use std::collections::BTreeMap;

use super::Kind;
use super::lane::Lane;
use crate::support::{Client, OWN_NAME, within};

/// The operations of the server-server API, v1.16, and their deprecated forms that are still asked
/// for; those that need no signature are marked.
const OPERATIONS: [(&str, &str, bool); 40] = [
    ("GET", "/.well-known/matrix/server", true),
    ("GET", "/_matrix/federation/v1/version", true),
    ("GET", "/_matrix/federation/v1/openid/userinfo", true),
    ("PUT", "/_matrix/federation/v1/3pid/onbind", true),
    ("GET", "/_matrix/key/v2/server", true),
    ("POST", "/_matrix/key/v2/query", true),
    ("GET", "/_matrix/key/v2/query/a.example", true),
    ("GET", "/_matrix/key/v2/query/a.example/ed25519:1", true),
    ("GET", "/_matrix/key/v2/server/ed25519:1", true),
    ("PUT", "/_matrix/federation/v1/send/1", false),
    ("GET", "/_matrix/federation/v1/event_auth/!r:a/$e", false),
    ("GET", "/_matrix/federation/v1/backfill/!r:a", false),
    ("POST", "/_matrix/federation/v1/get_missing_events/!r:a", false),
    ("GET", "/_matrix/federation/v1/event/$e", false),
    ("GET", "/_matrix/federation/v1/state/!r:a", false),
    ("GET", "/_matrix/federation/v1/state_ids/!r:a", false),
    ("GET", "/_matrix/federation/v1/timestamp_to_event/!r:a", false),
    ("GET", "/_matrix/federation/v1/make_join/!r:a/@u:b", false),
    ("PUT", "/_matrix/federation/v1/send_join/!r:a/$e", false),
    ("PUT", "/_matrix/federation/v2/send_join/!r:a/$e", false),
    ("GET", "/_matrix/federation/v1/make_knock/!r:a/@u:b", false),
    ("PUT", "/_matrix/federation/v1/send_knock/!r:a/$e", false),
    ("PUT", "/_matrix/federation/v1/invite/!r:a/$e", false),
    ("PUT", "/_matrix/federation/v2/invite/!r:a/$e", false),
    ("GET", "/_matrix/federation/v1/make_leave/!r:a/@u:b", false),
    ("PUT", "/_matrix/federation/v1/send_leave/!r:a/$e", false),
    ("PUT", "/_matrix/federation/v2/send_leave/!r:a/$e", false),
    ("PUT", "/_matrix/federation/v1/exchange_third_party_invite/!r:a", false),
    ("GET", "/_matrix/federation/v1/publicRooms", false),
    ("POST", "/_matrix/federation/v1/publicRooms", false),
    ("GET", "/_matrix/federation/v1/hierarchy/!r:a", false),
    ("GET", "/_matrix/federation/v1/query/directory", false),
    ("GET", "/_matrix/federation/v1/query/profile", false),
    ("GET", "/_matrix/federation/v1/user/devices/@u:a", false),
    ("POST", "/_matrix/federation/v1/user/keys/claim", false),
    ("POST", "/_matrix/federation/v1/user/keys/query", false),
    ("GET", "/_matrix/federation/v1/media/download/m", false),
    ("GET", "/_matrix/federation/v1/media/thumbnail/m", false),
    ("POST", "/_matrix/policy/v1/sign", false),
    ("GET", "/_matrix/federation/v1/no_such_operation", false),
];

const METHODS: [&str; 12] = [
    "GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "HEAD", "TRACE", "get", "PROPFIND", "GETT",
    "PRI",
];

/// What may stand behind a path.
const ENDS: [&str; 32] = [
    "/",
    "//",
    "/.",
    "/..",
    "/../send/1",
    "/x",
    ";",
    ";x=y",
    ";/",
    "%00",
    "%20",
    "%2f",
    "%2F..",
    "%5c",
    "%3fx",
    "%23",
    ".json",
    ".",
    "x",
    "%",
    "%0d%0a",
    "%C0%AF",
    "%EF%BC%8F",
    "%252f",
    "\\",
    "#",
    "#x",
    "?",
    "?x=y",
    "?x=/_matrix/federation/v1/version",
    "??",
    "&x",
];

/// Other spellings of a path. None may make an operation open that is not.
fn spellings(path: &str) -> Vec<String> {
    let (parent, last) = path.rsplit_once('/').unwrap();
    let second = 1 + path[1..].find('/').unwrap();
    let (first, rest) = path.split_at(second);
    let encoded: String = path[1..].bytes().map(|byte| format!("%{byte:02x}")).collect();
    let letter = &first[2..3];
    let hex = format!("%{:02X}", letter.as_bytes()[0]);
    let mut spelt: Vec<String> = ENDS.iter().map(|end| format!("{path}{end}")).collect();
    spelt.extend([
        format!("/{path}"),
        format!("/.{path}"),
        format!("/x/..{path}"),
        format!("/%2e{path}"),
        format!("/%2e%2e{path}"),
        format!("//{OWN_NAME}{path}"),
        format!("http://{OWN_NAME}{path}"),
        format!("/;{path}"),
        format!("/?{path}"),
        path.trim_start_matches('/').to_owned(),
        format!("/{encoded}"),
        format!("{first}/{rest}"),
        format!("{first}/.{rest}"),
        format!("{first};x{rest}"),
        format!("{first}%2f{}", &rest[1..]),
        format!("{first}\\{}", &rest[1..]),
        format!("{}{rest}", first.replacen(letter, &hex, 1)),
        format!("{}{rest}", first.to_ascii_uppercase()),
        path.to_ascii_uppercase(),
        format!("{parent}/%{:02x}{}", last.as_bytes()[0], &last[1..]),
        format!("{parent}//{last}"),
        format!("{parent}/x/../{last}"),
        format!("{parent}/x/%2E%2E/{last}"),
        parent.to_owned(),
        path[..path.len() - 1].to_owned(),
        path.replacen("v1", "v2", 1),
        path.replacen("v1", "v01", 1),
        path.replacen("v1", "V1", 1),
        path.replacen("v1", "unstable", 1),
        path.replacen("_matrix", "_matrix/federation/v1/version/..", 1),
        path.replacen("_matrix", "_matrix/key/v2/server/%2e%2e/..", 1),
        path.replacen("_matrix", "_matrix ", 1),
        path.replacen("/_matrix", "/_matrix/client/..", 1),
    ]);
    spelt.retain(|target| target != path);
    spelt.sort();
    spelt.dedup();
    spelt
}

/// Whether a request needs no signature: a second writing of the rule, as plain as can be.
fn is_open(method: &str, target: &str) -> bool {
    let path = target.split('?').next().unwrap();
    // What has two readings is nowhere open.
    let bad = ["//", "\\", "#", "%00", "%5c", "%252f", " "];
    let dots = path
        .split('/')
        .any(|s| matches!(&s.replace("%2e", ".").replace("%2E", ".")[..], "." | ".."));
    let escapes = path.match_indices('%').all(|(at, _)| {
        path.get(at + 1..at + 3).is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
    });
    if dots || !escapes || bad.iter().any(|b| path.contains(b)) {
        return false;
    }
    let segments: Vec<_> = path.split('/').skip(1).collect();
    matches!(
        (method, &segments[..]),
        ("GET", [".well-known", "matrix", "server"])
            | ("GET", ["_matrix", "federation", "v1", "version"])
            | ("GET", ["_matrix", "federation", "v1", "openid", "userinfo"])
            | ("PUT" | "POST", ["_matrix", "federation", "v1", "3pid", "onbind"])
            | ("GET", ["_matrix", "key", "v2", "server"] | ["_matrix", "key", "v2", "server", _])
            | ("POST", ["_matrix", "key", "v2", "query"])
            | (
                "GET",
                ["_matrix", "key", "v2", "query", _] | ["_matrix", "key", "v2", "query", _, _]
            )
    )
}

/// Sends a request without a body and a signature; tells the status, and whether it passed.
async fn ask(
    lane: &mut Lane,
    client: &mut Option<Client>,
    method: &str,
    target: &str,
) -> (u16, bool) {
    let mut connected = match client.take() {
        Some(client) => client,
        None => Client::plain(lane.gate(Kind::Http1).address).await,
    };
    let length = if matches!(method, "PUT" | "POST") { "Content-Length: 0\r\n" } else { "" };
    let request = format!("{method} {target} HTTP/1.1\r\nHost: {OWN_NAME}\r\n{length}\r\n");
    connected.send(request.as_bytes()).await;
    let (status, keep) = if method == "HEAD" {
        (connected.head().await.expect("an answer").0, false)
    } else {
        let answer = connected.answer().await.expect("an answer");
        (answer.status, answer.headers.get("connection").is_none_or(|v| v != "close"))
    };
    if keep {
        *client = Some(connected);
    }
    let passed = lane.check_silence().is_err();
    assert_eq!(passed, status == 200, "{method} {target}: {status}");
    (status, passed)
}

#[tokio::test]
async fn b7_only_the_open_operations_pass_unsigned() {
    let mut lane = Lane::start().await;
    let mut client = None;
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (own, path, open) in OPERATIONS {
        assert_eq!(is_open(own, path), open, "{path}");
        let exact = METHODS.iter().map(|method| (*method, path.to_owned()));
        let spelt = spellings(path);
        assert!(spelt.len() >= 40, "{path}: {spelt:?}");
        let others = spelt.into_iter().map(|target| (own, target));
        for (method, target) in exact.chain(others) {
            let asked = ask(&mut lane, &mut client, method, &target);
            let (status, passed) = within(&target, asked).await;
            *statuses.entry(status).or_default() += 1;
            if passed != is_open(method, &target) {
                wrong.push(format!("{method} {target}: {status}"));
            }
        }
    }
    println!("{} requests: {statuses:?}", statuses.values().sum::<usize>());
    assert!(wrong.is_empty(), "open where it should not be, or shut:\n{}", wrong.join("\n"));
}
