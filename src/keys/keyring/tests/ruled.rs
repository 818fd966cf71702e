//! Pins, bans, letting go and asking anew.

use futures_util::FutureExt as _;

use super::operator::AmendError;
use super::*;
use crate::keys::rules::{Change, Rules, RulesError, Subject};
use crate::keys::store::StoreError;
use crate::keys::testing::{MapStore, no_bans};
use crate::proto::ed25519::VerifyKey;
use crate::proto::server_keys::UnverifiedServerKeys;

fn other_body() -> VerifyKey {
    TestServer::new("a.example").add_seed(ID, [66; 32])
}

fn body() -> VerifyKey {
    server().add_key(ID)
}

fn pin(key: VerifyKey) -> Change {
    Change::Pin(server().name, key_id(ID), key)
}

async fn amend(house: &House, change: Change) -> bool {
    house.keyring.amend(&change).await.unwrap()
}

#[tokio::test]
async fn a_pinned_key_is_used_without_asking_anybody() {
    let origin = ScriptedFetcher::origin(vec![]);
    let house = House::new(&[&origin]);
    assert!(amend(&house, pin(other_body())).await);
    let answers = house.ask(&[ID]).await.unwrap();
    assert!(matches!(&answers[..], [KeyAnswer::Valid(key)] if key.key == other_body()));
    house.clock.set(at(400 * DAY));
    assert_eq!(house.verdict(ID).await, "valid", "a pin has no end");
    assert_eq!(origin.times_asked(), 0);
}

#[tokio::test]
async fn no_other_body_is_accepted_for_a_pinned_id() {
    let origin = ScriptedFetcher::origin(vec![gives(&server()), gives(&server())]);
    let house = House::new(&[&origin]);
    assert_eq!(house.verdict(ID).await, "valid");
    amend(&house, pin(other_body())).await;
    assert_eq!(house.keyring.refresh(&server().name).await, Ok(1));
    let answers = house.ask(&[ID]).await.unwrap();
    assert!(matches!(&answers[..], [KeyAnswer::Valid(key)] if key.key == other_body()));
    assert_eq!(house.metric("fedgate_key_collisions_total", &["origin"]), 1.0);
    amend(&house, Change::Unpin(server().name, key_id(ID))).await;
    let answers = house.ask(&[ID]).await.unwrap();
    assert!(matches!(&answers[..], [KeyAnswer::Valid(key)] if key.key == body()));
}

#[tokio::test]
async fn the_other_ids_of_a_pinned_server_are_found_as_ever() {
    let mut two = server();
    two.add_key("ed25519:2");
    let origin = ScriptedFetcher::origin(vec![gives(&two)]);
    let house = House::new(&[&origin]);
    amend(&house, pin(other_body())).await;
    assert_eq!(house.verdict("ed25519:2").await, "valid");
    assert_eq!(origin.times_asked(), 1);
}

#[tokio::test]
async fn a_banned_server_is_refused_and_not_asked() {
    let origin = ScriptedFetcher::origin(vec![]);
    let house = House::new(&[&origin]);
    amend(&house, Change::Ban(Subject::Server(server().name))).await;
    assert_eq!(house.verdict(ID).await, "banned");
    assert_eq!(origin.times_asked(), 0);
    assert_eq!(house.metric("fedgate_key_lookups_total", &["memory", "banned"]), 1.0);
}

#[tokio::test]
async fn a_banned_key_id_is_refused_and_the_others_are_not() {
    let mut two = server();
    two.add_key("ed25519:2");
    let origin = ScriptedFetcher::origin(vec![gives(&two)]);
    let house = House::new(&[&origin]);
    amend(&house, Change::Ban(Subject::KeyId(server().name, key_id(ID)))).await;
    assert_eq!(house.verdict(ID).await, "banned");
    assert_eq!(origin.times_asked(), 0);
    let answers = house.ask(&[ID, "ed25519:2"]).await.unwrap();
    assert!(matches!(&answers[..], [KeyAnswer::Banned(_), KeyAnswer::Valid(_)]));
}

#[tokio::test]
async fn r48_a_key_banned_at_run_time_is_refused_from_then_on() {
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let house = House::new(&[&origin]);
    assert_eq!(house.verdict(ID).await, "valid");
    assert!(amend(&house, Change::Ban(Subject::Key(*body().as_bytes()))).await);
    assert_eq!(house.verdict(ID).await, "banned");
    assert_eq!(origin.times_asked(), 1, "nothing new could make it good");
}

#[tokio::test]
async fn r52_what_only_a_banned_key_vouches_for_is_used_no_more() {
    // The document is signed by the first of its keys alone.
    let mut two = server();
    two.add_key("ed25519:2");
    let unsigned = serde_json::to_vec(&two.unsigned()).unwrap();
    let document = UnverifiedServerKeys::parse(two.sign(&unsigned, ID).into()).unwrap();
    let document = document.verify(&two.name, &no_bans()).unwrap();
    let origin = ScriptedFetcher::origin(vec![
        Step::Answer(Ok(vec![document])),
        Step::Answer(Err(refused())),
    ]);
    let house = House::new(&[&origin]);
    assert_eq!(house.verdict("ed25519:2").await, "valid");
    amend(&house, Change::Ban(Subject::Key(*body().as_bytes()))).await;
    assert_eq!(house.verdict("ed25519:2").await, "unavailable");
    assert_eq!(origin.times_asked(), 2);
}

