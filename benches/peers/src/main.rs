//! What a verdict costs fedgate beside what it costs others, of the same bytes in the same run.
//!
//! The requests are those of `cargo bench --bench verify`. All start with the head and the body and end
//! with the verdict, and have the key at hand: fedgate's gate, ruma's `verify_http_request`, and a Python
//! process that does what Synapse does. They take turns; only ratios mean anything. The floor is
//! ed25519-dalek's `verify` of the prepared message. `run` builds and starts it.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "a benchmark, with parts of another of which it does not need all"
)]

#[path = "../../common/clock.rs"]
mod clock;
#[path = "../../verify/contenders.rs"]
mod contenders;
mod python;
mod report;
#[path = "../../common/results.rs"]
mod results;
mod ruma;
#[path = "../../common/transaction.rs"]
mod transaction;
#[path = "../../verify/workload.rs"]
mod workload;

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut args = std::env::args().skip(1);
    let interpreter = args.next().expect("the Python to run: start it with benches/peers/run");
    match args.next().as_deref() {
        Some(report::START) => report::start(&interpreter),
        argument => report::report(&interpreter, argument == Some("--write")),
    }
}
