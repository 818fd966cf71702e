//! Waiting for a place at the homeserver, for as long as the client waits too.

use pingora::ErrorType;
use pingora::protocols::http::ServerSession;

use crate::gate::limits::Place;
use crate::gate::{Gate, Permit, Refusal, Rejection};

/// The place of a permitted request, when it is its turn.
///
/// # Errors
/// There is none for it, or the client has left.
pub(super) async fn turn(
    session: &mut ServerSession,
    gate: &Gate,
    permit: &Permit,
) -> Result<Option<Place>, Refusal> {
    tokio::select! {
        biased;
        // Most do not wait, and nothing is read for them.
        place = gate.turn(permit) => place,
        () = left(session) => {
            Err(Refusal::new(Rejection::ClientGone, "it waited for a place of its origin"))
        }
    }
}

/// Ends when the client leaves. All of its request is here; who sends the next one before this is
/// answered loses a byte of it, and so finds the connection closed after the answer.
async fn left(session: &mut ServerSession) {
    let came = session.read_body_or_idle(true).await;
    if came.is_err_and(|error| *error.etype() == ErrorType::ConnectError) {
        session.set_keepalive(None);
        std::future::pending::<()>().await;
    }
}
