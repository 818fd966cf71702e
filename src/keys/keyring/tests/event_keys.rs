//! Keys for events: what is known goes by the event's time, and nobody is asked in vain (R84 to R86).

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::proto::event::EventKey;

/// What is wanted of one key, valid until `minimum`, and what is said of it.
async fn ask(house: &House, id: &str, minimum: Option<u64>) -> EventKeyAnswer {
    ask_within(house, id, minimum, 10).await
}

async fn ask_within(
    house: &House,
    id: &str,
    minimum: Option<u64>,
    fetches: usize,
) -> EventKeyAnswer {
    let allowance = Allowance {
        client: Some(CLIENT),
        fetches: AtomicUsize::new(fetches),
        until: Instant::now() + Duration::from_secs(60),
    };
    let wanted = WantedKey { id: key_id(id), minimum_valid_until: minimum.map(at) };
    let answers = house.keyring.event_keys(&server().name, &[wanted], &allowance).await;
    answers.into_iter().next().unwrap()
}

const fn until(answer: &EventKeyAnswer) -> Option<u64> {
    match &answer.key {
        Some(EventKey::Current { effective_until, .. }) => Some(effective_until.as_ms()),
        Some(EventKey::Retired { .. }) | None => None,
    }
}

#[tokio::test]
async fn r85_a_copy_that_is_good_for_long_enough_asks_nobody() {
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let house = House::new(&[&origin]);
    let end = server().valid_until.as_ms();
    for minimum in [None, Some(0), Some(end - at(0).as_ms())] {
        let answer = ask(&house, ID, minimum).await;
        assert_eq!((until(&answer), answer.is_settled), (Some(end), true), "{minimum:?}");
    }
    assert_eq!(origin.times_asked(), 1);
}

#[tokio::test]
async fn r85_a_copy_that_is_too_old_is_renewed_with_the_time_that_is_wanted() {
    let mut later = server();
    later.valid_until = at(3 * DAY);
    let origin = ScriptedFetcher::origin(vec![gives(&server()), gives(&later)]);
    let house = House::new(&[&origin]);
    ask(&house, ID, None).await;
    let answer = ask(&house, ID, Some(2 * DAY)).await;
    assert_eq!((until(&answer), answer.is_settled), (Some(at(3 * DAY).as_ms()), true));
    let asked = origin.asked.lock().unwrap();
    assert_eq!(asked.last().unwrap().minimum_valid_until, at(2 * DAY));
}

#[tokio::test]
async fn r85_no_copy_is_good_for_events_beyond_the_seven_days() {
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let house = House::new(&[&origin]);
    ask(&house, ID, None).await;
    let answer = ask(&house, ID, Some(7 * DAY + 1)).await;
    assert!(answer.key.is_some() && answer.is_settled, "{answer:?}");
    assert_eq!(origin.times_asked(), 1, "asking would not help");
}

#[tokio::test]
async fn r86_a_retired_key_is_had_without_asking_again() {
    let mut retired = server();
    retired.add_key("ed25519:2");
    retired.retire(ID, at(0));
    let origin = ScriptedFetcher::origin(vec![gives(&retired)]);
    let house = House::new(&[&origin]);
    for _ in 0..2 {
        let answer = ask(&house, ID, Some(DAY)).await;
        assert!(matches!(answer.key, Some(EventKey::Retired { .. })), "{answer:?}");
        assert!(answer.is_settled);
    }
    assert_eq!(origin.times_asked(), 1);
}

#[tokio::test]
async fn r84_only_the_origin_settles_that_there_is_no_such_key() {
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let house = House::new(&[&origin]);
    let none = |is_settled| EventKeyAnswer { key: None, is_settled };
    assert_eq!(ask(&house, "ed25519:other", None).await, none(true));
    assert_eq!(ask(&house, "ed25519:third", None).await, none(false), "it may be newer than that");
    let known = ask(&house, ID, Some(2 * DAY)).await;
    assert!(known.key.is_some() && known.is_settled, "a newer copy is not to be had: {known:?}");
    assert_eq!(origin.times_asked(), 1);
    let (down, notary) =
        (ScriptedFetcher::origin(vec![fails()]), ScriptedFetcher::notary(vec![gives(&server())]));
    let house = House::new(&[&down, &notary]);
    assert_eq!(ask(&house, "ed25519:other", None).await, none(false));
    assert_eq!(ask(&house, "ed25519:other", None).await, none(false), "it is left alone");
    assert_eq!((down.times_asked(), notary.times_asked()), (1, 1));
    let answer = ask(&house, ID, None).await;
    assert!(answer.key.is_some(), "the notary's word will do for what there is");
}

#[tokio::test]
async fn r84_policy_servers_keys_and_other_algorithms_are_not_asked_for() {
    let origin = ScriptedFetcher::origin(vec![]);
    let house = House::new(&[&origin]);
    for id in ["ed25519:policy_server", "curve25519:1"] {
        let answer = ask(&house, id, None).await;
        assert_eq!(answer, EventKeyAnswer { key: None, is_settled: true }, "{id}");
    }
    assert_eq!(origin.times_asked(), 0);
}

#[tokio::test]
async fn fetches_are_bounded_by_the_allowance() {
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let house = House::new(&[&origin]);
    let answer = ask_within(&house, ID, None, 0).await;
    assert_eq!(answer, EventKeyAnswer { key: None, is_settled: false });
    assert_eq!(origin.times_asked(), 0);
}

#[tokio::test]
async fn banned_keys_do_not_count_for_events_either() {
    let key = server().checked().verify_keys()[&key_id(ID)].clone();
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let house = House::with(&[&origin], |parts| parts.rules = banning([*key.as_bytes()]));
    let answer = ask(&house, ID, None).await;
    assert_eq!(answer.key, None);
}
