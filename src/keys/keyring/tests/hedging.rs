//! Sources beside each other: who is asked when, who wins, who is let go of.

use tokio::time::Instant;

use super::*;

fn hangs() -> Step {
    Step::Hang
}

#[tokio::test(start_paused = true)]
async fn r44_the_next_source_is_asked_beside_one_that_takes_too_long() {
    let homeserver = ScriptedFetcher::new(Provenance::Homeserver, vec![hangs()]);
    let origin = ScriptedFetcher::origin(vec![hangs()]);
    let notary = ScriptedFetcher::notary(vec![gives(&server())]);
    let house = House::new(&[&homeserver, &origin, &notary]);
    let started = Instant::now();
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(started.elapsed().as_millis(), 2 * HEAD_START.as_millis());
    assert_eq!(house.metric("fedgate_key_hedges_won_total", &["notary"]), 1.0);
    assert_eq!(house.metric("fedgate_key_hedges_won_total", &["origin"]), 0.0);
}

#[tokio::test(start_paused = true)]
async fn the_first_valid_answer_wins_and_the_others_are_not_waited_for() {
    let (gate, slow) = gated(Ok(vec![server().checked()]));
    let homeserver = ScriptedFetcher::new(Provenance::Homeserver, vec![slow]);
    let origin = ScriptedFetcher::origin(vec![hangs()]);
    let house = Arc::new(House::new(&[&homeserver, &origin]));
    let caller = sharing::spawn_verdict(&house, ID);
    settle().await;
    tokio::time::advance(HEAD_START).await;
    settle().await;
    assert_eq!(origin.times_asked(), 1);
    gate.add_permits(1);
    assert_eq!(caller.await.unwrap(), "valid");
    assert_eq!(origin.dropped(), 1, "the loser is cancelled");
    assert_eq!(house.metric("fedgate_key_fetches_in_flight", &[]), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_gives_its_time_to_the_next() {
    let homeserver = ScriptedFetcher::new(Provenance::Homeserver, vec![fails()]);
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let house = House::new(&[&homeserver, &origin]);
    let started = Instant::now();
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn notaries_are_asked_at_one_time() {
    let slow = ScriptedFetcher::notary(vec![hangs()]);
    let quick = ScriptedFetcher::notary(vec![gives(&server())]);
    let house = House::new(&[&slow, &quick]);
    let started = Instant::now();
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!((slow.times_asked(), quick.times_asked()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_late_source_without_the_key_does_not_end_the_search() {
    let (gate, late) = gated(Ok(vec![]));
    let homeserver = ScriptedFetcher::new(Provenance::Homeserver, vec![late]);
    let (origin_gate, later) = gated(Ok(vec![server().checked()]));
    let origin = ScriptedFetcher::origin(vec![later]);
    let house = Arc::new(House::new(&[&homeserver, &origin]));
    let caller = sharing::spawn_verdict(&house, ID);
    settle().await;
    tokio::time::advance(HEAD_START).await;
    gate.add_permits(1);
    settle().await;
    assert!(!caller.is_finished());
    origin_gate.add_permits(1);
    assert_eq!(caller.await.unwrap(), "valid");
}
