//! All contenders in turns, several times over: the machine's speed cancels out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::{Load, Request, ask};
use crate::contender::{Contender, KINDS, Kind};
use crate::work::{refused, without_keys, works};
use crate::{growth, homeserver, memory, report};

/// Kept connections. No multiple of 16: as many heads that are waited for fill whole pages of the
/// allocator, so that each answer's head begins one and gives it back, for 3,300 instructions.
pub const AT_WORK: usize = 30;
/// Requests a second where they come at a pace: a part of what each can do.
const PACE: f64 = 250.0;

struct Options {
    fedgate: PathBuf,
    rounds: usize,
    /// For each figure of each round.
    time: Duration,
    write: bool,
}

impl Options {
    fn parse(words: &[&str]) -> Self {
        let time = Duration::from_millis(1_500);
        let mut options = Self { fedgate: PathBuf::from("fedgate"), rounds: 7, time, write: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--fedgate" => options.fedgate = PathBuf::from(words.next().unwrap()),
                "--quick" => (options.rounds, options.time) = (1, Duration::from_millis(500)),
                "--write" => options.write = true,
                other => panic!("{other} is no option"),
            }
        }
        options
    }
}

/// The contenders, in the order of [`KINDS`].
pub struct House([Contender; 3]);

impl House {
    async fn start(fedgate: &Path) -> Self {
        let homeserver = homeserver::start().await;
        let [nginx, pingora, gate] = KINDS.map(|kind| Contender::start(kind, fedgate, homeserver));
        let house = Self([nginx.await, pingora.await, gate.await]);
        // That a server's keys cannot be had is known only once they have been asked for.
        let load = Load {
            address: house.get(Kind::Fedgate).address,
            requests: &[without_keys()],
            connections: 1,
            pace: None,
            time: Duration::from_millis(1),
        };
        ask(&load, || ()).await;
        house
    }

    pub fn get(&self, kind: Kind) -> &Contender {
        &self.0[kind as usize]
    }
}

/// What one contender did.
#[derive(Clone, Copy)]
pub struct Figures {
    pub per_second: f64,
    /// Processor time of a request.
    pub cpu_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub peak_mib: f64,
}

/// What a contender does with a load.
async fn answering(contender: &Contender, load: &Load<'_>) -> Figures {
    contender.forget_peak();
    let mut before = 0.0;
    let outcome = ask(load, || before = contender.cpu_seconds()).await;
    let cpu = contender.cpu_seconds() - before;
    let answered = outcome.answered as f64;
    Figures {
        per_second: answered / load.time.as_secs_f64(),
        cpu_us: cpu * 1e6 / answered,
        p50_us: outcome.percentile_us(50),
        p99_us: outcome.percentile_us(99),
        peak_mib: contender.memory_mib("VmHWM"),
    }
}

/// Asks as fast as it is answered.
pub async fn at_full_speed(
    contender: &Contender,
    requests: &[Request],
    connections: usize,
    time: Duration,
) -> Figures {
    let load = Load { address: contender.address, requests, connections, pace: None, time };
    answering(contender, &load).await
}

/// Times of answers that nothing waits for: requests come at a pace.
async fn at_a_pace(
    figures: &mut Figures,
    contender: &Contender,
    request: &Request,
    time: Duration,
) {
    let requests = std::slice::from_ref(request);
    let pace = Some(PACE);
    let load = Load { address: contender.address, requests, connections: AT_WORK, pace, time };
    let outcome = ask(&load, || ()).await;
    (figures.p50_us, figures.p99_us) = (outcome.percentile_us(50), outcome.percentile_us(99));
}

/// All rounds of one kind of request, by contender.
#[derive(Default)]
pub struct Rounds {
    pub verify_us: Vec<f64>,
    pub by_kind: [Vec<Figures>; 3],
}

