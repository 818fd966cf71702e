//! Who asks, when, and for whom: shared fetches and the memory of failures.

use tokio::task::JoinHandle;

use super::*;

pub(super) fn spawn_verdict(house: &Arc<House>, id: &'static str) -> JoinHandle<&'static str> {
    let house = Arc::clone(house);
    tokio::spawn(async move { house.verdict(id).await })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r45_a_hundred_callers_share_one_fetch() {
    let (gate, step) = gated(Ok(vec![server().checked()]));
    let origin = ScriptedFetcher::origin(vec![step]);
    let house = Arc::new(House::new(&[&origin]));
    let callers: Vec<_> = (0..100).map(|_| spawn_verdict(&house, ID)).collect();
    gate.add_permits(100);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "valid");
    }
    assert_eq!(origin.times_asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r45_a_hundred_callers_share_one_failure() {
    let (gate, step) = gated(Err(refused()));
    let origin = ScriptedFetcher::origin(vec![step]);
    let house = Arc::new(House::new(&[&origin]));
    let callers: Vec<_> = (0..100).map(|_| spawn_verdict(&house, ID)).collect();
    gate.add_permits(100);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "unavailable");
    }
    assert_eq!(origin.times_asked(), 1);
}

#[tokio::test]
async fn r45_unknown_key_ids_cause_one_fetch_a_minute() {
    let steps = (0..3).map(|_| gives(&server())).collect();
    let origin = ScriptedFetcher::origin(steps);
    let house = House::new(&[&origin]);
    for n in 0..100 {
        house.clock.set(at(n));
        assert_eq!(house.verdict("ed25519:none").await, "unknown");
        let ids = [format!("ed25519:a{n}"), format!("ed25519:b{n}")];
        house.ask(&[&ids[0], &ids[1]]).await.unwrap();
    }
    assert_eq!(origin.times_asked(), 1);
    assert_eq!(house.verdict(ID).await, "valid", "the known key works meanwhile");
    for (time, fetches) in [(59_999, 1), (60_000, 2), (119_999, 2), (120_000, 3)] {
        house.clock.set(at(time));
        assert_eq!(house.verdict("ed25519:none").await, "unknown");
        assert_eq!(origin.times_asked(), fetches, "{time}");
    }
}

#[tokio::test]
async fn a_key_the_store_has_let_go_of_is_fetched_in_spite_of_the_floor() {
    let steps = (0..2).map(|_| gives(&server())).collect();
    let origin = ScriptedFetcher::origin(steps);
    // Room for nobody.
    let house = House::with(&[&origin], |parts| parts.cache = KeyCache::new(0));
    assert_eq!(house.verdict("ed25519:none").await, "unknown");
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(origin.times_asked(), 2);
}

#[tokio::test]
async fn r46_a_server_that_fails_is_asked_less_and_less_often() {
    let origin = ScriptedFetcher::origin((0..20).map(|_| fails()).collect());
    let house = House::new(&[&origin]);
    let mut asked_at = Vec::new();
    for second in 0..500 {
        house.clock.set(at(second * 1_000));
        let before = origin.times_asked();
        assert_eq!(house.verdict(ID).await, "unavailable");
        if origin.times_asked() > before {
            asked_at.push(second);
        }
    }
    assert_eq!(asked_at, [0, 60, 180, 420]);
}

#[tokio::test]
async fn r46_one_success_clears_the_failures() {
    let steps = vec![fails(), fails(), fails(), gives(&server()), fails()];
    let origin = ScriptedFetcher::origin(steps);
    let house = House::new(&[&origin]);
    for time in [0, 60_000, 180_000] {
        house.clock.set(at(time));
        assert_eq!(house.verdict(ID).await, "unavailable");
    }
    house.clock.set(at(420_000));
    assert_eq!(house.verdict(ID).await, "valid");
    let error = house.ask(&["ed25519:2"]).await.unwrap_err();
    assert_eq!(error.retry_after, Duration::from_secs(60));
}

