//! The durable store behind memory.

use super::*;
use crate::keys::record::ServerRecord;
use crate::keys::store::StoreError;
use crate::keys::testing::MapStore;

fn with_store(fetchers: &[&Arc<ScriptedFetcher>], store: &Arc<MapStore>) -> House {
    let store = Arc::clone(store);
    House::with(fetchers, |parts| parts.store = Some(store))
}

#[tokio::test]
async fn r99_a_restart_loses_no_key() {
    let store = Arc::new(MapStore::default());
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    assert_eq!(with_store(&[&origin], &store).verdict(ID).await, "valid");
    let after = with_store(&[&origin], &store);
    assert_eq!(after.verdict(ID).await, "valid");
    assert_eq!(after.verdict(ID).await, "valid");
    assert_eq!(origin.times_asked(), 1);
    assert_eq!(store.loads(), 3, "twice around the fetch, once after the restart");
    let gauges = |house: &House| {
        let bytes = house.metric("fedgate_key_store_bytes", &[]);
        (house.metric("fedgate_key_store_servers", &[]), bytes)
    };
    assert_eq!(gauges(&after), (1.0, 77.0), "shown from the start");
    let other = TestServer::new("b.example");
    store.save(&other.name, ServerRecord::default(), &[]).await.unwrap();
    assert_eq!(gauges(&after), (1.0, 77.0));
    after.ask(&["ed25519:9"]).await.unwrap_err();
    assert_eq!(gauges(&after), (2.0, 154.0), "and after every fetch");
}

#[tokio::test]
async fn a_binding_outlives_the_process_and_its_document() {
    let store = Arc::new(MapStore::default());
    let mut other = TestServer::new("a.example");
    other.add_seed(ID, [66; 32]);
    other.valid_until = at(20 * DAY);
    let origin = ScriptedFetcher::origin(vec![gives(&server()), gives(&other)]);
    assert_eq!(with_store(&[&origin], &store).verdict(ID).await, "valid");
    let after = with_store(&[&origin], &store);
    after.clock.set(at(10 * DAY));
    assert_eq!(after.verdict(ID).await, "expired", "the other body is not believed");
    assert_eq!(after.metric("fedgate_key_collisions_total", &["origin"]), 1.0);
}

#[tokio::test]
async fn the_origins_new_body_is_used_where_bindings_are_only_observed() {
    let mut other = TestServer::new("a.example");
    other.add_seed(ID, [66; 32]);
    other.valid_until = at(20 * DAY);
    let origin = ScriptedFetcher::origin(vec![gives(&server()), gives(&other)]);
    let house = House::with(&[&origin], |parts| parts.policy.binding = BindingMode::Observe);
    assert_eq!(house.verdict(ID).await, "valid");
    house.clock.set(at(10 * DAY));
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(house.metric("fedgate_key_collisions_total", &["origin"]), 1.0);
}

#[tokio::test]
async fn a_store_that_fails_is_counted_and_keys_are_found_all_the_same() {
    let store = Arc::new(MapStore::default());
    store.fail(StoreError::Io("keys.redb: no space left on device".to_owned()));
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let house = with_store(&[&origin], &store);
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(house.verdict(ID).await, "valid");
    assert!(house.metric("fedgate_key_store_errors_total", &["io"]) >= 2.0);
}

#[tokio::test]
async fn a_stored_document_whose_signer_has_been_banned_is_not_used() {
    let store = Arc::new(MapStore::default());
    let origin = ScriptedFetcher::origin(vec![gives(&server()), fails()]);
    assert_eq!(with_store(&[&origin], &store).verdict(ID).await, "valid");
    let body = *server().add_key(ID).as_bytes();
    let banning_it = {
        let store = Arc::clone(&store);
        House::with(&[&origin], |parts| {
            parts.store = Some(store);
            parts.rules = banning([body]);
        })
    };
    assert_eq!(banning_it.verdict(ID).await, "banned");
}

#[tokio::test]
async fn k7_a_clock_set_back_makes_keys_expire_until_they_are_fetched_again() {
    let mut eternal = server();
    eternal.valid_until = Timestamp::MAX;
    let origin = ScriptedFetcher::origin(vec![gives(&eternal), fails(), gives(&eternal)]);
    let house = House::new(&[&origin]);
    // Learnt at a wrong time, a hundred years ahead.
    house.clock.set(at(36_500 * DAY));
    assert_eq!(house.verdict(ID).await, "valid");
    house.clock.set(at(0));
    assert_eq!(house.verdict(ID).await, "unavailable");
    house.clock.set(at(60_000));
    assert_eq!(house.verdict(ID).await, "valid");
    house.clock.set(at(60_000 + 7 * DAY + 1));
    assert_eq!(house.verdict(ID).await, "unavailable", "7 days from the second fetch");
}
