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

use super::body::broken_off;
use super::connection::HeadWatch;
use super::gateway::{ClientTimeouts, CurrentGateway, Exchange, abandon};
use crate::gate::admission::shown;
use crate::gate::{Refusal, Rejection};

/// Most concurrent streams of one HTTP/2 connection; pingora's default, named here because each may
/// hold a body.
const H2_STREAMS_MAX: u32 = 100;

/// Largest decoded header list of one HTTP/2 request in bytes: as much as admission lets through.
const H2_HEADER_LIST_BYTES_MAX: u32 = 65_536;

/// One connection of a client.
pub struct ClientConnection {
    gateway: CurrentGateway,
    peer: SocketAddr,
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
    /// A connection from `peer`. `watch` is given for HTTP/1.1. `idle_end` turns true when connections
    /// without a request are to end.
    pub fn new(
        gateway: CurrentGateway,
        peer: SocketAddr,
        tls: bool,
        watch: Option<Arc<HeadWatch>>,
        idle_end: watch::Receiver<bool>,
    ) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(gateway.load().timeouts.idle);
        Self { gateway, peer, tls, watch, idle_end, idle: Mutex::default(), options }
    }

    /// Hop 1: waits for a head, idle for a while before its first byte, within one deadline from
    /// there to its last.
    async fn read_head(&self, session: &mut ServerSession) -> Head {
        let Some(watch) = &self.watch else { return Head::Complete };
        watch.expect_head();
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
            tokio::time::sleep(timeouts.head).await;
            Some(Refusal::new(
                Rejection::HeadTimeout,
                format_args!("not complete after {:?}", timeouts.head),
            ))
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
            tls: self.tls,
            watch: self.watch.as_deref(),
            stopping: shutdown,
        };
        match head {
            Head::Complete => exchange.serve(session).await,
            Head::None => abandon(session).await,
            Head::Refused(refusal) => {
                exchange.refuse_head(session, refusal).await;
                None
            }
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        options.max_concurrent_streams(H2_STREAMS_MAX);
        options.max_header_list_size(H2_HEADER_LIST_BYTES_MAX);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
