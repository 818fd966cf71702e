//! A client's connection as pingora's sessions see it, and as the gateway watches it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use memchr::memchr;
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

use super::budget::{NoRoom, Share};
use super::chunks::ChunkLines;
use super::frame_count::Flood;
use super::frames::FrameWatch;
use super::gather::Gather;
use super::metrics::{EarlyEnd, ProxyMetrics};
use super::stall::Stall;
use crate::gate::admission::HEAD_BYTES_MAX;
use crate::proto::limits::TARGET_BYTES_MAX;

/// Longest request line that is kept for comparison, in bytes: a full target, the longest method
/// that is let through and the version.
const REQUEST_LINE_BYTES_MAX: usize = TARGET_BYTES_MAX + 64;

/// What the gateway can tell of an HTTP/1.1 connection while pingora reads from it.
#[derive(Debug, Default)]
pub struct HeadWatch {
    state: Mutex<HeadState>,
}

#[derive(Debug, Default)]
struct HeadState {
    expecting: bool,
    line: Vec<u8>,
    line_ended: bool,
    /// How much of the empty line that ends a head has come, in bytes with the line end before.
    blank: u8,
    /// How much of the head has come, in bytes.
    bytes: usize,
    /// The memory that takes.
    share: Option<Share>,
    /// Why no more of it is taken.
    excess: Option<Excess>,
    chunks: ChunkLines,
}

/// Why a head is refused before it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It is over the cap.
    TooLarge,
    /// There is no memory for it.
    NoRoom(NoRoom),
}

/// How much of a head is counted with its connection, in bytes: pingora's buffer has that size from
/// the start. Heads are shorter as a rule.
const HEAD_BYTES_FREE: usize = 4_096;

/// How much more than the cap on its fields a head may have, in bytes, before it is complete: the
/// request line, line ends and spaces, which that cap leaves out.
const HEAD_BYTES_SLACK: usize = 2 * TARGET_BYTES_MAX;

/// How much of an answer over HTTP/1.1 is gathered before it is written, in bytes, so that a short one
/// goes out with its head in one piece. As much as pingora gathers itself on connections of its own;
/// it says when an answer must go out.
const GATHERED_BYTES: usize = 1460;

/// How much is read at once, in bytes. pingora has a buffer of 64 KiB for each body that comes, of which
/// only what has been read into takes memory: a third of what a body of 200 KB took.
const READ_BYTES_MAX: u64 = 16_384;

/// The bytes from the last field of a head to its end: CR LF CR LF.
const BLANK_BYTES: u8 = 4;

impl HeadWatch {
    /// Begins to wait for the next request, whose head is held in memory of `share`.
    pub fn expect_head(&self, share: Share) {
        *self.lock() = HeadState { expecting: true, share: Some(share), ..HeadState::default() };
    }

    /// Gives the memory of the head back: who goes on with it accounts for it.
    pub fn let_go(&self) {
        self.lock().share = None;
    }

    /// Waits until the head has too much; as [`Self::first_byte`], beside the reading and after it.
    pub async fn excess(&self) -> Excess {
        poll_fn(|_| self.lock().excess.map_or(Poll::Pending, Poll::Ready)).await
    }

