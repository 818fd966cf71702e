//! On tokio's paused clock. Jitter is a tenth at most, so a time is looked at from both sides.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::time::advance;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// A cache, and how often something was fetched for it.
struct Fixture {
    cache: WellKnownCache,
    fetches: AtomicUsize,
}

impl Fixture {
    fn new(seed: u64) -> Self {
        let cache = WellKnownCache::new(fastrand::Rng::with_seed(seed), metrics());
        Self { cache, fetches: AtomicUsize::new(0) }
    }

    async fn get(
        &self,
        answer: Result<Delegation, NetError>,
    ) -> (Result<ServerName, NetError>, usize) {
        let result = self
            .cache
            .get("example.org", async {
                self.fetches.fetch_add(1, Ordering::Relaxed);
                answer
            })
            .await;
        (result.result, self.fetches.load(Ordering::Relaxed))
    }

    /// Whether an answer of now is still used after `age`.
    async fn lasts(&self, age: Duration) -> bool {
        let before = self.fetches.load(Ordering::Relaxed);
        advance(age).await;
        self.get(failure()).await.1 == before
    }
}

fn metrics() -> NetMetrics {
    NetMetrics::new().expect("metrics")
}

fn name() -> ServerName {
    ServerName::parse("matrix.example.net").expect("a server name")
}

fn valid(cache_control: Option<&'static str>) -> Result<Delegation, NetError> {
    let cache_control = cache_control.map(|text| Bytes::from_static(text.as_bytes()));
    Ok(Delegation { server: name(), cache_control })
}

fn failure() -> Result<Delegation, NetError> {
    Err(NetError::Connect("refused".to_owned()))
}

#[tokio::test(start_paused = true)]
async fn a_delegation_holds_as_long_as_the_answer_says_within_bounds() {
    let table = [
        (None, HOUR * 24),
        (Some("public"), HOUR * 24),
        (Some("max-age=7200"), HOUR * 2),
        (Some("max-age=0"), MINUTE * 5),
        (Some("no-store"), MINUTE * 5),
        (Some("max-age=999999"), HOUR * 48),
    ];
    for (seed, (cache_control, expected)) in (0..).zip(table) {
        let shown = cache_control.unwrap_or("nothing");
        let short = Fixture::new(seed);
        assert_eq!(short.get(valid(cache_control)).await, (Ok(name()), 1), "{shown}");
        assert!(short.lasts(expected.mul_f64(0.89)).await, "{shown}: too short");
        let long = Fixture::new(seed);
        assert_eq!(long.get(valid(cache_control)).await, (Ok(name()), 1), "{shown}");
        assert!(!long.lasts(expected.mul_f64(1.11)).await, "{shown}: too long");
    }
}

