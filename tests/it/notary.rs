//! fedgate as a notary and key server, over sockets.

mod memory;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fedgate::proto::ed25519::{BannedKeys, SigningKey, VerifyKey};
use fedgate::proto::server_keys::{ServerKeys, UnverifiedServerKeys};
use fedgate::proto::{KeyId, ServerName};
use serde_json::{Value, json};

use crate::support::homeserver::full;
use crate::support::{Answer, Client, Gate, GateOptions, Homeserver, NOW_MS, OWN_NAME, Origin};

const NOTARY: &str = "queries = \"answer\"\nnotary_key_file = \"DIR/own.key\"";

const OWN: &str = "publish = \"own\"\nqueries = \"answer\"\nsigning_key_file = \"DIR/own.key\"\n\
    old_verify_keys = { \"ed25519:gone\" = \"Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw 5\" }";

const HOUR_MS: u64 = 3_600_000;

fn own_key() -> (KeyId, VerifyKey) {
    (KeyId::parse("ed25519:a_own").unwrap(), SigningKey::from_seed(&[9; 32]).verify_key())
}

async fn notary(homeserver: &Homeserver) -> Gate {
    Gate::start_with(homeserver, GateOptions { key_server: NOTARY, ..GateOptions::default() }).await
}

async fn get(gate: &Gate, path: &str) -> Answer {
    let mut client = Client::plain(gate.address).await;
    client.request("GET", path, &[], None).await
}

async fn post(gate: &Gate, body: &Value) -> Answer {
    post_text(gate, body.to_string().as_bytes()).await
}

async fn post_text(gate: &Gate, body: &[u8]) -> Answer {
    let mut client = Client::plain(gate.address).await;
    client.request("POST", "/_matrix/key/v2/query", &[], Some(body)).await
}

/// The documents of an answer, each checked: the origin's signature, exactly one of the notary's, and
/// no other.
fn documents(answer: &Answer) -> Vec<ServerKeys> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let documents = body["server_keys"].as_array().unwrap();
    documents.iter().map(checked).collect()
}

fn checked(document: &Value) -> ServerKeys {
    let (id, key) = own_key();
    let signatures = document["signatures"].as_object().unwrap();
    assert_eq!(signatures.len(), 2, "the origin and the notary: {signatures:?}");
    assert_eq!(signatures[OWN_NAME].as_object().unwrap().len(), 1);
    let read = UnverifiedServerKeys::parse(document.to_string().into()).unwrap();
    assert!(read.is_signed_by(&name(OWN_NAME), &id, &key));
    let server = read.server_name().clone();
    read.verify(&server, &BannedKeys::new([])).unwrap()
}

fn name(text: &str) -> ServerName {
    ServerName::parse(text).unwrap()
}

fn asking(server: &str, id: &str) -> Value {
    json!({ "server_keys": { server: { id: {} } } })
}

fn key_ids(documents: &[ServerKeys]) -> Vec<&str> {
    documents.iter().flat_map(|document| document.verify_keys().keys()).map(KeyId::as_str).collect()
}

/// The field's first case (sytest 01keys, "can query own keys"): the own document verifies, lasts, and
/// always has `old_verify_keys`.
#[tokio::test]
async fn r71_the_own_document_is_published_at_each_of_its_paths() {
    let homeserver = Homeserver::start().await;
    let options = GateOptions { key_server: OWN, ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    for path in ["", "/", "/ed25519:a_own", "/anything"] {
        let answer = get(&gate, &format!("/_matrix/key/v2/server{path}")).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.headers["content-type"], "application/json");
        assert!(answer.json()["old_verify_keys"].is_object());
        let read = UnverifiedServerKeys::parse(answer.body.clone()).unwrap();
        let keys = read.verify(&name(OWN_NAME), &BannedKeys::new([])).unwrap();
        assert!(keys.valid_until_ts().as_ms() > NOW_MS + HOUR_MS);
        assert_eq!(keys.verify_keys().get(&own_key().0), Some(&own_key().1));
        assert_eq!(keys.old_verify_keys().len(), 1);
    }
    // Days later it is another one, which lasts as long again.
    gate.clock.set(fedgate::proto::Timestamp::from_ms(NOW_MS + 30 * HOUR_MS));
    let later = get(&gate, "/_matrix/key/v2/server").await.json();
    assert!(later["valid_until_ts"].as_u64().unwrap() > NOW_MS + 31 * HOUR_MS);
    assert_eq!(homeserver.seen().len(), 0, "the homeserver has no part in it");
}

