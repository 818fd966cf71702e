//! Deadlines, bounds, and a source with a defect.

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::sharing::spawn_verdict;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_leaves_time_for_the_next() {
    let origin = ScriptedFetcher::origin(vec![Step::Hang]);
    let notary = ScriptedFetcher::notary(vec![gives(&server())]);
    let house = House::new(&[&origin, &notary]);
    let started = Instant::now();
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(started.elapsed().as_secs(), 4);
    let errors = house.metric("fedgate_key_fetch_errors_total", &["origin", "timeout"]);
    assert_eq!(errors, 1.0);
}

#[tokio::test(start_paused = true)]
async fn the_whole_fetch_keeps_to_its_deadline() {
    let hanging: Vec<_> = (0..7).map(|_| ScriptedFetcher::notary(vec![Step::Hang])).collect();
    let house = House::new(&hanging.iter().collect::<Vec<_>>());
    let started = Instant::now();
    let error = house.ask(&[ID]).await.unwrap_err();
    let took = started.elapsed();
    assert!((8_000..8_100).contains(&took.as_millis()), "{took:?}");
    assert!(error.causes.contains("timeout: no answer within 2000 ms"), "{error}");
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

fn spawn_other(
    house: &Arc<House>,
    n: usize,
) -> JoinHandle<Result<Vec<KeyAnswer>, KeysUnavailable>> {
    let house = Arc::clone(house);
    let server = ServerName::parse(&format!("s{n}.example")).unwrap();
    tokio::spawn(async move { house.keyring.request_keys(&server, &[key_id(ID)]).await })
}

#[tokio::test(start_paused = true)]
async fn fetches_at_one_time_are_bounded() {
    let origin = ScriptedFetcher::origin((0..FETCHES_MAX).map(|_| Step::Hang).collect());
    let house = Arc::new(House::new(&[&origin]));
    let callers: Vec<_> = (0..FETCHES_MAX).map(|n| spawn_other(&house, n)).collect();
    settle().await;
    assert_eq!(house.metric("fedgate_key_fetches_in_flight", &[]), 64.0);
    let started = Instant::now();
    let error = house.ask(&[ID]).await.unwrap_err();
    let took = started.elapsed();
    assert!((4_000..4_100).contains(&took.as_millis()), "{took:?}");
    assert_eq!(error.causes, "64 fetches are running already");
    assert_eq!(error.retry_after, BUSY_RETRY);
    assert_eq!(origin.times_asked(), FETCHES_MAX);
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
    let origin = ScriptedFetcher::origin((0..FETCHES_MAX).map(|_| Step::Hang).collect());
    let house = Arc::new(House::new(&[&origin]));
    let callers: Vec<_> = (0..FLIGHTS_MAX).map(|n| spawn_other(&house, n)).collect();
    settle().await;
    let started = Instant::now();
    let error = house.ask(&[ID]).await.unwrap_err();
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(error.causes, "1024 fetches are running or waiting already");
    for caller in callers {
        assert!(caller.await.unwrap().is_err());
    }
    assert!(house.keyring.0.flights.lock().unwrap().is_empty());
}

/// A source with a defect.
struct Panics;

#[async_trait::async_trait]
impl KeyFetcher for Panics {
    fn provenance(&self) -> Provenance {
        Provenance::Origin
    }

    fn name(&self) -> &str {
        "origin"
    }

    async fn fetch(&self, _: &KeyRequest) -> Result<Vec<ServerKeys>, FetchError> {
        panic!("a defect")
    }
}

#[tokio::test]
async fn a_fetch_that_panics_blocks_nobody() {
    let keyring = Keyring::new(KeyringParts {
        store: KeyCache::new(10),
        fetchers: vec![Arc::new(Panics)],
        clock: Arc::new(ManualClock::new(at(0))),
        metrics: KeyMetrics::new(&Registry::new()).unwrap(),
        fetch_timeout: Duration::from_secs(8),
    });
    for _ in 0..3 {
        let error = keyring.request_keys(&server().name, &[key_id(ID)]).await.unwrap_err();
        assert!(error.causes.starts_with("the fetch ended early"), "{error}");
    }
    assert_eq!(keyring.0.parts.metrics.fetches_in_flight.get(), 0);
    assert_eq!(keyring.0.places.available_permits(), FETCHES_MAX);
}
