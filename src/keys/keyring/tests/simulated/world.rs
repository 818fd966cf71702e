//! The origins, their keys, and the sources that speak of them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const MINUTE: u64 = 60_000;
const YEAR: u64 = 365 * DAY;

/// The wall clock of one life: it goes with tokio's time, and is set by hand now and then.
pub(super) struct SimClock {
    began: Instant,
    wall: AtomicU64,
}

impl SimClock {
    pub(super) fn new(wall: u64) -> Self {
        Self { began: Instant::now(), wall: AtomicU64::new(wall) }
    }

    fn jump(&self, rng: &mut fastrand::Rng) {
        let most = *rng.choice(&[MINUTE, 10 * MINUTE, HOUR, 9 * DAY, 2 * YEAR]).unwrap();
        let wall = self.wall.load(Ordering::SeqCst);
        let jump = rng.u64(0..=most);
        let wall = if rng.u8(0..5) < 3 { wall + jump } else { wall - jump };
        self.wall.store(wall.max(at(0).as_ms()), Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap();
        Timestamp::from_ms(self.wall.load(Ordering::SeqCst) + elapsed)
    }
}

/// When worlds begin: far enough from the lower end of the clock.
pub(super) fn start_of_world() -> u64 {
    at(10 * YEAR).as_ms()
}

/// What an origin says of its keys: ID numbers with the number of the body, and when retired.
#[derive(Clone, Default)]
struct Page {
    keys: Vec<(u8, u8)>,
    old: Vec<(u8, u8, Timestamp)>,
}

/// The changing part of a world.
struct State {
    outage: bool,
    /// Every page of every origin, the current one last.
    pages: Vec<Vec<Page>>,
}

/// One world.
pub(super) struct World {
    seed: u64,
    calls: AtomicU64,
    pub(super) agreement: usize,
    pub(super) names: Vec<ServerName>,
    pub(super) sources: Vec<Source>,
    state: Mutex<State>,
    pub(super) model: Mutex<Model>,
}

fn id_of(number: u8) -> String {
    format!("ed25519:k{number}")
}

/// The body `body` of the key `id`.
fn seed_of(id: u8, body: u8) -> [u8; 32] {
    let mut seed = [9; 32];
    (seed[0], seed[1]) = (id, body);
    seed
}

impl World {
    pub(super) fn new(seed: u64, rng: &mut fastrand::Rng) -> Self {
        let name = |text: String| ServerName::parse(&text).unwrap();
        let names: Vec<_> =
            (0..rng.u8(1..=4)).map(|number| name(format!("o{number}.example"))).collect();
        let mut sources = Vec::new();
        if rng.u8(0..3) == 0 {
            sources.push(Source::Homeserver);
        }
        sources.push(Source::Origin);
        let notaries = 0..rng.u8(0..=2);
        sources.extend(notaries.map(|n| Source::Notary(name(format!("n{n}.example")))));
        let agreement = if sources.len() > 1 && rng.u8(0..3) == 0 { 2 } else { 1 };
        let page = Page { keys: vec![(0, 0)], old: Vec::new() };
        let pages = names.iter().map(|_| vec![page.clone()]).collect();
        Self {
            seed,
            calls: AtomicU64::new(0),
            agreement,
            names,
            sources,
            state: Mutex::new(State { outage: false, pages }),
            model: Mutex::new(Model::new(agreement)),
        }
    }

    /// Lets something happen to the clock, the network or a server.
    pub(super) fn happen(&self, rng: &mut fastrand::Rng, clock: &SimClock) {
        let mut state = self.state.lock().unwrap();
        match rng.u8(0..20) {
            0..=4 => clock.jump(rng),
            5 | 6 => state.outage = !state.outage,
            7 | 8 => state.outage = false,
            9..=11 => {
                let origin = rng.usize(0..self.names.len());
                let mut page = state.pages[origin].last().cloned().unwrap_or_default();
                page.turn(rng, clock.now());
                state.pages[origin].push(page);
            }
            _ => {}
        }
    }

