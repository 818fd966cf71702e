//! Keys are fetched anew before they end.

use std::hash::RandomState;

use super::*;

fn renewed(until: u64) -> TestServer {
    let mut server = server();
    server.valid_until = at(until);
    server
}

async fn look_through(house: &House, time: u64) {
    house.clock.set(at(time));
    house.keyring.0.refresh_due(&RandomState::new()).await;
}

#[tokio::test]
async fn f8_keys_in_use_are_renewed_around_half_of_their_lifetime() {
    let origin = ScriptedFetcher::origin(vec![gives(&server()), gives(&renewed(2 * DAY))]);
    let house = House::new(&[&origin]);
    assert_eq!(house.verdict(ID).await, "valid");
    look_through(&house, DAY * 49 / 100).await;
    assert_eq!(origin.times_asked(), 1, "not before its time");
    look_through(&house, DAY * 61 / 100).await;
    assert_eq!(origin.times_asked(), 2);
    assert_eq!(origin.asked.lock().unwrap()[1].minimum_valid_until, at(DAY + 1));
    assert_eq!(house.metric("fedgate_key_refreshes_total", &["renewed"]), 1.0);
    house.clock.set(at(DAY + HOUR));
    assert_eq!(house.verdict(ID).await, "valid");
    assert_eq!(origin.times_asked(), 2, "nobody had to wait");
}

#[tokio::test]
async fn a_refresh_that_fails_takes_nothing_away_and_keeps_to_the_back_off() {
    let origin = ScriptedFetcher::origin(vec![gives(&server()), fails(), gives(&renewed(2 * DAY))]);
    let house = House::new(&[&origin]);
    assert_eq!(house.verdict(ID).await, "valid");
    let half = DAY * 61 / 100;
    for (time, asked) in [(half, 2), (half + 30_000, 2), (half + 60_000, 3)] {
        look_through(&house, time).await;
        assert_eq!(house.verdict(ID).await, "valid");
        assert_eq!(origin.times_asked(), asked);
    }
    assert_eq!(house.metric("fedgate_key_refreshes_total", &["failed"]), 1.0);
    house.clock.set(at(DAY + 1));
    assert_eq!(house.verdict(ID).await, "valid");
}

#[tokio::test]
async fn a_source_that_has_nothing_newer_does_not_end_a_refresh() {
    let homeserver =
        ScriptedFetcher::new(Provenance::Homeserver, vec![gives(&server()), gives(&server())]);
    let origin = ScriptedFetcher::origin(vec![gives(&renewed(2 * DAY))]);
    let house = House::new(&[&homeserver, &origin]);
    assert_eq!(house.verdict(ID).await, "valid");
    look_through(&house, DAY * 61 / 100).await;
    assert_eq!((homeserver.times_asked(), origin.times_asked()), (2, 1));
}

#[tokio::test]
async fn servers_not_seen_lately_are_left_alone() {
    let origin = ScriptedFetcher::origin(vec![gives(&server()), gives(&renewed(2 * DAY))]);
    let house = House::new(&[&origin]);
    assert_eq!(house.verdict(ID).await, "valid");
    look_through(&house, DAY * 61 / 100).await;
    assert_eq!(origin.times_asked(), 2);
    // The refresh itself was no sign of life.
    look_through(&house, DAY * 19 / 10).await;
    assert_eq!(origin.times_asked(), 2);
}

/// A document that says the same again is asked for less often than once a minute all the same: at
/// half of what is left, and half of that.
#[tokio::test]
async fn an_origin_that_has_nothing_newer_is_not_pestered() {
    let origin = ScriptedFetcher::origin((0..99).map(|_| gives(&server())).collect());
    let house = House::new(&[&origin]);
    for minute in 0..24 * 60 {
        house.clock.set(at(minute * 60_000));
        assert_eq!(house.verdict(ID).await, "valid");
        look_through(&house, minute * 60_000).await;
    }
    assert!(origin.times_asked() < 12, "{}", origin.times_asked());
}

/// F8: ten thousand keys that end in one second.
#[tokio::test(start_paused = true)]
async fn f8_ten_thousand_expiries_are_ten_thousand_fetches_and_no_failure() {
    let house = Arc::new(herd::house(Rates { in_all: 10_000, per_network: 10_000 }));
    herd::learn(&house, 10_000).await;
    house.clock.set(at(DAY + 1));
    let mut callers = Vec::new();
    for n in 0..10_000 {
        let house = Arc::clone(&house);
        callers.push(tokio::spawn(async move { herd::verdict(&house, n).await }));
    }
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "valid");
    }
    let counts = house.origin.counts();
    assert_eq!(counts.len(), 10_000);
    assert!(counts.values().all(|count| *count == 2), "one to learn, one to renew");
}

/// Ten thousand callers at one time for one server nobody has seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r45_ten_thousand_callers_share_one_fetch() {
    // The budget is for servers, not for callers.
    let house = Arc::new(herd::house(KeyPolicy::default().first_seen));
    let mut callers = Vec::new();
    for _ in 0..10_000 {
        let house = Arc::clone(&house);
        callers.push(tokio::spawn(async move { herd::verdict(&house, 0).await }));
    }
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "valid");
    }
    assert_eq!(house.origin.counts().into_values().collect::<Vec<_>>(), [1]);
}

/// Many servers, each of which answers with a document valid for a day from when it is asked.
mod herd {
    use std::collections::HashMap;

    use super::*;

    pub(super) struct Everybody {
        clock: Arc<ManualClock>,
        counts: Mutex<HashMap<ServerName, usize>>,
    }

    impl Everybody {
        pub(super) fn counts(&self) -> HashMap<ServerName, usize> {
            self.counts.lock().unwrap().clone()
        }
    }

    #[async_trait::async_trait]
    impl KeyFetcher for Everybody {
        fn source(&self) -> &Source {
            &Source::Origin
        }

        async fn fetch(&self, request: &KeyRequest) -> Result<Vec<ServerKeys>, FetchError> {
            *self.counts.lock().unwrap().entry(request.server.clone()).or_default() += 1;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            let mut server = TestServer::new(request.server.as_str());
            server.add_key(ID);
            server.valid_until = self.clock.now().plus_ms(DAY);
            Ok(vec![server.checked()])
        }
    }

    pub(super) struct Herd {
        keyring: Keyring,
        pub(super) clock: Arc<ManualClock>,
        pub(super) origin: Arc<Everybody>,
    }

    pub(super) fn house(rates: Rates) -> Herd {
        let clock = Arc::new(ManualClock::new(at(0)));
        let origin = Arc::new(Everybody { clock: Arc::clone(&clock), counts: Mutex::default() });
        let source = Arc::clone(&origin);
        let house = House::with(&[], |parts| {
            parts.cache = KeyCache::new(256 << 20);
            parts.clock = Arc::clone(&clock) as _;
            parts.policy.first_seen = rates;
            parts.stages = vec![Stage { sources: vec![source], head_start: HEAD_START }];
        });
        Herd { keyring: house.keyring, clock, origin }
    }

    pub(super) async fn learn(herd: &Herd, servers: usize) {
        for n in 0..servers {
            assert_eq!(verdict(herd, n).await, "valid");
        }
    }

    pub(super) async fn verdict(herd: &Herd, n: usize) -> &'static str {
        let server = ServerName::parse(&format!("s{n}.example")).unwrap();
        super::verdict(&herd.keyring.request_keys(&server, &[key_id(ID)], CLIENT).await)
    }
}
