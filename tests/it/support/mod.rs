//! The parts of a test: an origin with keys, a homeserver that remembers, a gate, clients.

pub mod client;
pub mod event;
pub mod federation;
pub mod gate;
pub mod h2_raw;
pub mod homeserver;
pub mod http2;
pub mod load;
pub mod meaning;
pub mod mutate;
pub mod origin;
pub mod panics;
pub mod process;
pub mod raw;
mod respell;
pub mod silent;

pub use client::{Answer, Client};
pub use gate::{Gate, GateOptions};
pub use homeserver::Homeserver;
pub use origin::Origin;
pub use silent::Silent;

/// The gate's own server name in all tests.
pub const OWN_NAME: &str = "gate.example";

/// The time in all tests: 2026-01-01.
pub const NOW_MS: u64 = 1_767_225_600_000;

/// How long a test waits for something that has to come.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// The outcome of something that has to come; fails the test when it does not.
pub async fn within<F: Future>(what: &str, outcome: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, outcome).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("{what}: nothing came of it"),
    }
}
