//! Attacks a fedgate, and measures what it takes and what known servers notice. `run` builds and calls it.
//!
//! `measure` starts fedgate with a homeserver stand-in, and itself again: once for the known servers
//! (`peers`), once for each attack (`flood`), so that the one does not wait for the other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stdout,
    clippy::string_slice,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark: it reads the clock, prints, and may stop at the first mistake"
)]

mod flood;
mod frames;
mod gate;
#[path = "../common/http1.rs"]
mod http1;
#[path = "../common/known.rs"]
mod known;
mod measure;
mod peers;
#[path = "../common/process.rs"]
mod process;
mod report;
#[path = "../common/results.rs"]
mod results;
mod wire;

use std::path::Path;
use std::time::Duration;

use wire::Target;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match words.as_slice() {
        ["measure", options @ ..] => runtime.block_on(measure::run(options)),
        ["peers", address, ca, seconds] => {
            let target = Target::new(address, Path::new(ca));
            runtime.block_on(peers::run(target, seconds_of(seconds)));
        }
        ["flood", address, ca, seconds, kind, spread] => {
            let target = Target::new(address, Path::new(ca));
            runtime.block_on(flood::run(target, seconds_of(seconds), kind, spread));
        }
        _ => println!("benches/attack/run calls this"),
    }
    // Connections that are open still hold nobody up.
    runtime.shutdown_background();
}

fn seconds_of(text: &str) -> Duration {
    Duration::from_secs_f64(text.parse().unwrap())
}