/// The second: "query of a key through the notary, by GET and POST, has the notary's signature".
#[tokio::test]
async fn r63_a_key_is_given_by_get_and_by_post_with_exactly_one_signature_of_ours() {
    let homeserver = Homeserver::start().await;
    let gate = notary(&homeserver).await;
    gate.origin("a.example");
    let by_get = get(&gate, "/_matrix/key/v2/query/a.example/ed25519:1").await;
    let by_post = post(&gate, &asking("a.example", "ed25519:1")).await;
    for answer in [&by_get, &by_post] {
        assert_eq!(key_ids(&documents(answer)), ["ed25519:1"]);
    }
    assert_eq!(by_get.body, by_post.body);
    let whole = get(&gate, "/_matrix/key/v2/query/a%2Eexample").await;
    assert_eq!(whole.body, by_get.body);
    assert_eq!(gate.federation.fetches(), 1);
    assert_eq!(homeserver.seen().len(), 0);
    assert_eq!(gate.metric("fedgate_notary_answers_total").await, 3.0);
}

/// The third: what cannot be renewed is given as it is, even expired.
#[tokio::test]
async fn r69_an_expired_document_is_given_when_nothing_newer_can_be_had() {
    let homeserver = Homeserver::start().await;
    let gate = notary(&homeserver).await;
    let origin = Origin::new("a.example");
    // The origin gives an expired document, and again, and then none at all.
    gate.federation.publish(&origin.name, origin.document_until(NOW_MS - 1));
    for _ in 0..2 {
        let answer = post(&gate, &asking("a.example", "ed25519:1")).await;
        assert_eq!(key_ids(&documents(&answer)), ["ed25519:1"]);
        gate.clock.set(fedgate::proto::Timestamp::from_ms(NOW_MS + HOUR_MS));
    }
    assert_eq!(gate.federation.fetches(), 2);
    gate.federation.withdraw(&origin.name);
    gate.clock.set(fedgate::proto::Timestamp::from_ms(NOW_MS + 2 * HOUR_MS));
    let answer = post(&gate, &asking("a.example", "ed25519:1")).await;
    assert_eq!(documents(&answer)[0].valid_until_ts().as_ms(), NOW_MS - 1);
    assert_eq!(gate.federation.fetches(), 3);
}

/// The fourth: "a valid cached key is not overwritten when the origin lists it no more"
/// (synapse 5305).
#[tokio::test]
async fn r70_a_key_is_still_given_after_its_server_lists_it_no_more() {
    let homeserver = Homeserver::start().await;
    let files = tempfile::tempdir().unwrap();
    let store = files.path().join("keys.redb").display().to_string();
    let options =
        || GateOptions { key_server: NOTARY, store: store.clone(), ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options()).await;
    gate.origin("a.example");
    post(&gate, &asking("a.example", "ed25519:1")).await;
    let rotated = Origin::with_key("a.example", "ed25519:2", [3; 32]);
    gate.federation.publish(&rotated.name, rotated.document());
    let new = post(&gate, &asking("a.example", "ed25519:2")).await;
    assert_eq!(key_ids(&documents(&new)), ["ed25519:2"]);
    let old = post(&gate, &asking("a.example", "ed25519:1")).await;
    assert_eq!(key_ids(&documents(&old)), ["ed25519:1"]);
    gate.stop().await;

    // Nor after a restart, with the origin gone.
    let gate = Gate::start_with(&homeserver, options()).await;
    let both = json!({ "server_keys": { "a.example": { "ed25519:1": {}, "ed25519:2": {} } } });
    let mut ids = documents(&post(&gate, &both).await);
    ids.sort_by_key(|document| document.verify_keys().keys().next().cloned());
    assert_eq!(key_ids(&ids), ["ed25519:1", "ed25519:2"]);
    let all = post(&gate, &json!({ "server_keys": { "a.example": {} } })).await;
    assert_eq!(documents(&all).len(), 2);
    assert_eq!(gate.federation.fetches(), 0);
}