    /// An ID that the server uses, has used, or never will.
    pub(super) fn some_id(&self, origin: usize, rng: &mut fastrand::Rng) -> KeyId {
        let state = self.state.lock().unwrap();
        let current = state.pages[origin].last().and_then(|page| page.keys.last());
        let current = current.map_or(0, |key| key.0);
        key_id(&id_of(if rng.u8(0..4) > 0 { current } else { rng.u8(0..=current + 1) }))
    }
}

impl Page {
    /// The origin changes its keys.
    fn turn(&mut self, rng: &mut fastrand::Rng, now: Timestamp) {
        let used = self.keys.iter().map(|key| key.0).chain(self.old.iter().map(|old| old.0));
        let next = used.max().map_or(0, |last| last + 1);
        match rng.u8(0..5) {
            // It has lost its key and uses the ID again.
            0 => {
                for key in &mut self.keys {
                    key.1 = key.1.wrapping_add(1);
                }
            }
            1 => self.keys = vec![(next, 0)],
            2 if self.keys.len() < 3 => self.keys.push((next, 0)),
            _ => {
                self.old.extend(self.keys.iter().map(|(id, body)| (*id, *body, now)));
                self.keys = vec![(next, 0)];
            }
        }
    }

    /// The signed document of this page.
    fn document(&self, name: &ServerName, valid_until: Timestamp) -> ServerKeys {
        let mut server = TestServer::new(name.as_str());
        server.valid_until = valid_until;
        for (id, body) in &self.keys {
            server.add_seed(&id_of(*id), seed_of(*id, *body));
        }
        for (id, body, ts) in &self.old {
            server.old_keys.insert(id_of(*id), (seed_of(*id, *body), *ts));
        }
        server.checked()
    }

    /// The same keys as listed by somebody who says that they are retired, save for one of his own.
    fn buried(mut self, now: Timestamp) -> Self {
        self.old.extend(self.keys.drain(..).map(|(id, body)| (id, body, now)));
        self.keys = vec![(250, 250)];
        self
    }

    /// The same IDs with other bodies.
    fn forged(mut self, rng: &mut fastrand::Rng) -> Self {
        let other = 200 + rng.u8(0..2);
        for key in &mut self.keys {
            key.1 = other;
        }
        self
    }
}

/// A source that now and then does what it should.
pub(super) struct Faker {
    pub(super) source: Source,
    pub(super) world: Arc<World>,
    pub(super) clock: Arc<SimClock>,
}

/// A call of a source, until it ends or is let go of.
struct Call<'a>(&'a Faker, &'a ServerName);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.world.model.lock().unwrap().fetch_ends(self.1, &self.0.source);
    }
}

impl Faker {
    async fn dawdle(rng: &mut fastrand::Rng) {
        let ms = match rng.u8(0..20) {
            0..12 => return,
            12..17 => rng.u64(0..3_000),
            17..19 => rng.u64(3_000..12_000),
            _ => return std::future::pending().await,
        };
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn answer(
        &self,
        server: &ServerName,
        rng: &mut fastrand::Rng,
    ) -> Result<Vec<ServerKeys>, FetchError> {
        let state = self.world.state.lock().unwrap();
        if state.outage {
            return Err(refused());
        }
        let origin = self.world.names.iter().position(|name| name == server).unwrap();
        let pages = &state.pages[origin];
        let page = pages.last().cloned().unwrap_or_default();
        let now = self.clock.now();
        let is_notary = matches!(self.source, Source::Notary(_));
        let stale = |rng: &mut fastrand::Rng| rng.choice(pages).cloned().unwrap_or_default();
        let shown = match rng.u8(0..20) {
            0 | 1 => return Err(refused()),
            2 => return Ok(Vec::new()),
            3 if is_notary => vec![page.forged(rng)],
            4 if is_notary => vec![page.buried(now)],
            5 | 6 if self.source != Source::Origin => vec![stale(rng)],
            7 if is_notary => vec![stale(rng), page],
            _ => vec![page],
        };
        let lasts = [MINUTE, HOUR, DAY, 30 * DAY, 3 * YEAR];
        let most = *rng.choice(&lasts).unwrap();
        let until = now.plus_ms(rng.u64(0..=most));
        Ok(shown.iter().map(|page| page.document(server, until)).collect())
    }
}

#[async_trait::async_trait]
impl KeyFetcher for Faker {
    fn source(&self) -> &Source {
        &self.source
    }

    async fn fetch(&self, request: &KeyRequest) -> Result<Vec<ServerKeys>, FetchError> {
        let call = self.world.calls.fetch_add(1, Ordering::SeqCst);
        let mut rng = fastrand::Rng::with_seed(self.world.seed << 20 | call);
        self.world.model.lock().unwrap().fetch_begins(&request.server, &self.source);
        let _ends = Call(self, &request.server);
        Self::dawdle(&mut rng).await;
        let answer = self.answer(&request.server, &mut rng);
        let mut model = self.world.model.lock().unwrap();
        for keys in answer.iter().flatten() {
            model.hand_out(&self.source, self.clock.now(), keys.clone());
        }
        answer
    }
}
