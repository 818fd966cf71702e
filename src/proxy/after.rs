//! What becomes of a client's connection after a request.

use futures_util::FutureExt as _;
use pingora::apps::{HttpPersistentSettings, ReusedHttpStream};
use pingora::protocols::http::ServerSession;

/// How a request has left its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Its answer is complete; the connection may serve the next request.
    Answered,
    /// Its answer is not, or there is to be none: the connection is shut down.
    BrokenOff,
    /// Nobody is there to hear of an end.
    Gone,
}

impl After {
    /// After an answer of fedgate's own.
    pub(super) const fn answer(written: &pingora::Result<()>) -> Self {
        if written.is_ok() { Self::Answered } else { Self::Gone }
    }
}

/// Ends a session whose answer is complete; gives its connection back if that may serve the next request.
// An async function would hold a session of its own beside that of the future it waits for.
pub(super) fn finish(mut session: ServerSession) -> impl Future<Output = Option<ReusedHttpStream>> {
    if session.get_keepalive().is_some() {
        // Without end: `read_head` holds the idle time, and a second timer would be for nothing.
        session.set_keepalive(Some(0));
    }
    let settings = HttpPersistentSettings::for_session(&session);
    session.finish().map(|finished| {
        let stream = finished.ok().flatten()?;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    })
}
