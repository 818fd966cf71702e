//! Takes a request's body into memory: bounded in bytes, in time and pace, and in what all requests
//! together may take.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::ErrorType;
use pingora::protocols::http::ServerSession;
use tokio::time::Instant;

use super::budget::{NoRoom, Share};
use crate::gate::admission::BodyRule;
use crate::gate::{Refusal, Rejection};

/// Most bytes reserved for a body before any of it has come: a declared length alone costs nothing.
const FIRST_RESERVE_BYTES_MAX: usize = 65_536;

/// When a peer may try again that found no memory left for its body: most bodies are held for well
/// under a second.
const OVERLOAD_RETRY_AFTER: Duration = Duration::from_secs(5);

/// A body in memory, with the share of its request, which is given back when it is dropped.
#[derive(Debug)]
pub struct HeldBody {
    /// The bytes, exactly as received.
    pub bytes: Bytes,
    _share: Share,
}

/// The time a body has, from when it is waited for.
#[derive(Clone, Copy, Debug)]
pub struct BodyPace {
    /// For the whole of it.
    pub timeout: Duration,
    /// Bytes per second it must bring on average; 0 for no such bound.
    pub rate_min: u32,
    /// How far it may be behind that.
    pub grace: Duration,
}

impl BodyPace {
    /// By when more must have come, after `received` bytes, and how long that is after the begin:
    /// each byte buys time.
    fn end(&self, received: usize) -> Duration {
        if self.rate_min == 0 {
            return self.timeout;
        }
        let received = u64::try_from(received).unwrap_or(u64::MAX);
        let bought_ms = received.saturating_mul(1_000) / u64::from(self.rate_min);
        self.grace.saturating_add(Duration::from_millis(bought_ms)).min(self.timeout)
    }
}

/// Reads the whole body of a request into memory of `share`, at the pace that is asked for.
pub async fn read_body(
    session: &mut ServerSession,
    rule: BodyRule,
    mut share: Share,
    pace: BodyPace,
) -> Result<HeldBody, Refusal> {
    let begin = Instant::now();
    let mut yielded = std::pin::pin!(share.yielded());
    let mut length = 0;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let end = pace.end(length);
        let next = async {
            let Some(piece) = next_piece(session).await? else { return Ok(None) };
            if piece.len() > rule.bytes_max().saturating_sub(length) {
                return Err(rule.overrun());
            }
            share.take(piece.len()).await.map_err(refuse_room)?;
            Ok(Some(piece))
        };
        let piece = tokio::select! {
            biased;
            () = yielded.as_mut() => return Err(refuse_room(NoRoom::Yielded)),
            piece = tokio::time::timeout_at(begin + end, next) => piece,
        };
        let piece = piece.map_err(|_elapsed| {
            let detail = format_args!("{length} bytes of it after {end:?}");
            Refusal::new(Rejection::BodyTimeout, detail)
        })?;
        let Some(piece) = piece? else { break };
        let read_before = length;
        length += piece.len();
        // A body that comes in one piece is not copied.
        if read_before == 0 {
            first = piece;
            continue;
        }
        if rest.is_empty() {
            rest.reserve(FIRST_RESERVE_BYTES_MAX.max(first.len() + piece.len()));
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&piece);
    }
    share.keep().map_err(refuse_room)?;
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    Ok(HeldBody { bytes, _share: share })
}

/// A peer that finds no memory left is told to come back; one whose network holds too much of it, that
/// this is its own doing.
pub fn refuse_room(no_room: NoRoom) -> Refusal {
    let rejection = match no_room {
        NoRoom::Network => Rejection::RateLimited,
        NoRoom::All | NoRoom::Yet | NoRoom::Yielded => Rejection::Overloaded,
    };
    Refusal::new(rejection, no_room).retry_after(OVERLOAD_RETRY_AFTER)
}

/// The next non-empty piece; `None` at the end.
async fn next_piece(session: &mut ServerSession) -> Result<Option<Bytes>, Refusal> {
    loop {
        let piece = session.read_request_body().await.map_err(|error| {
            let rejection = broken_off(&error, Rejection::BodyTimeout);
            Refusal::new(rejection, format_args!("body broke off: {}", error.etype().as_str()))
        })?;
        match piece {
            Some(piece) if piece.is_empty() => {}
            piece => return Ok(piece),
        }
    }
}

/// Why reading from a client came to an end; `overdue` where pingora's own timeouts ended it.
pub fn broken_off(error: &pingora::Error, overdue: Rejection) -> Rejection {
    let cause = error.etype();
    if matches!(cause, ErrorType::ConnectionClosed | ErrorType::ReadError) {
        Rejection::ClientGone
    } else if *cause == ErrorType::ReadTimedout {
        overdue
    } else {
        Rejection::RequestMalformed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: BodyPace = BodyPace {
        timeout: Duration::from_secs(60),
        rate_min: 4_096,
        grace: Duration::from_secs(5),
    };

    #[test]
    fn r2_a_body_must_keep_its_pace() {
        let seconds = |received| PACE.end(received).as_secs_f64();
        assert!((seconds(0) - 5.0).abs() < 0.01, "{}", seconds(0));
        assert!((seconds(40_960) - 15.0).abs() < 0.01, "ten seconds' worth has come");
        assert!((seconds(1 << 20) - 60.0).abs() < 0.01, "never beyond the whole time");
    }

    #[test]
    fn a_pace_of_zero_is_none() {
        let pace = BodyPace { rate_min: 0, ..PACE };
        assert_eq!(pace.end(0), PACE.timeout);
    }
}
