//! Puts small writes together, and with the large one that follows them: an answer goes out with its
//! head in one piece.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream whose writes are held back until there are more bytes than it may hold, or it is flushed.
/// tokio's `BufWriter` would write what it holds by itself before anything large.
#[derive(Debug)]
pub(super) struct Gather<S> {
    io: S,
    held: BytesMut,
    held_max: usize,
}

impl<S> Gather<S> {
    /// Holds back at most `held_max` bytes.
    pub(super) fn new(io: S, held_max: usize) -> Self {
        Self { io, held: BytesMut::new(), held_max }
    }
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    fn poll_write_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.held))?;
            self.let_go(written)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Lets go of what has been written of the bytes held back; how many more there were.
    fn let_go(&mut self, written: usize) -> io::Result<usize> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let of_held = written.min(self.held.len());
        self.held.advance(of_held);
        Ok(written - of_held)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.held.len() + bytes.len() <= this.held_max {
            this.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        while !this.held.is_empty() {
            let both = [IoSlice::new(&this.held), IoSlice::new(bytes)];
            let written = ready!(Pin::new(&mut this.io).poll_write_vectored(cx, &both))?;
            let written = this.let_go(written)?;
            if written > 0 {
                return Poll::Ready(Ok(written));
            }
        }
        Pin::new(&mut this.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.held_max == 0 {
            return Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, parts);
        }
        let first = parts.iter().find(|part| !part.is_empty());
        self.poll_write(cx, first.map_or(&[], |part| part))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_held(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_held(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const HELD_MAX: usize = 8;

    /// Takes down each write, of which it takes so many bytes at most.
    struct Writes {
        taken: Vec<Vec<u8>>,
        at_once: usize,
    }

    impl AsyncWrite for Writes {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            parts: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            bytes.truncate(self.at_once);
            let count = bytes.len();
            self.taken.push(bytes);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn written(at_once: usize, parts: &[&str]) -> Vec<String> {
        let mut gather = Gather::new(Writes { taken: Vec::new(), at_once }, HELD_MAX);
        for part in parts {
            gather.write_all(part.as_bytes()).await.unwrap();
        }
        gather.flush().await.unwrap();
        gather.io.taken.into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    }

    #[tokio::test]
    async fn small_writes_go_out_together_and_with_the_large_one_after_them() {
        assert_eq!(written(99, &["ab", "cd", "ef"]).await, ["abcdef"]);
        assert_eq!(written(99, &["head", "a large body"]).await, ["heada large body"]);
        assert_eq!(written(99, &["a large body", "ab", "cd"]).await, ["a large body", "abcd"]);
        assert_eq!(written(99, &[""]).await, [""; 0]);
    }

    #[tokio::test]
    async fn nothing_is_lost_or_sent_twice_however_little_is_taken_at_once() {
        let parts = ["head", "a large body", "ab", "cdefghi", "another large body", "x"];
        for at_once in 1..20 {
            assert_eq!(written(at_once, &parts).await.concat(), parts.concat(), "{at_once}");
        }
    }

    #[tokio::test]
    async fn what_is_held_goes_out_before_the_end() {
        let (near, mut far) = duplex(64);
        let mut gather = Gather::new(near, HELD_MAX);
        gather.write_all(b"last").await.unwrap();
        gather.shutdown().await.unwrap();
        let mut read = String::new();
        far.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "last");
    }

    #[tokio::test]
    async fn a_stream_that_takes_nothing_is_an_error() {
        let mut gather = Gather::new(Writes { taken: Vec::new(), at_once: 0 }, HELD_MAX);
        gather.write_all(b"ab").await.unwrap();
        assert_eq!(gather.flush().await.unwrap_err().kind(), io::ErrorKind::WriteZero);
        assert!(gather.write_all(b"a large body").await.is_err());
    }
}