/// Also where there have been more documents since than are kept of one server.
#[tokio::test]
async fn r70_a_key_is_given_however_many_have_come_after_it() {
    let homeserver = Homeserver::start().await;
    let files = tempfile::tempdir().unwrap();
    let options = GateOptions {
        key_server: NOTARY,
        store: files.path().join("keys.redb").display().to_string(),
        ..GateOptions::default()
    };
    let gate = Gate::start_with(&homeserver, options).await;
    let ids: Vec<String> = (0..12).map(|n| format!("ed25519:{n}")).collect();
    for (n, id) in (0_u8..).zip(&ids) {
        let origin = Origin::with_key("a.example", id, [n; 32]);
        gate.federation.publish(&origin.name, origin.document());
        gate.clock.set(fedgate::proto::Timestamp::from_ms(NOW_MS + u64::from(n) * 60_000));
        let answer = post(&gate, &asking("a.example", id)).await;
        assert_eq!(key_ids(&documents(&answer)), [id.as_str()]);
    }
    gate.clock.set(fedgate::proto::Timestamp::from_ms(NOW_MS + HOUR_MS));
    for id in &ids {
        let answer = post(&gate, &asking("a.example", id)).await;
        assert_eq!(key_ids(&documents(&answer)), [id.as_str()]);
    }
}

#[tokio::test]
async fn r64_r66_nobody_asked_for_and_nobody_reached_give_an_empty_list() {
    let homeserver = Homeserver::start().await;
    let gate = notary(&homeserver).await;
    for body in [json!({ "server_keys": {} }), asking("gone.example", "ed25519:1")] {
        let answer = post(&gate, &body).await;
        assert_eq!((answer.status, answer.json()), (200, json!({ "server_keys": [] })));
    }
    let answer = get(&gate, "/_matrix/key/v2/query/gone.example").await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "server_keys": [] })));
}

#[tokio::test]
async fn r67_r68_a_document_is_renewed_in_its_second_half_or_for_a_later_minimum() {
    let homeserver = Homeserver::start().await;
    let gate = notary(&homeserver).await;
    let origin = gate.origin("a.example");
    let minimum = |ms: u64| json!({ "server_keys": { "a.example": { "ed25519:1": { "minimum_valid_until_ts": ms } } } });
    // A whole day is what the origin gives.
    let at = |hours| gate.clock.set(fedgate::proto::Timestamp::from_ms(NOW_MS + hours * HOUR_MS));
    let cases: [(u64, Value, usize); 6] = [
        (0, asking("a.example", "ed25519:1"), 1),
        (11, asking("a.example", "ed25519:1"), 1),
        (11, minimum(NOW_MS + 24 * HOUR_MS), 1),
        (13, minimum(NOW_MS + 20 * HOUR_MS), 1),
        (13, asking("a.example", "ed25519:1"), 2),
        (15, minimum(NOW_MS + 25 * HOUR_MS), 3),
    ];
    for (hours, body, fetches) in cases {
        at(hours);
        gate.federation.publish(&origin.name, origin.document_until(NOW_MS + 24 * HOUR_MS));
        let answer = post(&gate, &body).await;
        assert_eq!(documents(&answer).len(), 1, "{hours} {body}");
        assert_eq!(gate.federation.fetches(), fetches, "{hours} {body}");
    }
    at(17);
    gate.federation.publish(&origin.name, origin.document_until(NOW_MS + 40 * HOUR_MS));
    let answer = post(&gate, &minimum(NOW_MS + 30 * HOUR_MS)).await;
    assert_eq!(documents(&answer)[0].valid_until_ts().as_ms(), NOW_MS + 40 * HOUR_MS);
    let path =
        format!("/_matrix/key/v2/query/a.example?minimum_valid_until_ts={}", NOW_MS + HOUR_MS);
    assert_eq!(documents(&get(&gate, &path).await).len(), 1);
    assert_eq!(gate.federation.fetches(), 4);
}

#[tokio::test]
async fn k13_signatures_of_other_notaries_are_left_out_and_unknown_members_kept() {
    let homeserver = Homeserver::start().await;
    let gate = notary(&homeserver).await;
    let origin = Origin::new("a.example");
    let document = origin.sign_document(&json!({
        "server_name": "a.example",
        "valid_until_ts": NOW_MS + HOUR_MS,
        "verify_keys": { "ed25519:1": { "key": origin.key.verify_key().to_base64(), "x": 1.50 } },
        "org.example.unknown": { "deep": [1, { "a": null }] },
        "signatures": { "other.example": { "ed25519:x": "A".repeat(86) } },
    }));
    gate.federation.publish(&origin.name, document.clone());
    let answer = post(&gate, &asking("a.example", "ed25519:1")).await;
    let mut given = answer.json()["server_keys"][0].clone();
    documents(&answer);
    let mut original: Value = serde_json::from_slice(&document).unwrap();
    for document in [&mut given, &mut original] {
        document["signatures"].as_object_mut().unwrap().retain(|name, _| name == "a.example");
    }
    assert_eq!(given, original);
}

