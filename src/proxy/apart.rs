//! What costs much processor time is bounded, so that it is never what everybody else waits for (threat
//! R5). Large bodies, of which verifying the largest takes a tenth of a second, are verified on half of the
//! processors at most. TLS handshakes and bodies, of which anybody can begin thousands at one time, have a
//! pace, where they are of those from whose networks no valid signature has come yet.

use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::task::block_in_place;
use tokio::time::Instant;

use super::door::NEW_RATES;

/// Bodies from this size on are large, in bytes: verifying them takes milliseconds.
const LARGE_BYTES: usize = 262_144;

/// How fast the bodies of all strangers together are read, in bytes a second, but for the first piece of
/// each: receiving and deciphering that many takes about a tenth of a processor.
const BODY_BYTES_PER_SECOND: u32 = 64 << 20;

/// What of that may come at once after a pause: a few of the largest bodies.
const BODY_BURST: Duration = Duration::from_secs(1);

/// Handshakes of all strangers together a second: as many as the door lets in, so that nobody waits for
/// longer than what it saves up.
const HANDSHAKES_PER_SECOND: u32 = NEW_RATES.in_all;

/// What of that may come at once after a pause: little, as it takes both processors of a small machine.
const HANDSHAKES_BURST: Duration = Duration::from_millis(200);

/// Turns and paces for what costs much.
#[derive(Debug)]
pub struct Apart {
    turns: Semaphore,
    bodies: Pace,
    handshakes: Pace,
}

/// Spreads over time what comes as fast as somebody likes.
#[derive(Debug)]
struct Pace {
    per_second: u32,
    /// For how long nothing may have come, and be made up for at once.
    burst: Duration,
    /// When the next one may come.
    next: Mutex<Instant>,
}

impl Pace {
    fn new(per_second: u32, burst: Duration) -> Self {
        Self { per_second, burst, next: Mutex::new(Instant::now()) }
    }

    /// Waits until `count` more are due, after those that wait already. Who gives up meanwhile leaves
    /// the time to the next one.
    async fn wait(&self, count: usize) {
        let mut next = self.next.lock().await;
        tokio::time::sleep_until(*next).await;
        let earliest = Instant::now().checked_sub(self.burst).unwrap_or(*next);
        let seconds = count as f64 / f64::from(self.per_second);
        *next = earliest.max(*next) + Duration::from_secs_f64(seconds);
    }
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
        Self {
            turns: Semaphore::new((processors / 2).max(1)),
            bodies: Pace::new(BODY_BYTES_PER_SECOND, BODY_BURST),
            handshakes: Pace::new(HANDSHAKES_PER_SECOND, HANDSHAKES_BURST),
        }
    }

    /// Waits for the turn of a body of so many bytes.
    pub async fn turn(&self, bytes: usize) -> Turn<'_> {
        if bytes < LARGE_BYTES { Turn::Small } else { Turn::Large(self.turns.acquire().await.ok()) }
    }

    /// Waits until `bytes` more of strangers' bodies are due.
    pub async fn strangers_body(&self, bytes: usize) {
        self.bodies.wait(bytes).await;
    }

    /// Waits until a further handshake with a stranger is due.
    pub async fn strangers_handshake(&self) {
        self.handshakes.wait(1).await;
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
            assert!(
                apart.strangers_body(largest).now_or_never().is_some(),
                "within a second's worth"
            );
        }
        let begin = Instant::now();
        let pieces = (0..1_024).map(|_| apart.strangers_body(1 << 16));
        futures_util::future::join_all(pieces).await;
        let took = begin.elapsed().as_secs_f64();
        assert!((0.9..1.0).contains(&took), "64 MiB, less what was left at the begin: {took}");
    }

    #[tokio::test(start_paused = true)]
    async fn r5_strangers_handshakes_have_one_pace() {
        let apart = std::sync::Arc::new(Apart::on_half_of(2));
        tokio::time::advance(Duration::from_secs(60)).await;
        let begin = Instant::now();
        for _ in 0..100 {
            apart.strangers_handshake().await;
        }
        assert!(begin.elapsed() <= Duration::from_millis(3), "{:?}", begin.elapsed());
        futures_util::future::join_all((0..1_000).map(|_| apart.strangers_handshake())).await;
        let took = begin.elapsed().as_secs_f64();
        assert!((1.9..2.1).contains(&took), "{took}");
        // Nobody waits for those that have given up.
        let waiting = (0..1_000).map(|_| {
            let apart = std::sync::Arc::clone(&apart);
            tokio::spawn(async move { apart.strangers_handshake().await })
        });
        let waiting: Vec<_> = waiting.collect();
        tokio::task::yield_now().await;
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        let begin = Instant::now();
        apart.strangers_handshake().await;
        assert!(begin.elapsed() <= Duration::from_millis(5), "{:?}", begin.elapsed());
    }
}
