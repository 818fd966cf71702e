//! What costs much processor time is bounded, so that it is never what everybody else waits for (threat
//! R5). Large bodies, of which verifying the largest takes a tenth of a second, are verified on half of the
//! processors at most; canonical ones piece by piece while they come, but for those of strangers, from
//! whose networks no valid signature has come yet. Theirs have a pace, as have their TLS handshakes and
//! the long answers to them, of which anybody can begin thousands at one time.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Mutex, Semaphore, SemaphorePermit};
use tokio::task::block_in_place;
use tokio::time::Instant;

use super::door::NEW_RATES;

/// Bodies from this size on are large, in bytes: verifying them takes milliseconds.
const LARGE_BYTES: usize = 262_144;

/// How fast the bodies of all strangers together are read, in bytes a second, but for the first piece of
/// each: receiving and deciphering that many takes about a twentieth of a processor. They are verified once
/// they are whole, in turns.
const BODY_BYTES_PER_SECOND: u32 = 32 << 20;

/// What of that may come at once after a pause: 640 KiB, a millisecond's work that everybody else waits for.
const BODY_BURST: Duration = Duration::from_millis(20);

/// How fast the homeserver's long answers to all strangers together are passed on, in bytes a second: a
/// gigabit, for which copying and enciphering takes about a quarter of a processor.
const ANSWER_BYTES_PER_SECOND: u32 = 128 << 20;

/// What of that may come at once after a pause: 2.5 MiB.
const ANSWER_BURST: Duration = Duration::from_millis(20);

/// Handshakes of all strangers together a second: as many as the door lets in, so that nobody waits for
/// longer than what it saves up.
const HANDSHAKES_PER_SECOND: u32 = NEW_RATES.in_all;

/// What of that may come at once after a pause: two, as each takes a millisecond that everybody else may
/// have to wait for, and timers are a millisecond late.
const HANDSHAKES_BURST: Duration = Duration::from_millis(4);

/// Turns and paces for what costs much.
#[derive(Debug)]
pub struct Apart {
    turns: Semaphore,
    bodies: Mutex<Pace>,
    handshakes: Mutex<Pace>,
    answers: std::sync::Mutex<Pace>,
}

/// Spreads over time what comes as fast as somebody likes.
#[derive(Debug)]
struct Pace {
    per_second: u32,
    /// For how long nothing may have come, and be made up for at once.
    burst: Duration,
    /// When the next one is due.
    next: Instant,
}

impl Pace {
    fn new(per_second: u32, burst: Duration) -> Self {
        Self { per_second, burst, next: Instant::now() }
    }

    /// Takes `count` more; when they are due.
    fn take(&mut self, count: usize) -> Instant {
        let due = self.next;
        let earliest = Instant::now().checked_sub(self.burst).unwrap_or(due);
        let seconds = count as f64 / f64::from(self.per_second);
        self.next = earliest.max(due) + Duration::from_secs_f64(seconds);
        due
    }
}

/// Waits until `count` more are due, after those that wait already. Who gives up meanwhile leaves the time
/// to the next one.
async fn wait(pace: &Mutex<Pace>, count: usize) {
    let mut pace = pace.lock().await;
    tokio::time::sleep_until(pace.next).await;
    pace.take(count);
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
            bodies: Mutex::new(Pace::new(BODY_BYTES_PER_SECOND, BODY_BURST)),
            handshakes: Mutex::new(Pace::new(HANDSHAKES_PER_SECOND, HANDSHAKES_BURST)),
            answers: std::sync::Mutex::new(Pace::new(ANSWER_BYTES_PER_SECOND, ANSWER_BURST)),
        }
    }

    /// Waits for the turn of a body of so many bytes.
    pub async fn turn(&self, bytes: usize) -> Turn<'_> {
        if bytes < LARGE_BYTES { Turn::Small } else { Turn::Large(self.turns.acquire().await.ok()) }
    }

    /// Waits until `bytes` more of strangers' bodies are due.
    pub async fn strangers_body(&self, bytes: usize) {
        wait(&self.bodies, bytes).await;
    }

    /// Waits until a further handshake with a stranger is due.
    pub async fn strangers_handshake(&self) {
        wait(&self.handshakes, 1).await;
    }

    /// How long to wait before `bytes` more of the long answers to strangers are passed on.
    pub fn strangers_answer(&self, bytes: usize) -> Duration {
        let mut pace = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        pace.take(bytes).saturating_duration_since(Instant::now())
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
        for _ in 0..10 {
            let piece = apart.strangers_body(1 << 16);
            assert!(piece.now_or_never().is_some(), "within a fiftieth of a second's worth");
        }
        let begin = Instant::now();
        let pieces = (0..512).map(|_| apart.strangers_body(1 << 16));
        futures_util::future::join_all(pieces).await;
        let took = begin.elapsed().as_secs_f64();
        assert!((0.98..1.02).contains(&took), "32 MiB: {took}");
    }

    #[tokio::test(start_paused = true)]
    async fn r5_long_answers_to_strangers_have_one_pace() {
        let apart = Apart::on_half_of(2);
        tokio::time::advance(Duration::from_secs(60)).await;
        for _ in 0..5 {
            assert_eq!(apart.strangers_answer(1 << 19), Duration::ZERO);
        }
        let mut longest = Duration::ZERO;
        for _ in 0..2_048 {
            longest = apart.strangers_answer(1 << 16);
        }
        assert!((0.95..1.05).contains(&longest.as_secs_f64()), "128 MiB: {longest:?}");
        tokio::time::advance(longest * 2).await;
        assert_eq!(apart.strangers_answer(1), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn r5_strangers_handshakes_have_one_pace() {
        let apart = std::sync::Arc::new(Apart::on_half_of(2));
        tokio::time::advance(Duration::from_secs(60)).await;
        let begin = Instant::now();
        for _ in 0..2 {
            apart.strangers_handshake().await;
        }
        assert!(begin.elapsed() <= Duration::from_millis(1), "{:?}", begin.elapsed());
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
