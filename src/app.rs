//! The composition root: the one place that names the real clock, the real network and the registry
//! of metrics, and puts the parts together.

mod events;
mod key_server;
mod keys;
mod outbound;
mod policy;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use sd_notify::NotifyState;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use self::events::examiner;
use self::key_server::key_server;
pub use self::keys::{key_policy, key_sources_alone, keyring_alone, rules};
use self::keys::{keyring, store};
pub use self::outbound::transport;
use self::policy::policy;
use crate::admin::{Admin, Readiness, Token, TokenError, read_token};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Homeserver, Mode};
use crate::gate::metrics::GateMetrics;
use crate::gate::policy::PolicyFileError;
use crate::gate::{Gate, GateSettings};
use crate::keys::Keyring;
use crate::keys::signing_key_file::SigningKeyFileError;
use crate::keys::store::StoreError;
use crate::net::{FederationTransport, NetMetrics};
use crate::notary::{KeyServer, Publisher};
use crate::proto::ServerName;
use crate::proxy::body::BodyBudget;
use crate::proxy::forward::{Forwarder, HomeserverTimeouts};
use crate::proxy::gateway::{ClientTimeouts, Gateway};
use crate::proxy::listener::Listener;
use crate::proxy::metrics::ProxyMetrics;
use crate::proxy::record::Metrics;
use crate::proxy::tls::{Certificate, TlsError};

/// How often a request is sent to the homeserver at most: again only when a kept connection turned
/// out to be closed before anything was answered, and only for methods that may be repeated.
const ATTEMPTS_MAX: usize = 2;

/// How often the certificate files are looked at: renewals come days before the old one ends.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(5);

/// How long the readiness probe waits for a connection to the homeserver.
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

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

/// Everything bound and ready to serve.
pub struct App {
    listener: Listener,
    admin: Admin,
    certificate: Option<Arc<Certificate>>,
    keyring: Keyring,
    publisher: Option<Arc<Publisher>>,
    address: SocketAddr,
    admin_address: SocketAddr,
    stop: watch::Sender<bool>,
}

impl App {
    /// Binds the addresses and puts the parts together.
    pub async fn bind(config: Config, outside: Outside) -> Result<Self, StartError> {
        let registry = Registry::new();
        register_process(&registry)?;
        outside.net_metrics.register(&registry)?;
        let certificate = config.listen.tls.clone().map(Certificate::load).transpose()?;
        let tls = certificate.as_ref().map(Certificate::acceptor).transpose()?;
        let socket = bind(config.listen.address, "listen.address").await?;
        let admin_socket = bind(config.admin.address, "admin.address").await?;
        let address = socket.local_addr()?;
        let admin_address = admin_socket.local_addr()?;
        let (stop, stopping) = watch::channel(false);
        let readiness =
            Arc::new(HomeserverReady { homeserver: config.homeserver.clone(), stopping });
        let store = store(&config, outside.clock.as_ref())?;
        let keyring = keyring(&config, &outside, &registry, store).await?;
        let key_server = key_server(&config, &keyring, &outside.clock, &registry)?;
        let publisher = key_server.publisher.clone();
        let gateway = gateway(&config, outside.clock, keyring.clone(), key_server, &registry)?;
        let gateway = Arc::new(gateway);
        let listener = Listener {
            socket,
            tls,
            gateway,
            connections_max: config.limits.connections_max,
            drain_timeout: config.limits.drain_timeout,
        };
        let (socket, token) = (admin_socket, token(&config.admin)?);
        let admin = Admin { socket, registry, readiness, keyring: keyring.clone(), token };
        Ok(Self { listener, admin, certificate, keyring, publisher, address, admin_address, stop })
    }

    /// Where other servers are served.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where health and metrics are served.
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Tells the app to stop: send `true`.
    pub fn stopper(&self) -> watch::Sender<bool> {
        self.stop.clone()
    }

    /// Serves until it is told to stop and the requests in flight have ended. Health and metrics can
    /// be read until then.
    pub async fn serve(self) {
        let (ended, admin_stop) = watch::channel(false);
        let admin = tokio::spawn(self.admin.serve(admin_stop));
        let reloads = self
            .certificate
            .map(|certificate| tokio::spawn(certificate.watch(CERTIFICATE_INTERVAL)));
        let keyring = self.keyring;
        let publisher = self.publisher;
        let gateway = Arc::clone(&self.listener.gateway);
        let refreshes = tokio::spawn(async move {
            let publishing = async {
                if let Some(publisher) = publisher {
                    publisher.keep_fresh().await;
                }
            };
            let (refreshing, preparing) = (keyring.refresh_ahead(), gateway.gate.prepare());
            tokio::join!(keyring.probe(), refreshing, publishing, preparing);
        });
        self.listener.serve(self.stop.subscribe()).await;
        refreshes.abort();
        ended.send_replace(true);
        let _panicked = admin.await;
        if let Some(reloads) = reloads {
            reloads.abort();
        }
    }
}

async fn bind(address: SocketAddr, setting: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|cause| StartError::Bind { address, setting, cause })
}

