//! With scripted sources, in paused time.

use serde_json::json;

use super::*;
use crate::clock::ManualClock;
use crate::config::BindingMode;
use crate::keys::cache::KeyCache;
use crate::keys::keyring::{Keyring, KeyringParts};
use crate::keys::metrics::KeyMetrics;
use crate::keys::rules::Rulebook;
use crate::keys::store::KeyStore;
use crate::keys::testing::{
    DAY, HOUR, MapStore, ScriptedFetcher, Step, TestServer, at, banning, key_id, source_of,
};
use crate::proto::validity::Provenance;

mod verdicts;

const ID: &str = "ed25519:1";

fn server() -> TestServer {
    let mut server = TestServer::new("a.example");
    server.add_key(ID);
    server
}

fn gives(server: &TestServer) -> Step {
    Step::Answer(Ok(vec![server.checked()]))
}

fn fails(error: NetError) -> Step {
    Step::Answer(Err(FetchError::Net(error)))
}

fn refused() -> NetError {
    NetError::Connect("a.example: refused".to_owned())
}

fn nothing() -> Beforehand {
    Beforehand { memory: None, stored: Stored::Not(StoreState::Unused, None), back_off: None }
}

/// `known` in memory.
fn knowing(stored: impl IntoIterator<Item = StoredKeys>) -> Beforehand {
    let mut known = KnownKeys::default();
    for stored in stored {
        known.add(stored, BindingMode::Enforce);
    }
    Beforehand { memory: Some(Arc::new(known)), ..nothing() }
}

/// Asks one stage of sources about a.example at `at(0)`.
async fn ask(
    fetchers: &[&Arc<ScriptedFetcher>],
    policy: &KeyPolicy,
    before: Beforehand,
) -> Inquiry {
    ask_under(fetchers, policy, &banning([]), before).await
}

async fn ask_under(
    fetchers: &[&Arc<ScriptedFetcher>],
    policy: &KeyPolicy,
    rules: &Rulebook,
    before: Beforehand,
) -> Inquiry {
    let sources = fetchers.iter().map(|fetcher| Arc::clone(fetcher) as Arc<dyn KeyFetcher>);
    let stages = [Stage { sources: sources.collect(), head_start: Duration::ZERO }];
    let clock = ManualClock::new(at(0));
    let inquirer = Inquirer { stages: &stages, policy, rules: &rules.in_force(), clock: &clock };
    inquirer.ask(&server().name, &[], before).await
}

fn states(inquiry: &Inquiry) -> Vec<(&str, KeyState)> {
    inquiry.verdict.keys.iter().map(|key| (key.key_id.as_str(), key.state)).collect()
}

#[tokio::test(start_paused = true)]
async fn every_source_is_asked_and_none_is_waited_for_longer_than_for_a_fetch() {
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let notary = ScriptedFetcher::notary(vec![Step::Hang]);
    let homeserver = ScriptedFetcher::new(Provenance::Homeserver, vec![gives(&server())]);
    let sources = [&homeserver, &origin, &notary];
    let inquiry = ask(&sources, &KeyPolicy::default(), nothing()).await;
    let told: Vec<_> = inquiry
        .sources
        .iter()
        .map(|said| {
            (said.source.as_str(), said.took_ms, said.documents.len(), said.error.is_some())
        })
        .collect();
    let expected = [
        ("homeserver", 0, 1, false),
        ("origin", 0, 1, false),
        ("notary notary.example", 8_000, 0, true),
    ];
    assert_eq!(told, expected);
    assert_eq!(inquiry.took_ms, 8_000);
    let error = inquiry.sources[2].error.as_ref().expect("an error");
    assert_eq!(
        (error.kind.as_str(), error.text.as_str()),
        ("timeout", "timeout: no answer within 8s")
    );
    assert!(inquiry.verdict.accepted, "{:?}", inquiry.verdict);
    for source in sources {
        let asked = source.asked.lock().unwrap();
        assert!(asked[0].trace.is_on());
    }
}

