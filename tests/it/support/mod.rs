//! The parts of a test: an origin with keys, a homeserver that remembers, a gate, clients.

pub mod client;
pub mod federation;
pub mod gate;
pub mod homeserver;
pub mod meaning;
pub mod mutate;
pub mod origin;
pub mod raw;
mod respell;

pub use client::{Answer, Client};
pub use gate::{Gate, GateOptions};
pub use homeserver::Homeserver;
pub use origin::Origin;

/// The gate's own server name in all tests.
pub const OWN_NAME: &str = "gate.example";

/// The time in all tests: 2026-01-01.
pub const NOW_MS: u64 = 1_767_225_600_000;
