//! Accepts connections, and lets those in flight end when it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::ServerApp;
use pingora::server::ShutdownWatch;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::connection::{Connection, HeadWatch};
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
    /// Connections at one time.
    pub connections_max: usize,
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
        let permits = Arc::new(Semaphore::new(self.connections_max));
        let mut stopping = shutdown.clone();
        loop {
            // At the cap, new connections wait in the system's queue.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = stopping.wait_for(|stopping| *stopping) => return,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    let serving = serve_connection(
                        Arc::clone(&self.gateway),
                        self.tls.clone(),
                        tcp,
                        peer,
                        shutdown.clone(),
                    );
                    connections.spawn(async move {
                        serving.await;
                        drop(permit);
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
    peer: SocketAddr,
    shutdown: ShutdownWatch,
) {
    let _open = gateway.metrics.proxy.connection();
    if let Err(error) = tcp.set_nodelay(true) {
        debug!(%error, "no TCP_NODELAY");
    }
    match tls {
        None => serve_http1(gateway, tcp, peer, false, &shutdown).await,
        Some(tls) => serve_tls(gateway, &tls, tcp, peer, &shutdown).await,
    }
}

async fn serve_tls(
    gateway: Arc<Gateway>,
    tls: &TlsAcceptor,
    tcp: TcpStream,
    peer: SocketAddr,
    shutdown: &ShutdownWatch,
) {
    let head_timeout = gateway.timeouts.head;
    let stream = match tokio::time::timeout(head_timeout, tls.accept(tcp)).await {
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
        let app = Arc::new(ClientConnection::new(gateway, peer, true, None));
        let connection = Connection::http2(stream, peer, head_timeout);
        app.process_new(Box::new(connection), shutdown).await;
    } else {
        serve_http1(gateway, stream, peer, true, shutdown).await;
    }
}

async fn serve_http1<S>(
    gateway: Arc<Gateway>,
    stream: S,
    peer: SocketAddr,
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
    let app = Arc::new(ClientConnection::new(gateway, peer, tls, Some(Arc::clone(&watch))));
    let connection = Connection::http1(stream, peer, watch);
    app.process_new(Box::new(connection), shutdown).await;
}
