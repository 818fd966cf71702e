//! Everything that follows from settings, put together over what outlives them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use super::events::examiner;
use super::key_server::key_server;
use super::limits::limits;
use super::metrics::Families;
use super::policy::policy;
use super::{Outside, StartError};
use crate::admin::{Api, Readiness, Served, Token, read_token};
use crate::config::{self, Config, Homeserver, Limits};
use crate::gate::{Gate, GateSettings};
use crate::keys::Keyring;
use crate::proto::ServerName;
use crate::proxy::apart::Apart;
use crate::proxy::body::BodyPace;
use crate::proxy::budget::{Bounds, MemoryBudget};
use crate::proxy::door::DoorRules;
use crate::proxy::forward::{Forwarder, HomeserverTimeouts};
use crate::proxy::gateway::{ClientTimeouts, Gateway};
use crate::proxy::listener::Ending;

/// How often a request is sent to the homeserver at most: again only when a kept connection turned
/// out to be closed before anything was answered, and only for methods that may be repeated.
const ATTEMPTS_MAX: usize = 2;

/// How long the readiness probe waits for a connection to the homeserver.
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// What outlives the settings: the world, the counters.
pub(super) struct Foundation {
    pub(super) outside: Outside,
    pub(super) families: Families,
    pub(super) ending: watch::Receiver<Ending>,
}

/// All that follows from one set of settings.
pub(super) struct Assembly {
    pub(super) config: Config,
    pub(super) keyring: Keyring,
    /// For other servers.
    pub(super) gateway: Arc<Gateway>,
    /// For the operator.
    pub(super) served: Arc<Served>,
}

impl Foundation {
    /// Puts the parts together. What `previous` has learnt, and what is the same under both settings,
    /// is taken from there.
    pub(super) fn assemble(
        &self,
        config: Config,
        keyring: Keyring,
        previous: Option<&Assembly>,
    ) -> Result<Assembly, StartError> {
        let before = previous.map(|previous| previous.gateway.as_ref());
        let settings = GateSettings {
            server_names: config.server_names.clone(),
            mode: config.mode,
            other_paths: config.listen.other_paths,
            body_bytes_max: config.limits.body_bytes_max,
        };
        let known = before.and_then(|before| before.gate.examiner());
        let examiner = examiner(&config, &keyring, &self.families.events, known)?;
        let (clock, notary) = (&self.outside.clock, &self.families.notary);
        let policy = policy(&config, clock, &self.families.policy, previous)?;
        let limits = limits(&config, &self.families.limits, previous);
        let known = before.and_then(|before| before.key_server.notary.as_deref());
        let key_server = key_server(&config, &keyring, clock, notary, known)?;
        let metrics = Arc::clone(&self.families.requests);
        let bounds = Bounds {
            in_all: config.limits.buffered_bytes_max,
            per_network: config.limits.buffered_bytes_max_per_network,
        };
        let trusted = &config.listen.trusted_proxies;
        let gateway = Arc::new(Gateway {
            gate: Gate::new(settings, keyring.clone(), examiner, Arc::clone(clock))
                .with_policy(policy)
                .with_limits(limits),
            key_server,
            proxy: proxy(&config, previous)?,
            budget: match before {
                Some(before) => before.budget.renewed(bounds, trusted),
                None => MemoryBudget::new(bounds, trusted, metrics.proxy.clone()),
            },
            apart: match before {
                Some(before) => Arc::clone(&before.apart),
                None => Arc::new(Apart::on_half_of(processors())),
            },
            timeouts: timeouts(&config.limits),
            trusted_proxies: config.listen.trusted_proxies.clone(),
            metrics,
        });
        let readiness =
            HomeserverReady { homeserver: config.homeserver.clone(), ending: self.ending.clone() };
        let served = Arc::new(Served {
            api: Api::new(keyring.clone()),
            token: token(&config.admin)?,
            readiness: Arc::new(readiness),
        });
        Ok(Assembly { config, keyring, gateway, served })
    }
}

const fn timeouts(limits: &Limits) -> ClientTimeouts {
    ClientTimeouts {
        head: limits.head_timeout,
        body: BodyPace {
            timeout: limits.body_timeout,
            rate_min: limits.body_rate_min,
            grace: limits.body_rate_grace,
        },
        idle: limits.idle_timeout,
        write: limits.response_timeout,
        drain: limits.drain_timeout,
    }
}

/// What the settings say of connections.
pub(super) fn door_rules(config: &Config) -> DoorRules {
    DoorRules {
        places_max: config.limits.connections_max,
        per_network: config.limits.connections_max_per_network,
        trusted: config.listen.trusted_proxies.clone(),
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The way to the homeserver; its open connections are kept where it is the same.
fn proxy(
    config: &Config,
    previous: Option<&Assembly>,
) -> Result<Arc<HttpProxy<Forwarder>>, StartError> {
    let way = |config: &Config| -> Result<_, StartError> {
        let limits = &config.limits;
        let timeouts = (limits.homeserver_connect_timeout, limits.homeserver_io_timeout);
        Ok((config.homeserver.clone(), main_name(config)?, timeouts))
    };
    let (homeserver, name, timeouts) = way(config)?;
    if let Some(previous) = previous
        && way(&previous.config)? == (homeserver.clone(), name.clone(), timeouts)
    {
        return Ok(Arc::clone(&previous.gateway.proxy));
    }
    let (connect, io) = timeouts;
    let forwarder = Forwarder::new(homeserver, name, HomeserverTimeouts { connect, io });
    let conf =
        ServerConf { threads: processors(), max_retries: ATTEMPTS_MAX, ..ServerConf::default() };
    let mut proxy = HttpProxy::new(forwarder, Arc::new(conf));
    proxy.handle_init_modules();
    Ok(Arc::new(proxy))
}

/// The name keys are asked for as, and the `Host` of requests that came without one.
pub(super) fn main_name(config: &Config) -> Result<ServerName, StartError> {
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

pub(super) fn token_text(setting: &'static str, path: &Path) -> Result<String, StartError> {
    let refused = |cause| StartError::Token { setting, path: path.to_owned(), cause };
    read_token(path).map_err(refused)
}

/// Ready while the homeserver takes connections and nobody has told us to stop.
struct HomeserverReady {
    homeserver: Homeserver,
    ending: watch::Receiver<Ending>,
}

#[async_trait::async_trait]
impl Readiness for HomeserverReady {
    async fn check(&self) -> Result<(), String> {
        if *self.ending.borrow() != Ending::None {
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
