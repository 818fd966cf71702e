//! What is said of a key, and whom it takes to say it.

use super::*;

#[tokio::test]
async fn r44_a_key_comes_from_the_origin_and_then_from_memory() {
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let notary = ScriptedFetcher::notary(vec![]);
    let house = House::new(&[&origin, &notary]);
    let answers = house.ask(&[ID]).await.unwrap();
    let [KeyAnswer::Valid(key)] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!(key.server, server().name);
    assert_eq!(key.id, key_id(ID));
    assert_eq!(key.effective_until, at(DAY));
    assert_eq!(key.provenance, Some(Provenance::Origin));
    assert_eq!(house.ask(&[ID]).await.unwrap(), answers);
    assert_eq!((origin.times_asked(), notary.times_asked()), (1, 0));
    let asked = origin.asked.lock().unwrap();
    assert_eq!(asked[0].key_ids, [key_id(ID)]);
    assert_eq!(asked[0].minimum_valid_until, at(0));
}

#[tokio::test]
async fn r44_the_next_source_is_asked_when_one_fails() {
    let origin = ScriptedFetcher::origin(vec![fails()]);
    let notary = ScriptedFetcher::notary(vec![gives(&server())]);
    let house = House::new(&[&origin, &notary]);
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!((origin.times_asked(), notary.times_asked()), (1, 1));
}

#[tokio::test]
async fn r44_the_next_source_is_asked_when_one_has_no_valid_key() {
    let mut stale = server();
    stale.valid_until = at(0);
    let mut other = TestServer::new("a.example");
    other.add_key("ed25519:2");
    for answer in [vec![], vec![stale.checked()], vec![other.checked()]] {
        let homeserver =
            ScriptedFetcher::new(Provenance::Homeserver, vec![Step::Answer(Ok(answer))]);
        let origin = ScriptedFetcher::origin(vec![gives(&server())]);
        let house = House::new(&[&homeserver, &origin]);
        house.clock.set(at(1));
        assert_eq!(house.verdict(ID).await, "valid");
        assert_eq!(origin.times_asked(), 1);
    }
}

#[tokio::test]
async fn r50_a_key_in_memory_causes_no_network_traffic() {
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let house = House::new(&[&origin]);
    house.ask(&[ID]).await.unwrap();
    for time in [0, 1, HOUR, DAY] {
        house.clock.set(at(time));
        assert_eq!(house.verdict(ID).await, "valid", "{time}");
        // One of two is enough: the request can be judged by it.
        let answers = house.ask(&["ed25519:2", ID]).await.unwrap();
        assert!(matches!(answers.as_slice(), [KeyAnswer::Unknown, KeyAnswer::Valid(_)]));
    }
    assert_eq!(origin.times_asked(), 1);
}

#[tokio::test]
async fn r41_an_expired_key_is_fetched_again() {
    let mut renewed = server();
    renewed.valid_until = at(2 * DAY);
    let origin = ScriptedFetcher::origin(vec![gives(&server()), gives(&renewed)]);
    let house = House::new(&[&origin]);
    for (time, fetches) in [(0, 1), (DAY - 1, 1), (DAY, 1), (DAY + 1, 2)] {
        house.clock.set(at(time));
        assert_eq!(house.verdict(ID).await, "valid");
        assert_eq!(origin.times_asked(), fetches, "{time}");
    }
}

#[tokio::test]
async fn r41_a_key_that_is_not_renewed_is_expired() {
    let origin = ScriptedFetcher::origin(vec![gives(&server()), gives(&server())]);
    let house = House::new(&[&origin]);
    house.ask(&[ID]).await.unwrap();
    house.clock.set(at(DAY + 1));
    let expired = KeyAnswer::Expired { effective_until: at(DAY) };
    assert_eq!(house.ask(&[ID]).await.unwrap().as_slice(), [expired]);
}

#[tokio::test]
async fn r42_a_key_is_fetched_again_after_7_days_whatever_it_says() {
    let mut eternal = server();
    eternal.valid_until = Timestamp::MAX;
    let origin = ScriptedFetcher::origin(vec![gives(&eternal), fails()]);
    let house = House::new(&[&origin]);
    for (time, verdict) in
        [(0, "valid"), (7 * DAY - 1, "valid"), (7 * DAY, "valid"), (7 * DAY + 1, "unavailable")]
    {
        house.clock.set(at(time));
        assert_eq!(house.verdict(ID).await, verdict, "{time}");
    }
    assert_eq!(origin.times_asked(), 2);
}

