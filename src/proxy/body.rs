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
pub struct BodyBudget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    free: AtomicUsize,
    total: usize,
    metrics: ProxyMetrics,
}

impl BodyBudget {
    /// A budget of `total` bytes, shown in `metrics`.
    pub fn new(total: usize, metrics: ProxyMetrics) -> Self {
        Self(Arc::new(Shared { free: AtomicUsize::new(total), total, metrics }))
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.0.total.saturating_sub(self.0.free.load(Ordering::Relaxed))
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self
            .0
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(bytes))
            .is_ok();
        self.show();
        taken
    }

    fn give_back(&self, bytes: usize) {
        self.0.free.fetch_add(bytes, Ordering::Relaxed);
        self.show();
    }

    fn show(&self) {
        self.0.metrics.body_bytes.set(i64::try_from(self.used()).unwrap_or(i64::MAX));
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