    /// Waits until the first byte of the expected head has come. It must be waited for beside the
    /// reading and after it in each turn: bytes come while that is polled, and nobody else wakes.
    pub async fn first_byte(&self) {
        poll_fn(|_| if self.has_begun() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// Whether the expected head has begun.
    pub fn has_begun(&self) -> bool {
        !self.lock().expecting
    }

    /// The request line as it came over the wire, without its line end; `None` when it was longer
    /// than any that is let through.
    ///
    /// pingora repairs a line before anyone sees it: it drops a fragment, escapes raw spaces and
    /// control bytes, skips empty lines. What differs from this was repaired.
    pub fn request_line(&self) -> Option<Vec<u8>> {
        let mut line = std::mem::take(&mut self.lock().line);
        if line.len() >= REQUEST_LINE_BYTES_MAX {
            return None;
        }
        if line.ends_with(b"\r") {
            line.pop();
        }
        Some(line)
    }

    /// Whether a chunked body has come to its end with every line of it in order. Says nothing when
    /// the body is not chunked.
    pub fn has_whole_chunks(&self) -> bool {
        self.lock().chunks.is_whole()
    }

    fn feed(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.lock();
        if !state.line_ended {
            let end = memchr(b'\n', bytes);
            let line = end.and_then(|end| bytes.get(..end)).unwrap_or(bytes);
            let room = REQUEST_LINE_BYTES_MAX.saturating_sub(state.line.len());
            state.line.extend_from_slice(line.get(..room).unwrap_or(line));
            state.line_ended = end.is_some();
        }
        let in_head = state.blank < BLANK_BYTES;
        let mut rest = bytes;
        while state.blank < BLANK_BYTES {
            if state.blank == 0 {
                // Nothing but this begins an end.
                rest = memchr(b'\r', rest).and_then(|at| rest.get(at..)).unwrap_or_default();
            }
            let Some((byte, after)) = rest.split_first() else { break };
            state.blank = next_blank(state.blank, *byte);
            rest = after;
        }
        if in_head {
            state.grow(bytes.len() - rest.len());
        }
        state.chunks.feed(rest);
        state.expecting = false;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HeadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeadState {
    /// The head has so many bytes more.
    fn grow(&mut self, bytes: usize) {
        let counted = |bytes: usize| bytes.saturating_sub(HEAD_BYTES_FREE);
        let more = counted(self.bytes + bytes) - counted(self.bytes);
        self.bytes += bytes;
        let taken = self.share.as_mut().map_or(Ok(()), |share| share.take_now(more));
        if self.bytes > HEAD_BYTES_MAX + HEAD_BYTES_SLACK {
            self.excess = Some(Excess::TooLarge);
        } else if let Err(no_room) = taken {
            self.excess = Some(Excess::NoRoom(no_room));
        }
    }
}

/// One more byte of a head. Heads with a line feed alone are refused, so only the full form counts.
const fn next_blank(blank: u8, byte: u8) -> u8 {
    match (blank, byte) {
        (0 | 2, b'\r') | (1 | 3, b'\n') => blank + 1,
        (_, b'\r') => 1,
        _ => 0,
    }
}

/// How a connection is watched while it is read.
enum Watch {
    /// HTTP/1.1: the gateway holds the deadlines, and is told when a head begins.
    Head(Arc<HeadWatch>),
    /// HTTP/2: whatever is not DATA must be complete within the head deadline.
    Frames { frames: FrameWatch, head_timeout: Duration, running: Option<(u64, Pin<Box<Sleep>>)> },
}

/// What every connection is held to.
#[derive(Clone, Debug)]
pub struct Terms {
    /// For a head, on HTTP/2.
    pub head_timeout: Duration,
    /// For the next bytes to be taken by the other side.
    pub write_timeout: Duration,
    /// Whether HTTP/2 frames are counted.
    pub counts_frames: bool,
    /// Where it is counted what ends a connection.
    pub metrics: ProxyMetrics,
}

/// A connection, over TCP or TLS.
pub struct Connection<S> {
    io: Gather<S>,
    id: UniqueIDType,
    peer: SocketAddr,
    watch: Watch,
    stall: Stall,
    metrics: ProxyMetrics,
}

impl<S: AsRawFd + AsyncWrite> Connection<S> {
    /// A connection that speaks HTTP/1.1.
    pub fn http1(io: S, peer: SocketAddr, watch: Arc<HeadWatch>, terms: Terms) -> Self {
        Self::new(io, peer, Watch::Head(watch), GATHERED_BYTES, terms)
    }

    /// A connection that speaks HTTP/2.
    pub fn http2(io: S, peer: SocketAddr, terms: Terms) -> Self {
        let (frames, head_timeout) = (FrameWatch::new(terms.counts_frames), terms.head_timeout);
        let watch = Watch::Frames { frames, head_timeout, running: None };
        // HTTP/2 gathers its frames itself.
        Self::new(io, peer, watch, 0, terms)
    }

    fn new(io: S, peer: SocketAddr, watch: Watch, gathered: usize, terms: Terms) -> Self {
        let (id, io) = (io.as_raw_fd(), Gather::new(io, gathered));
        let Terms { write_timeout, metrics, .. } = terms;
        Self { id, io, peer, watch, stall: Stall::after(write_timeout), metrics }
    }
}

impl<S> Connection<S> {
    /// Looks after something that was written: it must not wait for the other side for ever.
    fn written<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.stall.is_over(cx, polled.is_pending()) {
            return Poll::Ready(Err(self.end(EarlyEnd::Unread, "the answer is not read")));
        }
        polled
    }

    fn end(&self, why: EarlyEnd, text: &'static str) -> io::Error {
        self.metrics.ended_early(why);
        io::Error::new(io::ErrorKind::TimedOut, text)
    }

    fn flooded(&self, flood: Flood) -> io::Error {
        let why = match flood {
            Flood::ControlFrames => EarlyEnd::ControlFrames,
            Flood::Resets => EarlyEnd::Resets,
        };
        self.end(why, "more HTTP/2 frames than anybody needs")
    }
}

impl Watch {
    /// Whether something has been on its way for too long; else registers to be woken then.
    fn is_overdue(&mut self, cx: &mut Context<'_>) -> bool {
        let Self::Frames { frames, head_timeout, running } = self else { return false };
        let Some(pending) = frames.pending() else {
            *running = None;
            return false;
        };
        if running.as_ref().is_none_or(|(began, _)| *began != pending) {
            *running = Some((pending, Box::pin(tokio::time::sleep(*head_timeout))));
        }
        running.as_mut().is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready())
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), Flood> {
        match self {
            Self::Head(watch) => {
                watch.feed(bytes);
                Ok(())
            }
            Self::Frames { frames, .. } => frames.feed(bytes),
        }
    }

    fn sent(&mut self, polled: &Poll<io::Result<usize>>) {
        if let (Self::Frames { frames, .. }, Poll::Ready(Ok(bytes))) = (self, polled) {
            frames.sent(*bytes);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.watch.is_overdue(cx) {
            let slow = this.end(EarlyEnd::SlowFrame, "an HTTP/2 frame came too slowly");
            return Poll::Ready(Err(slow));
        }
        let before = buf.filled().len();
        let mut part = (&mut this.io).take(READ_BYTES_MAX);
        ready!(Pin::new(&mut part).poll_read(cx, buf))?;
        let read = buf.filled().get(before..).unwrap_or_default();
        this.watch.feed(read).map_err(|flood| this.flooded(flood))?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch.sent(&polled);
        self.written(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.written(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.written(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch.sent(&polled);
        self.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

#[async_trait]
impl<S: AsyncWrite + Unpin + Send> Shutdown for Connection<S> {
    async fn shutdown(&mut self) {
        // The peer may be gone already; there is nobody left to tell.
        let _gone = self.io.shutdown().await;
    }
}

impl<S> UniqueID for Connection<S> {
    fn id(&self) -> UniqueIDType {
        self.id
    }
}

impl<S> Ssl for Connection<S> {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.watch {
            Watch::Head(_) => Some(ALPN::H1),
            Watch::Frames { .. } => Some(ALPN::H2),
        }
    }
}

impl<S> GetTimingDigest for Connection<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl<S> GetProxyDigest for Connection<S> {
    fn get_proxy_digest(&self) -> Option<Arc<pingora::protocols::raw_connect::ProxyDigest>> {
        None
    }
}

impl<S> GetSocketDigest for Connection<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl<S> Peek for Connection<S> {}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use prometheus::Registry;
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn r2_no_more_is_read_at_once_than_a_piece_and_nothing_is_lost() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let metrics = ProxyMetrics::register(&Registry::new()).unwrap();
        let (head_timeout, write_timeout) = (Duration::from_secs(1), Duration::from_secs(1));
        let terms = Terms { head_timeout, write_timeout, counts_frames: true, metrics };
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let mut connection = Connection::http1(ours, peer, Arc::default(), terms);
        let sent: Vec<u8> = (0..40_000_u32).map(|number| number as u8).collect();
        theirs.write_all(&sent).await.unwrap();
        let mut read = Vec::with_capacity(65_536);
        let mut lengths = Vec::new();
        while read.len() < sent.len() {
            lengths.push(connection.read_buf(&mut read).await.unwrap());
        }
        assert_eq!(lengths, [16_384, 16_384, 7_232]);
        assert_eq!(read, sent);
    }
}