#[tokio::test(start_paused = true)]
async fn notaries_are_asked_for_the_keys_that_the_origin_shows() {
    let mut old = server();
    old.keys.clear();
    old.add_key("ed25519:old");
    let known = || knowing([old.stored(at(0), Provenance::Origin)]);
    let ids_asked = |fetcher: &ScriptedFetcher| {
        let asked = fetcher.asked.lock().unwrap();
        asked[0].key_ids.iter().map(|id| id.as_str().to_owned()).collect::<Vec<_>>()
    };
    let notary = ScriptedFetcher::notary(vec![gives(&server())]);
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let policy = KeyPolicy::default();
    ask(&[&notary, &origin], &policy, known()).await;
    assert_eq!(ids_asked(&notary), [ID, "ed25519:old"]);
    // An origin that hangs is not waited for as long as there is time.
    let notary = ScriptedFetcher::notary(vec![gives(&old)]);
    let origin = ScriptedFetcher::origin(vec![Step::Hang]);
    let inquiry = ask(&[&notary, &origin], &policy, known()).await;
    assert_eq!(ids_asked(&notary), ["ed25519:old"]);
    assert_eq!(inquiry.took_ms, 8_000);
    assert_eq!(inquiry.sources[0].documents.len(), 1);
    // Nor is one that is not among the sources.
    let notary = ScriptedFetcher::notary(vec![gives(&old)]);
    let inquiry = ask(&[&notary], &policy, nothing()).await;
    assert_eq!((ids_asked(&notary).len(), inquiry.took_ms), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_notary_that_shows_another_key_changes_nothing_but_is_told() {
    let mut other = server();
    other.add_seed(ID, [9; 32]);
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let notary = ScriptedFetcher::notary(vec![gives(&other)]);
    let inquiry = ask(&[&origin, &notary], &KeyPolicy::default(), nothing()).await;
    assert!(inquiry.verdict.accepted);
    let [key] = &*inquiry.verdict.keys else { panic!("not one key") };
    assert_eq!(key.state, KeyState::Valid);
    assert_eq!(
        key.other.as_ref().map(|other| other.source.as_str()),
        Some("notary notary.example")
    );
}

#[tokio::test(start_paused = true)]
async fn one_witness_that_disagrees_is_enough_where_agreement_is_asked_for() {
    let mut other = server();
    other.add_seed(ID, [9; 32]);
    let policy = KeyPolicy { agreement: 2, ..KeyPolicy::default() };
    for (third, state) in [(&server(), KeyState::Valid), (&other, KeyState::Unagreed)] {
        let origin = ScriptedFetcher::origin(vec![gives(&server())]);
        let notary = ScriptedFetcher::notary(vec![gives(&server())]);
        let name = ServerName::parse("other.example").unwrap();
        let liar = ScriptedFetcher::of(Source::Notary(name), vec![gives(third)]);
        let inquiry = ask(&[&origin, &notary, &liar], &policy, nothing()).await;
        assert_eq!(states(&inquiry), [(ID, state)]);
        assert_eq!(inquiry.verdict.accepted, state == KeyState::Valid);
    }
}

#[tokio::test(start_paused = true)]
async fn the_json_keeps_its_names() {
    let mut server = server();
    server.add_key("ed25519:0");
    server.retire("ed25519:0", Timestamp::from_ms(at(0).as_ms() - DAY));
    let key = |id: &str| {
        let document = server.checked();
        let old = document.old_verify_keys().get(&key_id(id)).map(|old| old.key.to_base64());
        old.or(document.verify_keys().get(&key_id(id)).map(|key| key.to_base64())).unwrap()
    };
    let origin = ScriptedFetcher::origin(vec![gives(&server)]);
    let inquiry = ask(&[&origin], &KeyPolicy::default(), nothing()).await;
    let (now, then, later) =
        ("2023-11-14T22:13:20.000Z", "2023-11-13T22:13:20.000Z", "2023-11-15T22:13:20.000Z");
    let (now_ts, day) = (at(0).as_ms(), DAY);
    let report = |id: &str, state: &str, until: Option<u64>, expired: Option<u64>| {
        json!({
            "key_id": id, "key": key(id), "state": state,
            "effective_until_ts": until, "effective_until": until.map(|_| later),
            "expired_ts": expired, "expired": expired.map(|_| then),
            "learnt_from": "origin", "first_seen_ts": now_ts, "first_seen": now,
            "witnesses": ["origin"], "other": null,
        })
    };
    let expected = json!({
        "server": "a.example", "at_ts": now_ts, "at": now, "took_ms": 0,
        "memory": null,
        "store": {"state": "unused", "detail": null, "kept": null},
        "back_off": null,
        "sources": [{
            "source": "origin", "asked_for": [], "took_ms": 0, "steps": [], "steps_left_out": 0,
            "documents": [{
                "source": "origin",
                "fetched_at_ts": now_ts, "fetched_at": now,
                "valid_until_ts": now_ts + day, "valid_until": later,
                "effective_until_ts": now_ts + day, "effective_until": later,
                "verify_keys": [
                    {"key_id": ID, "key": key(ID), "expired_ts": null, "expired": null},
                ],
                "old_verify_keys": [{
                    "key_id": "ed25519:0", "key": key("ed25519:0"),
                    "expired_ts": now_ts - day, "expired": then,
                }],
                "signatures": [{"server": "a.example", "key_id": ID, "valid": true}],
                "dropped": [],
            }],
            "error": null,
        }],
        "verdict": {
            "accepted": true,
            "summary": "requests of a.example signed with ed25519:1 are accepted, until \
                        2023-11-15T22:13:20.000Z unless renewed",
            "advice": null,
            "keys": [
                report(ID, "valid", Some(now_ts + day), None),
                report("ed25519:0", "retired", None, Some(now_ts - day)),
            ],
        },
    });
    let told = serde_json::to_value(&inquiry).unwrap();
    assert_eq!(told, expected, "{told:#}");
    assert_eq!(serde_json::from_value::<Inquiry>(told).unwrap(), inquiry);
}

/// A keyring with one source and a store.
fn keyring(origin: &Arc<ScriptedFetcher>, store: &Arc<MapStore>) -> (Keyring, KeyCache) {
    let cache = KeyCache::new(1 << 20);
    let parts = KeyringParts {
        cache: cache.clone(),
        store: Some(store.clone()),
        stages: vec![Stage { sources: vec![origin.clone()], head_start: Duration::ZERO }],
        clock: Arc::new(ManualClock::new(at(0))),
        metrics: KeyMetrics::new(&prometheus::Registry::new()).unwrap(),
        policy: KeyPolicy::default(),
        rules: banning([]),
    };
    (Keyring::new(parts), cache)
}

#[tokio::test(start_paused = true)]
async fn an_inquiry_is_a_look_and_nothing_is_kept_of_it() {
    let store = Arc::new(MapStore::default());
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let (keyring, cache) = keyring(&origin, &store);
    let inquiry = keyring.inquire(&server().name, &[]).await;
    assert!(inquiry.verdict.accepted);
    assert_eq!((inquiry.memory, inquiry.store.state), (None, StoreState::Read));
    assert!(cache.peek(&server().name).is_none(), "not in memory");
    assert_eq!(store.count().await, Ok(0), "nor on disk");
    assert_eq!(origin.times_asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_running_gate_tells_what_it_has_and_whether_it_would_ask() {
    let store = Arc::new(MapStore::default());
    let origin = ScriptedFetcher::origin(vec![fails(refused()), gives(&server())]);
    let (keyring, cache) = keyring(&origin, &store);
    let client = [192, 0, 2, 1].into();
    keyring.request_keys(&server().name, &[key_id(ID)], client).await.unwrap_err();
    let inquiry = keyring.inquire(&server().name, &[]).await;
    let back_off = inquiry.back_off.clone().expect("a back-off");
    assert_eq!((back_off.reason, back_off.remaining_s), (BackOffReason::Failed, 60));
    assert!(back_off.causes.expect("causes").contains("refused"));
    let Verdict { accepted, summary, advice, .. } = &inquiry.verdict;
    assert!(!accepted && summary.contains("asked again in 60 s"), "{summary}");
    assert!(advice.as_ref().expect("advice").contains("fedgate keys refresh a.example"));

    // A key that is known is used, whatever would come of asking.
    let stored = server().stored(at(0), source_of(Provenance::Origin).kind());
    cache.insert(stored, BindingMode::Enforce, None);
    let inquiry = keyring.inquire(&server().name, &[]).await;
    assert!(inquiry.verdict.accepted, "{:?}", inquiry.verdict);
    let memory = inquiry.memory.expect("in memory");
    assert_eq!(memory.keys[0].state, KeyState::Valid);
    assert_eq!(memory.documents.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_running_gate_tells_that_it_has_just_seen_no_current_key() {
    let store = Arc::new(MapStore::default());
    let long_ago = Timestamp::from_ms(at(0).as_ms() - HOUR);
    let expired = TestServer { valid_until: long_ago, ..server() };
    let origin = ScriptedFetcher::origin(vec![gives(&expired), gives(&server())]);
    let (keyring, _) = keyring(&origin, &store);
    let client = [192, 0, 2, 1].into();
    keyring.request_keys(&server().name, &[key_id(ID)], client).await.expect("expired");
    let inquiry = keyring.inquire(&server().name, &[]).await;
    let back_off = inquiry.back_off.expect("a back-off");
    assert_eq!((back_off.reason, back_off.remaining_s), (BackOffReason::Absent, 60));
    let Verdict { accepted, summary, .. } = inquiry.verdict;
    assert!(!accepted && summary.contains("could not be used"), "{summary}");
    assert_eq!(inquiry.store.kept.expect("on disk").keys[0].state, KeyState::Expired);
}

#[tokio::test]
async fn what_is_kept_can_be_looked_at_without_asking() {
    let origin = ScriptedFetcher::origin(vec![]);
    let stages = [Stage { sources: vec![origin.clone()], head_start: Duration::ZERO }];
    let (policy, clock) = (KeyPolicy::default(), ManualClock::new(at(0)));
    let rules = banning([]).in_force();
    let inquirer = Inquirer { stages: &stages, policy: &policy, rules: &rules, clock: &clock };
    let Beforehand { memory, .. } = knowing([server().stored(at(0), Provenance::Notary)]);
    let record = memory.expect("keys").to_record();
    let before = Beforehand { stored: Stored::Read(Some(record)), ..nothing() };
    let inquiry = inquirer.look(&server().name, before);
    assert!(inquiry.verdict.accepted);
    assert_eq!(inquiry.sources, []);
    let kept = inquiry.store.kept.expect("kept");
    assert_eq!(kept.keys[0].learnt_from.as_deref(), Some("notary"));
    assert_eq!(kept.documents[0].source, "notary notary.example");

    let before = Beforehand { stored: Stored::Read(None), ..nothing() };
    let inquiry = inquirer.look(&server().name, before);
    assert!(inquiry.verdict.summary.contains("nothing is kept of it"));

    let stored = Stored::Not(StoreState::Locked, Some("another process holds it".to_owned()));
    let inquiry = inquirer.look(&server().name, Beforehand { stored, ..nothing() });
    let summary = inquiry.verdict.summary;
    assert!(summary.contains("what is kept of it can not be looked into"), "{summary}");
    assert_eq!(origin.times_asked(), 0);
}