#[tokio::test]
async fn rules_made_at_run_time_are_kept_or_not_made() {
    let store = Arc::new(MapStore::default());
    let house = {
        let store = Arc::clone(&store);
        House::with(&[], |parts| parts.store = Some(store))
    };
    let ban = Change::Ban(Subject::Server(server().name));
    assert!(amend(&house, ban.clone()).await);
    assert!(!amend(&house, ban.clone()).await, "it is so already");
    assert!(store.load_rules().await.unwrap().bans(&Subject::Server(server().name)));
    let full = StoreError::Io("disk full".to_owned());
    store.fail(full.clone());
    let lift = Change::Unban(Subject::Server(server().name));
    assert_eq!(house.keyring.amend(&lift).await, Err(AmendError::Store(full)));
    assert_eq!(house.verdict(ID).await, "banned", "what is not kept is not in force");
}

#[tokio::test]
async fn what_the_settings_say_is_not_changed_at_run_time() {
    let house = House::with(&[], |parts| {
        let banned_servers = [server().name].into();
        let rules = Rules { banned_servers, ..Rules::default() };
        parts.rules = Rulebook::new(rules, Rules::default());
    });
    let lift = Change::Unban(Subject::Server(server().name));
    let refused = AmendError::Rules(RulesError::InSettings("keys.banned_servers"));
    assert_eq!(house.keyring.amend(&lift).await, Err(refused));
    assert_eq!(house.verdict(ID).await, "banned");
}

#[tokio::test]
async fn a_flushed_server_is_learnt_anew_with_another_body() {
    let store = Arc::new(MapStore::default());
    let mut other = TestServer::new("a.example");
    other.add_seed(ID, [66; 32]);
    let origin = ScriptedFetcher::origin(vec![gives(&server()), gives(&other)]);
    let house = {
        let store = Arc::clone(&store);
        House::with(&[&origin], |parts| parts.store = Some(store))
    };
    assert_eq!(house.verdict(ID).await, "valid");
    let known = house.keyring.flush(&server().name).await.unwrap().unwrap();
    assert_eq!(known.bindings[0].key, body());
    assert_eq!(store.load(&server().name).await, Ok(None));
    let answers = house.ask(&[ID]).await.unwrap();
    assert!(matches!(&answers[..], [KeyAnswer::Valid(key)] if key.key == other_body()));
    let again = house.keyring.flush(&TestServer::new("never.example").name).await;
    assert_eq!(again, Ok(None));
}

#[tokio::test]
async fn a_flush_ends_the_time_in_which_a_failed_server_is_left_alone() {
    let origin = ScriptedFetcher::origin(vec![fails(), gives(&server())]);
    let house = House::new(&[&origin]);
    assert_eq!(house.verdict(ID).await, "unavailable");
    assert_eq!(house.verdict(ID).await, "unavailable");
    assert_eq!(house.keyring.flush(&server().name).await, Ok(None));
    assert_eq!(house.verdict(ID).await, "valid");
}

#[tokio::test]
async fn a_flush_waits_for_the_fetch_under_way_and_takes_what_it_brings() {
    let (gate, step) = gated(Ok(vec![server().checked()]));
    let origin = ScriptedFetcher::origin(vec![step]);
    let house = House::new(&[&origin]);
    let asking = house.ask(&[ID]);
    let flushing = async {
        settle().await;
        let name = server().name;
        let flush = house.keyring.flush(&name);
        tokio::pin!(flush);
        assert!((&mut flush).now_or_never().is_none(), "the fetch is not over");
        gate.add_permits(1);
        flush.await
    };
    let (answers, flushed) = tokio::join!(asking, flushing);
    assert_eq!(verdict(&answers), "valid");
    assert!(flushed.unwrap().is_some());
    assert!(house.cache.peek(&server().name).is_none());
}

#[tokio::test]
async fn a_refresh_asks_whatever_is_known_and_whatever_has_failed() {
    let mut later = server();
    later.valid_until = at(6 * DAY);
    let origin = ScriptedFetcher::origin(vec![fails(), gives(&server()), gives(&later)]);
    let house = House::new(&[&origin]);
    assert_eq!(house.verdict(ID).await, "unavailable");
    assert_eq!(house.keyring.refresh(&server().name).await, Ok(1));
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(house.keyring.refresh(&server().name).await, Ok(1));
    assert_eq!(origin.times_asked(), 3);
}

#[tokio::test]
async fn a_refresh_that_brings_nothing_says_what_each_source_said() {
    let origin = ScriptedFetcher::origin(vec![fails()]);
    let house = House::new(&[&origin]);
    let error = house.keyring.refresh(&server().name).await.unwrap_err();
    assert!(
        error.causes.contains("origin: connect: a.example: connection refused"),
        "{}",
        error.causes
    );
}
