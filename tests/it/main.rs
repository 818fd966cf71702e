//! Black-box tests: a whole gate between real sockets, with a homeserver stand-in behind it that
//! writes down every byte it is sent.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::string_slice,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod admin;
mod bodies;
mod corpus;
mod deadlines;
mod events;
mod faults;
mod forwarding;
mod framing;
mod keys;
mod lifecycle;
mod limits;
mod mutations;
mod notary;
mod observe;
mod panics;
mod policy;
mod rejections;
mod reload;
mod restart;
mod smoke;
mod streaming;
mod support;
mod upstream;
