//! Rounds of all contenders, and the table of what they take.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::clock::{SLICE_NS, quantile, time};
use crate::contenders::{Contender, House};
use crate::python::Python;
use crate::results;
use crate::ruma::Ruma;
use crate::workload::{KINDS, Kind};

/// Where stack, heap and tables happen to lie makes a verdict a fifth slower or faster for as long as a
/// process lives: all are started anew so many times.
const STARTS: usize = 16;

/// Of each start.
const ROUNDS: usize = 12;

/// What has a program of this name measure one start.
pub const START: &str = "start";

/// Sent there, a request is not the one that was signed.
const FORGED_TARGET: &str = "/_matrix/federation/v1/version";

const HEAD: &str = "\
| request | floor, us | fedgate | ruma | Python | ruma to fedgate | Python to fedgate |
|---|---:|---:|---:|---:|---:|---:|
";

/// Who takes turns, in this order.
#[derive(Clone, Copy)]
enum Turn {
    Floor,
    Gate,
    Ruma,
    Python,
}

const TURNS: [Turn; 4] = [Turn::Floor, Turn::Gate, Turn::Ruma, Turn::Python];

/// Nanoseconds of a verdict of each, round by round.
type Measured = [Vec<f64>; TURNS.len()];

fn measure(house: &House, python: &mut Python, rounds: usize) -> Measured {
    let (work, ruma) = (&house.work, Ruma::new(&house.work, house.work.target));
    assert!(!Ruma::new(work, FORGED_TARGET).accepts() && ruma.accepts());
    assert!(!python.accepts(work, FORGED_TARGET) && python.accepts(work, work.target));
    let mut measured = Measured::default();
    for round in 0..rounds {
        for turn in 0..TURNS.len() {
            // Turned round each time, so that none always runs on a warmer machine.
            let place = if round % 2 == 0 { turn } else { TURNS.len() - 1 - turn };
            measured[place].push(match TURNS[place] {
                Turn::Floor => time(|| house.run(Contender::Floor, 1)),
                Turn::Gate => time(|| house.run(Contender::Gate, 1)),
                Turn::Ruma => time(|| assert!(ruma.accepts())),
                Turn::Python => python.time(SLICE_NS),
            });
        }
    }
    measured
}

fn line(kind: &Kind, measured: &Measured) -> String {
    let of = |turn: Turn| &measured[turn as usize];
    let ratio = |turn: Turn, to: Turn| {
        let pairs = of(turn).iter().zip(of(to));
        quantile(&pairs.map(|(turn, to)| turn / to).collect::<Vec<_>>(), 50)
    };
    format!(
        "| {} | {:.1} | {:.2} | {:.2} | {:.2} | {:.1} | {:.1} |",
        kind.name,
        quantile(of(Turn::Floor), 10) / 1_000.0,
        ratio(Turn::Gate, Turn::Floor),
        ratio(Turn::Ruma, Turn::Floor),
        ratio(Turn::Python, Turn::Floor),
        ratio(Turn::Ruma, Turn::Gate),
        ratio(Turn::Python, Turn::Gate),
    )
}

/// The version of a library, by the lock file this is built with.
fn version(name: &str) -> &'static str {
    let (_, entry) = include_str!("../Cargo.lock")
        .split_once(&format!("name = \"{name}\"\nversion = \""))
        .expect("it is in the lock file");
    entry.split('"').next().unwrap_or_default()
}

/// One start of all: prints what each takes of each request, a line for each.
pub fn start(interpreter: &str) {
    let mut python = Python::start(interpreter);
    for kind in &KINDS {
        // The largest take milliseconds.
        let rounds = if kind.bytes > 1_000_000 { ROUNDS / 4 } else { ROUNDS };
        println!("{}", json!(measure(&House::new(kind), &mut python, rounds)));
    }
}

/// What all starts have measured of each request.
fn measure_all(interpreter: &str) -> [Measured; KINDS.len()] {
    let program = std::env::current_exe().unwrap();
    let mut all: [Measured; KINDS.len()] = Default::default();
    for _ in 0..STARTS {
        let mut start = Command::new(&program);
        let output = start.args([interpreter, START]).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "a start has failed");
        let lines = str::from_utf8(&output.stdout).unwrap().lines();
        for (measured, line) in all.iter_mut().zip(lines) {
            let more: Measured = serde_json::from_str(line).unwrap();
            measured.iter_mut().zip(more).for_each(|(times, more)| times.extend(more));
        }
    }
    all
}

pub fn report(interpreter: &str, write: bool) {
    let python = Python::start(interpreter).versions;
    let mut table = HEAD.to_owned();
    for (kind, measured) in KINDS.iter().zip(&measure_all(interpreter)) {
        writeln!(table, "{}", line(kind, measured)).unwrap();
    }
    print!("{table}");
    let head = format!(
        "## A verdict beside ruma's and Python's\n\n`benches/peers/run --write`: {}. The requests of \
         `cargo bench --bench verify`, the same bytes and signatures for all, from the head to the \
         verdict, the key at hand: fedgate's gate; `verify_http_request` of ruma-federation-api {}; and \
         what Synapse does with header, body and signature, without its HTTP server and keyring ({}). \
         All take turns, {ROUNDS} rounds (a quarter of them for 2 MB) in each of {STARTS} starts, for where \
         things lie in memory makes a process faster or slower; processor time. Of each: how many times \
         the floor, which is ed25519-dalek's `verify` of the prepared message; medians over rounds, the \
         floor's time the tenth percentile.\n\n",
        results::origin(),
        version("ruma-federation-api"),
        python,
    );
    if write {
        results::write("peers", &(head + &table));
    }
}
