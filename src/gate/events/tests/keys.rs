//! Which keys are asked for before a verdict, how many, and for how long they are waited for (R84,
//! R85; threat F6).

use super::*;
use crate::keys::testing::{MapStore, ScriptedFetcher, Step};

const ROOM: &str = "!r:one.example";
const MINUTE: Duration = Duration::from_secs(60);

/// An examiner that has the keys of these servers in memory, and asks `fetcher` for others.
fn asking(
    fetcher: &Arc<ScriptedFetcher>,
    servers: &[&TestServer],
    time_budget: Duration,
) -> (Examiner, Registry) {
    let stage = Stage { sources: vec![Arc::clone(fetcher) as _], head_start: Duration::ZERO };
    examiner_of(None, vec![stage], servers, time_budget)
}

/// Messages from as many servers whose keys nobody has.
fn of_strangers(servers: usize) -> Vec<Value> {
    let of =
        |number| event(&server(&format!("{number}.example")), ROOM, "m.room.message", json!({}), 0);
    (0..servers).map(of).collect()
}

#[tokio::test]
async fn r85_a_newer_copy_of_a_key_is_asked_for_only_where_the_keys_time_counts() {
    let one = server("one.example");
    for (version, times) in [(Some("4"), 0), (None, 0), (Some("10"), 1)] {
        let fetcher = ScriptedFetcher::origin(Vec::new());
        let (examiner, registry) = asking(&fetcher, &[&one], MINUTE);
        if let Some(version) = version {
            examiner.rooms.learn(ROOM, version, Authority::Homeserver);
        }
        let late = event(&one, ROOM, "m.room.message", json!({}), DAY + 1);
        assert_eq!(send(&examiner, &one, &[late]).await, Ok(Examined::Passed));
        assert_eq!(fetcher.times_asked(), times, "{version:?}");
        let unjudged = count(&registry, "key_unavailable", "fedgate_events_unjudged_total");
        assert_eq!(unjudged, if times == 0 { 0.0 } else { 1.0 }, "{version:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn r84_keys_are_waited_for_no_longer_than_there_is_time() {
    let one = server("one.example");
    let fetcher = ScriptedFetcher::origin(vec![Step::Hang]);
    let time_budget = Duration::from_secs(3);
    let (examiner, registry) = asking(&fetcher, &[&one], time_budget);
    let began = Instant::now();
    assert_eq!(send(&examiner, &one, &of_strangers(1)).await, Ok(Examined::Passed));
    assert_eq!(began.elapsed(), time_budget);
    assert_eq!(count(&registry, "key_unavailable", "fedgate_events_unjudged_total"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn r84_a_store_is_waited_for_no_longer_either() {
    let (one, two) = (server("one.example"), server("two.example"));
    let store = Arc::new(MapStore::default());
    store.get_stuck();
    let time_budget = Duration::from_secs(3);
    let (examiner, registry) = examiner_of(Some(store), Vec::new(), &[&one], time_budget);
    let began = Instant::now();
    let of_other = event(&two, ROOM, "m.room.message", json!({}), 0);
    assert_eq!(send(&examiner, &one, &[of_other]).await, Ok(Examined::Passed));
    assert_eq!(began.elapsed(), time_budget);
    assert_eq!(count(&registry, "key_unavailable", "fedgate_events_unjudged_total"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn f6_the_keys_for_one_request_are_asked_for_within_its_bound_and_its_clients() {
    let one = server("one.example");
    // What a client saves up for servers that are seen for the first time: 16 seconds' worth of 2.
    for (fetches_max, times) in [(3, 3), (100, 32)] {
        let fetcher = ScriptedFetcher::origin(Vec::new());
        let (mut examiner, _) = asking(&fetcher, &[&one], MINUTE);
        examiner.settings.fetches_per_request_max = fetches_max;
        send(&examiner, &one, &of_strangers(40)).await.unwrap();
        assert_eq!(fetcher.times_asked(), times);
    }
}

#[tokio::test(start_paused = true)]
async fn f6_the_keys_of_sixteen_servers_are_asked_for_at_one_time() {
    let one = server("one.example");
    let fetcher = ScriptedFetcher::origin((0..20).map(|_| Step::Hang).collect());
    let (mut examiner, _) = asking(&fetcher, &[&one], MINUTE);
    examiner.settings.fetches_per_request_max = 100;
    let sent = of_strangers(20);
    let answer = tokio::time::timeout(Duration::from_secs(1), send(&examiner, &one, &sent)).await;
    assert!(answer.is_err(), "nobody has answered");
    assert_eq!(fetcher.times_asked(), 16);
}

#[tokio::test]
async fn r84_the_events_of_one_request_may_be_of_many_servers() {
    let (one, two) = (server("one.example"), server("two.example"));
    let (examiner, registry) = examiner(&[&one, &two], MINUTE);
    let sent = [&one, &two].map(|by| event(by, ROOM, "m.room.message", json!({}), 0));
    send(&examiner, &one, &sent).await.unwrap();
    assert_eq!(count(&registry, "bad", "fedgate_events_total"), 0.0);
    assert_eq!(count(&registry, "unjudged", "fedgate_events_total"), 0.0);
}

#[tokio::test]
async fn r83_an_event_without_any_signature_that_could_count_is_refused() {
    let one = server("one.example");
    let (examiner, _) = examiner(&[&one], MINUTE);
    let mut other = event(&one, ROOM, "m.room.message", json!({}), 0);
    let signature = other["signatures"]["one.example"][ID].take();
    other["signatures"] = json!({ "one.example": { "curve25519:1": signature } });
    let answer = send(&examiner, &one, &[other]).await;
    assert!(matches!(answer, Ok(Examined::Answered(_))), "{answer:?}");
}

#[tokio::test]
async fn r83_a_bad_signature_is_not_excused_by_one_that_cannot_be_checked() {
    let one = server("one.example");
    let (examiner, _) = examiner(&[&one], MINUTE);
    let mut forged = event(&one, ROOM, "m.room.message", json!({}), 0);
    forged["depth"] = json!(8);
    let signatures = &mut forged["signatures"]["one.example"];
    signatures["ed25519:unknown"] = signatures[ID].clone();
    let answer = send(&examiner, &one, &[forged]).await;
    assert!(matches!(answer, Ok(Examined::Answered(_))), "{answer:?}");
}
