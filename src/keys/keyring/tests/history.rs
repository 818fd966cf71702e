//! What goes into the history of a server, and when.

use super::*;
use crate::keys::history::{Entry, Kind};
use crate::keys::store::StoreError;
use crate::keys::testing::MapStore;

fn house(fetchers: &[&Arc<ScriptedFetcher>], store: &Arc<MapStore>) -> House {
    let store = Arc::clone(store);
    House::with(fetchers, |parts| parts.store = Some(store))
}

/// What the history of the server tells, in words.
async fn told(house: &House) -> Vec<&'static str> {
    let history = house.keyring.history(&server().name, 0, 100).await.unwrap();
    let kinds = history.iter().flat_map(|kept| kept.entry.as_ref().unwrap().kinds());
    kinds.map(Kind::label).collect()
}

fn events(house: &House, kind: &str) -> f64 {
    house.metric("fedgate_key_history_events_total", &[kind])
}

fn renewed(days: u64) -> TestServer {
    let mut server = server();
    server.valid_until = at(days * DAY);
    server
}

#[tokio::test]
async fn only_news_is_recorded_and_a_flush_is() {
    let mut retired = renewed(30);
    retired.add_key("ed25519:2");
    retired.retire(ID, at(DAY));
    let origin = ScriptedFetcher::origin(vec![
        gives(&server()),
        gives(&renewed(9)),
        gives(&retired),
        gives(&renewed(99)),
    ]);
    let store = Arc::new(MapStore::default());
    let house = house(&[&origin], &store);
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(told(&house).await, ["first_seen"]);
    house.clock.set(at(DAY + 1));
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(told(&house).await, ["first_seen"], "a renewal is no news");
    house.clock.set(at(20 * DAY));
    assert_eq!(house.verdict(ID).await, "retired");
    let now = ["first_seen", "retired", "first_seen"];
    assert_eq!(told(&house).await, now);
    house.keyring.flush(&server().name).await.unwrap().unwrap();
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(told(&house).await, [&now[..], &["flushed", "first_seen"]].concat());
    let counted = ["first_seen", "retired", "flushed", "changed"].map(|kind| events(&house, kind));
    assert_eq!(counted, [3.0, 1.0, 1.0, 0.0]);
    assert_eq!(house.keyring.flush(&TestServer::new("b.example").name).await, Ok(None));
    assert_eq!(events(&house, "flushed"), 1.0);
}

#[tokio::test]
async fn what_the_store_does_not_take_is_recorded_with_the_next_save() {
    let origin = ScriptedFetcher::origin(vec![gives(&server()), gives(&renewed(9))]);
    let mut other = TestServer::new("a.example");
    other.add_seed(ID, [66; 32]);
    other.valid_until = at(99 * DAY);
    origin.push(gives(&other));
    origin.push(gives(&other));
    let store = Arc::new(MapStore::default());
    let house = house(&[&origin], &store);
    assert_eq!(house.verdict(ID).await, "valid");
    store.fail(StoreError::Io("no space left on device".to_owned()));
    let retired = events(&house, "changed");
    house.clock.set(at(20 * DAY));
    assert_eq!(house.verdict(ID).await, "expired");
    house.clock.set(at(40 * DAY));
    assert_eq!(house.verdict(ID).await, "expired");
    assert_eq!(events(&house, "changed"), retired, "nothing is recorded yet");
    store.mend();
    assert_eq!(told(&house).await, ["first_seen"]);
    house.clock.set(at(60 * DAY));
    assert_eq!(house.verdict(ID).await, "expired");
    assert_eq!(told(&house).await, ["first_seen", "changed"], "once, with the time it was seen");
    let history = house.keyring.history(&server().name, 0, 100).await.unwrap();
    assert_eq!(history[1].entry.as_ref().map(Entry::at), Ok(at(40 * DAY)));
    assert_eq!(house.metric("fedgate_key_history_unrecorded_total", &["lost"]), 0.0);
}

#[tokio::test]
async fn without_a_store_there_is_no_history() {
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let house = House::new(&[&origin]);
    assert_eq!(house.verdict(ID).await, "valid");
    let error = house.keyring.history(&server().name, 0, 100).await.unwrap_err();
    assert!(error.to_string().contains("keys.store"), "{error}");
    assert_eq!(events(&house, "first_seen"), 0.0);
}
