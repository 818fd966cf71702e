//! Time, of contenders in turns: the machine's speed cancels out.

use std::fmt::Write as _;
use std::process::Command;

use crate::clock::{SLICE_NS, now, quantile, time};
use crate::contenders::{Contender, House, PIECE_BYTES};
use crate::workload::{KINDS, Kind, Wire};
use crate::{plot, results};

/// Where things lie in memory is another matter in each start: the rounds of as many are put together.
const STARTS: usize = 8;

/// Of a contender's rounds, in per cent, the fastest ones. There are times in which all take longer by a
/// third, on one processor and not the other, as if somebody had the other half of its core; a check with a
/// table, which multiplies numbers one by one, takes longer by two thirds then.
const FASTEST: usize = 10;

/// Of each start.
const ROUNDS: usize = 25;

/// What may be asked of a hot key, for requests up to 2 KB, and of the verdict after the last byte, as a
/// multiple of the floor of a GET.
const HOT_GOAL: f64 = 0.65;
const LAST_GOAL: f64 = 1.35;

/// Nanoseconds from the last piece of the body on, over some requests.
fn time_of_last(house: &House) -> f64 {
    let (mut spent, mut calls) = (0.0, 0);
    while calls < 2 || spent < SLICE_NS / 4.0 {
        house.with_last_piece(|end| {
            let started = now();
            end();
            spent += now() - started;
        });
        calls += 1;
    }
    spent / f64::from(calls)
}

/// What is measured of each request, in this order.
#[derive(Clone, Copy)]
enum Part {
    Floor,
    Gate,
    Hot,
    Last,
    FloorOfGet,
}

const PARTS: [Part; 5] = [Part::Floor, Part::Gate, Part::Hot, Part::Last, Part::FloorOfGet];

/// Nanoseconds of each part, round by round.
fn measure(house: &House, get: &House, rounds: usize) -> [Vec<f64>; 5] {
    let mut measured: [Vec<f64>; 5] = Default::default();
    for round in 0..rounds {
        for turn in 0..PARTS.len() {
            // Turned round each time, so that none always runs on a warmer machine.
            let place = if round % 2 == 0 { turn } else { PARTS.len() - 1 - turn };
            measured[place].push(match PARTS[place] {
                Part::Floor => time(|| house.run(Contender::Floor, 1)),
                Part::Gate => time(|| house.run(Contender::Gate, 1)),
                Part::Hot => time(|| house.run(Contender::Hot, 1)),
                Part::Last => time_of_last(house),
                Part::FloorOfGet => time(|| get.run(Contender::Floor, 1)),
            });
        }
    }
    measured
}

/// What one start of the program measures and prints, a line for each round.
pub fn one_start(kind: usize, rounds: usize) {
    let measured = measure(&House::new(&KINDS[kind]), &House::new(&KINDS[0]), rounds);
    for round in 0..rounds {
        println!("{}", measured.each_ref().map(|part| part[round].to_string()).join(" "));
    }
}

/// The rounds of all starts.
fn in_starts(kind: usize, rounds: usize) -> [Vec<f64>; 5] {
    let mut measured: [Vec<f64>; 5] = Default::default();
    for _ in 0..STARTS {
        let own = std::env::current_exe().unwrap();
        let arguments = ["start".to_owned(), kind.to_string(), rounds.to_string()];
        let start = Command::new(own).args(arguments).output().unwrap();
        assert!(start.status.success(), "{}", String::from_utf8_lossy(&start.stderr));
        for line in String::from_utf8(start.stdout).unwrap().lines() {
            for (part, figure) in measured.iter_mut().zip(line.split(' ')) {
                part.push(figure.parse().unwrap());
            }
        }
    }
    measured
}

/// Of one kind of request, multiples of the floor and, for the end, of the floor of a GET.
pub struct Ratios {
    pub name: &'static str,
    pub gate: f64,
    pub hot: f64,
    last: f64,
}

impl Ratios {
    fn of(kind: &Kind, measured: &[Vec<f64>; 5]) -> Self {
        let ratio = |part: Part, of: Part| {
            quantile(&measured[part as usize], FASTEST) / quantile(&measured[of as usize], FASTEST)
        };
        Self {
            name: kind.name,
            gate: ratio(Part::Gate, Part::Floor),
            hot: ratio(Part::Hot, Part::Floor),
            last: ratio(Part::Last, Part::FloorOfGet),
        }
    }
}

fn line(kind: &Kind, measured: &[Vec<f64>; 5], ratios: &Ratios) -> String {
    let us = |part: Part| quantile(&measured[part as usize], FASTEST) / 1_000.0;
    let mark = |misses: bool| if misses { " !" } else { "" };
    let Ratios { name, gate, hot, last } = ratios;
    let is_late = kind.wire == Wire::Canonical && *last > LAST_GOAL;
    format!(
        "| {name} | {:.1} | {:.1} | {gate:.3}{} | {:.2} | {hot:.3}{} | {:.1} | {last:.2}{} |",
        us(Part::Floor),
        us(Part::Gate),
        mark(*gate > kind.time_goal),
        kind.time_goal,
        mark(kind.bytes <= 2_000 && *hot > HOT_GOAL),
        us(Part::Last),
        mark(is_late),
    )
}

pub fn report(times: usize, write: bool) {
    let mut table = String::from(
        "| request | floor, us | gate, us | of the floor | at most | with a table | after the last \
         byte, us | of the GET's floor |\n|---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let mut rows = Vec::new();
    for (index, kind) in KINDS.iter().enumerate() {
        // The largest take milliseconds.
        let rounds = if kind.bytes > 1_000_000 { ROUNDS / 3 } else { ROUNDS } * times;
        let measured = in_starts(index, rounds);
        let ratios = Ratios::of(kind, &measured);
        let line = line(kind, &measured, &ratios);
        println!("{line}");
        writeln!(table, "{line}").unwrap();
        rows.push(ratios);
    }
    let head = format!(
        "## Time of a verdict\n\n`cargo bench --bench verify -- {times} --write`: {}. One request from its head to \
         the verdict, its key in the cache, beside ed25519-dalek's `verify` of the prepared message (the \
         floor), in turns within one process, and {STARTS} processes one after the other; processor time, of \
         each the {FASTEST}th percentile of its rounds. (In restless times, as if somebody had the other half of \
         the core, all take longer by a third, and checks with a table by two thirds.) The floor stays in the \
         processor's cache of instructions while it is called over and over; it and the gate do not fit in \
         there together (26 and 1,130 misses a GET, simulated). With a table: the origin's key has one, \
         at most {HOT_GOAL} for requests up to 2 KB. After the last byte: the body comes in pieces of {PIECE_BYTES} bytes, and only what is done \
         from the last one on is counted; at most {LAST_GOAL} times the floor of a GET for canonical \
         bodies. `!` marks what misses its goal.\n\n",
        results::origin(),
    );
    if write {
        results::write("time", &(head + &table));
        plot::write(&rows);
    }
}