#[tokio::test]
async fn r40_a_retired_key_is_never_valid_for_requests() {
    for expired_ts in [0, 1, 999 * DAY] {
        let mut retired = server();
        retired.add_key("ed25519:2");
        retired.retire(ID, at(expired_ts));
        let origin = ScriptedFetcher::origin(vec![gives(&retired)]);
        let house = House::new(&[&origin]);
        let answer = KeyAnswer::Retired { expired_ts: at(expired_ts) };
        for _ in 0..3 {
            assert_eq!(house.ask(&[ID]).await.unwrap().as_slice(), std::slice::from_ref(&answer));
        }
        assert_eq!(house.verdict("ed25519:2").await, "valid");
        house.clock.set(at(DAY));
        assert_eq!(house.ask(&[ID]).await.unwrap().as_slice(), [answer]);
        assert_eq!(origin.times_asked(), 1, "what the origin said is not asked again");
    }
}

#[tokio::test]
async fn r40_the_origins_word_retires_a_key_in_memory() {
    let mut retired = server();
    retired.add_key("ed25519:2");
    retired.retire(ID, at(5));
    let origin = ScriptedFetcher::origin(vec![gives(&server()), gives(&retired)]);
    let house = House::new(&[&origin]);
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(house.verdict("ed25519:2").await, "valid");
    assert_eq!(house.verdict(ID).await, "retired");
}

#[tokio::test]
async fn r43_keys_that_no_server_publishes_are_never_fetched() {
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let house = House::new(&[&origin]);
    for id in ["ed25519:policy_server", "ed448:1", "curve25519:AAAA", "ED25519:1"] {
        assert_eq!(house.verdict(id).await, "unknown", "{id}");
    }
    assert!(house.ask(&[]).await.unwrap().is_empty());
    assert_eq!(origin.times_asked(), 0);
    let answers = house.ask(&["ed448:1", ID]).await.unwrap();
    assert!(matches!(answers.as_slice(), [KeyAnswer::Unknown, KeyAnswer::Valid(_)]));
    assert_eq!(origin.asked.lock().unwrap()[0].key_ids, [key_id(ID)]);
}

/// What one source does when it is asked for `ed25519:1`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Does {
    /// It fails.
    Fail,
    /// It answers, with nothing.
    Nothing,
    /// It has a document with another key only.
    OtherKey,
    /// It has a document past its time.
    Stale,
    /// Its document lists the key as old.
    Retired,
    /// It has the valid key.
    Valid,
}

fn documents(does: Does) -> Result<Vec<ServerKeys>, FetchError> {
    let mut server = server();
    match does {
        Does::Fail => return Err(refused()),
        Does::Nothing => return Ok(vec![]),
        Does::OtherKey => {
            server = TestServer::new("a.example");
            server.add_key("ed25519:2");
        }
        Does::Stale => server.valid_until = at(0),
        Does::Retired => {
            server.add_key("ed25519:2");
            server.retire(ID, at(0));
        }
        Does::Valid => {}
    }
    Ok(vec![server.checked()])
}

/// "A key that cannot be had just now is 503; a key that provably does not exist is 401."
#[tokio::test]
async fn only_the_origin_proves_that_a_key_does_not_exist() {
    use Does::{Fail, Nothing, OtherKey, Retired, Stale, Valid};
    let table = [
        (Fail, Fail, "unavailable"),
        (Fail, Nothing, "unavailable"),
        (Fail, OtherKey, "unavailable"),
        (Fail, Stale, "unavailable"),
        (Fail, Retired, "retired"),
        (Fail, Valid, "valid"),
        (OtherKey, Fail, "unknown"),
        (Stale, Fail, "expired"),
        (Retired, Fail, "retired"),
        (Valid, Fail, "valid"),
        // The origin has the last word on its own keys.
        (OtherKey, Valid, "unknown"),
        (Retired, Valid, "retired"),
        (Stale, Valid, "expired"),
    ];
    for provenance in [Provenance::Notary, Provenance::Homeserver] {
        for (origin, other, expected) in table {
            let origin_does = ScriptedFetcher::origin(vec![Step::Answer(documents(origin))]);
            let other_does = ScriptedFetcher::new(provenance, vec![Step::Answer(documents(other))]);
            let house = House::new(&[&origin_does, &other_does]);
            house.clock.set(at(1));
            let case = format!("origin {origin:?}, {provenance:?} {other:?}");
            assert_eq!(house.verdict(ID).await, expected, "{case}");
            assert_eq!(other_does.times_asked(), usize::from(origin == Fail), "{case}");
            // The same again, from memory.
            assert_eq!(house.verdict(ID).await, expected, "{case}, again");
            assert_eq!(origin_does.times_asked(), 1, "{case}");
        }
    }
}

