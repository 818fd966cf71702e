//! Accepts connections, and lets those in flight end when it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use pingora::apps::ServerApp;
use pingora::server::ShutdownWatch;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::client_connection::ClientConnection;
use super::connection::{Connection, HeadWatch};
use super::gateway::CurrentGateway;

/// How long to wait before accepting again when the system refused a connection (out of file
/// descriptors, most often): time for some to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long connections without a request are kept after the order to stop: a request may be on its
/// way already, and takes less than that around the world.
const IDLE_GRACE: Duration = Duration::from_millis(500);

/// How a listener is to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// Not yet.
    #[default]
    None,
    /// Nobody will listen on the socket.
    Stop,
    /// Another process listens on it already. Whoever has a connection here may use it once more, for
    /// as long as requests in flight may take.
    HandOver,
}

impl Ending {
    /// Waits until the end of a kind has come.
    pub async fn reached(told: &mut watch::Receiver<Self>, is_due: impl FnMut(&Self) -> bool) {
        // Whoever could tell of it has gone when the process ends anyway.
        let _told = told.wait_for(is_due).await;
    }
}

/// The listener for other servers.
pub struct Listener {
    /// The bound socket.
    pub socket: TcpListener,
    /// TLS, if it is ours to do.
    pub tls: Option<TlsAcceptor>,
    /// What serves the connections.
    pub gateway: CurrentGateway,
    /// A place for each connection.
    pub places: Arc<Semaphore>,
}

/// What a connection is to know of the listener's end.
#[derive(Clone)]
struct Signals {
    /// Turns true with the order to stop.
    stopping: ShutdownWatch,
    /// Turns true when connections without a request are to end.
    idle_end: watch::Receiver<bool>,
}

/// Changes how many connections there may be at one time. Where there are more already, new ones wait
/// until enough of them have ended.
pub fn resize(places: &Arc<Semaphore>, before: usize, after: usize) {
    if let Some(more) = after.checked_sub(before) {
        places.add_permits(more);
        return;
    }
    let (fewer, places) = (u32::try_from(before - after).unwrap_or(u32::MAX), Arc::clone(places));
    tokio::spawn(async move {
        if let Ok(taken) = places.acquire_many_owned(fewer).await {
            taken.forget();
        }
    });
}

impl Listener {
    /// Serves until it is told to end, then lets the requests in flight do so.
    pub async fn serve(self, mut ending: watch::Receiver<Ending>) {
        let (stop, stopping) = watch::channel(false);
        let (end_idle, idle_end) = watch::channel(false);
        let signals = Signals { stopping, idle_end };
        let mut connections = JoinSet::new();
        self.accept(&mut connections, &signals, &mut ending).await;
        stop.send_replace(true);
        if *ending.borrow() == Ending::Stop {
            self.accept_queued(&mut connections, &signals);
        }
        // No new connection is taken from here on.
        drop(self.socket);
        let drain = self.gateway.load().timeouts.drain;
        let drained = tokio::time::timeout(drain, async {
            let idle_over = async {
                let patience = drain.saturating_sub(IDLE_GRACE);
                let stop = Ending::reached(&mut ending, |ending| *ending == Ending::Stop);
                // Whether the time is over or somebody will not wait for it, it comes to the same.
                let _either = tokio::time::timeout(patience, stop).await;
                tokio::time::sleep(IDLE_GRACE).await;
                end_idle.send_replace(true);
                std::future::pending::<()>().await;
            };
            let ended = async { while connections.join_next().await.is_some() {} };
            tokio::select! {
                () = ended => {}
                () = idle_over => {}
            }
        });
        if drained.await.is_err() {
            warn!(connections = connections.len(), "stopped before these connections ended");
        }
    }

