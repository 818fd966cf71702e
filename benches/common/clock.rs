//! Processor time of contenders in turns.

use rustix::time::{ClockId, clock_gettime};

/// How long one contender runs in a round, in nanoseconds.
pub const SLICE_NS: f64 = 2e6;

/// Processor time of this thread, in nanoseconds.
pub fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds of one call, over a slice of time.
pub fn time(mut call: impl FnMut()) -> f64 {
    let started = now();
    let mut calls = 0;
    while calls < 4 || now() - started < SLICE_NS {
        call();
        calls += 1;
    }
    (now() - started) / f64::from(calls)
}

pub fn quantile(values: &[f64], per_cent: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * per_cent / 100]
}
