//! Time by the length of a body, and by how many servers' keys are in the cache.

use std::fmt::Write as _;

use crate::clock::{quantile, time};
use crate::contenders::{Contender, House, judge, learn_keys, verify};
use crate::curve::{self, Line};
use crate::results;
use crate::workload::{SEED, Wire, Workload, gate, kind, workload};

const ROUNDS: usize = 60;

const BODY_BYTES: [usize; 9] =
    [500, 2_000, 8_000, 32_000, 125_000, 500_000, 2_000_000, 6_000_000, 12_000_000];
const ORIGINS: [usize; 4] = [100, 1_000, 10_000, 100_000];

/// Of the origins in the cache, so many ask.
const ASKING: usize = 1_000;

/// A place on a curve: nanoseconds of floor and gate, and the median of their ratio.
struct Point {
    at: usize,
    floor: f64,
    gate: f64,
    ratio: f64,
}

impl Point {
    fn measure(at: usize, mut floor: impl FnMut(), mut gate: impl FnMut()) -> Self {
        let (mut floors, mut gates) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            floors.push(time(&mut floor));
            gates.push(time(&mut gate));
        }
        let ratios: Vec<f64> =
            gates.iter().zip(&floors).map(|(gate, floor)| gate / floor).collect();
        Self {
            at,
            floor: quantile(&floors, 10),
            gate: quantile(&gates, 10),
            ratio: quantile(&ratios, 50),
        }
    }
}

fn by_body() -> Vec<Point> {
    let point = |bytes: &usize| {
        let house = House::new(&kind("", *bytes, Wire::Canonical, 0.0, 0.0));
        Point::measure(
            house.work.body.len(),
            || house.run(Contender::Floor, 1),
            || house.run(Contender::Gate, 1),
        )
    };
    BODY_BYTES.iter().map(point).collect()
}

fn by_origins() -> Vec<Point> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let key = ed25519_dalek::SigningKey::from_bytes(&SEED).verifying_key();
    let get = kind("", 0, Wire::Canonical, 0.0, 0.0);
    let point = |count: &usize| {
        let (gate, _keyring) = gate();
        let every = count.div_ceil(ASKING);
        let mut asking: Vec<Workload> = Vec::new();
        for number in 0..*count {
            let work = workload(&get, &format!("server-{number}.example.com"));
            learn_keys(&gate, &work, &runtime);
            if number % every == 0 {
                asking.push(work);
            }
        }
        // Far from each other, so that none is near in memory because it has just been there.
        let next = |turn: &mut usize| {
            *turn = (*turn + 617) % asking.len();
            *turn
        };
        let (mut first, mut second) = (0, 0);
        Point::measure(
            *count,
            || verify(&key, &asking[next(&mut first)]),
            || judge(&gate, &asking[next(&mut second)]),
        )
    };
    ORIGINS.iter().map(point).collect()
}

fn table(what: &str, curve: &[Point]) -> String {
    let mut text =
        format!("| {what} | floor, us | gate, us | of the floor |\n|---:|---:|---:|---:|\n");
    for Point { at, floor, gate, ratio } in curve {
        let (floor, gate) = (floor / 1e3, gate / 1e3);
        writeln!(text, "| {at} | {floor:.1} | {gate:.1} | {ratio:.3} |").unwrap();
    }
    text
}

fn picture(name: &str, caption: &str, what: &str, curve: &[Point]) {
    let places: Vec<String> = curve.iter().map(|point| point.at.to_string()).collect();
    let lines =
        [Line { name: "fedgate", heights: curve.iter().map(|point| point.ratio).collect() }];
    curve::write(name, caption, (what, &places), "of the bare signature check", &lines);
}

pub fn report(write: bool) {
    let (bodies, origins) = (by_body(), by_origins());
    let section = format!(
        "## How a verdict's time grows\n\n`cargo bench --bench verify -- growth --write`: {}. As above, in \
         turns within one process; canonical bodies (`verdict-bodies.svg`), and GETs of {ASKING} origins by \
         turns (`verdict-origins.svg`).\n\n{}\n{}",
        results::origin(),
        table("body, bytes", &bodies),
        table("origins in the cache", &origins),
    );
    println!("{section}");
    if write {
        results::write("growth", &section);
        picture("verdict-bodies", "Verdict by the length of the body", "bytes", &bodies);
        picture("verdict-origins", "Verdict by servers in the cache", "servers", &origins);
    }
}
