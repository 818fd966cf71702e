//! Reads the head of an HTTP/1.1 request, within its deadlines and bounds. Over HTTP/2 the library has
//! read it before anybody is asked.

use std::pin::Pin;
use std::sync::PoisonError;

use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio::time::{Instant, Sleep};

use super::super::body::{broken_off, refuse_room};
use super::super::budget::NoRoom;
use super::super::connection::Excess;
use super::ClientConnection;
use crate::gate::admission::shown;
use crate::gate::{Refusal, Rejection};

/// What came of waiting for a head.
pub(super) enum Head {
    /// It is complete.
    Complete,
    /// The client left or stayed idle; there is nothing to answer.
    None,
    /// It cannot be served.
    Refused(Refusal),
}

impl ClientConnection {
    /// Hop 1: waits for a head, idle for a while before its first byte, within one deadline from
    /// there to its last.
    pub(super) async fn read_head(
        &self,
        session: &mut ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Head {
        let Some(watch) = &self.watch else { return Head::Complete };
        let share = self.gateway.budget.share(self.peer.ip().to_canonical());
        let yielded = share.yielded();
        watch.expect_head(share);
        let mut shutdown = shutdown.clone();
        let timeouts = self.gateway.timeouts;
        let mut idle = self.idle_from_now();
        let overdue = async {
            tokio::select! {
                biased;
                () = watch.first_byte() => {}
                () = &mut idle => return None,
                _ = shutdown.wait_for(|stopping| *stopping) => {
                    // A head that has begun is still served.
                    if !watch.has_begun() {
                        return None;
                    }
                }
            }
            Some(tokio::select! {
                biased;
                excess = watch.excess() => refuse_excess(excess),
                () = yielded => refuse_room(NoRoom::Yielded),
                () = tokio::time::sleep(timeouts.head) => Refusal::new(
                    Rejection::HeadTimeout,
                    format_args!("not complete after {:?}", timeouts.head),
                ),
            })
        };
        let head = tokio::select! {
            biased;
            read = session.read_request() => match read {
                Ok(true) => Head::Complete,
                Ok(false) => Head::None,
                Err(_) if !watch.has_begun() => Head::None,
                Err(error) => refuse_head(&error),
            },
            overdue = overdue => overdue.map_or(Head::None, Head::Refused),
        };
        // The request has a share of its own, of the client that the head names.
        watch.let_go();
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(idle);
        head
    }

    /// The connection's timer, which is to go off after an idle time from now on.
    fn idle_from_now(&self) -> Pin<Box<Sleep>> {
        let end = Instant::now() + self.gateway.timeouts.idle;
        let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        match kept {
            None => Box::pin(tokio::time::sleep_until(end)),
            Some(mut idle) => {
                idle.as_mut().reset(end);
                idle
            }
        }
    }
}

fn refuse_head(error: &pingora::Error) -> Head {
    let rejection = broken_off(error, Rejection::HeadTimeout);
    let text = shown(error.etype().as_str().as_bytes());
    Head::Refused(Refusal::new(rejection, text))
}

fn refuse_excess(excess: Excess) -> Refusal {
    match excess {
        Excess::TooLarge => Refusal::new(Rejection::HeadTooLarge, "before its end"),
        Excess::NoRoom(no_room) => refuse_room(no_room),
    }
}
