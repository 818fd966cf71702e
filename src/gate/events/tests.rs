mod asking;
mod keys;
mod lines;
mod requests;
mod versions;

use std::time::Duration;

use prometheus::Registry;
use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::gate::testing::logged;
use crate::keys::cache::KeyCache;
use crate::keys::keyring::{KeyPolicy, KeyringParts, Stage};
use crate::keys::metrics::KeyMetrics;
use crate::keys::rules::Rulebook;
use crate::keys::store::KeyStore;
use crate::keys::testing::{DAY, TestServer, at};
use crate::proto::ed25519::SigningKey;
use crate::proto::json::Object;
use crate::proto::validity::Provenance;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

const ID: &str = "ed25519:1";

fn server(name: &str) -> TestServer {
    let mut server = TestServer::new(name);
    server.add_key(ID);
    server
}

/// An examiner that can ask nobody and has the keys of these servers in memory.
fn examiner(servers: &[&TestServer], time_budget: Duration) -> (Examiner, Registry) {
    examiner_of(None, Vec::new(), servers, time_budget)
}

/// The same that looks for other keys in the store, and can ask for them.
fn examiner_of(
    store: Option<Arc<dyn KeyStore>>,
    stages: Vec<Stage>,
    servers: &[&TestServer],
    time_budget: Duration,
) -> (Examiner, Registry) {
    let cache = KeyCache::new(4 << 20);
    for server in servers {
        cache.insert(server.stored(at(0), Provenance::Origin), Default::default(), None);
    }
    let keyring = Keyring::new(KeyringParts {
        cache,
        store,
        stages,
        clock: Arc::new(ManualClock::new(at(0))),
        metrics: KeyMetrics::new(&Registry::new()).unwrap(),
        policy: KeyPolicy::default(),
        rules: Rulebook::default(),
    });
    let settings = Events {
        mode: EventsMode::Enforce,
        time_budget,
        fetches_per_request_max: 10,
        rooms_max: 100,
        admin_token_file: None,
        admin_api: None,
    };
    let registry = Registry::new();
    let metrics = EventMetrics::register(&registry).unwrap();
    let names = vec![ServerName::parse("our.example").unwrap()];
    (Examiner::new(settings, names, keyring, None, metrics).unwrap(), registry)
}

/// An event of a user of the server, in a room of version 10.
fn event(server: &TestServer, room_id: &str, kind: &str, content: Value, sent_at: u64) -> Value {
    let reference = format!("${}-_", "a".repeat(41));
    let mut event = json!({
        "auth_events": [reference],
        "content": content,
        "depth": 7,
        "hashes": { "sha256": "" },
        "origin_server_ts": at(sent_at).as_ms(),
        "prev_events": [reference],
        "room_id": room_id,
        "sender": format!("@u:{}", server.name),
        "signatures": {},
        "type": kind,
    });
    if kind != "m.room.message" {
        event["state_key"] = json!("");
    }
    signed(server, event)
}

/// The event with its hash, signed by the server as in a room of version 10.
fn signed(server: &TestServer, event: Value) -> Value {
    signed_as(RoomVersion::V10, server, event)
}

/// The same as in a room of that version.
fn signed_as(version: RoomVersion, server: &TestServer, mut event: Value) -> Value {
    let hash = Event::scan(event.to_string().as_bytes()).unwrap().content_hash();
    event["hashes"]["sha256"] = json!(hash.to_base64());
    let text = event.to_string();
    let mut signed = Vec::new();
    let scanned = Event::scan(text.as_bytes()).unwrap();
    scanned.write_signed(version, &mut |piece: &[u8]| signed.extend_from_slice(piece));
    let (id, seed) = server
        .keys
        .iter()
        .chain(server.old_keys.iter().map(|(id, (s, _))| (id, s)))
        .next()
        .unwrap();
    let signature = SigningKey::from_seed(seed).sign(&signed);
    event["signatures"][server.name.as_str()][id] = json!(signature.to_base64());
    event
}

async fn send(
    examiner: &Examiner,
    origin: &TestServer,
    pdus: &[Value],
) -> Result<Examined, Refusal> {
    transact(examiner, origin, &json!({ "pdus": pdus })).await
}

/// Sends a transaction with this body.
async fn transact(
    examiner: &Examiner,
    origin: &TestServer,
    body: &Value,
) -> Result<Examined, Refusal> {
    let body = body.to_string();
    let content = Object::scan(body.as_bytes()).unwrap();
    let target = RequestTarget::parse(b"/_matrix/federation/v1/send/1").unwrap();
    let request = Verified {
        endpoint: Endpoint::Send,
        target: &target,
        origin: &origin.name,
        client: CLIENT,
        body: body.as_bytes(),
        content: Some(&content),
    };
    examiner.examine(request).await
}

fn count(registry: &Registry, label: &str, name: &str) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name).unwrap();
    let with_label = |metric: &&prometheus::proto::Metric| {
        metric.get_label().iter().any(|pair| pair.value() == label)
    };
    let found = family.get_metric().iter().filter(with_label);
    found.map(|metric| metric.get_counter().get_value()).sum()
}

#[tokio::test]
async fn what_there_is_no_time_for_passes_unjudged_and_is_counted() {
    let one = server("one.example");
    let (examiner, registry) = examiner(&[&one], Duration::ZERO);
    let mut forged = event(&one, "!r:one.example", "m.room.message", json!({}), 0);
    forged["depth"] = json!(8);
    let answer = send(&examiner, &one, &[forged.clone(), forged]).await;
    assert_eq!(answer, Ok(Examined::Passed));
    assert_eq!(count(&registry, "time_budget", "fedgate_events_unjudged_total"), 2.0);
    assert_eq!(count(&registry, "unjudged", "fedgate_events_total"), 2.0);
}

