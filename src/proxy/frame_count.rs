//! How many frames an HTTP/2 client may send beside what it asks for.

use std::time::Duration;

use tokio::time::Instant;

/// Requests that may be taken back a minute, and at one time (the threats' 100, R3). Servers take
/// requests back when they time out, which is seldom.
const RESETS_PER_MINUTE: u32 = 100;

/// Frames a second that carry nothing of a request, over a long time: clients look by PING whether the
/// other side is still there, some of them every second.
const CONTROL_FRAMES_PER_SECOND: u32 = 10;

/// How many of them may come at one time.
const CONTROL_FRAMES_AT_ONCE: u32 = 1_000;

/// How many of them come with a request: clients set priority and window of each.
const CONTROL_FRAMES_PER_REQUEST: u32 = 4;

/// How much of an answer one of them acknowledges at least, in bytes: the usual is half a window of
/// 64 KiB.
const BYTES_PER_CONTROL_FRAME: usize = 1_024;

/// What a frame is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    /// Part of a request that is bounded elsewhere.
    Content,
    /// Anything but a part of a request.
    Control,
    /// The begin of a request.
    Request,
    /// The end of a request without an answer.
    Reset,
}

/// More frames than anybody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Frames that carry nothing of a request.
    ControlFrames,
    /// Requests that are taken back.
    Resets,
}

/// Counts the frames of one connection.
#[derive(Debug)]
pub(super) struct FrameCount {
    control: Bucket,
    resets: Bucket,
    /// Bytes sent that have not paid for a whole frame yet.
    sent: usize,
}

impl FrameCount {
    pub(super) fn new() -> Self {
        let minute = Duration::from_secs(60);
        let (a_control, a_reset) =
            (Duration::from_secs(1) / CONTROL_FRAMES_PER_SECOND, minute / RESETS_PER_MINUTE);
        Self {
            control: Bucket::new(a_control, a_control * CONTROL_FRAMES_AT_ONCE),
            resets: Bucket::new(a_reset, minute),
            sent: 0,
        }
    }

    /// One more frame from the client.
    pub(super) fn add(&mut self, kind: FrameKind) -> Result<(), Flood> {
        match kind {
            FrameKind::Content => Ok(()),
            FrameKind::Control if self.control.take() => Ok(()),
            FrameKind::Control => Err(Flood::ControlFrames),
            FrameKind::Request => {
                self.control.give_back(CONTROL_FRAMES_PER_REQUEST);
                Ok(())
            }
            FrameKind::Reset if self.resets.take() => Ok(()),
            FrameKind::Reset => Err(Flood::Resets),
        }
    }

    /// So many bytes more were sent to the client.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent = self.sent.saturating_add(bytes);
        let frames = self.sent / BYTES_PER_CONTROL_FRAME;
        self.sent %= BYTES_PER_CONTROL_FRAME;
        self.control.give_back(u32::try_from(frames).unwrap_or(u32::MAX));
    }
}

/// A leaky bucket, as the time at which it will be full again (GCRA).
#[derive(Debug)]
struct Bucket {
    interval: Duration,
    burst: Duration,
    full_at: Instant,
}

impl Bucket {
    fn new(interval: Duration, burst: Duration) -> Self {
        Self { interval, burst, full_at: Instant::now() }
    }

    /// Takes one, if there is one.
    fn take(&mut self) -> bool {
        let now = Instant::now();
        let next = self.full_at.max(now) + self.interval;
        let has_one = next <= now + self.burst;
        if has_one {
            self.full_at = next;
        }
        has_one
    }

    fn give_back(&mut self, count: u32) {
        let back = self.interval.saturating_mul(count);
        // A bucket is never more than full.
        self.full_at = self.full_at.checked_sub(back).unwrap_or_else(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(count: &mut FrameCount, kind: FrameKind, tries: usize) -> usize {
        (0..tries).filter(|_| count.add(kind).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn r3_a_hundred_requests_a_minute_may_be_taken_back() {
        let mut count = FrameCount::new();
        assert_eq!(taken(&mut count, FrameKind::Request, 1_000), 1_000);
        assert_eq!(taken(&mut count, FrameKind::Reset, 1_000), 100);
        assert_eq!(count.add(FrameKind::Reset), Err(Flood::Resets));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(taken(&mut count, FrameKind::Reset, 1_000), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn r3_control_frames_have_a_burst_and_a_rate() {
        let mut count = FrameCount::new();
        assert_eq!(taken(&mut count, FrameKind::Control, 5_000), 1_000);
        assert_eq!(count.add(FrameKind::Control), Err(Flood::ControlFrames));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(taken(&mut count, FrameKind::Control, 5_000), 30);
        // A day of silence saves up no more than the burst.
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert_eq!(taken(&mut count, FrameKind::Control, 5_000), 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_asks_and_reads_has_its_frames() {
        let mut count = FrameCount::new();
        // A large answer, acknowledged for each stream and the connection by halves of a window.
        for _ in 0..10_000 {
            count.sent(32_768);
            assert_eq!(taken(&mut count, FrameKind::Control, 2), 2);
        }
        // Requests with a priority and two windows each.
        for _ in 0..10_000 {
            assert_eq!(count.add(FrameKind::Request), Ok(()));
            assert_eq!(taken(&mut count, FrameKind::Control, 3), 3);
        }
        // None of that saves anything up.
        count.sent(1 << 30);
        assert_eq!(taken(&mut count, FrameKind::Control, 5_000), 1_000);
    }
}