#[tokio::test]
async fn the_own_server_is_answered_for_with_the_published_document() {
    let homeserver = Homeserver::start().await;
    let options = GateOptions { key_server: OWN, ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    let answer = post(&gate, &asking(OWN_NAME, "ed25519:a_own")).await.json();
    let published = get(&gate, "/_matrix/key/v2/server").await.json();
    assert_eq!(answer["server_keys"][0], published, "signed by the same key already");
    assert_eq!(gate.federation.fetches(), 0);
}

#[tokio::test]
async fn k14_a_question_is_bounded_and_a_malformed_one_makes_nobody_be_asked() {
    let homeserver = Homeserver::start().await;
    let gate = notary(&homeserver).await;
    let names = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("\"s{n}.example\":{{}}")).collect();
        format!("{{\"server_keys\":{{{}}}}}", names.join(","))
    };
    let deep = format!("{{\"server_keys\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for (body, status, errcode) in [
        (names(100_000), 413, "M_TOO_LARGE"),
        (names(10_001), 400, "M_INVALID_PARAM"),
        (format!("{{\"x\":\"{}\"}}", "x".repeat(10 << 20)), 413, "M_TOO_LARGE"),
        (deep, 400, "M_INVALID_PARAM"),
        ("{\"server_keys\":{\"a\\u0000b\":{}}}".to_owned(), 400, "M_INVALID_PARAM"),
        ("{\"server_keys\":{\"a\\nb\":{}}}".to_owned(), 400, "M_INVALID_PARAM"),
        ("nonsense".to_owned(), 400, "M_INVALID_PARAM"),
    ] {
        let answer = post_text(&gate, body.as_bytes()).await;
        assert_eq!((answer.status, &*answer.errcode()), (status, errcode));
    }
    assert_eq!(gate.federation.fetches(), 0);
}

#[tokio::test]
async fn k14_one_question_makes_few_servers_be_asked_and_the_kept_ones_are_given_all_the_same() {
    let homeserver = Homeserver::start().await;
    let options = GateOptions {
        key_server: "queries = \"answer\"\nnotary_key_file = \"DIR/own.key\"\n\
                     fetches_per_query_max = 5",
        keys: "first_seen_per_second = 1000\nfirst_seen_per_second_per_network = 1000",
        ..GateOptions::default()
    };
    let gate = Gate::start_with(&homeserver, options).await;
    let mut servers = serde_json::Map::new();
    for n in 0..20 {
        gate.origin(&format!("s{n}.example"));
        servers.insert(format!("s{n}.example"), json!({ "ed25519:1": {} }));
    }
    let body = json!({ "server_keys": servers });
    for asked in 1..=4 {
        assert_eq!(documents(&post(&gate, &body).await).len(), 5 * asked);
        assert_eq!(gate.federation.fetches(), 5 * asked);
    }
    assert_eq!(documents(&post(&gate, &body).await).len(), 20);
    assert_eq!(gate.federation.fetches(), 20);
}

#[tokio::test]
async fn k14_strangers_have_a_budget_and_the_own_homeserver_has_none() {
    let homeserver = Homeserver::start().await;
    let keys = "first_seen_per_second = 1\nfirst_seen_per_second_per_network = 1";
    for (own_clients, most) in [("[]", 16), ("[\"127.0.0.0/8\"]", 40)] {
        let key_server = match own_clients {
            "[]" => NOTARY,
            _ => {
                "queries = \"answer\"\nnotary_key_file = \"DIR/own.key\"\n\
                 own_clients = [\"127.0.0.0/8\"]"
            }
        };
        let options = GateOptions { key_server, keys, ..GateOptions::default() };
        let gate = Gate::start_with(&homeserver, options).await;
        let mut servers = serde_json::Map::new();
        for n in 0..40 {
            gate.origin(&format!("s{n}.example"));
            servers.insert(format!("s{n}.example"), json!({}));
        }
        let answer = post(&gate, &json!({ "server_keys": servers })).await;
        let given = documents(&answer).len();
        assert!(
            given == most || (most == 16 && (16..20).contains(&given)),
            "{own_clients}: {given}"
        );
    }
}

