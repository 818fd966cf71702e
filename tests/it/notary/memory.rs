//! What questions and answers of strangers may hold in memory.

use serde_json::{Value, json};

use super::{HOUR_MS, NOTARY, asking, documents, post};
use crate::support::{Client, Gate, GateOptions, Homeserver, NOW_MS, OWN_NAME, Origin};

/// Servers whose large documents make an answer of nearly 16 MiB.
const LARGE: usize = 250;

/// Such answers have room at one time.
const ANSWERS: usize = 2;

fn question(body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST /_matrix/key/v2/query HTTP/1.1\r\nHost: {OWN_NAME}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A question costs no memory for bodies while its answer is waited for.
#[tokio::test]
async fn k14_a_question_that_waits_holds_no_body() {
    let homeserver = Homeserver::start().await;
    let options = GateOptions {
        key_server: NOTARY,
        settings: "[limits]\nbody_bytes_max = 1000000\nbuffered_bytes_max = 1720896",
        ..GateOptions::default()
    };
    let gate = Gate::start_with(&homeserver, options).await;
    let known = gate.origin("known.example");
    gate.federation.silence("silent.example");
    let mut body = asking("silent.example", "ed25519:1");
    body["filler"] = "x".repeat(900_000).into();
    let mut waiting = Client::plain(gate.address).await;
    waiting.send(&question(&body)).await;
    while gate.federation.fetches() == 0 {
        tokio::task::yield_now().await;
    }
    let content = format!("{{\"a\":\"{}\"}}", "a".repeat(900_000));
    let target = "/_matrix/federation/v1/send/1";
    let signed = known.authorize("PUT", target, Some(content.as_bytes()));
    let mut client = Client::plain(gate.address).await;
    let headers = [("authorization", signed.as_str())];
    let answer = client.request("PUT", target, &headers, Some(content.as_bytes())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Readers who take their time hold no more than the memory there is; whoever comes then is told to
/// come again, and the others go on.
#[tokio::test]
async fn k14_with_all_memory_for_answers_in_use_the_next_is_refused_for_now() {
    let homeserver = Homeserver::start().await;
    let options = GateOptions {
        key_server: "queries = \"answer\"\nnotary_key_file = \"DIR/own.key\"\n\
                     fetches_per_query_max = 1000",
        keys: "first_seen_per_second = 1000\nfirst_seen_per_second_per_network = 1000",
        ..GateOptions::default()
    };
    let gate = Gate::start_with(&homeserver, options).await;
    let mut servers = serde_json::Map::new();
    for n in 0..LARGE {
        let origin = Origin::new(&format!("s{n}.example"));
        let document = origin.sign_document(&json!({
            "server_name": origin.name.as_str(),
            "valid_until_ts": NOW_MS + 24 * HOUR_MS,
            "verify_keys": { "ed25519:1": { "key": origin.key.verify_key().to_base64() } },
            "x": "x".repeat(62_000),
        }));
        gate.federation.publish(&origin.name, document);
        servers.insert(origin.name.to_string(), json!({}));
    }
    let question = question(&json!({ "server_keys": servers }));
    let mut readers = Vec::new();
    for _ in 0..ANSWERS {
        let mut client = Client::plain(gate.address).await;
        client.send(&question).await;
        let (status, _) = client.head().await.unwrap();
        assert_eq!(status, 200);
        readers.push(client);
    }
    assert_eq!(gate.federation.fetches(), LARGE);

    let mut late = Client::plain(gate.address).await;
    late.send(&question).await;
    let refused = late.answer().await.unwrap();
    assert_eq!((refused.status, &*refused.errcode()), (503, "M_UNKNOWN"));
    assert_eq!(refused.headers["retry-after"], "5");
    assert_eq!(gate.refused().await, [("overloaded".to_owned(), 1.0)]);
    // Little fits in always; and once somebody is done, much.
    assert_eq!(documents(&post(&gate, &asking("s1.example", "ed25519:1")).await).len(), 1);
    drop(readers);
    while gate.metric("fedgate_connections").await > 1.0 {
        tokio::task::yield_now().await;
    }
    late.send(&question).await;
    assert_eq!(documents(&late.answer().await.unwrap()).len(), LARGE);
}