    async fn accept(
        &self,
        connections: &mut JoinSet<()>,
        signals: &Signals,
        ending: &mut watch::Receiver<Ending>,
    ) {
        loop {
            let accepted = async {
                // At the cap, new connections wait in the system's queue.
                let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
                Some((self.socket.accept().await, place))
            };
            let accepted = tokio::select! {
                accepted = accepted => accepted,
                () = Ending::reached(ending, |ending| *ending != Ending::None) => None,
            };
            let Some((accepted, place)) = accepted else { return };
            match accepted {
                Ok((tcp, peer)) => {
                    self.begin(connections, signals, (tcp, peer), place);
                    while connections.try_join_next().is_some() {}
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Takes the connections that the system has accepted already: their clients would lose what they
    /// have sent.
    fn accept_queued(&self, connections: &mut JoinSet<()>, signals: &Signals) {
        while let Ok(place) = Arc::clone(&self.places).try_acquire_owned()
            && let Some(Ok(accepted)) = self.socket.accept().now_or_never()
        {
            self.begin(connections, signals, accepted, place);
        }
    }

    fn begin(
        &self,
        connections: &mut JoinSet<()>,
        signals: &Signals,
        (tcp, peer): (TcpStream, SocketAddr),
        place: OwnedSemaphorePermit,
    ) {
        let (gateway, tls) = (Arc::clone(&self.gateway), self.tls.clone());
        let serving = serve_connection(gateway, tls, tcp, peer, signals.clone());
        connections.spawn(async move {
            serving.await;
            drop(place);
        });
    }
}

async fn serve_connection(
    gateway: CurrentGateway,
    tls: Option<TlsAcceptor>,
    tcp: TcpStream,
    peer: SocketAddr,
    signals: Signals,
) {
    let _open = gateway.load().metrics.proxy.connection();
    if let Err(error) = tcp.set_nodelay(true) {
        debug!(%error, "no TCP_NODELAY");
    }
    match tls {
        None => serve_http1(gateway, tcp, peer, false, signals).await,
        Some(tls) => serve_tls(gateway, &tls, tcp, peer, signals).await,
    }
}

async fn serve_tls(
    gateway: CurrentGateway,
    tls: &TlsAcceptor,
    tcp: TcpStream,
    peer: SocketAddr,
    signals: Signals,
) {
    let head_timeout = gateway.load().timeouts.head;
    let stream = match tokio::time::timeout(head_timeout, tls.accept(tcp)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            gateway.load().metrics.proxy.failed_handshakes.inc();
            return debug!(%peer, %error, "TLS handshake failed");
        }
        Err(_) => {
            gateway.load().metrics.proxy.failed_handshakes.inc();
            return debug!(%peer, "TLS handshake took too long");
        }
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let Signals { stopping, idle_end } = signals;
        let app = Arc::new(ClientConnection::new(gateway, peer, true, None, idle_end));
        let connection = Connection::http2(stream, peer, head_timeout);
        app.process_new(Box::new(connection), &stopping).await;
    } else {
        serve_http1(gateway, stream, peer, true, signals).await;
    }
}

async fn serve_http1<S>(
    gateway: CurrentGateway,
    stream: S,
    peer: SocketAddr,
    tls: bool,
    signals: Signals,
) where
    S: tokio::io::AsyncRead
        + tokio::io::AsyncWrite
        + std::os::fd::AsRawFd
        + Unpin
        + Send
        + Sync
        + 'static,
{
    let watch = Arc::new(HeadWatch::default());
    let (told, Signals { stopping, idle_end }) = (Some(Arc::clone(&watch)), signals);
    let app = Arc::new(ClientConnection::new(gateway, peer, tls, told, idle_end));
    let connection = Connection::http1(stream, peer, watch);
    app.process_new(Box::new(connection), &stopping).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_grow_at_once_and_shrink_as_connections_end() {
        let places = Arc::new(Semaphore::new(2));
        let take = || Arc::clone(&places).try_acquire_owned().ok();
        let (one, two) = (take(), take());
        assert!(one.is_some() && two.is_some() && take().is_none());
        resize(&places, 2, 3);
        let three = take();
        assert!(three.is_some() && take().is_none());

        resize(&places, 3, 1);
        tokio::task::yield_now().await;
        for held in [one, two] {
            drop(held);
            tokio::task::yield_now().await;
            assert!(take().is_none(), "still as many as there may be");
        }
        drop(three);
        assert!(take().is_some());
    }
}
