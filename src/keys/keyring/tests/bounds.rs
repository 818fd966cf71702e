//! Deadlines, bounds, and a source with a defect.

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::sharing::spawn_verdict;
use super::*;

#[tokio::test(start_paused = true)]
async fn the_whole_fetch_keeps_to_its_deadline() {
    let hanging: Vec<_> = (0..7).map(|_| ScriptedFetcher::notary(vec![Step::Hang])).collect();
    let house = House::new(&hanging.iter().collect::<Vec<_>>());
    let started = Instant::now();
    let error = house.ask(&[ID]).await.unwrap_err();
    let took = started.elapsed();
    assert!((8_000..8_100).contains(&took.as_millis()), "{took:?}");
    let cause = "notary notary.example: timeout: no answer in the time there is";
    assert_eq!(error.causes, [cause; 7].join("; "));
    assert_eq!(house.metric("fedgate_key_fetch_errors_total", &["notary", "timeout"]), 7.0);
}

#[tokio::test(start_paused = true)]
async fn a_second_turn_keeps_to_the_first_deadline() {
    let (gate, step) = gated(Ok(vec![server().checked()]));
    let notary = ScriptedFetcher::notary(vec![step, Step::Hang]);
    let house = Arc::new(House::new(&[&notary]));
    let one = spawn_verdict(&house, ID);
    settle().await;
    let started = Instant::now();
    let other = spawn_verdict(&house, "ed25519:2");
    settle().await;
    tokio::time::advance(Duration::from_secs(5)).await;
    gate.add_permits(1);
    assert_eq!(one.await.unwrap(), "valid");
    assert_eq!(other.await.unwrap(), "unavailable");
    assert_eq!(notary.times_asked(), 2);
    let took = started.elapsed();
    assert!((7_900..8_100).contains(&took.as_millis()), "{took:?}");
}

fn spawn_other(house: &Arc<House>, n: usize) -> JoinHandle<Result<KeyAnswers, KeysUnavailable>> {
    let house = Arc::clone(house);
    let server = ServerName::parse(&format!("s{n}.example")).unwrap();
    tokio::spawn(async move { house.keyring.request_keys(&server, &[key_id(ID)], CLIENT).await })
}

#[tokio::test(start_paused = true)]
async fn fetches_at_one_time_are_bounded() {
    let origin = ScriptedFetcher::origin((0..FIRST_SEEN_LANE.places).map(|_| Step::Hang).collect());
    let house = Arc::new(House::new(&[&origin]));
    let callers: Vec<_> = (0..FIRST_SEEN_LANE.places).map(|n| spawn_other(&house, n)).collect();
    settle().await;
    assert_eq!(house.metric("fedgate_key_fetches_in_flight", &[]), 64.0);
    let started = Instant::now();
    let error = house.ask(&[ID]).await.unwrap_err();
    let took = started.elapsed();
    assert!((4_000..4_100).contains(&took.as_millis()), "{took:?}");
    assert_eq!(error.causes, "64 fetches are running already");
    assert_eq!(error.retry_after, BUSY_RETRY);
    assert_eq!(origin.times_asked(), FIRST_SEEN_LANE.places);
    for caller in callers {
        assert!(caller.await.unwrap().is_err());
    }
    assert_eq!(house.metric("fedgate_key_fetches_in_flight", &[]), 0.0);
    // That we had no room is not held against the server.
    origin.push(gives(&server()));
    assert_eq!(house.verdict(ID).await, "valid");
}

#[tokio::test(start_paused = true)]
async fn fetches_that_wait_are_bounded() {
    let origin = ScriptedFetcher::origin((0..FIRST_SEEN_LANE.places).map(|_| Step::Hang).collect());
    let house = Arc::new(House::new(&[&origin]));
    let callers: Vec<_> =
        (0..FIRST_SEEN_LANE.flights_max).map(|n| spawn_other(&house, n)).collect();
    settle().await;
    let started = Instant::now();
    let error = house.ask(&[ID]).await.unwrap_err();
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(error.causes, "1024 fetches are running or waiting already");
    for caller in callers {
        assert!(caller.await.unwrap().is_err());
    }
    assert!(house.keyring.0.shared.flights.lock().unwrap().is_empty());
}

/// A source with a defect.
struct Panics;

#[async_trait::async_trait]
impl KeyFetcher for Panics {
    fn source(&self) -> &Source {
        &Source::Origin
    }

    async fn fetch(&self, _: &KeyRequest) -> Result<Vec<ServerKeys>, FetchError> {
        panic!("a defect")
    }
}

#[tokio::test]
async fn a_fetch_that_panics_blocks_nobody() {
    let house = House::with(&[], |parts| {
        parts.stages = vec![Stage { sources: vec![Arc::new(Panics)], head_start: HEAD_START }];
    });
    for _ in 0..3 {
        let error = house.ask(&[ID]).await.unwrap_err();
        assert!(error.causes.starts_with("the fetch ended early"), "{error}");
    }
    let inner = &house.keyring.0;
    assert_eq!(inner.parts.metrics.fetches_in_flight.get(), 0);
    assert_eq!(inner.shared.first_seen_places.available_permits(), FIRST_SEEN_LANE.places);
}

/// F6: a flood of made-up names uses up its own budget and its own places; servers that are known
/// are fetched all the same.
#[tokio::test(start_paused = true)]
async fn f6_known_servers_never_queue_behind_first_seen_ones() {
    let hanging = (0..FIRST_SEEN_LANE.places).map(|_| Step::Hang).collect();
    let origin = ScriptedFetcher::origin(hanging);
    let house = Arc::new(House::new(&[&origin]));
    house.cache.insert(server().stored(at(0), Provenance::Origin), BindingMode::Enforce, None);
    let flood: Vec<_> = (0..FIRST_SEEN_LANE.flights_max).map(|n| spawn_other(&house, n)).collect();
    settle().await;
    let mut renewed = server();
    renewed.valid_until = at(9 * DAY);
    origin.push(gives(&renewed));
    house.clock.set(at(DAY + 1));
    let started = Instant::now();
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(started.elapsed(), Duration::ZERO);
    for caller in flood {
        caller.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn f6_lookups_of_made_up_names_keep_to_the_budget() {
    let origin = ScriptedFetcher::origin(vec![]);
    let house = Arc::new(House::with(&[&origin], |parts| {
        parts.policy.first_seen = Rates { in_all: 10, per_network: 2 };
    }));
    let mut refused = 0;
    for n in 0..500 {
        let error = spawn_other(&house, n).await.unwrap().unwrap_err();
        let over = error.causes.contains("too many servers never seen before");
        refused += usize::from(over);
        assert!(!over || error.retry_after <= Duration::from_millis(500), "{error:?}");
    }
    assert_eq!((origin.times_asked(), refused), (32, 500 - 32));
    assert_eq!(house.metric("fedgate_key_first_seen_refused_total", &[]), 468.0);
    assert!(house.keyring.0.shared.flights.lock().unwrap().is_empty());
}
