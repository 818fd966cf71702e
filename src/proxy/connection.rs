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
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

use super::chunks::ChunkLines;
use super::frames::FrameWatch;
use super::gather::Gather;
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
    chunks: ChunkLines,
}

/// How much of an answer over HTTP/1.1 is gathered before it is written, in bytes, so that a short one
/// goes out with its head in one piece. As much as pingora gathers itself on connections of its own;
/// it says when an answer must go out.
const GATHERED_BYTES: usize = 1460;

/// The bytes from the last field of a head to its end: CR LF CR LF.
const BLANK_BYTES: u8 = 4;

impl HeadWatch {
    /// Begins to wait for the next request.
    pub fn expect_head(&self) {
        *self.lock() = HeadState { expecting: true, ..HeadState::default() };
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
            let end = bytes.iter().position(|b| *b == b'\n');
            let line = end.and_then(|end| bytes.get(..end)).unwrap_or(bytes);
            let room = REQUEST_LINE_BYTES_MAX.saturating_sub(state.line.len());
            state.line.extend_from_slice(line.get(..room).unwrap_or(line));
            state.line_ended = end.is_some();
        }
        let mut rest = bytes;
        while state.blank < BLANK_BYTES
            && let Some((byte, after)) = rest.split_first()
        {
            state.blank = next_blank(state.blank, *byte);
            rest = after;
        }
        state.chunks.feed(rest);
        state.expecting = false;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HeadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A connection, over TCP or TLS.
pub struct Connection<S> {
    io: Gather<S>,
    id: UniqueIDType,
    peer: SocketAddr,
    watch: Watch,
}

impl<S: AsRawFd + AsyncWrite> Connection<S> {
    /// A connection that speaks HTTP/1.1.
    pub fn http1(io: S, peer: SocketAddr, watch: Arc<HeadWatch>) -> Self {
        let (id, io) = (io.as_raw_fd(), Gather::new(io, GATHERED_BYTES));
        Self { id, io, peer, watch: Watch::Head(watch) }
    }

    /// A connection that speaks HTTP/2.
    pub fn http2(io: S, peer: SocketAddr, head_timeout: Duration) -> Self {
        let watch = Watch::Frames { frames: FrameWatch::default(), head_timeout, running: None };
        // HTTP/2 gathers its frames itself.
        let (id, io) = (io.as_raw_fd(), Gather::new(io, 0));
        Self { id, io, peer, watch }
    }
}

impl Watch {
    /// An error once something has been on its way for too long; else registers to be woken then.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Self::Frames { frames, head_timeout, running } = self else { return Ok(()) };
        let Some(pending) = frames.pending() else {
            *running = None;
            return Ok(());
        };
        if running.as_ref().is_none_or(|(began, _)| *began != pending) {
            *running = Some((pending, Box::pin(tokio::time::sleep(*head_timeout))));
        }
        let overdue = running.as_mut().is_some_and(|(_, sleep)| sleep.as_mut().poll(cx).is_ready());
        if overdue {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "an HTTP/2 frame came too slowly"));
        }
        Ok(())
    }

    fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::Head(watch) => watch.feed(bytes),
            Self::Frames { frames, .. } => frames.feed(bytes),
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
        this.watch.poll_overdue(cx)?;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.watch.feed(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
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