#[tokio::test]
async fn k3_what_is_not_believed_is_not_passed_on() {
    let homeserver = Homeserver::start().await;
    let options = GateOptions {
        key_server: NOTARY,
        keys: "banned_servers = [\"banned.example\"]",
        ..GateOptions::default()
    };
    let gate = Gate::start_with(&homeserver, options).await;
    gate.origin("banned.example");
    assert_eq!(documents(&post(&gate, &asking("banned.example", "ed25519:1")).await).len(), 0);
    assert_eq!(gate.federation.fetches(), 0);

    // Another body under a bound ID, beside a new key: the new key may be used, the document, which
    // says something false, is nobody else's business.
    gate.origin("a.example");
    assert_eq!(documents(&post(&gate, &asking("a.example", "ed25519:1")).await).len(), 1);
    let other = Origin::with_key("a.example", "ed25519:2", [3; 32]);
    let false_key = SigningKey::from_seed(&[4; 32]).verify_key().to_base64();
    let document = other.sign_document(&json!({
        "server_name": "a.example",
        "valid_until_ts": NOW_MS + HOUR_MS,
        "verify_keys": {
            "ed25519:1": { "key": false_key },
            "ed25519:2": { "key": other.key.verify_key().to_base64() },
        },
    }));
    gate.federation.publish(&other.name, document);
    assert_eq!(documents(&post(&gate, &asking("a.example", "ed25519:2")).await).len(), 0);
    assert_eq!(documents(&post(&gate, &asking("a.example", "ed25519:1")).await).len(), 1);
}

#[tokio::test]
async fn the_homeservers_document_is_kept_while_it_is_down() {
    let own = Origin::with_key(OWN_NAME, "ed25519:a_own", [9; 32]);
    let (document, is_down) = (own.document(), Arc::new(AtomicBool::new(false)));
    let (kept, down) = (document.clone(), Arc::clone(&is_down));
    let homeserver = Homeserver::start_with(move |seen| {
        let mut response = http::Response::new(full(document.clone()));
        if down.load(Ordering::SeqCst) || seen.target != "/_matrix/key/v2/server" {
            *response.status_mut() = http::StatusCode::BAD_GATEWAY;
        }
        response
    })
    .await;
    let files = tempfile::tempdir().unwrap();
    let store = files.path().join("keys.redb").display().to_string();
    let options = || GateOptions {
        key_server: "publish = \"cached\"",
        store: store.clone(),
        ..GateOptions::default()
    };
    let gate = Gate::start_with(&homeserver, options()).await;
    let times_asked = || {
        let seen = homeserver.seen();
        seen.iter().filter(|seen| seen.target == "/_matrix/key/v2/server").count()
    };
    for _ in 0..3 {
        assert_eq!(get(&gate, "/_matrix/key/v2/server").await.body, kept);
    }
    assert_eq!(times_asked(), 1, "once for all");
    // Within its last hour it is asked for anew, and given as it is while that fails.
    is_down.store(true, Ordering::SeqCst);
    gate.clock.set(fedgate::proto::Timestamp::from_ms(NOW_MS + 24 * HOUR_MS - 1));
    for _ in 0..3 {
        assert_eq!(get(&gate, "/_matrix/key/v2/server").await.body, kept);
    }
    assert_eq!(times_asked(), 2, "and not with every request");
    assert_eq!(gate.metric("fedgate_own_keys_renewals_total{result=\"failed\"}").await, 1.0);
    // Also under new settings.
    gate.reload(|text| text.replace("[listen]\n", "[listen]\nother_paths = \"forward\"\n"))
        .await
        .unwrap();
    assert_eq!(get(&gate, "/_matrix/key/v2/server").await.body, kept);
    gate.stop().await;

    // Also after a restart.
    let gate = Gate::start_with(&homeserver, options()).await;
    assert_eq!(get(&gate, "/_matrix/key/v2/server").await.body, kept);
}

#[tokio::test]
async fn without_a_document_yet_the_answer_is_not_an_empty_one() {
    let homeserver = Homeserver::start().await;
    let options = GateOptions { key_server: "publish = \"cached\"", ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    let answer = get(&gate, "/_matrix/key/v2/server").await;
    assert_eq!(answer.status, 502, "what the homeserver says is no document");
}

#[tokio::test]
async fn unless_asked_the_homeserver_answers_for_keys() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    get(&gate, "/_matrix/key/v2/server").await;
    get(&gate, "/_matrix/key/v2/query/a.example").await;
    post(&gate, &json!({ "server_keys": {} })).await;
    assert_eq!(homeserver.seen().len(), 3);
}
