//! Takes a request's body into memory: bounded in bytes, in time and pace, and in what all requests
//! together may take.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use pingora::ErrorType;
use pingora::protocols::http::ServerSession;
use tokio::time::Instant;

use super::apart::Apart;
use super::budget::{NoRoom, Share};
use crate::gate::admission::BodyRule;
use crate::gate::{Body, Refusal, Rejection};

/// Least bytes reserved for a body that comes in more than one piece. A declared length alone costs
/// nothing; beyond this, twice as much is reserved as has come.
const RESERVE_BYTES_MIN: usize = 65_536;

/// When a peer may try again that found no memory left for its body: most bodies are held for well
/// under a second.
const OVERLOAD_RETRY_AFTER: Duration = Duration::from_secs(5);

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

/// Reads the whole body of a request into memory of `share`, exactly as received, at the pace that is
/// asked for. What a `stranger` sends after a first piece has the pace of all strangers.
pub async fn read_body(
    session: &mut ServerSession,
    rule: BodyRule,
    body: &mut Body<'_>,
    share: &mut Share,
    pace: BodyPace,
    stranger: Option<&Apart>,
) -> Result<(), Refusal> {
    let begin = Instant::now();
    let mut yielded = std::pin::pin!(share.yielded());
    let (bytes_max, declared) = (rule.bytes_max(), declared_length(session));
    let most = declared.unwrap_or(bytes_max).min(bytes_max);
    let (mut length, mut reserved) = (0, 0);
    loop {
        let end = pace.end(length);
        let next = async {
            let Some(piece) = next_piece(session).await? else { return Ok(None) };
            if piece.len() > bytes_max.saturating_sub(length) {
                return Err(rule.overrun());
            }
            // What is reserved counts, not only what has come.
            let more = match length {
                0 => piece.len(),
                length => reserve(length + piece.len(), reserved, most),
            };
            share.take(more).await.map_err(refuse_room)?;
            if let Some(apart) = stranger.filter(|_| length > 0) {
                apart.strangers_body(piece.len()).await;
            }
            Ok(Some((piece, more)))
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
        let Some((piece, more)) = piece? else { break };
        reserved += more;
        length += piece.len();
        body.push(piece, reserved);
    }
    body.end();
    Ok(())
}

/// How many bytes to reserve beside those `reserved` for a body of which `length` have come, and that has
/// no more than `most`.
fn reserve(length: usize, reserved: usize, most: usize) -> usize {
    if length <= reserved {
        return 0;
    }
    let doubled = reserved.saturating_mul(2).max(RESERVE_BYTES_MIN);
    doubled.min(most).max(length) - reserved
}

/// The length of the body as its head says it.
fn declared_length(session: &ServerSession) -> Option<usize> {
    session.req_header().headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
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
    fn r2_a_body_reserves_twice_what_has_come_and_no_more_than_it_has() {
        assert_eq!(reserve(2_000, 1_000, 1 << 20), RESERVE_BYTES_MIN - 1_000);
        assert_eq!(reserve(2_000, 1_000, 2_500), 1_500, "as much as was declared");
        assert_eq!(reserve(60_000, 65_536, 1 << 20), 0, "there is room");
        assert_eq!(reserve(65_537, 65_536, 1 << 20), 65_536);
        assert_eq!(reserve(300_000, 65_536, 1 << 20), 300_000 - 65_536);
        assert_eq!(reserve(900_000, 800_000, 1_000_000), 200_000);
        assert_eq!(reserve(1_000_001, 1_000_000, 1_000_000), 1, "never less than has come");
    }

    #[test]
    fn a_pace_of_zero_is_none() {
        let pace = BodyPace { rate_min: 0, ..PACE };
        assert_eq!(pace.end(0), PACE.timeout);
    }
}
