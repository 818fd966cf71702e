//! The session that pingora's `HttpProxy` is handed: the client's own, with the verified body
//! replayed from memory.
//!
//! pingora 0.9.1 forwards a body only as it arrives; one that was read before is lost to it. A
//! custom session is its public way to say where a body comes from. Everything but the request body
//! is passed through to the real session, which is given back when this one is dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session as CustomSession;
use pingora::protocols::http::{HttpTask, ServerSession};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::server::ShutdownWatch;
use pingora::{Error, ErrorType, Result};

/// How much of the body is given to pingora at a time, in bytes: its write timeout counts per piece,
/// and only between two pieces does it notice that the homeserver has answered early.
const PIECE_BYTES: usize = 256 * 1024;

/// Where the real session is put back.
pub type Slot = Arc<Mutex<Option<ServerSession>>>;

/// The request body as pingora gets to see it.
enum Body {
    /// From memory, from the start on every attempt.
    Held { body: Bytes, sent: usize },
    /// As it arrives, where nothing was to be verified; each piece within this time, which pingora
    /// does not hold over HTTP/2.
    Streamed(Duration),
}

/// The client's session, with its body.
pub struct Handed {
    real: ServerSession,
    body: Body,
    slot: Slot,
    /// Whether the connection is to end: the answer says so.
    stopping: ShutdownWatch,
}

impl Handed {
    /// Lends `session` with a body that was read whole; it comes back through the slot.
    pub fn lend(
        session: ServerSession,
        body: Bytes,
        stopping: ShutdownWatch,
    ) -> (Box<dyn CustomSession>, Slot) {
        Self::boxed(session, Body::Held { body, sent: 0 }, stopping)
    }

    /// Lends `session` with its body still to come, each piece within `timeout`.
    pub fn lend_streaming(
        session: ServerSession,
        timeout: Duration,
        stopping: ShutdownWatch,
    ) -> (Box<dyn CustomSession>, Slot) {
        Self::boxed(session, Body::Streamed(timeout), stopping)
    }

    fn boxed(
        real: ServerSession,
        body: Body,
        stopping: ShutdownWatch,
    ) -> (Box<dyn CustomSession>, Slot) {
        let slot = Slot::default();
        let handed = Self { real, body, slot: Arc::clone(&slot), stopping };
        (Box::new(handed), slot)
    }

    async fn read_piece(&mut self, timeout: Duration) -> Result<Option<Bytes>> {
        let piece = tokio::time::timeout(timeout, self.real.read_body_or_idle(false)).await;
        let overdue = |_elapsed| Error::explain(ErrorType::ReadTimedout, "the body has stopped");
        piece.map_err(|elapsed| overdue(elapsed).into_down())?
    }

    /// Before a head is written: whether the client is told that the connection ends.
    fn settle_keepalive(&mut self) {
        if *self.stopping.borrow() {
            self.real.set_keepalive(None);
        }
    }
}

/// Takes a session from where it is. One of pingora's own, `()`, stands in for it.
pub fn take(session: &mut ServerSession) -> ServerSession {
    std::mem::replace(session, ServerSession::new_custom(Box::new(())))
}

/// Takes the real session back out of its slot.
pub fn take_back(slot: &Slot) -> Option<ServerSession> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl Drop for Handed {
    fn drop(&mut self) {
        let real = take(&mut self.real);
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(real);
    }
}

impl Body {
    /// The next piece of a held body; `None` at its end.
    fn next_piece(&mut self) -> Option<Bytes> {
        match self {
            Self::Held { body, sent } => {
                let end = sent.saturating_add(PIECE_BYTES).min(body.len());
                let piece = (*sent < end).then(|| body.slice(*sent..end));
                *sent = end;
                piece
            }
            Self::Streamed(_) => None,
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Held { body, sent } => *sent >= body.len(),
            Self::Streamed(_) => false,
        }
    }
}

#[async_trait]
impl CustomSession for Handed {
    fn req_header(&self) -> &RequestHeader {
        self.real.req_header()
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        self.real.req_header_mut()
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        match self.body {
            Body::Held { .. } => Ok(self.body.next_piece()),
            Body::Streamed(_) => self.real.read_request_body().await,
        }
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        match self.body {
            Body::Held { .. } => Ok(()),
            Body::Streamed(_) => self.real.drain_request_body().await,
        }
    }

    async fn write_response_header(&mut self, resp: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.settle_keepalive();
        self.real.write_response_header(resp).await?;
        if end { self.real.finish_body().await } else { Ok(()) }
    }

    async fn write_response_header_ref(&mut self, resp: &ResponseHeader, end: bool) -> Result<()> {
        self.settle_keepalive();
        self.real.write_response_header_ref(resp).await?;
        if end { self.real.finish_body().await } else { Ok(()) }
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.real.write_response_body(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.real.write_response_trailers(trailers).await
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        self.settle_keepalive();
        self.real.response_duplex_vec(tasks).await
    }

    fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.real.set_read_timeout(timeout);
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.real.get_read_timeout()
    }

    fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.real.set_write_timeout(timeout);
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.real.get_write_timeout()
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.real.set_total_drain_timeout(timeout);
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.real.get_total_drain_timeout()
    }

    fn request_summary(&self) -> String {
        self.real.request_summary()
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.real.response_written()
    }

    async fn shutdown(&mut self, _code: u32, _ctx: &str) {
        self.real.shutdown().await;
    }

    fn is_body_done(&mut self) -> bool {
        match self.body {
            Body::Held { .. } => self.body.is_done(),
            Body::Streamed(_) => self.real.is_body_done(),
        }
    }

    async fn finish(&mut self) -> Result<()> {
        self.real.finish_body().await
    }

    fn is_body_empty(&mut self) -> bool {
        match &self.body {
            Body::Held { body, .. } => body.is_empty(),
            Body::Streamed(_) => self.real.is_body_empty(),
        }
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.is_body_done() {
            return match self.body {
                Body::Held { .. } => Ok(self.body.next_piece()),
                Body::Streamed(timeout) => self.read_piece(timeout).await,
            };
        }
        // All of the request is here: what comes now is the client going away, or sending its next
        // request before it has this answer. One byte of that is lost here, so it will find the
        // connection closed, but only after the answer.
        let came = self.real.read_body_or_idle(true).await;
        if came.as_ref().is_err_and(|e| *e.etype() == ErrorType::ConnectError) {
            self.real.set_keepalive(None);
            return std::future::pending().await;
        }
        came
    }

    fn body_bytes_sent(&self) -> usize {
        self.real.body_bytes_sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.real.body_bytes_read()
    }

    fn digest(&self) -> Option<&Digest> {
        self.real.digest()
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        self.real.digest_mut()
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.real.client_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.real.server_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        self.real.to_h1_raw()
    }

    /// Called by pingora at the start of every attempt: the body starts over.
    fn enable_retry_buffering(&mut self) {
        match &mut self.body {
            Body::Held { sent, .. } => *sent = 0,
            Body::Streamed(_) => self.real.enable_retry_buffering(),
        }
    }

    fn retry_buffer_truncated(&self) -> bool {
        match self.body {
            Body::Held { .. } => false,
            Body::Streamed(_) => self.real.retry_buffer_truncated(),
        }
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        match self.body {
            Body::Held { .. } => None,
            Body::Streamed(_) => self.real.get_retry_buffer(),
        }
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _reader: Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(
        &mut self,
        _writer: Box<dyn CustomMessageWrite>,
    ) -> Result<()> {
        Ok(())
    }
}
