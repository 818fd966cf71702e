//! Accepts connections, and lets those in flight end when it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::ServerApp;
use pingora::server::ShutdownWatch;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::connection::{Connection, HeadWatch};
use super::door::{Door, Guest};
use super::gateway::{ClientConnection, Gateway};

/// How long to wait before accepting again when the system refused a connection (out of file
/// descriptors, most often): time for some to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listener for other servers.
pub struct Listener {
    /// The bound socket.
    pub socket: TcpListener,
    /// TLS, if it is ours to do.
    pub tls: Option<TlsAcceptor>,
    /// What serves the connections.
    pub gateway: Arc<Gateway>,
    /// The places for connections.
    pub door: Arc<Door>,
    /// Time for requests in flight after the order to stop.
    pub drain_timeout: Duration,
}

impl Listener {
    /// Serves until `shutdown` turns true, then lets the requests in flight end.
    pub async fn serve(self, shutdown: ShutdownWatch) {
        let mut connections = JoinSet::new();
        self.accept(&mut connections, shutdown).await;
        // No new connection is taken from here on.
        drop(self.socket);
        let drained = tokio::time::timeout(self.drain_timeout, async {
            while connections.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            warn!(connections = connections.len(), "stopped before these connections ended");
        }
    }

    async fn accept(&self, connections: &mut JoinSet<()>, shutdown: ShutdownWatch) {
        let mut stopping = shutdown.clone();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    // A network over its number is hung up on, which costs next to nothing.
                    let Some(seat) = self.door.enter(peer.ip()) else { continue };
                    // Meanwhile, further connections wait in the system's queue.
                    let seat = tokio::select! {
                        seat = self.door.seat(seat) => seat,
                        _ = stopping.wait_for(|stopping| *stopping) => return,
                    };
                    let serving = serve_connection(
                        Arc::clone(&self.gateway),
                        self.tls.clone(),
                        tcp,
                        (peer, seat.guest()),
                        shutdown.clone(),
                    );
                    connections.spawn(async move {
                        tokio::select! {
                            () = serving => {}
                            () = seat.wanted() => debug!(%peer, "hung up on, to make room"),
                        }
                    });
                    while connections.try_join_next().is_some() {}
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(
    gateway: Arc<Gateway>,
    tls: Option<TlsAcceptor>,
    tcp: TcpStream,
    from: (SocketAddr, Arc<Guest>),
    shutdown: ShutdownWatch,
) {
    if let Err(error) = tcp.set_nodelay(true) {
        debug!(%error, "no TCP_NODELAY");
    }
    match tls {
        None => serve_http1(gateway, tcp, from, false, &shutdown).await,
        Some(tls) => serve_tls(gateway, &tls, tcp, from, &shutdown).await,
    }
}

async fn serve_tls(
    gateway: Arc<Gateway>,
    tls: &TlsAcceptor,
    tcp: TcpStream,
    (peer, guest): (SocketAddr, Arc<Guest>),
    shutdown: &ShutdownWatch,
) {
    let head_timeout = gateway.timeouts.head;
    let handshake = gateway.apart.handshake(tls.accept(tcp));
    let stream = match tokio::time::timeout(head_timeout, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            gateway.metrics.proxy.failed_handshakes.inc();
            return debug!(%peer, %error, "TLS handshake failed");
        }
        Err(_) => {
            gateway.metrics.proxy.failed_handshakes.inc();
            return debug!(%peer, "TLS handshake took too long");
        }
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let connection = Connection::http2(stream, peer, gateway.terms(peer));
        let app = Arc::new(ClientConnection::new(gateway, peer, guest, true, None));
        app.process_new(Box::new(connection), shutdown).await;
    } else {
        serve_http1(gateway, stream, (peer, guest), true, shutdown).await;
    }
}

async fn serve_http1<S>(
    gateway: Arc<Gateway>,
    stream: S,
    (peer, guest): (SocketAddr, Arc<Guest>),
    tls: bool,
    shutdown: &ShutdownWatch,
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
    let connection = Connection::http1(stream, peer, Arc::clone(&watch), gateway.terms(peer));
    let app = Arc::new(ClientConnection::new(gateway, peer, guest, tls, Some(watch)));
    app.process_new(Box::new(connection), shutdown).await;
}
