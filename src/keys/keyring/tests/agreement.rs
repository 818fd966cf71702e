//! `keys.agreement`: several witnesses for one key.

use super::*;

const NOTARIES: [&str; 3] = ["n1.example", "n2.example", "n3.example"];

fn notary(n: usize, step: Step) -> Arc<ScriptedFetcher> {
    ScriptedFetcher::of(Source::Notary(ServerName::parse(NOTARIES[n]).unwrap()), vec![step])
}

/// A house that wants two witnesses.
fn two(fetchers: &[&Arc<ScriptedFetcher>]) -> House {
    House::with(fetchers, |parts| parts.policy.agreement = 2)
}

/// The same server with another key under the same ID.
fn forged() -> TestServer {
    let mut server = TestServer::new("a.example");
    server.add_seed(ID, [66; 32]);
    server
}

#[tokio::test]
async fn one_witness_is_not_enough_and_two_are() {
    let origin = ScriptedFetcher::origin(vec![gives(&server()), gives(&server())]);
    let first = notary(0, fails());
    let house = two(&[&origin, &first]);
    let error = house.ask(&[ID]).await.unwrap_err();
    assert!(error.causes.contains("1 of the 2 witnesses"), "{error}");
    assert_eq!(first.times_asked(), 1, "asked at once, although the origin has answered");
    first.push(gives(&server()));
    house.clock.advance_ms(60_000);
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!((origin.times_asked(), first.times_asked()), (2, 2), "then from memory");
}

#[tokio::test(start_paused = true)]
async fn witnesses_are_asked_at_once_and_the_slow_one_is_not_needed() {
    let origin = ScriptedFetcher::origin(vec![Step::Hang]);
    let (first, second) = (notary(0, gives(&server())), notary(1, gives(&server())));
    let house = two(&[&origin, &first, &second]);
    let started = Instant::now();
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn the_own_homeserver_is_no_witness() {
    let homeserver = ScriptedFetcher::new(Provenance::Homeserver, vec![gives(&server())]);
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let house = two(&[&homeserver, &origin]);
    assert_eq!(house.verdict(ID).await, "unavailable");
}

#[tokio::test]
async fn one_notary_asked_twice_is_one_witness() {
    let origin = ScriptedFetcher::origin(vec![fails(), fails()]);
    let first = notary(0, gives(&server()));
    let house = two(&[&origin, &first]);
    for _ in 0..2 {
        assert_eq!(house.verdict(ID).await, "unavailable");
        first.push(gives(&server()));
        house.clock.advance_ms(200_000);
    }
    assert_eq!(first.times_asked(), 2);
}

#[tokio::test]
async fn k3_a_disagreement_is_refused_whoever_speaks_first() {
    for (origin_shows, notary_shows) in [(server(), forged()), (forged(), server())] {
        for origin_first in [true, false] {
            let origin = ScriptedFetcher::origin(vec![gives(&origin_shows)]);
            let liar = notary(0, gives(&notary_shows));
            let house = if origin_first { two(&[&origin, &liar]) } else { two(&[&liar, &origin]) };
            let error = house.ask(&[ID]).await.unwrap_err();
            assert!(error.causes.contains("witnesses disagree"), "{error}");
            assert_eq!(house.metric("fedgate_key_disagreements_total", &[]), 1.0);
        }
    }
}

#[tokio::test]
async fn a_key_that_is_agreed_on_is_not_lost_to_a_later_liar() {
    let origin = ScriptedFetcher::origin(vec![gives(&server()), fails()]);
    let first = notary(0, gives(&server()));
    let house = two(&[&origin, &first]);
    assert_eq!(house.verdict(ID).await, "valid");
    first.push(gives(&forged()));
    assert_eq!(house.verdict("ed25519:2").await, "unavailable");
    assert_eq!(house.verdict(ID).await, "valid");
}

#[tokio::test]
async fn a_key_the_origin_does_not_list_needs_no_agreement_to_be_unknown() {
    let origin = ScriptedFetcher::origin(vec![gives(&server())]);
    let first = notary(0, Step::Answer(Ok(vec![])));
    let house = two(&[&origin, &first]);
    assert_eq!(house.verdict("ed25519:2").await, "unknown");
}

#[tokio::test]
async fn a_key_that_too_few_have_shown_is_not_taken_for_absent() {
    let origin = ScriptedFetcher::origin(vec![gives(&server()), gives(&server())]);
    let (gate, late) = gated(Ok(vec![server().checked()]));
    let first = notary(0, late);
    let house = two(&[&origin, &first]);
    assert_eq!(house.verdict("ed25519:2").await, "unknown");
    gate.add_permits(1);
    first.push(gives(&server()));
    assert_eq!(house.verdict(ID).await, "valid", "within the minute");
}