impl Rounds {
    /// The median of one figure.
    pub fn median(&self, kind: Kind, figure: fn(&Figures) -> f64) -> f64 {
        median(self.by_kind[kind as usize].iter().map(figure))
    }

    /// The processor time of a request in one of the fastest rounds.
    pub fn fastest_cpu_us(&self, kind: Kind) -> f64 {
        fastest(self.by_kind[kind as usize].iter().map(|figures| figures.cpu_us))
    }
}

/// One of the least: the second of seven. There are times in which a signature check takes longer by a
/// third or two, as if somebody had the other half of the core, and not in the same rounds for all.
pub fn fastest(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 4]
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub async fn run(words: &[&str]) {
    let options = Options::parse(words);
    let house = House::start(&options.fedgate).await;
    let idle_mib = memory::idle(house.get(Kind::Fedgate)).await;
    let signed = signed(&house, &options).await;
    let refused = refusals(&house, &options).await;
    let growth = growth::measure(&house, options.rounds, options.time).await;
    let bodies = memory::of_bodies(house.get(Kind::Fedgate)).await;
    report::report(&signed, &refused, &growth, &(idle_mib, bodies), options.write);
}

/// Starts one contender only, says which process it is, and has it answer requests for so many seconds:
/// as fast as it can, or so many a second.
pub async fn occupy(kind: Kind, fedgate: &Path, what: &str, seconds: u64, pace: Option<f64>) {
    let homeserver = homeserver::start().await;
    let contender = Contender::start(kind, fedgate, homeserver).await;
    println!("{}", contender.id());
    let signed = works().into_iter().map(|work| (work.name, work.request));
    let (_, request) = signed.chain(refused()).find(|(name, _)| *name == what).unwrap();
    let load = Load {
        address: contender.address,
        requests: &[request],
        connections: AT_WORK,
        pace,
        time: Duration::from_secs(seconds),
    };
    let figures = answering(&contender, &load).await;
    println!("{:.0} us of processor time, {:.0} requests/s", figures.cpu_us, figures.per_second);
}

async fn signed(house: &House, options: &Options) -> Vec<(&'static str, Rounds)> {
    let mut rows: Vec<_> = works().map(|work| (work, Rounds::default())).into();
    for round in 0..options.rounds {
        for (work, rounds) in &mut rows {
            rounds.verify_us.push(work.verify_us());
            for turn in 0..KINDS.len() {
                let kind = KINDS[(round + turn) % KINDS.len()];
                let (contender, request) = (house.get(kind), &work.request);
                let requests = std::slice::from_ref(request);
                let mut figures = at_full_speed(contender, requests, AT_WORK, options.time).await;
                at_a_pace(&mut figures, contender, request, options.time).await;
                rounds.by_kind[kind as usize].push(figures);
            }
        }
    }
    rows.into_iter().map(|(work, rounds)| (work.name, rounds)).collect()
}

/// What is refused, beside a request that nginx passes through.
pub struct Refusal {
    pub what: &'static str,
    pub status: u16,
    pub nginx: Vec<Figures>,
    pub fedgate: Vec<Figures>,
}

async fn refusals(house: &House, options: &Options) -> Vec<Refusal> {
    let [get, ..] = works();
    let row = |(what, request): (&'static str, Request)| {
        let refusal = Refusal { what, status: request.status, nginx: vec![], fedgate: vec![] };
        (request, refusal)
    };
    let mut rows = refused().map(row);
    for _ in 0..options.rounds {
        for (request, refusal) in &mut rows {
            for (kind, request, figures) in [
                (Kind::Nginx, &get.request, &mut refusal.nginx),
                (Kind::Fedgate, &*request, &mut refusal.fedgate),
            ] {
                let requests = std::slice::from_ref(request);
                let contender = house.get(kind);
                figures.push(at_full_speed(contender, requests, AT_WORK, options.time).await);
            }
        }
    }
    rows.into_iter().map(|(_, refusal)| refusal).collect()
}
