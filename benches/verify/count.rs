//! Instructions, counted by valgrind.

use std::fmt::Write as _;
use std::process::Command;

use crate::contenders::Contender;
use crate::results;
use crate::workload::{KINDS, Kind};

/// A difference between two numbers of runs leaves out what is done once.
const FEW: usize = 2;
const MANY: usize = 12;

/// How far a goal may be missed: another compiler, another version of a library.
const TOLERANCE: f64 = 1.03;

/// Counts and prints a table. Whether all goals are met.
pub fn report(write: bool) -> bool {
    let mut table = String::from(
        "| request | floor, instructions | gate, instructions | of the floor | at most |\n\
         |---|---:|---:|---:|---:|\n",
    );
    let mut is_met = true;
    for (index, kind) in KINDS.iter().enumerate() {
        let (floor, gate) = (count(Contender::Floor, index), count(Contender::Gate, index));
        let Kind { name, count_goal, .. } = kind;
        let ratio = gate as f64 / floor as f64;
        let mark = if ratio > *count_goal { " !" } else { "" };
        is_met &= ratio <= count_goal * TOLERANCE;
        let line = format!("| {name} | {floor} | {gate} | {ratio:.3}{mark} | {count_goal:.2} |");
        println!("{line}");
        writeln!(table, "{line}").unwrap();
    }
    let head = format!(
        "## Instructions of a verdict\n\n`cargo bench --bench verify -- count --write`: {}. One request \
         from its head to the verdict, its key in the cache, beside ed25519-dalek's `verify` of the \
         prepared message; counted by valgrind, as ({MANY} runs less {FEW}) / {}. `!` marks what misses \
         its goal.\n\n",
        results::origin(),
        MANY - FEW
    );
    if write {
        results::write("count", &(head + &table));
    }
    is_met
}

/// Instructions of one run.
fn count(contender: Contender, kind: usize) -> u64 {
    let [few, many] = [FEW, MANY].map(|times| {
        let own = std::env::current_exe().unwrap();
        let run = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(own)
            .args(["run", contender.name(), &kind.to_string(), &times.to_string()])
            .output()
            .expect("valgrind is needed to count instructions: install the package valgrind");
        let told = String::from_utf8_lossy(&run.stderr);
        let line = told.lines().find_map(|line| line.split("Collected :").nth(1));
        line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or_else(|| panic!("{told}"))
    });
    (many - few) / (MANY - FEW) as u64
}
