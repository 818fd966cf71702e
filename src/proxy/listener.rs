//! Accepts connections, and lets those in flight end when it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use pingora::apps::ServerApp;
use pingora::server::ShutdownWatch;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::client_connection::ClientConnection;
use super::connection::{Connection, HeadWatch};
use super::door::{Door, Guest, Seat};
use super::gateway::{CurrentGateway, Gateway};

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
    /// The places for connections.
    pub door: Arc<Door>,
}

/// What a connection is to know of the listener's end.
#[derive(Clone)]
struct Signals {
    /// Turns true with the order to stop.
    stopping: ShutdownWatch,
    /// Turns true when connections without a request are to end.
    idle_end: watch::Receiver<bool>,
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
            self.accept_queued(&mut connections, &signals).await;
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
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = Ending::reached(ending, |ending| *ending != Ending::None) => return,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    // A network over its number or rate is hung up on, which costs next to nothing.
                    let Some(mut seat) = self.door.enter(peer.ip()).await else { continue };
                    tokio::select! {
                        // Meanwhile, further connections wait in the system's queue.
                        () = self.door.seat(&mut seat) => {}
                        // It is here already: its client would lose what it has sent.
                        () = Ending::reached(ending, |ending| *ending != Ending::None) => {}
                    }
                    self.begin(connections, signals, (tcp, peer), seat);
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
    async fn accept_queued(&self, connections: &mut JoinSet<()>, signals: &Signals) {
        while self.door.has_room()
            && let Some(Ok((tcp, peer))) = self.socket.accept().now_or_never()
        {
            if let Some(mut seat) = self.door.enter(peer.ip()).await
                && self.door.seat_now(&mut seat)
            {
                self.begin(connections, signals, (tcp, peer), seat);
            }
        }
    }

    fn begin(
        &self,
        connections: &mut JoinSet<()>,
        signals: &Signals,
        (tcp, peer): (TcpStream, SocketAddr),
        seat: Seat,
    ) {
        let (gateway, tls) = (Arc::clone(&self.gateway), self.tls.clone());
        // In a box: the future that waits for one of two would hold it twice.
        let serving =
            Box::pin(serve_connection(gateway, tls, tcp, (peer, seat.guest()), signals.clone()));
        connections.spawn(async move {
            tokio::select! {
                () = serving => {}
                () = seat.wanted() => debug!(%peer, "hung up on, to make room"),
            }
        });
    }
}

async fn serve_connection(
    gateway: CurrentGateway,
    tls: Option<TlsAcceptor>,
    tcp: TcpStream,
    from: (SocketAddr, Arc<Guest>),
    signals: Signals,
) {
    if let Err(error) = tcp.set_nodelay(true) {
        debug!(%error, "no TCP_NODELAY");
    }
    match tls {
        None => serve_http1(gateway, tcp, from, false, signals).await,
        Some(tls) => serve_tls(gateway, &tls, tcp, from, signals).await,
    }
}

async fn serve_tls(
    gateway: CurrentGateway,
    tls: &TlsAcceptor,
    tcp: TcpStream,
    (peer, guest): (SocketAddr, Arc<Guest>),
    signals: Signals,
) {
    let current = gateway.load_full();
    let stream = match shake_hands(&current, tls, tcp, &guest).await {
        Ok(stream) => stream,
        Err(error) => {
            gateway.load().metrics.proxy.failed_handshakes.inc();
            return debug!(%peer, %error, "TLS handshake failed");
        }
    };
    let terms = current.terms(peer);
    // The connection may outlive the settings.
    drop(current);
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let Signals { stopping, idle_end } = signals;
        let connection = Connection::http2(stream, peer, terms);
        let app = Arc::new(ClientConnection::new(gateway, (peer, guest), true, None, idle_end));
        app.process_new(Box::new(connection), &stopping).await;
    } else {
        serve_http1(gateway, stream, (peer, guest), true, signals).await;
    }
}

async fn shake_hands(
    gateway: &Gateway,
    tls: &TlsAcceptor,
    tcp: TcpStream,
    guest: &Guest,
) -> io::Result<TlsStream<TcpStream>> {
    if guest.is_stranger() {
        gateway.apart.strangers_handshake().await;
        // Others have waited for nothing, but need not cost anything.
        if is_gone(&tcp) {
            return Err(io::ErrorKind::NotConnected.into());
        }
    }
    tokio::time::timeout(gateway.timeouts.head, tls.accept(tcp)).await?
}

/// Whether the client is known to have hung up, whatever it has sent before.
fn is_gone(tcp: &TcpStream) -> bool {
    let readiness = tcp.ready(Interest::READABLE).now_or_never();
    readiness.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
}

async fn serve_http1<S>(
    gateway: CurrentGateway,
    stream: S,
    (peer, guest): (SocketAddr, Arc<Guest>),
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
    let connection = Connection::http1(stream, peer, watch, gateway.load().terms(peer));
    let app = Arc::new(ClientConnection::new(gateway, (peer, guest), tls, told, idle_end));
    app.process_new(Box::new(connection), &stopping).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn who_has_hung_up_is_known_by_it_behind_what_was_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        assert!(!is_gone(&server));
        client.write_all(b"a hello").await.unwrap();
        server.readable().await.unwrap();
        assert!(!is_gone(&server));
        drop(client);
        while !is_gone(&server) {
            tokio::task::yield_now().await;
        }
    }
}