fn gateway(
    config: &Config,
    clock: Arc<dyn Clock>,
    keyring: Keyring,
    key_server: KeyServer,
    registry: &Registry,
) -> Result<Gateway, StartError> {
    let metrics = Arc::new(Metrics {
        gate: GateMetrics::register(registry)?,
        proxy: ProxyMetrics::register(registry)?,
    });
    let settings = GateSettings {
        server_names: config.server_names.clone(),
        mode: config.mode,
        other_paths: config.listen.other_paths,
        body_bytes_max: config.limits.body_bytes_max,
    };
    register_mode(registry, config.mode)?;
    let examiner = examiner(config, &keyring, registry)?;
    let policy = policy(config, &clock, registry)?;
    Ok(Gateway {
        gate: Gate::new(settings, keyring, examiner, clock).with_policy(policy),
        key_server,
        proxy: Arc::new(proxy(config)?),
        budget: BodyBudget::new(config.limits.buffered_bytes_max, metrics.proxy.clone()),
        timeouts: ClientTimeouts {
            head: config.limits.head_timeout,
            body: config.limits.body_timeout,
            idle: config.limits.idle_timeout,
        },
        trusted_proxies: config.listen.trusted_proxies.clone(),
        metrics,
    })
}

fn proxy(config: &Config) -> Result<HttpProxy<Forwarder>, StartError> {
    let timeouts = HomeserverTimeouts {
        connect: config.limits.homeserver_connect_timeout,
        io: config.limits.homeserver_io_timeout,
    };
    let forwarder = Forwarder::new(config.homeserver.clone(), main_name(config)?, timeouts);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let conf = ServerConf { threads, max_retries: ATTEMPTS_MAX, ..ServerConf::default() };
    let mut proxy = HttpProxy::new(forwarder, Arc::new(conf));
    proxy.handle_init_modules();
    Ok(proxy)
}

/// The name keys are asked for as, and the `Host` of requests that came without one.
fn main_name(config: &Config) -> Result<ServerName, StartError> {
    config.server_names.first().cloned().ok_or(StartError::Unnamed)
}

/// The token that the admin API asks for.
///
/// # Errors
///
/// [`StartError::Token`] when the file cannot be read, or what it holds could be guessed.
fn token(admin: &config::Admin) -> Result<Option<Token>, StartError> {
    let Some(path) = &admin.token_file else { return Ok(None) };
    token_text("admin.token_file", path).map(|text| Some(Token::new(&text)))
}

fn token_text(setting: &'static str, path: &Path) -> Result<String, StartError> {
    let refused = |cause| StartError::Token { setting, path: path.to_owned(), cause };
    read_token(path).map_err(refused)
}

/// Ready while the homeserver takes connections and nobody has told us to stop.
struct HomeserverReady {
    homeserver: Homeserver,
    stopping: watch::Receiver<bool>,
}

#[async_trait::async_trait]
impl Readiness for HomeserverReady {
    async fn check(&self) -> Result<(), String> {
        if *self.stopping.borrow() {
            return Err("draining".to_owned());
        }
        let connect = async {
            match &self.homeserver {
                Homeserver::Tcp { host, port } => {
                    TcpStream::connect((host.as_str(), *port)).await.map(drop)
                }
                Homeserver::Unix(path) => UnixStream::connect(path).await.map(drop),
            }
        };
        match tokio::time::timeout(READINESS_TIMEOUT, connect).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("homeserver: {error}")),
            Err(_) => Err(format!("homeserver: no connection within {READINESS_TIMEOUT:?}")),
        }
    }
}

fn register_process(registry: &Registry) -> Result<(), StartError> {
    registry.register(Box::new(ProcessCollector::for_self()))?;
    let build = IntGaugeVec::new(
        Opts::new("fedgate_build_info", "Always 1; the version of fedgate is the label"),
        &["version"],
    )?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    registry.register(Box::new(build))?;
    Ok(())
}

fn register_mode(registry: &Registry, mode: Mode) -> Result<(), StartError> {
    let gauge = IntGauge::new(
        "fedgate_observe_mode",
        "1 while refusals are only counted and everything is forwarded, else 0",
    )?;
    gauge.set(i64::from(mode == Mode::Observe));
    registry.register(Box::new(gauge))?;
    Ok(())
}

/// Keeps signing keys out of core files, and out of the sight of other processes of the same user. A
/// limit on core files would not do: where they go to a program, as they do under systemd, it does not
/// count.
fn forbid_core_files() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%error, "signing keys may end up in a core file");
    }
}

/// Runs the program: real clock, real network, until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), StartError> {
    let keys = &config.key_server;
    if keys.signing_key_file.is_some() || keys.notary_key_file.is_some() {
        forbid_core_files();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let outside = Outside::real(&config)?;
        let observing = config.mode == Mode::Observe;
        let app = App::bind(config, outside).await?;
        let stop = app.stopper();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            info!("stopping: no new connections, requests in flight end");
            notify(&[NotifyState::Stopping]);
            stop.send_replace(true);
        });
        if observing {
            warn!("observe mode: nothing is refused, unverified requests reach the homeserver");
        }
        info!(address = %app.address(), admin = %app.admin_address(), "ready");
        notify(&[NotifyState::Ready]);
        app.serve().await;
        info!("stopped");
        Ok(())
    })
}

/// Tells systemd, where it asked to be told.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!(%error, "cannot notify the service manager");
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn k13_a_process_with_signing_keys_leaves_no_core_file() {
        forbid_core_files();
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
    }
}
