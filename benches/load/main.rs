//! What fedgate costs as a proxy, beside nginx and a bare pingora that pass everything through. `run`
//! builds and calls it.
//!
//! `measure` starts all three, each held to one processor, and asks them in turns from the other one,
//! where the homeserver stand-in is as well. `occupy` keeps one of them busy with one kind of request, for a
//! profile (`flame`).

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

mod client;
mod contender;
#[path = "../common/curve.rs"]
mod curve;
mod growth;
mod homeserver;
#[path = "../common/http1.rs"]
mod http1;
#[path = "../common/known.rs"]
mod known;
mod measure;
mod memory;
mod passthrough;
#[path = "../common/process.rs"]
mod process;
mod report;
#[path = "../common/results.rs"]
mod results;
#[path = "../common/transaction.rs"]
mod transaction;
mod work;

use std::path::Path;

use crate::contender::Kind;

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Clients and homeserver share the one processor that is theirs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match words.as_slice() {
        ["measure", options @ ..] => runtime.block_on(measure::run(options)),
        ["occupy", kind, fedgate, what, seconds, pace @ ..] => {
            let kind = Kind::named(kind).unwrap();
            let pace = pace.first().map(|pace| pace.parse().unwrap());
            let seconds = seconds.parse().unwrap();
            runtime.block_on(measure::occupy(kind, Path::new(fedgate), what, seconds, pace));
        }
        ["passthrough", listen, upstream] => passthrough::run(listen, upstream.parse().unwrap()),
        _ => println!("benches/load/run calls this"),
    }
}
