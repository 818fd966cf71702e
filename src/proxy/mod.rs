//! The shell around the gate: it reads, calls, answers and forwards, and decides nothing.
//!
//! One request's way: [`listener`] accepts a connection, finds it a place at the [`door`] and wraps it
//! in a [`connection`], which can tell how long a head has been on its way, whether its [`chunks`] are
//! sound, and what its HTTP/2 [`frames`] are. [`gateway`] reads the head, calls the gate, reads the body
//! through [`body`] into memory of the [`budget`], calls the gate again. A refusal is written by
//! [`respond`]. A permit goes to pingora's `HttpProxy` together with a [`handed`] session that replays
//! the verified body, so that pooling, framing and retries stay pingora's; [`forward`] is the part of
//! that which is ours.

mod after;
pub mod apart;
pub mod body;
pub mod budget;
pub mod chunks;
pub mod client;
pub mod client_connection;
pub mod connection;
pub mod door;
pub mod forward;
pub mod frame_count;
pub mod frames;
pub mod gateway;
mod gather;
pub mod handed;
pub mod listener;
pub mod metrics;
pub mod record;
pub mod respond;
mod stall;
pub mod tls;
mod turn;
mod wire;
