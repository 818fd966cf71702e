//! Callers that come and go on several threads.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Answers after a while, and counts what it has under way.
#[derive(Default)]
struct Echo {
    under_way: AtomicUsize,
    most: AtomicUsize,
    queries: AtomicUsize,
}

struct Leaves<'a>(&'a AtomicUsize);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ask for Echo {
    async fn ask(&self, body: Bytes, _: usize, _: &Trace) -> Result<Bytes, FetchError> {
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        let _leaves = Leaves(&self.under_way);
        self.most.fetch_max(now, Ordering::SeqCst);
        self.queries.fetch_add(1, Ordering::SeqCst);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        Ok(documents(&names(&body)))
    }
}

/// On several threads, while every third caller hangs up at some point: nobody is forgotten, and
/// nothing is left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_that_come_and_go_leave_nobody_waiting() {
    let echo = Arc::new(Echo::default());
    let batcher = Arc::new(Batcher::new(Arc::clone(&echo), Source::Homeserver, key_metrics()));
    let callers: Vec<_> = (0..900)
        .map(|n| {
            let batcher = Arc::clone(&batcher);
            tokio::spawn(async move {
                let name = format!("s{n}.example");
                let question =
                    KeyRequest { is_known: n % 2 == 0, ..request(&server(&name), &[ID]) };
                let judge = |answer: &Answer| judge(&question, answer);
                let mut fetch = pin!(batcher.fetch(&question, judge));
                if n % 3 == 0 {
                    // Polled a few times, then dropped.
                    for _ in 0..n % 50 {
                        if futures_util::poll!(&mut fetch).is_ready() {
                            return None;
                        }
                        tokio::task::yield_now().await;
                    }
                    return None;
                }
                Some(fetch.await)
            })
        })
        .collect();
    let mut found = 0;
    for caller in callers {
        if let Some(fetched) = caller.await.unwrap() {
            found += usize::from(fetched.unwrap().len() == 1);
        }
    }
    assert_eq!(found, 600);
    assert_eq!(echo.under_way.load(Ordering::SeqCst), 0);
    assert!(echo.most.load(Ordering::SeqCst) <= batcher.known.bounds.places + FIRST_SEEN.places);
    for lane in [&batcher.known, &batcher.first_seen] {
        assert_eq!(lane.places.available_permits(), lane.bounds.places);
        assert!(lane.lock().waiting.is_empty());
    }
}
