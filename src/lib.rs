//! fedgate stands in front of a Matrix homeserver's federation port and verifies every signed
//! request before one byte of it reaches the homeserver.
//!
//! One request's way through the house, which is also the reading order of the modules:
//!
//! 1. [`proxy`] takes the head (method, raw target, headers) within a total deadline.
//! 2. [`gate::route`] decides from method and raw path: open, key endpoint, signed, or other.
//! 3. [`proto::x_matrix`] and [`gate::admission`] check everything that needs no key.
//! 4. [`keys`] finds the origin's signing key: from memory, or by one shared, bounded fetch.
//! 5. [`proxy`] reads the body, bounded in bytes and time; [`proto::json`] scans it.
//! 6. [`proto::verify`] checks the signatures and mints a [`proto::verify::VerifiedOrigin`].
//! 7. [`gate`] turns that into a [`gate::Permit`].
//! 8. [`proxy`] forwards the same target and body bytes; the response streams back.
//!
//! Any refusal is a [`gate::Rejection`]: counted once, logged once, answered once.
//! `ARCHITECTURE.md` has the rest.

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod gate;
pub mod keys;
pub mod net;
pub mod notary;
pub mod proto;
pub mod proxy;
mod stamp;
