//! Notices when the other side does not take what is written to it.
//!
//! pingora times out some of its writes and not others: not that of a head, nor any of HTTP/2, which
//! the connection makes and not the request.

use std::future::Future as _;
use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A timer that runs while a write waits.
#[derive(Debug)]
pub(super) struct Stall {
    timeout: Duration,
    is_running: bool,
    /// Kept from one wait to the next.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    /// Over once a write has waited for `timeout`.
    pub(super) const fn after(timeout: Duration) -> Self {
        Self { timeout, is_running: false, timer: None }
    }

    /// Takes note of whether a write waits. Whether that has taken too long; else registers to be woken
    /// then.
    pub(super) fn is_over(&mut self, cx: &mut Context<'_>, waits: bool) -> bool {
        if !waits {
            self.is_running = false;
            return false;
        }
        let end = Instant::now() + self.timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if !self.is_running {
            timer.as_mut().reset(end);
            self.is_running = true;
        }
        timer.as_mut().poll(cx).is_ready()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    async fn is_over(stall: &mut Stall, waits: bool) -> bool {
        poll_fn(|cx| Poll::Ready(stall.is_over(cx, waits))).await
    }

    #[tokio::test(start_paused = true)]
    async fn r1_a_write_that_waits_too_long_is_over() {
        let mut stall = Stall::after(TIMEOUT);
        assert!(!is_over(&mut stall, true).await);
        tokio::time::advance(TIMEOUT - Duration::from_millis(2)).await;
        assert!(!is_over(&mut stall, true).await, "not yet");
        tokio::time::advance(Duration::from_millis(4)).await;
        assert!(is_over(&mut stall, true).await);
    }

    #[tokio::test(start_paused = true)]
    async fn progress_starts_the_time_anew() {
        let mut stall = Stall::after(TIMEOUT);
        for _ in 0..10 {
            assert!(!is_over(&mut stall, true).await);
            tokio::time::advance(TIMEOUT / 2).await;
            assert!(!is_over(&mut stall, true).await);
            assert!(!is_over(&mut stall, false).await);
        }
    }
}
