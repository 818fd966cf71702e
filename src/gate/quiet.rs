//! Log lines that a flood would multiply: a line a second of each kind, and how many were left out.
//!
//! What is counted is counted elsewhere, each time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::keys::budget::Bucket;

/// How often it is said how many lines were left out.
const INTERVAL: Duration = Duration::from_secs(1);

/// How many lines of one kind are written before any is left out, unless there have been some a moment
/// ago: what happens in an ordinary minute, and more events than most transactions have.
pub const LINES_SAVED: u32 = 60;

/// Decides which lines are written. `K` are the kinds of lines: a closed set.
#[derive(Debug)]
pub struct Quiet<K: Ord + Copy + Send + 'static> {
    kinds: Mutex<BTreeMap<K, Kind>>,
    is_limited: AtomicBool,
    tell: fn(K, u64),
}

#[derive(Debug)]
struct Kind {
    bucket: Bucket,
    left_out: u64,
}

impl<K: Ord + Copy + Send + 'static> Quiet<K> {
    /// Says with `tell` how many lines of a kind were left out within the last second.
    pub fn new(tell: fn(K, u64)) -> Arc<Self> {
        Arc::new(Self { kinds: Mutex::default(), is_limited: AtomicBool::new(true), tell })
    }

    /// From now on lines are limited, or are not.
    pub fn limit(&self, is_limited: bool) {
        self.is_limited.store(is_limited, Ordering::Relaxed);
    }

    /// Whether a line is to be written; if not, it will be among those that were left out.
    pub fn lets_through(self: &Arc<Self>, kind: K) -> bool {
        if !self.is_limited.load(Ordering::Relaxed) {
            return true;
        }
        // Without anybody to tell how many were left out, none is.
        let Ok(runtime) = Handle::try_current() else { return true };
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let saved = INTERVAL * LINES_SAVED;
        let state = kinds
            .entry(kind)
            .or_insert_with(|| Kind { bucket: Bucket::new(1, saved), left_out: 0 });
        if state.bucket.take(1).is_ok() {
            return true;
        }
        state.left_out += 1;
        if state.left_out == 1 {
            let quiet = Arc::downgrade(self);
            runtime.spawn(async move {
                tokio::time::sleep(INTERVAL).await;
                if let Some(quiet) = quiet.upgrade() {
                    quiet.tell(kind);
                }
            });
        }
        false
    }

    fn tell(&self, kind: K) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = kinds.get_mut(&kind).map(|state| std::mem::take(&mut state.left_out));
        drop(kinds);
        if let Some(count) = left_out.filter(|count| *count > 0) {
            (self.tell)(kind, count);
        }
    }
}

/// The last ones are told of too.
impl<K: Ord + Copy + Send + 'static> Drop for Quiet<K> {
    fn drop(&mut self) {
        let kinds = std::mem::take(self.kinds.get_mut().unwrap_or_else(PoisonError::into_inner));
        for (kind, state) in kinds {
            if state.left_out > 0 {
                (self.tell)(kind, state.left_out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::atomic::AtomicU64;

    async fn passed(quiet: &Arc<Quiet<u8>>, kind: u8, lines: u64) -> u64 {
        (0..lines).map(|_| u64::from(quiet.lets_through(kind))).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn under_a_flood_there_is_a_line_a_second_and_none_is_lost_count_of() {
        static TOLD: AtomicU64 = AtomicU64::new(0);
        static TIMES: AtomicU64 = AtomicU64::new(0);
        let quiet = Quiet::new(|kind: u8, count| {
            assert_eq!(kind, 1);
            TOLD.fetch_add(count, Ordering::SeqCst);
            TIMES.fetch_add(1, Ordering::SeqCst);
        });
        let mut written = passed(&quiet, 1, 1_000).await;
        assert_eq!(written, u64::from(LINES_SAVED));
        let tasks = Handle::current().metrics().num_alive_tasks();
        assert_eq!(tasks, 1, "one for all lines that were left out");
        assert_eq!(passed(&quiet, 2, 1).await, 1, "other kinds are not concerned");
        for _ in 0..10 {
            tokio::time::sleep(INTERVAL + Duration::from_millis(1)).await;
            written += passed(&quiet, 1, 1_000).await;
        }
        assert_eq!(written, u64::from(LINES_SAVED) + 10);
        assert_eq!(TIMES.load(Ordering::SeqCst), 10);
        drop(quiet);
        assert_eq!(TOLD.load(Ordering::SeqCst) + written, 11_000);
    }

    #[tokio::test(start_paused = true)]
    async fn an_ordinary_rate_is_written_whole() {
        let quiet = Quiet::new(|_: u8, _| panic!("nothing is left out"));
        for _ in 0..500 {
            assert!(quiet.lets_through(1));
            tokio::time::sleep(INTERVAL).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lines_are_limited_only_while_that_is_wanted() {
        let quiet = Quiet::new(|_: u8, _| ());
        quiet.limit(false);
        assert_eq!(passed(&quiet, 1, 1_000).await, 1_000);
        quiet.limit(true);
        assert_eq!(passed(&quiet, 1, 1_000).await, u64::from(LINES_SAVED));
    }

    #[test]
    fn without_a_runtime_everything_is_written() {
        let quiet = Quiet::new(|_: u8, _| panic!("nothing is left out"));
        assert!((0..1_000).all(|_| quiet.lets_through(1)));
    }
}
