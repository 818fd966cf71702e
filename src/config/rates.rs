//! How much anybody may ask for: part of the section `limits`.

use std::time::Duration;

/// Rates of requests, and what becomes of those beyond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRates {
    /// Verified requests of one origin per second that are not delayed. Not zero.
    pub origin_per_second: u32,
    /// How long those beyond are delayed.
    pub origin_delay: Duration,
    /// Requests of one origin at the homeserver at one time. Not zero.
    pub origin_concurrent: usize,
    /// Requests of one origin that are delayed or wait for a place.
    pub origin_queue: usize,
    /// How long one may wait.
    pub origin_queue_timeout: Duration,
    /// Requests of one client per second that may fail. Not zero.
    pub failures_per_second: u32,
    /// Requests of one client per second that need no signature. Not zero.
    pub open_per_second: u32,
    /// Bad signatures per second in one origin's name from one client. Not zero.
    pub bad_signatures_per_second: u32,
    /// How long such requests are refused unread after more.
    pub cool_down: Duration,
}
