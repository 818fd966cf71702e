//! The composition root: the one place that names the real clock, the real network and the registry
//! of metrics, and puts the parts together.

mod assembly;
mod events;
mod handover;
mod key_server;
mod keys;
mod limits;
mod metrics;
mod outbound;
pub mod panics;
mod policy;
mod reload;
mod run;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use self::assembly::Foundation;
pub use self::keys::{key_policy, key_sources_alone, keyring_alone, rules};
use self::keys::{keyring, store};
use self::metrics::Families;
pub use self::outbound::transport;
pub use self::reload::{Live, SetLogFilter};
pub(crate) use self::run::{Startup, run};
use crate::admin::{Admin, TokenError};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::gate::policy::PolicyFileError;
use crate::keys::signing_key_file::SigningKeyFileError;
use crate::keys::store::{KeyStore, LeasedStore, StoreError};
use crate::net::{FederationTransport, NetMetrics};
use crate::proxy::listener::{Ending, Listener};
use crate::proxy::tls::{Certificate, TlsError};

/// How often the certificate files are looked at: renewals come days before the old one ends.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(5);

/// How long to wait before what has panicked is begun again.
const PANIC_PAUSE: Duration = Duration::from_secs(5);

/// Why fedgate cannot start; the text names the cause and the setting to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {cause}; stop what listens there, or change `{setting}`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The setting it comes from.
        setting: &'static str,
        /// The system's reason.
        cause: std::io::Error,
    },
    /// The process that serves does not let this one take over.
    #[error("listen.handover = {path:?}: {cause}")]
    Handover {
        /// The socket.
        path: PathBuf,
        /// Why not, and what to do.
        cause: String,
    },
    /// A file with rules about servers cannot be used.
    #[error("{0}")]
    Policy(#[from] PolicyFileError),
    /// A metric family could not be registered: a bug.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Other servers cannot be reached the way the settings say.
    #[error("outbound: {0}")]
    Outbound(String),
    /// The store of keys cannot be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The runtime or its signals could not be had from the system.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// The token of the admin API cannot be had.
    #[error("{setting} = {path:?}: {cause}")]
    Token {
        /// The setting.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: TokenError,
    },
    /// There is no key to sign with.
    #[error("no signing key; set `key_server.signing_key_file` or `key_server.notary_key_file`")]
    NoSigningKey,
    /// A file of signing keys cannot be used.
    #[error("{0}")]
    SigningKey(#[from] SigningKeyFileError),
    /// The homeserver's own key document cannot be made.
    #[error("{0}; see `key_server.signing_key_file` and `key_server.old_verify_keys`")]
    OwnKeys(String),
    /// No server name was given.
    #[error("no server name; set `server_name`")]
    Unnamed,
    /// The certificate cannot be used.
    #[error("TLS: {0}; see `listen.tls_certificate` and `listen.tls_private_key`")]
    Tls(#[from] TlsError),
}

/// The world outside: real in the program, chosen in tests and in the demo.
pub struct Outside {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way to other servers.
    pub transport: Arc<dyn FederationTransport>,
    /// What that counts in.
    pub net_metrics: NetMetrics,
}

impl Outside {
    /// The real one, reached the way the settings say.
    ///
    /// # Errors
    ///
    /// [`StartError::Outbound`] when the certificates or the name servers it depends on cannot be
    /// used.
    pub fn real(config: &Config) -> Result<Self, StartError> {
        let net_metrics = NetMetrics::new()?;
        let transport = transport(&config.outbound, &net_metrics)?;
        Ok(Self { clock: Arc::new(SystemClock), transport, net_metrics })
    }
}

/// Listening sockets that somebody else has opened.
#[derive(Default)]
pub(crate) struct Sockets {
    listen: Option<TcpListener>,
    admin: Option<TcpListener>,
}

/// Everything bound and ready to serve.
pub struct App {
    listener: Listener,
    admin: Admin,
    live: Arc<Live>,
    store: Option<Arc<LeasedStore>>,
    address: SocketAddr,
    admin_address: SocketAddr,
    ending: watch::Sender<Ending>,
}

impl App {
    /// Binds the addresses and puts the parts together.
    pub async fn bind(config: Config, outside: Outside) -> Result<Self, StartError> {
        Self::bind_on(config, outside, Sockets::default(), Duration::ZERO).await
    }

    /// The same on `sockets`, where there are some. The file of keys may be locked by another process
    /// for the time `patience`.
    pub(crate) async fn bind_on(
        config: Config,
        outside: Outside,
        sockets: Sockets,
        patience: Duration,
    ) -> Result<Self, StartError> {
        let registry = Registry::new();
        outside.net_metrics.register(&registry)?;
        let families = Families::register(&registry)?;
        let certificate = config.listen.tls.clone().map(Certificate::load).transpose()?;
        let tls = certificate.as_ref().map(Certificate::acceptor).transpose()?;
        let socket = bind(sockets.listen, config.listen.address, "listen.address").await?;
        let admin_socket = bind(sockets.admin, config.admin.address, "admin.address").await?;
        let address = socket.local_addr()?;
        let admin_address = admin_socket.local_addr()?;
        let (ending, told) = watch::channel(Ending::None);
        let store = store(&config, outside.clock.as_ref(), patience).await?;
        let kept = store.clone().map(|store| store as Arc<dyn KeyStore>);
        let keyring = keyring(&config, &outside, &registry, kept).await?;
        let foundation = Foundation { outside, families, ending: told };
        let assembly = foundation.assemble(config, keyring, None)?;
        let gateway = Arc::new(ArcSwap::new(Arc::clone(&assembly.gateway)));
        let places = Arc::new(Semaphore::new(assembly.config.limits.connections_max));
        let current = Arc::new(ArcSwap::new(Arc::clone(&assembly.served)));
        let admin = Admin { socket: admin_socket, registry, current: Arc::clone(&current) };
        let listener =
            Listener { socket, tls, gateway: Arc::clone(&gateway), places: Arc::clone(&places) };
        let live = Arc::new(Live::new(foundation, assembly, gateway, current, certificate, places));
        Ok(Self { listener, admin, live, store, address, admin_address, ending })
    }

    /// Where other servers are served.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where health and metrics are served.
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Tells the app to end.
    pub fn stopper(&self) -> watch::Sender<Ending> {
        self.ending.clone()
    }

    /// What takes new settings.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Serves until it is told to end and the requests in flight have done so. Health and metrics can
    /// be read until then, or until another process serves them.
    pub async fn serve(self) {
        let (ended, admin_end) = watch::channel(false);
        let admin = tokio::spawn(self.admin.serve(admin_end));
        let mut ending = self.ending.subscribe();
        tokio::spawn(supervise(self.live, self.ending.subscribe()));
        let listening = self.listener.serve(self.ending.subscribe());
        let handed_over = async {
            // Whoever asks for health or metrics is to get the new process's.
            Ending::reached(&mut ending, |ending| *ending == Ending::HandOver).await;
            ended.send_replace(true);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = listening => {}
            () = handed_over => {}
        }
        ended.send_replace(true);
        let _panicked = admin.await;
    }
}

/// Keeps [`keep_up`] going: what it does is missed only once it is too late.
async fn supervise(live: Arc<Live>, ending: watch::Receiver<Ending>) {
    while tokio::spawn(keep_up(Arc::clone(&live), ending.clone())).await.is_err() {
        tokio::time::sleep(PANIC_PAUSE).await;
    }
}

/// What is done beside the requests, under the settings in force, until the end has come.
async fn keep_up(live: Arc<Live>, mut ending: watch::Receiver<Ending>) {
    let certificate = async {
        match live.certificate() {
            Some(certificate) => certificate.watch(CERTIFICATE_INTERVAL).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = certificate => {}
        () = live.keep_fresh() => {}
        () = Ending::reached(&mut ending, |ending| *ending != Ending::None) => {}
    }
}

async fn bind(
    socket: Option<TcpListener>,
    address: SocketAddr,
    setting: &'static str,
) -> Result<TcpListener, StartError> {
    if let Some(socket) = socket {
        return Ok(socket);
    }
    TcpListener::bind(address).await.map_err(|cause| StartError::Bind { address, setting, cause })
}