#[tokio::test]
async fn a_valid_key_in_memory_works_through_an_outage() {
    let origin = ScriptedFetcher::origin(vec![gives(&server()), fails()]);
    let house = House::new(&[&origin]);
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(house.verdict("ed25519:2").await, "unavailable");
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(origin.times_asked(), 2);
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_end_the_fetch_of_the_others() {
    let (gate, step) = gated(Ok(vec![server().checked()]));
    let origin = ScriptedFetcher::origin(vec![step]);
    let house = Arc::new(House::new(&[&origin]));
    let first = spawn_verdict(&house, ID);
    settle().await;
    assert_eq!(origin.times_asked(), 1);
    let second = spawn_verdict(&house, ID);
    settle().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    assert_eq!(second.await.unwrap(), "valid");
    assert_eq!(origin.times_asked(), 1);
}

#[tokio::test]
async fn a_fetch_nobody_waits_for_any_more_still_counts() {
    let (gate, step) = gated(Ok(vec![server().checked()]));
    let origin = ScriptedFetcher::origin(vec![step]);
    let house = Arc::new(House::new(&[&origin]));
    let only = spawn_verdict(&house, ID);
    settle().await;
    only.abort();
    assert!(only.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    settle().await;
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(origin.times_asked(), 1);
}

/// The shape of CVE-2025-64527: two tokens while the fetch fails.
#[tokio::test]
async fn two_headers_keys_while_the_fetch_fails() {
    let (gate, step) = gated(Err(refused()));
    let origin = ScriptedFetcher::origin(vec![step, gives(&server())]);
    let house = Arc::new(House::new(&[&origin]));
    let both = {
        let house = Arc::clone(&house);
        tokio::spawn(async move { house.ask(&[ID, "ed25519:2"]).await })
    };
    let (one, other) = (spawn_verdict(&house, ID), spawn_verdict(&house, "ed25519:2"));
    settle().await;
    gate.add_permits(1);
    assert!(both.await.unwrap().is_err());
    assert_eq!(one.await.unwrap(), "unavailable");
    assert_eq!(other.await.unwrap(), "unavailable");
    assert_eq!(origin.times_asked(), 1);
    house.clock.advance_ms(60_000);
    let answers = house.ask(&[ID, "ed25519:2"]).await.unwrap();
    assert!(matches!(answers.as_slice(), [KeyAnswer::Valid(_), KeyAnswer::Unknown]));
}

#[tokio::test]
async fn who_waits_for_a_fetch_of_other_keys_asks_for_its_own_next() {
    let mut rotated = server();
    rotated.add_key("ed25519:2");
    let (gate, step) = gated(Ok(vec![server().checked()]));
    let notary = ScriptedFetcher::notary(vec![step, gives(&rotated)]);
    let house = Arc::new(House::new(&[&notary]));
    let one = spawn_verdict(&house, ID);
    settle().await;
    let other = spawn_verdict(&house, "ed25519:2");
    settle().await;
    assert_eq!(notary.times_asked(), 1);
    gate.add_permits(1);
    assert_eq!(one.await.unwrap(), "valid");
    assert_eq!(other.await.unwrap(), "valid");
    assert_eq!(notary.times_asked(), 2);
    assert_eq!(notary.asked.lock().unwrap()[1].key_ids, [key_id("ed25519:2")]);
}

#[tokio::test]
async fn the_origins_answer_serves_those_who_asked_for_other_keys() {
    let (gate, step) = gated(Ok(vec![server().checked()]));
    let origin = ScriptedFetcher::origin(vec![step]);
    let house = Arc::new(House::new(&[&origin]));
    let one = spawn_verdict(&house, ID);
    settle().await;
    let other = spawn_verdict(&house, "ed25519:2");
    settle().await;
    gate.add_permits(1);
    assert_eq!(one.await.unwrap(), "valid");
    assert_eq!(other.await.unwrap(), "unknown");
    assert_eq!(origin.times_asked(), 1);
}

/// A caller may find nothing in memory, and start a fetch just after the one it should have joined.
#[tokio::test]
async fn r45_a_fetch_that_another_has_made_needless_asks_nobody() {
    let origin = ScriptedFetcher::origin(vec![]);
    let house = House::new(&[&origin]);
    house.cache.insert(server().stored(at(0), Provenance::Origin), BindingMode::Enforce, None);
    let deadline = Instant::now() + Duration::from_secs(8);
    let quest = Quest { ids: vec![key_id(ID)], is_known: true, refresh_after: None };
    let end = house.keyring.0.launch(&server().name, quest, deadline).await;
    assert!(matches!(end, FlightEnd::LookAgain), "{end:?}");
    assert_eq!(origin.times_asked(), 0);
}

#[tokio::test]
async fn lookups_and_fetches_are_counted() {
    let not_served = Step::Answer(Err(FetchError::NotServed));
    let homeserver = ScriptedFetcher::new(Provenance::Homeserver, vec![not_served]);
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let house = House::new(&[&homeserver, &origin]);
    house.ask(&[ID]).await.unwrap();
    house.ask(&[ID]).await.unwrap();
    house.ask(&["ed25519:policy_server"]).await.unwrap();
    house.ask(&["ed25519:2"]).await.unwrap_err();
    house.ask(&["ed25519:2"]).await.unwrap_err();
    let lookups = |labels: &[&str]| house.metric("fedgate_key_lookups_total", labels);
    assert_eq!(lookups(&["origin", "valid"]), 1.0);
    assert_eq!(lookups(&["memory", "valid"]), 1.0);
    assert_eq!(lookups(&["memory", "unknown"]), 1.0);
    assert_eq!(lookups(&["none", "unavailable"]), 1.0);
    assert_eq!(lookups(&["memory", "unavailable"]), 1.0);
    let errors = |labels: &[&str]| house.metric("fedgate_key_fetch_errors_total", labels);
    assert_eq!(errors(&["origin", "status"]), 1.0);
    assert_eq!(errors(&["homeserver", "status"]), 1.0, "the script's end, not NotServed");
    assert_eq!(house.metric("fedgate_key_cache_entries", &[]), 1.0);
    assert_eq!(house.metric("fedgate_key_backoff_entries", &[]), 1.0);
    assert_eq!(house.metric("fedgate_key_store_servers", &[]), 0.0);
}