#[tokio::test]
async fn only_the_server_that_named_a_room_says_by_its_create_event_of_which_version_it_is() {
    let (one, evil) = (server("one.example"), server("evil.example"));
    let (examiner, registry) = examiner(&[&one, &evil], Duration::from_secs(60));
    let room = "!r:one.example";
    let create = |server, version: &str| {
        event(server, room, "m.room.create", json!({ "creator": "x", "room_version": version }), 0)
    };
    let answer = send(&examiner, &evil, &[create(&evil, "9")]).await;
    assert_eq!(answer, Ok(Examined::Passed));
    assert_eq!(examiner.rooms.standing(room), Standing::Open(None));
    send(&examiner, &one, &[create(&one, "10")]).await.unwrap();
    assert_eq!(examiner.rooms.standing(room), Standing::Known(RoomVersion::V10));
    assert_eq!(count(&registry, "bad", "fedgate_events_total"), 0.0);
}

#[tokio::test]
async fn a_forged_create_event_teaches_nothing() {
    let one = server("one.example");
    let (examiner, _) = examiner(&[&one], Duration::from_secs(60));
    let content = json!({ "creator": "x", "room_version": "10" });
    let mut forged = event(&one, "!r:one.example", "m.room.create", content, 0);
    forged["depth"] = json!(8);
    assert!(matches!(send(&examiner, &one, &[forged]).await, Ok(Examined::Answered(_))));
    assert_eq!(examiner.rooms.standing("!r:one.example"), Standing::Open(None));
}

#[tokio::test]
async fn an_altered_create_event_teaches_nothing() {
    let one = server("one.example");
    let (examiner, registry) = examiner(&[&one], Duration::from_secs(60));
    let content = json!({ "creator": "x", "room_version": "10" });
    let mut altered = event(&one, "!r:one.example", "m.room.create", content, 0);
    // The signature does not cover it, the hash does.
    altered["content"]["room_version"] = json!("9");
    assert_eq!(send(&examiner, &one, &[altered]).await, Ok(Examined::Passed));
    assert_eq!(examiner.rooms.standing("!r:one.example"), Standing::Open(None));
    assert_eq!(count(&registry, "bad", "fedgate_events_total"), 1.0);
}

#[tokio::test]
async fn r88_what_is_no_object_is_a_bad_event() {
    let one = server("one.example");
    let (examiner, registry) = examiner(&[&one], Duration::from_secs(60));
    let answer = send(&examiner, &one, &[json!(7), json!([]), json!("{}")]).await;
    assert_eq!(answer, Ok(Examined::Answered("{\"pdus\":{}}".into())));
    assert_eq!(count(&registry, "bad", "fedgate_events_total"), 3.0);
}

#[tokio::test]
async fn what_is_no_event_id_by_its_length_is_not_repeated_in_the_answer() {
    let one = server("one.example");
    let (examiner, _) = examiner(&[&one], Duration::from_secs(60));
    let mut long = event(&one, "!r:one.example", "m.room.message", json!({}), 0);
    long["event_id"] = json!(format!("${}:one.example", "x".repeat(300)));
    long["auth_events"] = json!([["$1:one.example", { "sha256": "abc" }]]);
    long["prev_events"] = long["auth_events"].clone();
    let answer = send(&examiner, &one, &[long]).await;
    assert_eq!(answer, Ok(Examined::Answered("{\"pdus\":{}}".into())));
}

#[tokio::test]
async fn r85_a_key_is_wanted_for_the_latest_event_it_has_signed() {
    let one = server("one.example");
    let (examiner, registry) = examiner(&[&one], Duration::from_secs(60));
    examiner.rooms.learn("!r:one.example", "10", Authority::Homeserver);
    let sent = |sent_at| event(&one, "!r:one.example", "m.room.message", json!({}), sent_at);
    // Whether there is a newer copy cannot be found out: nobody can be asked.
    send(&examiner, &one, &[sent(0), sent(DAY + 1), sent(1)]).await.unwrap();
    assert_eq!(count(&registry, "key_unavailable", "fedgate_events_unjudged_total"), 1.0);
    assert_eq!(count(&registry, "bad", "fedgate_events_total"), 0.0);
}

#[tokio::test]
async fn r86_the_line_of_a_bad_event_names_it_its_room_the_key_and_the_times() {
    let mut one = server("one.example");
    one.retire(ID, at(DAY));
    one.add_key("ed25519:2");
    let (examiner, registry) = examiner(&[&one], Duration::from_secs(60));
    examiner.rooms.learn("!r:one.example", "10", Authority::Homeserver);
    let signer = {
        let mut signer = TestServer::new("one.example");
        signer.add_key(ID);
        signer
    };
    let early = event(&signer, "!r:one.example", "m.room.message", json!({}), DAY);
    let late = event(&signer, "!r:one.example", "m.room.message", json!({}), DAY + 1);
    let (lines, guard) = logged();
    let answer = send(&examiner, &one, &[early, late.clone()]).await;
    drop(guard);
    assert_eq!(answer, Ok(Examined::Passed), "one of the two is good");
    let text = late.to_string();
    let late = Event::scan(text.as_bytes()).unwrap();
    let id = late.any_id(RoomVersion::V10).unwrap();
    let wanted = format!(
        " WARN fedgate::events: bad event event_id=\"{id}\" room_id=\"!r:one.example\" \
         room_version=\"10\" origin=one.example check=\"signatures\" detail=\"{ID} of one.example: the \
         key was retired at {} ms, the event is of {} ms\"\n",
        at(DAY),
        at(DAY + 1),
    );
    assert_eq!(lines.text(), wanted);
    assert_eq!(count(&registry, "bad", "fedgate_events_total"), 1.0);
}
