//! What costs much processor time is done on half of the processors at most, so that it is never what
//! everybody else waits for (threat R5): verifying large bodies, of which the largest takes a tenth of a
//! second, and TLS handshakes, of which anybody can begin thousands at one time. Reading has a pace
//! instead, where it is for those from whose networks no valid signature has come yet.

use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::block_in_place;
use tokio::time::Instant;

/// Bodies from this size on are large, in bytes: verifying them takes milliseconds.
const LARGE_BYTES: usize = 262_144;

/// How fast the bodies of all strangers together are read, in bytes a second, but for the first piece of
/// each: receiving and deciphering that many takes about a tenth of a processor.
const STRANGERS_BYTES_PER_SECOND: u32 = 64 << 20;

/// For how long nothing may have come, and be made up for at once.
const STRANGERS_BURST: Duration = Duration::from_secs(1);

/// The turns to do what costs much.
#[derive(Debug)]
pub struct Apart {
    bodies: Semaphore,
    handshakes: Semaphore,
    /// When the next piece of a stranger's body is to be read.
    next_piece: Mutex<Instant>,
}

/// Waits until this task is woken, by whatever it was polled with before.
async fn woken() {
    let mut has_waited = false;
    poll_fn(
        |_| {
            if std::mem::replace(&mut has_waited, true) { Poll::Ready(()) } else { Poll::Pending }
        },
    )
    .await;
}

/// A body's turn.
#[derive(Debug)]
pub enum Turn<'a> {
    /// It is small: nobody notices.
    Small,
    /// It is large; the next one may begin when this is dropped.
    Large(Option<SemaphorePermit<'a>>),
}

impl Apart {
    /// As many turns at one time as half of `processors`.
    pub fn on_half_of(processors: usize) -> Self {
        let turns = || Semaphore::new((processors / 2).max(1));
        Self { bodies: turns(), handshakes: turns(), next_piece: Mutex::new(Instant::now()) }
    }

    /// Waits for the turn of a body of so many bytes.
    pub async fn turn(&self, bytes: usize) -> Turn<'_> {
        if bytes < LARGE_BYTES {
            Turn::Small
        } else {
            Turn::Large(self.bodies.acquire().await.ok())
        }
    }

    /// Waits for the time at which a stranger's body is `bytes` longer.
    pub async fn pace(&self, bytes: usize) {
        let seconds = bytes as f64 / f64::from(STRANGERS_BYTES_PER_SECOND);
        let at = {
            let mut next = self.next_piece.lock().unwrap_or_else(PoisonError::into_inner);
            let earliest = Instant::now().checked_sub(STRANGERS_BURST).unwrap_or(*next);
            *next = earliest.max(*next) + Duration::from_secs_f64(seconds);
            *next
        };
        tokio::time::sleep_until(at).await;
    }

    /// Does a handshake. Each step of it waits for its turn, between which others come to theirs; while
    /// it waits for the other side it holds none.
    pub async fn handshake<F: Future>(&self, handshake: F) -> F::Output {
        let mut handshake = std::pin::pin!(handshake);
        loop {
            let turn = self.handshakes.acquire().await;
            let step = poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx))).await;
            drop(turn);
            if let Poll::Ready(done) = step {
                return done;
            }
            woken().await;
        }
    }
}

impl Turn<'_> {
    /// Does the work; of a large body, on a thread that has handed all else to another one.
    pub fn work<T>(self, work: impl FnOnce() -> T) -> T {
        let has_threads = || {
            Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread)
        };
        match self {
            Self::Large(turn) if has_threads() => {
                let done = block_in_place(work);
                drop(turn);
                done
            }
            Self::Small | Self::Large(_) => work(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn r5_large_bodies_wait_for_each_other_and_small_ones_do_not() {
        let apart = Apart::on_half_of(2);
        let large = apart.turn(LARGE_BYTES).await;
        assert!(apart.turn(LARGE_BYTES).now_or_never().is_none());
        assert!(apart.turn(LARGE_BYTES - 1).now_or_never().is_some());
        assert_eq!(large.work(|| 7), 7);
        assert!(apart.turn(LARGE_BYTES).now_or_never().is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn r5_the_only_thread_goes_on_with_other_work() {
        let apart = Apart::on_half_of(1);
        let (tell, told) = std::sync::mpsc::channel();
        let other = async move { tell.send(7) };
        let work = move || {
            tokio::spawn(other);
            told.recv()
        };
        let done = tokio::spawn(async move { apart.turn(LARGE_BYTES).await.work(work) });
        assert_eq!(done.await.unwrap(), Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn r5_strangers_bodies_have_one_pace() {
        let apart = Apart::on_half_of(2);
        tokio::time::advance(Duration::from_secs(60)).await;
        let largest = 12 << 20;
        for _ in 0..5 {
            assert!(apart.pace(largest).now_or_never().is_some(), "within a second's worth");
        }
        let begin = Instant::now();
        let pieces = (0..1_024).map(|_| apart.pace(1 << 16));
        futures_util::future::join_all(pieces).await;
        let took = begin.elapsed().as_secs_f64();
        assert!((0.9..1.0).contains(&took), "64 MiB, less what was left at the begin: {took}");
    }

    #[tokio::test]
    async fn r5_a_handshake_that_waits_for_the_other_side_holds_up_nobody() {
        let apart = Apart::on_half_of(2);
        let (tell, told) = tokio::sync::oneshot::channel();
        let slow = apart.handshake(told);
        let quick = async {
            for number in 0..100 {
                let steps = async {
                    tokio::task::yield_now().await;
                    number
                };
                assert_eq!(apart.handshake(steps).await, number);
            }
            tell.send(7).unwrap();
        };
        let (slow, ()) = tokio::join!(slow, quick);
        assert_eq!(slow, Ok(7));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn r5_handshakes_leave_half_of_the_processors_to_others() {
        let apart = Arc::new(Apart::on_half_of(2));
        let (tell, told) = std::sync::mpsc::channel();
        let (began, begun) = tokio::sync::oneshot::channel();
        let one = Arc::clone(&apart);
        let first = tokio::spawn(async move {
            let step = async move {
                began.send(()).unwrap();
                // As long as a computation takes: nobody else can use this thread.
                told.recv().unwrap()
            };
            one.handshake(step).await
        });
        begun.await.unwrap();
        let steps = Arc::new(AtomicUsize::new(0));
        let second = Arc::clone(&steps);
        let second = tokio::spawn(async move {
            apart.handshake(async { second.fetch_add(1, Ordering::Relaxed) }).await
        });
        let other = tokio::spawn(async move {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            tell.send(steps.load(Ordering::Relaxed)).unwrap();
        });
        other.await.unwrap();
        assert_eq!(first.await.unwrap(), 0, "the second one has waited");
        second.await.unwrap();
    }
}
