//! Takes a request's body into memory: bounded in bytes, in time and in what all bodies together may
//! take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::ErrorType;
use pingora::protocols::http::ServerSession;

use super::metrics::ProxyMetrics;
use crate::gate::admission::BodyRule;
use crate::gate::{Refusal, Rejection};

/// Most bytes reserved for a body before any of it has come: a declared length alone costs nothing.
const FIRST_RESERVE_BYTES_MAX: usize = 65_536;

/// When a peer may try again that found no memory left for its body: most bodies are held for well
/// under a second.
const OVERLOAD_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The memory all bodies may take at one time, in bytes.
#[derive(Clone, Debug)]
pub struct BodyBudget {
    total: usize,
    used: Arc<Used>,
}

#[derive(Debug)]
struct Used {
    bytes: AtomicUsize,
    metrics: ProxyMetrics,
}

impl BodyBudget {
    /// A budget of `total` bytes, shown in `metrics`.
    pub fn new(total: usize, metrics: ProxyMetrics) -> Self {
        Self { total, used: Arc::new(Used { bytes: AtomicUsize::new(0), metrics }) }
    }

    /// The same budget with another total: what is in use counts for both.
    #[must_use]
    pub fn resized(&self, total: usize) -> Self {
        Self { total, used: Arc::clone(&self.used) }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.bytes.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let with = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.total);
        let taken =
            self.used.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with).is_ok();
        self.show();
        taken
    }

    fn give_back(&self, bytes: usize) {
        self.used.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.show();
    }

    fn show(&self) {
        self.used.metrics.body_bytes.set(i64::try_from(self.used()).unwrap_or(i64::MAX));
    }
}

/// A body in memory, with its share of the budget, which is given back when it is dropped.
#[derive(Debug)]
pub struct HeldBody {
    /// The bytes, exactly as received.
    pub bytes: Bytes,
    _share: Share,
}

#[derive(Debug)]
struct Share {
    budget: BodyBudget,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// Reads the whole body of a request within `timeout`, whatever pace it comes at.
pub async fn read_body(
    session: &mut ServerSession,
    rule: BodyRule,
    budget: &BodyBudget,
    timeout: Duration,
) -> Result<HeldBody, Refusal> {
    match tokio::time::timeout(timeout, read_all(session, rule, budget)).await {
        Ok(result) => result,
        Err(_) => Err(Refusal::new(
            Rejection::BodyTimeout,
            format_args!("not complete after {timeout:?}"),
        )),
    }
}

async fn read_all(
    session: &mut ServerSession,
    rule: BodyRule,
    budget: &BodyBudget,
) -> Result<HeldBody, Refusal> {
    let mut share = Share { budget: budget.clone(), bytes: 0 };
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(piece) = next_piece(session).await? {
        if piece.len() > rule.bytes_max().saturating_sub(share.bytes) {
            return Err(rule.overrun());
        }
        if !budget.take(piece.len()) {
            return Err(Refusal::new(
                Rejection::Overloaded,
                format_args!("{} bytes of request bodies are held already", budget.used()),
            )
            .retry_after(OVERLOAD_RETRY_AFTER));
        }
        let read_before = share.bytes;
        share.bytes += piece.len();
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
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    Ok(HeldBody { bytes, _share: share })
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
    use prometheus::Registry;

    use super::*;

    #[test]
    fn a_resized_budget_counts_what_is_held_already() {
        let budget = BodyBudget::new(100, ProxyMetrics::register(&Registry::new()).unwrap());
        assert!(budget.take(80));
        let smaller = budget.resized(50);
        assert_eq!(smaller.used(), 80);
        assert!(!smaller.take(1), "more is held than it has");
        budget.give_back(80);
        assert!(smaller.take(50) && !smaller.take(1));
        assert!(budget.resized(200).take(150));
    }
}
