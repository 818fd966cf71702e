//! A client's connection from one request to the next: waits for heads, and ends it when its time has
//! come.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::server::ShutdownWatch;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::after::{After, finish};
use super::body::{broken_off, refuse_room};
use super::budget::NoRoom;
use super::connection::{Excess, HeadWatch};
use super::door::Guest;
use super::gateway::{ClientTimeouts, CurrentGateway, Exchange};
use crate::gate::admission::shown;
use crate::gate::{Refusal, Rejection};

/// Most concurrent streams of one HTTP/2 connection (the threats' 32, R3): a server sends another one
/// transaction at a time, and asks for a few things beside.
const H2_STREAMS_MAX: u32 = 32;

/// The same for a trusted proxy, which brings the requests of many; pingora's default.
const H2_STREAMS_MAX_TRUSTED: u32 = 100;

/// Errors of the other side that make the HTTP/2 library reset a stream, for one connection: each may
/// leave work behind that no longer counts as a stream (CVE-2025-8671). Honest clients make none.
const H2_ERROR_RESETS_MAX: usize = 100;

/// How much of an answer the HTTP/2 library holds for each stream until it is read, in bytes; its
/// default is 400 KiB.
const H2_SEND_BYTES_MAX: usize = 65_536;

/// Largest decoded header list of one HTTP/2 request in bytes: as much as admission lets through.
const H2_HEADER_LIST_BYTES_MAX: u32 = 65_536;

/// One connection of a client.
pub struct ClientConnection {
    gateway: CurrentGateway,
    peer: SocketAddr,
    guest: Arc<Guest>,
    tls: bool,
    /// Tells of heads on HTTP/1.1; HTTP/2 heads are complete when they get here.
    watch: Option<Arc<HeadWatch>>,
    /// Turns true when connections without a request are to end.
    idle_end: watch::Receiver<bool>,
    /// The end of an idle time, kept from one request to the next: a timer that is moved on costs
    /// nothing, a new one does.
    idle: Mutex<Option<Pin<Box<Sleep>>>>,
    options: HttpServerOptions,
}

/// What came of waiting for a head.
enum Head {
    /// It is complete.
    Complete,
    /// The client left or stayed idle; there is nothing to answer.
    None,
    /// It cannot be served.
    Refused(Refusal),
}

impl ClientConnection {
    /// A connection from `peer`, which is `guest` at the door. `watch` is given for HTTP/1.1. `idle_end`
    /// turns true when connections without a request are to end.
    pub fn new(
        gateway: CurrentGateway,
        (peer, guest): (SocketAddr, Arc<Guest>),
        tls: bool,
        watch: Option<Arc<HeadWatch>>,
        idle_end: watch::Receiver<bool>,
    ) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(gateway.load().timeouts.idle);
        Self { gateway, peer, guest, tls, watch, idle_end, idle: Mutex::default(), options }
    }

    /// Hop 1: waits for a head, idle for a while before its first byte, within one deadline from
    /// there to its last.
    async fn read_head(&self, session: &mut ServerSession) -> Head {
        let Some(watch) = &self.watch else { return Head::Complete };
        let share = self.gateway.load().budget.share(self.peer.ip().to_canonical());
        let yielded = share.yielded();
        watch.expect_head(share);
        let timeouts = self.gateway.load().timeouts;
        let mut idle = self.idle_from_now(timeouts);
        let mut idle_end = self.idle_end.clone();
        let overdue = async {
            tokio::select! {
                biased;
                () = watch.first_byte() => {}
                () = &mut idle => return None,
                _ = idle_end.wait_for(|ends| *ends) => {
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
    fn idle_from_now(&self, timeouts: ClientTimeouts) -> Pin<Box<Sleep>> {
        let end = Instant::now() + timeouts.idle;
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

#[async_trait]
impl HttpServerApp for ClientConnection {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let head = self.read_head(&mut session).await;
        let exchange = Exchange {
            gateway: self.gateway.load_full(),
            peer: self.peer,
            guest: &self.guest,
            tls: self.tls,
            watch: self.watch.as_deref(),
            stopping: shutdown,
        };
        let after = match head {
            Head::Complete => exchange.serve(&mut session).await,
            Head::None => After::BrokenOff,
            Head::Refused(refusal) => exchange.refuse_head(&mut session, refusal).await,
        };
        match after {
            After::Answered => finish(session).await,
            After::BrokenOff => {
                session.shutdown().await;
                None
            }
            After::Gone => None,
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        if self.gateway.load().trusts(self.peer) {
            options.max_concurrent_streams(H2_STREAMS_MAX_TRUSTED);
        } else {
            options.max_concurrent_streams(H2_STREAMS_MAX);
            options.max_local_error_reset_streams(Some(H2_ERROR_RESETS_MAX));
        }
        options.max_send_buffer_size(H2_SEND_BYTES_MAX);
        options.max_header_list_size(H2_HEADER_LIST_BYTES_MAX);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
