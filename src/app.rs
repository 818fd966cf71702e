//! The composition root: the one place that names the real clock, the real network and the registry
//! of metrics, and puts the parts together.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use sd_notify::NotifyState;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::admin::{Admin, Readiness};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config, Homeserver, KeySource, Mode, Outbound, Store};
use crate::gate::metrics::GateMetrics;
use crate::gate::{Gate, GateSettings};
use crate::keys::KeyFetcher;
use crate::keys::budget::FirstSeenRates;
use crate::keys::cache::KeyCache;
use crate::keys::fetch::{HomeserverFetcher, NotaryFetcher, OriginFetcher};
use crate::keys::keyring::{KeyPolicy, Keyring, KeyringParts, Stage};
use crate::keys::metrics::KeyMetrics;
use crate::keys::store::file::Opened;
use crate::keys::store::{FileStore, KeyStore, StoreError};
use crate::net::address::AddressPolicy;
use crate::net::discovery::Ports;
use crate::net::dns::HickoryDns;
use crate::net::https::{HttpsTransport, OutboundProxy, ProxyError, ProxyScheme, Timeouts, roots};
use crate::net::{FederationTransport, NetMetrics};
use crate::proto::ServerName;
use crate::proto::ed25519::BannedKeys;
use crate::proto::validity::Provenance;
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

/// Everything bound and ready to serve.
pub struct App {
    listener: Listener,
    admin: Admin,
    certificate: Option<Arc<Certificate>>,
    keyring: Keyring,
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
        let keyring = keyring(&config, &outside, &registry)?;
        let gateway = Arc::new(gateway(&config, outside.clock, keyring.clone(), &registry)?);
        let listener = Listener {
            socket,
            tls,
            gateway,
            connections_max: config.limits.connections_max,
            drain_timeout: config.limits.drain_timeout,
        };
        let admin = Admin { socket: admin_socket, registry, readiness };
        Ok(Self { listener, admin, certificate, keyring, address, admin_address, stop })
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
        let refreshes = tokio::spawn(async move { keyring.refresh_ahead().await });
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
    Ok(Gateway {
        gate: Gate::new(settings, keyring, clock),
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

fn keyring(config: &Config, outside: &Outside, registry: &Registry) -> Result<Keyring, StartError> {
    let banned = BannedKeys::new(config.keys.banned.iter().copied());
    let mut stages = Vec::new();
    for KeySource { kind, head_start } in &config.keys.sources {
        let transport = Arc::clone(&outside.transport);
        let mut sources: Vec<Arc<dyn KeyFetcher>> = Vec::new();
        match kind {
            Provenance::Homeserver => sources.push(Arc::new(HomeserverFetcher::new(
                config.homeserver.clone(),
                main_name(config)?,
                banned.clone(),
                Arc::clone(&outside.clock),
            ))),
            Provenance::Notary => {
                for notary in &config.notaries {
                    let transport = Arc::clone(&transport);
                    let notary = NotaryFetcher::new(transport, banned.clone(), notary.clone());
                    sources.push(Arc::new(notary));
                }
            }
            Provenance::Origin => {
                sources.push(Arc::new(OriginFetcher::new(transport, banned.clone())));
            }
        }
        stages.push(Stage { sources, head_start: *head_start });
    }
    Ok(Keyring::new(KeyringParts {
        cache: KeyCache::new(config.keys.cache_bytes_max as u64),
        store: store(config, outside.clock.as_ref())?,
        stages,
        clock: Arc::clone(&outside.clock),
        metrics: KeyMetrics::new(registry)?,
        policy: KeyPolicy {
            fetch_timeout: config.keys.fetch_timeout,
            agreement: config.keys.agreement,
            binding: config.keys.binding,
            banned,
            first_seen: FirstSeenRates {
                in_all: config.keys.first_seen_per_second,
                per_network: config.keys.first_seen_per_second_per_network,
            },
        },
    }))
}

/// The durable store, where there is to be one.
fn store(config: &Config, clock: &dyn Clock) -> Result<Option<Arc<dyn KeyStore>>, StartError> {
    let path = match &config.keys.store {
        Store::Memory => return Ok(None),
        Store::File(path) => path,
        Store::FileIfPossible(path) if path.parent().is_some_and(Path::is_dir) => path,
        Store::FileIfPossible(path) => {
            warn!(
                ?path,
                "the folder of keys.store does not exist: keys are kept in memory only, and fetched \
                 again after a restart; create it, or set keys.store"
            );
            return Ok(None);
        }
    };
    let Opened { store, moved_aside } = FileStore::open(path, clock.now())?;
    if let Some(aside) = moved_aside {
        warn!(?path, ?aside, "the file of keys was damaged, has been moved aside and begun anew");
    }
    Ok(Some(Arc::new(store)))
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

/// Runs the program: real clock, real network, until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let net_metrics = NetMetrics::new()?;
        let transport = transport(&config.outbound, &net_metrics)?;
        let outside = Outside { clock: Arc::new(SystemClock), transport, net_metrics };
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

/// The real way to other servers, which counts in `metrics`.
///
/// # Errors
///
/// [`StartError::Outbound`] when the certificates or the name servers it depends on cannot be used.
pub fn transport(
    outbound: &Outbound,
    metrics: &NetMetrics,
) -> Result<Arc<dyn FederationTransport>, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Outbound(error.to_string());
    let roots = match &outbound.ca_file {
        Some(path) => roots::from_file(path).map_err(|error| failed(&error))?,
        None => roots::from_system(),
    };
    let dns = if outbound.dns_servers.is_empty() {
        HickoryDns::from_system(metrics)
    } else {
        HickoryDns::with_servers(&outbound.dns_servers, metrics)
    };
    let dns = Arc::new(dns.map_err(|error| failed(&error))?);
    let policy = AddressPolicy::new(outbound.allowed_ranges.clone());
    let proxy = outbound.proxy.as_ref().map(outbound_proxy).transpose();
    let proxy = proxy.map_err(|error| failed(&error))?;
    let (ports, timeouts) = (Ports::default(), Timeouts::default());
    let transport = HttpsTransport::new(dns, policy, roots, proxy, ports, timeouts, metrics)
        .map_err(|error| failed(&error))?;
    Ok(Arc::new(transport))
}

fn outbound_proxy(proxy: &config::OutboundProxy) -> Result<OutboundProxy, ProxyError> {
    let scheme = match proxy.scheme {
        config::ProxyScheme::Http => ProxyScheme::Http,
        config::ProxyScheme::Socks5 => ProxyScheme::Socks5,
    };
    let credentials =
        proxy.credentials.as_ref().map(|both| (both.user.as_str(), both.password.as_str()));
    OutboundProxy::new(scheme, &proxy.host, proxy.port, credentials)
}
