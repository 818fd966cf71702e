//! What a verdict costs beside the bare signature check it cannot do without.
//!
//! The floor is ed25519-dalek's `verify` over the prepared message; the gate goes from the request's head
//! and body to the permit, with the origin's key in its cache. Only ratios mean anything.
//!
//! `cargo bench --bench verify` takes the time of both in turns within one process, and several
//! processes. With `-- count` both are run under valgrind instead, and their instructions are counted:
//! that figure is the same each time.
//! `-- count --check` fails if a goal is missed by more than a few per cent. `-- growth` shows how the time
//! grows with bodies and with the number of servers whose keys are known. `--write` puts the table into
//! `benches/RESULTS.md`, and a picture of the times into `benches/verdict.svg`; `-- 5` takes five times as many rounds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::exit,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    missing_docs,
    reason = "a benchmark: it prints, and may stop at the first mistake"
)]

#[path = "../common/clock.rs"]
mod clock;
mod contenders;
mod count;
#[path = "../common/curve.rs"]
mod curve;
mod growth;
mod plot;
#[path = "../common/results.rs"]
mod results;
mod time;
#[path = "../common/transaction.rs"]
mod transaction;
mod workload;

use contenders::{Contender, House};
use workload::KINDS;

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    // What cargo adds to the arguments of a benchmark.
    args.retain(|arg| arg != "--bench");
    let has = |name: &str| args.iter().any(|arg| arg == name);
    if let [mode, kind, rounds] = &args[..]
        && mode == "start"
    {
        return time::one_start(kind.parse().unwrap(), rounds.parse().unwrap());
    }
    if let [mode, contender, kind, times] = &args[..]
        && mode == "run"
    {
        let kind = &KINDS[kind.parse::<usize>().unwrap()];
        House::new(kind).run(Contender::named(contender), times.parse().unwrap());
        return;
    }
    if has("count") {
        let is_met = count::report(has("--write"));
        if has("--check") && !is_met {
            eprintln!("a goal is missed");
            std::process::exit(1);
        }
        return;
    }
    if has("growth") {
        growth::report(has("--write"));
        return;
    }
    let times = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(1);
    time::report(times, has("--write"));
}