#[tokio::test(start_paused = true)]
async fn jitter_keeps_within_floor_and_cap() {
    for seed in 0..20 {
        for (cache_control, bound) in [("max-age=300", MINUTE * 5), ("max-age=172800", HOUR * 48)] {
            let fixture = Fixture::new(seed);
            fixture.get(valid(Some(cache_control))).await.0.expect("a name");
            let held = fixture.lasts(bound - Duration::from_millis(1)).await;
            assert!(held || bound > HOUR, "shorter than the floor");
            let fixture = Fixture::new(seed);
            fixture.get(valid(Some(cache_control))).await.0.expect("a name");
            let held = fixture.lasts(bound).await;
            assert!(!held || bound < HOUR, "longer than the cap");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn lifetimes_differ() {
    let cache = WellKnownCache::new(fastrand::Rng::with_seed(7), metrics());
    let spread: Vec<Duration> = (0..100).map(|_| cache.spread(HOUR)).collect();
    assert!(spread.iter().all(|time| (HOUR.mul_f64(0.9)..=HOUR.mul_f64(1.1)).contains(time)));
    assert!(spread.iter().any(|time| *time < HOUR) && spread.iter().any(|time| *time > HOUR));
}

#[tokio::test(start_paused = true)]
async fn a_failure_holds_for_an_hour() {
    let refused = Err(NetError::Connect("refused".to_owned()));
    let fixture = Fixture::new(1);
    assert_eq!(fixture.get(failure()).await, (refused.clone(), 1));
    advance(MINUTE * 53).await;
    assert_eq!(fixture.get(valid(None)).await, (refused, 1), "remembered as it was");
    advance(MINUTE * 14).await;
    assert_eq!(fixture.get(valid(None)).await, (Ok(name()), 2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_holds_for_two_minutes_where_there_was_a_document() {
    let fixture = Fixture::new(2);
    fixture.get(valid(Some("max-age=300"))).await.0.expect("a name");
    advance(MINUTE * 6).await;
    // What it was before is not used beyond its lifetime.
    assert_eq!(fixture.get(failure()).await, (Err(NetError::Connect("refused".to_owned())), 2));
    assert!(fixture.lasts(Duration::from_secs(105)).await);
    assert!(!fixture.lasts(Duration::from_secs(30)).await);
    // The time since the document counts, not the failures since.
    advance(HOUR * 48).await;
    assert!(!fixture.lasts(Duration::ZERO).await);
    assert!(fixture.lasts(MINUTE * 53).await);
}

#[tokio::test(start_paused = true)]
async fn who_asks_at_once_is_served_by_one_fetch() {
    let fixture = Fixture::new(3);
    let slow = |host: &'static str| {
        fixture.cache.get(host, async {
            fixture.fetches.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            valid(None)
        })
    };
    let started = Instant::now();
    let (one, two, other) =
        tokio::join!(slow("example.org"), slow("Example.ORG"), slow("example.com"));
    let all = [one, two, other].map(|looked| looked.result);
    assert_eq!(all, [Ok(name()), Ok(name()), Ok(name())]);
    assert_eq!(fixture.fetches.load(Ordering::Relaxed), 2, "one for each host");
    assert_eq!(started.elapsed(), Duration::from_secs(1), "hosts do not wait for each other");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_fetch_leaves_nothing_behind() {
    let fixture = Fixture::new(4);
    let stalled = fixture.cache.get("example.org", std::future::pending());
    tokio::time::timeout(MINUTE, stalled).await.expect_err("never");
    assert_eq!(fixture.get(valid(None)).await, (Ok(name()), 1));
}

#[tokio::test]
async fn a_flood_of_hosts_does_not_grow_the_memory() {
    let cache = WellKnownCache::new(fastrand::Rng::with_seed(5), metrics());
    for n in 0..HOSTS_MAX + 2_000 {
        cache
            .get(&format!("{n}.example.org"), async { failure() })
            .await
            .result
            .expect_err("a failure");
    }
    cache.hosts.run_pending_tasks().await;
    assert!(cache.hosts.entry_count() <= HOSTS_MAX, "{}", cache.hosts.entry_count());
}

#[test]
fn cache_control_is_read_strictly() {
    let table: [(&[u8], Duration); 15] = [
        (b"", HOUR * 24),
        (b"public, immutable", HOUR * 24),
        (b"s-maxage=60", HOUR * 24),
        (b"max-age=3600", HOUR),
        (b"public,MAX-AGE = 3600 , must-revalidate", HOUR),
        (b"max-age=\"3600\"", HOUR),
        (b"max-age=7200, max-age=3600", HOUR),
        (b"max-age=3600, no-cache", MINUTE * 5),
        (b"No-Store", MINUTE * 5),
        (b"no-cache=\"set-cookie\"", MINUTE * 5),
        (b"max-age", MINUTE * 5),
        (b"max-age=", MINUTE * 5),
        (b"max-age=-1", MINUTE * 5),
        (b"max-age=\xff", MINUTE * 5),
        (b"max-age=99999999999999999999999", HOUR * 48),
    ];
    for (value, expected) in table {
        assert_eq!(lifetime(Some(value)), expected, "{}", value.escape_ascii());
    }
    assert_eq!(lifetime(None), HOUR * 24);
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_counted() {
    let fixture = Fixture::new(1);
    for _ in 0..3 {
        fixture.get(valid(None)).await.0.expect("a name");
    }
    fixture.cache.get("example.com", async { failure() }).await.result.expect_err("a failure");
    assert_eq!(fixture.cache.metrics.seen(Remembered::WellKnown), (2, 2, 2));
}
