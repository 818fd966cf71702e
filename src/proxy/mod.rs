//! The shell around the gate: it reads, calls, answers and forwards, and decides nothing.
//!
//! One request's way: [`listener`] accepts a connection and wraps it in a [`connection`], which can
//! tell how long a head has been on its way and whether its [`chunks`] are sound. [`gateway`] reads
//! the head, calls the gate, reads the body through [`body`], calls the gate again. A refusal is
//! written by [`respond`]. A permit goes to pingora's `HttpProxy` together with a [`handed`] session
//! that replays the verified body, so that pooling, framing and retries stay pingora's; [`forward`]
//! is the part of that which is ours.

pub mod body;
pub mod chunks;
pub mod client;
pub mod client_connection;
pub mod connection;
pub mod forward;
pub mod frames;
pub mod gateway;
mod gather;
pub mod handed;
pub mod listener;
pub mod metrics;
pub mod record;
pub mod respond;
pub mod tls;
mod turn;
mod wire;
