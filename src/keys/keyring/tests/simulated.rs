//! Thousands of small worlds with clocks that jump, sources that lie, hang and fail, and crashes.
//! Whatever happens in them, what [`model`] demands must hold.
//!
//! A world follows from its seed, save for the jitter of refreshes, which the keyring draws itself.
//! `FEDGATE_SIM_SEEDS` raises the number of worlds.

mod model;
mod world;

use tokio::task::JoinHandle;

use super::*;
use crate::keys::rules::Rulebook;
use crate::keys::testing::MapStore;
use model::Model;
use world::{Faker, SimClock, World, start_of_world};

const SEEDS: u64 = 10_000;
const THREADS: u64 = 2;

/// Longest time between the deadline of a fetch and the answer: the disk's share.
const GRACE: Duration = Duration::from_secs(1);

#[test]
fn whatever_happens_keys_stay_within_their_bounds() {
    let wanted = std::env::var("FEDGATE_SIM_SEEDS").ok().and_then(|text| text.parse().ok());
    let seeds = SEEDS.max(wanted.unwrap_or(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|first| {
            std::thread::spawn(move || {
                let metrics = KeyMetrics::new(&Registry::new()).unwrap();
                let mut valid = 0;
                for seed in (first..seeds).step_by(THREADS as usize) {
                    valid += run(seed, &metrics);
                }
                valid
            })
        })
        .collect();
    let valid: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    // Worlds in which nothing ever works would prove nothing.
    assert!(valid > 5 * seeds, "{valid} valid answers in {seeds} worlds");
}

/// Lives through one world and returns how many requests found a valid key.
fn run(seed: u64, metrics: &KeyMetrics) -> u64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    let world = Arc::new(World::new(seed, &mut rng));
    let store = Arc::new(MapStore::default());
    let mut wall = start_of_world();
    for _ in 0..rng.u64(1..=3) {
        let life = Life { world: Arc::clone(&world), store: Arc::clone(&store) };
        // Dropping the runtime in mid-flight is what a crash looks like.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let quiet;
        (wall, quiet) = runtime.block_on(life.live(wall, &mut rng, metrics.clone()));
        drop(runtime);
        let mut model = world.model.lock().unwrap();
        if !quiet {
            model.crashed();
        }
        model.check_histories(&store);
        let violations = std::mem::take(&mut model.violations);
        drop(model);
        assert!(violations.is_empty(), "seed {seed}: {violations:#?}");
    }
    world.model.lock().unwrap().valid_answers
}

/// One life of the process.
struct Life {
    world: Arc<World>,
    store: Arc<MapStore>,
}

impl Life {
    /// Lives from the wall time `wall` on; returns the one at its end, and whether no fetch was
    /// under way then.
    async fn live(&self, wall: u64, rng: &mut fastrand::Rng, metrics: KeyMetrics) -> (u64, bool) {
        let clock = Arc::new(SimClock::new(wall));
        let keyring = self.keyring(&clock, metrics);
        let random = std::hash::RandomState::new();
        let mut requests: Vec<JoinHandle<()>> = Vec::new();
        for _ in 0..rng.u64(5..16) {
            self.world.happen(rng, &clock);
            match rng.u8(0..10) {
                0 => keyring.0.refresh_due(&random).await,
                1 => {
                    let keyring = keyring.clone();
                    tokio::spawn(async move {
                        keyring.0.refresh_due(&std::hash::RandomState::new()).await;
                    });
                }
                _ => {}
            }
            for _ in 0..if rng.u8(0..4) == 0 { rng.u8(2..5) } else { 1 } {
                requests.push(tokio::spawn(self.request(rng, &keyring, &clock)));
            }
            // Some are waited for, others go on while more happens.
            if rng.u8(0..3) > 0 {
                for request in requests.drain(..) {
                    request.await.unwrap();
                }
            }
        }
        if rng.bool() {
            for request in requests {
                request.await.unwrap();
            }
        }
        let quiet = keyring.0.shared.flights.lock().unwrap().is_empty();
        (clock.now().as_ms(), quiet)
    }

    fn keyring(&self, clock: &Arc<SimClock>, metrics: KeyMetrics) -> Keyring {
        let faker = |source: &Source| {
            let world = Arc::clone(&self.world);
            let faker = Faker { source: source.clone(), world, clock: Arc::clone(clock) };
            Arc::new(faker) as Arc<dyn KeyFetcher>
        };
        let is_notary = |source: &Source| matches!(source, Source::Notary(_));
        let stages = self.world.sources.chunk_by(|one, next| is_notary(one) && is_notary(next));
        let stages = stages
            .map(|sources| Stage {
                sources: sources.iter().map(faker).collect(),
                head_start: HEAD_START,
            })
            .collect();
        Keyring::new(KeyringParts {
            cache: KeyCache::new(16 << 20),
            store: Some(Arc::clone(&self.store) as _),
            stages,
            clock: Arc::clone(clock) as _,
            metrics,
            policy: KeyPolicy { agreement: self.world.agreement, ..policy() },
            rules: Rulebook::default(),
        })
    }

    /// A request for one or two keys of some server, checked when it is answered.
    fn request(
        &self,
        rng: &mut fastrand::Rng,
        keyring: &Keyring,
        clock: &Arc<SimClock>,
    ) -> impl Future<Output = ()> + use<> {
        let origin = rng.usize(0..self.world.names.len());
        let server = self.world.names[origin].clone();
        let mut ids = vec![self.world.some_id(origin, rng)];
        if rng.u8(0..5) == 0 {
            ids.push(self.world.some_id(origin, rng));
        }
        let (world, keyring, clock) = (Arc::clone(&self.world), keyring.clone(), Arc::clone(clock));
        async move {
            let started = Instant::now();
            let answers = keyring.request_keys(&server, &ids, CLIENT).await;
            let now = clock.now();
            let known = keyring.0.known_unused(&server, now).await;
            let settled = keyring.0.running(&server).is_none();
            let current = |id| {
                let known = known.as_deref().filter(|_| settled)?;
                Some(keyring.0.answer(&server, Some(known), id, now))
            };
            let mut model = world.model.lock().unwrap();
            let took = started.elapsed();
            if took > policy().fetch_timeout + GRACE {
                model.violations.push(format!("(e) {server} {ids:?} took {took:?}"));
            }
            for (at, id) in ids.iter().enumerate() {
                let answer = answers.as_ref().ok().map(|answers| &answers[at]);
                model.check(&server, id, answer, current(id).as_ref(), now);
            }
        }
    }
}
