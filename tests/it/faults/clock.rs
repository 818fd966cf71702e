//! A clock that jumps (faults 44 to 48).

use fedgate::proto::Timestamp;

use crate::support::raw::RawHomeserver;
use crate::support::{Answer, Client, Gate, GateOptions, NOW_MS, Origin, within};

const TARGET: &str = "/_matrix/federation/v1/event/x";
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
/// Longer than a server that has failed is left alone at first.
const BACK_OFF_MS: u64 = 10 * 60 * 1_000;

/// The servers of a test are all new.
const NO_RATES: &str = "first_seen_per_second = 1000\nfirst_seen_per_second_per_network = 1000";

struct World {
    homeserver: RawHomeserver,
    gate: Gate,
    origin: Origin,
}

impl World {
    async fn start() -> Self {
        let homeserver = RawHomeserver::start(|side| side.answer_all(super::OK)).await;
        let options = GateOptions { keys: NO_RATES, ..GateOptions::default() };
        let gate = Gate::start_before(&homeserver.url, options).await;
        let origin = gate.origin("origin.example");
        Self { homeserver, gate, origin }
    }

    fn set(&self, now_ms: u64) {
        self.gate.clock.set(Timestamp::from_ms(now_ms));
    }

    fn publish_until(&self, valid_until_ts: u64) {
        self.gate.federation.publish(&self.origin.name, self.origin.document_until(valid_until_ts));
    }

    async fn ask(&self) -> Answer {
        ask(&self.gate, &self.origin).await
    }

    /// It passes, and the homeserver gets it.
    async fn assert_passes(&self, context: &str) {
        let before = self.homeserver.seen().len();
        let answer = self.ask().await;
        assert_eq!(answer.status, 200, "{context}: {answer:?}");
        assert_eq!(self.homeserver.seen().len(), before + 1, "{context}");
    }

    /// It is refused, and the homeserver gets nothing.
    async fn assert_refused(&self, context: &str, status: u16) {
        let before = self.homeserver.received();
        let answer = self.ask().await;
        assert_eq!(answer.status, status, "{context}: {answer:?}");
        assert_eq!(self.homeserver.received(), before, "{context}");
    }
}

async fn ask(gate: &Gate, origin: &Origin) -> Answer {
    let value = origin.authorize("GET", TARGET, None);
    let mut client = Client::plain(gate.address).await;
    let headers = [("authorization", value.as_str())];
    within("an answer", client.request("GET", TARGET, &headers, None)).await
}

#[tokio::test]
async fn f44_eight_days_ahead_keys_are_had_anew_or_are_no_more() {
    let world = World::start().await;
    world.publish_until(NOW_MS + 365 * DAY_MS);
    world.assert_passes("before").await;
    world.set(NOW_MS + 8 * DAY_MS);
    world.assert_passes("the origin is there").await;
    assert_eq!(world.gate.federation.fetches(), 2);
    world.gate.federation.withdraw(&world.origin.name);
    world.set(NOW_MS + 16 * DAY_MS);
    world.assert_refused("the origin is away", 503).await;
    world.publish_until(NOW_MS + 365 * DAY_MS);
    world.set(NOW_MS + 16 * DAY_MS + BACK_OFF_MS);
    world.assert_passes("the origin is back").await;
}

#[tokio::test]
async fn f45_a_day_back_a_key_from_the_future_is_had_anew() {
    let world = World::start().await;
    world.assert_passes("before").await;
    world.set(NOW_MS - DAY_MS);
    world.assert_passes("the origin is there").await;
    assert_eq!(world.gate.federation.fetches(), 2);
    world.assert_passes("and is asked once").await;
    assert_eq!(world.gate.federation.fetches(), 2);
    world.set(NOW_MS);
    world.assert_passes("the clock is right again").await;
}

#[tokio::test]
async fn f46_a_start_in_1970_or_behind_2038() {
    for now_ms in [0_u64, 1, 2_147_483_648_000, 4_294_967_296_000, 253_402_300_799_000] {
        if let Some(before) = now_ms.checked_sub(1) {
            let world = World::start().await;
            world.set(now_ms);
            world.publish_until(before);
            world.assert_refused(&format!("a key that ended before {now_ms}"), 401).await;
        }
        let world = World::start().await;
        world.set(now_ms);
        world.publish_until(now_ms + DAY_MS);
        world.assert_passes(&format!("a key that is good at {now_ms}")).await;
        world.set(NOW_MS);
        world.publish_until(NOW_MS + DAY_MS);
        world.assert_passes("the clock is set").await;
    }
}

#[tokio::test]
async fn f47_a_second_that_comes_again_and_again() {
    let world = World::start().await;
    for round in 0..50 {
        world.set(NOW_MS + 1_000 * (round % 2));
        world.assert_passes(&format!("round {round}")).await;
    }
    assert_eq!(world.gate.federation.fetches(), 1, "a leap second costs no fetch");
}

#[tokio::test]
async fn f48_all_keys_end_in_the_same_second() {
    const SERVERS: usize = 50;
    let world = World::start().await;
    let ends = NOW_MS + 60 * 60 * 1_000;
    let origins: Vec<_> = (0..SERVERS).map(|n| Origin::new(&format!("s{n}.example"))).collect();
    for origin in &origins {
        world.gate.federation.publish(&origin.name, origin.document_until(ends));
        assert_eq!(ask(&world.gate, origin).await.status, 200);
    }
    assert_eq!(world.gate.federation.fetches(), SERVERS);
    for origin in &origins {
        let document = origin.document_until(ends + DAY_MS);
        world.gate.federation.publish(&origin.name, document);
    }
    world.set(ends + 1);
    let asked =
        origins.iter().flat_map(|origin| [ask(&world.gate, origin), ask(&world.gate, origin)]);
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(world.gate.federation.fetches(), 2 * SERVERS, "one fetch for each");
}
