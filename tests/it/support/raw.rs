//! A homeserver stand-in that is told what to do with each connection, byte by byte.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::client::Wire;

/// A request, read whole.
#[derive(Clone, Debug)]
pub struct RawRequest {
    /// Which connection it came over, counted from 0.
    pub connection: usize,
    /// Request line and header fields; bytes outside ASCII as in Latin-1.
    pub head: String,
    pub body: Bytes,
}

impl RawRequest {
    pub fn is(&self, method: &str) -> bool {
        self.head.split(' ').next() == Some(method)
    }
}

type Seen = Arc<Mutex<Vec<RawRequest>>>;

#[derive(Clone)]
pub struct RawHomeserver {
    /// What the setting `homeserver` says.
    pub url: String,
    seen: Seen,
    received: Arc<AtomicUsize>,
}

impl RawHomeserver {
    /// Runs `script` for every connection.
    pub async fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(ServerSide) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Seen::default();
        let received = Arc::default();
        let sides = Sides::new(&seen, &received);
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tcp.set_nodelay(true).unwrap();
                tokio::spawn(script(sides.next(Box::new(tcp))));
            }
        });
        Self { url, seen, received }
    }

    /// The same, on a unix socket.
    pub fn start_unix<F, Fut>(path: &Path, script: F) -> Self
    where
        F: Fn(ServerSide) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = UnixListener::bind(path).unwrap();
        let seen = Seen::default();
        let received = Arc::default();
        let sides = Sides::new(&seen, &received);
        tokio::spawn(async move {
            loop {
                let (unix, _) = listener.accept().await.unwrap();
                tokio::spawn(script(sides.next(Box::new(unix))));
            }
        });
        Self { url: format!("unix:{}", path.display()), seen, received }
    }

    /// Bytes so far, over all connections, whether or not a request came of them.
    pub fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }

    /// The requests that came whole.
    pub fn seen(&self) -> Vec<RawRequest> {
        self.seen.lock().unwrap().clone()
    }
}

struct Sides {
    seen: Seen,
    received: Arc<AtomicUsize>,
    count: AtomicUsize,
}

impl Sides {
    fn new(seen: &Seen, received: &Arc<AtomicUsize>) -> Self {
        let (seen, received) = (Arc::clone(seen), Arc::clone(received));
        Self { seen, received, count: AtomicUsize::new(0) }
    }

    fn next(&self, wire: Box<dyn Wire>) -> ServerSide {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let (seen, received) = (Arc::clone(&self.seen), Arc::clone(&self.received));
        ServerSide { number, wire, buffer: BytesMut::new(), seen, received }
    }
}

/// The homeserver's end of one connection.
pub struct ServerSide {
    /// Which connection this is, counted from 0.
    pub number: usize,
    wire: Box<dyn Wire>,
    buffer: BytesMut,
    seen: Seen,
    received: Arc<AtomicUsize>,
}

impl ServerSide {
    /// Reads a request's head; `None` at the end of the connection.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let head = self.buffer.split_to(at + 4);
                return Some(head.iter().map(|byte| char::from(*byte)).collect());
            }
            self.fill().await?;
        }
    }

    /// Reads a whole request, and notes it.
    pub async fn request(&mut self) -> Option<RawRequest> {
        let head = self.head().await?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
        });
        let length = length.unwrap_or(0);
        let body = self.take(length).await?.freeze();
        let request = RawRequest { connection: self.number, head, body };
        self.seen.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// Reads so many bytes.
    pub async fn take(&mut self, length: usize) -> Option<BytesMut> {
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Some(self.buffer.split_to(length))
    }

    /// Reads until what has come ends like this.
    pub async fn take_until(&mut self, end: &[u8]) -> Option<BytesMut> {
        while !self.buffer.ends_with(end) {
            self.fill().await?;
        }
        Some(self.buffer.split())
    }

    /// Writes; false when the gate has hung up.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        self.wire.write_all(bytes).await.is_ok() && self.wire.flush().await.is_ok()
    }

    /// Answers every request the same, until the gate hangs up.
    pub async fn answer_all(mut self, response: &'static str) {
        while self.request().await.is_some() && self.write(response.as_bytes()).await {}
    }

    /// Waits until the gate hangs up.
    pub async fn wait_closed(&mut self) {
        while self.fill().await.is_some() {
            self.buffer.clear();
        }
    }

    async fn fill(&mut self) -> Option<()> {
        let read = self.wire.read_buf(&mut self.buffer).await.unwrap_or(0);
        self.received.fetch_add(read, Ordering::SeqCst);
        (read > 0).then_some(())
    }
}