#[tokio::test]
async fn a_notarys_word_on_retirement_does_not_judge_other_keys() {
    let origin = ScriptedFetcher::origin(vec![fails()]);
    let notary = ScriptedFetcher::notary(vec![Step::Answer(documents(Does::Retired))]);
    let house = House::new(&[&origin, &notary]);
    assert_eq!(house.verdict(ID).await, "retired");
    assert_eq!(house.verdict("ed25519:3").await, "unavailable");
    assert!(house.ask(&[ID, "ed25519:3"]).await.is_err());
    // And the origin is asked again in time.
    house.clock.advance_ms(60_000);
    origin.push(gives(&server()));
    assert_eq!(house.verdict(ID).await, "valid");
}

#[tokio::test]
async fn without_sources_nothing_can_be_said() {
    let house = House::new(&[]);
    let error = house.ask(&[ID]).await.unwrap_err();
    assert_eq!(error.causes, "no source is configured");
}

#[tokio::test]
async fn every_cause_is_told() {
    let not_served = Step::Answer(Err(FetchError::NotServed));
    let homeserver = ScriptedFetcher::new(Provenance::Homeserver, vec![not_served]);
    let origin = ScriptedFetcher::origin(vec![fails()]);
    let notary = ScriptedFetcher::notary(vec![Step::Answer(Ok(vec![]))]);
    let house = House::new(&[&homeserver, &origin, &notary]);
    let error = house.ask(&[ID]).await.unwrap_err();
    assert_eq!(error.retry_after, Duration::from_secs(60));
    assert_eq!(
        error.causes,
        "homeserver: serves no keys of other servers; \
         origin: connect: a.example: connection refused; \
         notary notary.example: has no keys of this server"
    );
    house.clock.advance_ms(1_500);
    let again = house.ask(&[ID]).await.unwrap_err();
    assert_eq!(again.retry_after, Duration::from_millis(58_500));
    assert_eq!(again.causes, format!("not asked again yet; last time: {}", error.causes));
}

#[tokio::test]
async fn r62_a_notary_cannot_exchange_a_key_of_the_origin() {
    let mut false_server = TestServer::new("a.example");
    false_server.add_seed(ID, [66; 32]);
    false_server.valid_until = at(5 * DAY);
    let origin = ScriptedFetcher::origin(vec![gives(&server()), fails()]);
    let notary = ScriptedFetcher::notary(vec![gives(&false_server)]);
    let house = House::new(&[&origin, &notary]);
    let genuine = house.ask(&[ID]).await.unwrap();
    house.clock.set(at(DAY + 1));
    assert_eq!(house.verdict(ID).await, "unavailable");
    assert_eq!(notary.times_asked(), 1);
    assert_eq!(house.metric("fedgate_key_collisions_total", &["notary"]), 1.0);
    house.clock.set(at(0));
    assert_eq!(house.ask(&[ID]).await.unwrap(), genuine);
}

#[tokio::test]
async fn keys_in_the_store_are_used() {
    let house = House::new(&[]);
    house.cache.insert(server().stored(at(0), Provenance::Origin), BindingMode::Enforce, None);
    assert_eq!(house.verdict(ID).await, "valid");
}

#[tokio::test]
async fn a_key_once_retired_is_retired_while_the_origin_is_away() {
    let mut retired = server();
    retired.add_key("ed25519:2");
    retired.retire(ID, at(0));
    let origin = ScriptedFetcher::origin(vec![gives(&retired), fails()]);
    let house = House::new(&[&origin]);
    for (time, fetches) in [(0, 1), (DAY, 1), (DAY + 1, 2), (DAY + 2, 2)] {
        house.clock.set(at(time));
        assert_eq!(house.verdict(ID).await, "retired", "{time}");
        assert_eq!(origin.times_asked(), fetches, "{time}");
    }
}
