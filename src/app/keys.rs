//! The keyring and its sources, as the settings have them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::assembly::main_name;
use super::{Outside, StartError};
use crate::clock::Clock;
use crate::config::{Config, KeySource, Store};
use crate::keys::KeyFetcher;
use crate::keys::budget::Rates;
use crate::keys::cache::KeyCache;
use crate::keys::fetch::{HomeserverFetcher, NotaryFetcher, OriginFetcher};
use crate::keys::keyring::{KeyPolicy, Keyring, KeyringParts, Renewal, Stage};
use crate::keys::metrics::KeyMetrics;
use crate::keys::rules::{Rulebook, Rules};
use crate::keys::store::file::Opened;
use crate::keys::store::{FileStore, KeyStore, LeasedStore, StoreError};
use crate::proto::validity::Provenance;

/// How long to wait before a file that another process holds is opened again.
const LOCKED_PAUSE: Duration = Duration::from_millis(20);

/// A keyring for use beside no gate: real clock, real network, over `store`.
///
/// # Errors
///
/// When the rules made at run time cannot be read from the store, or other servers cannot be reached
/// the way the settings say.
pub async fn keyring_alone(
    config: &Config,
    store: Arc<dyn KeyStore>,
) -> Result<Keyring, StartError> {
    let outside = Outside::real(config)?;
    keyring(config, &outside, &Registry::new(), Some(store)).await
}

/// The sources of keys for use beside no gate: real clock, real network.
///
/// # Errors
///
/// When other servers cannot be reached the way the settings say.
pub fn key_sources_alone(config: &Config, rules: &Rulebook) -> Result<Vec<Stage>, StartError> {
    let outside = Outside::real(config)?;
    key_sources(config, &outside, rules, &KeyMetrics::new(&Registry::new())?)
}

/// Whom keys are asked for, in the order of the settings.
fn key_sources(
    config: &Config,
    outside: &Outside,
    rules: &Rulebook,
    metrics: &KeyMetrics,
) -> Result<Vec<Stage>, StartError> {
    let mut stages = Vec::new();
    for KeySource { kind, head_start } in &config.keys.sources {
        let transport = Arc::clone(&outside.transport);
        let mut sources: Vec<Arc<dyn KeyFetcher>> = Vec::new();
        match kind {
            Provenance::Homeserver => sources.push(Arc::new(HomeserverFetcher::new(
                config.homeserver.clone(),
                main_name(config)?,
                rules.clone(),
                Arc::clone(&outside.clock),
                metrics.clone(),
            ))),
            Provenance::Notary => {
                for notary in &config.notaries {
                    sources.push(Arc::new(NotaryFetcher::new(
                        Arc::clone(&transport),
                        rules.clone(),
                        notary.clone(),
                        metrics.clone(),
                    )));
                }
            }
            Provenance::Origin => {
                sources.push(Arc::new(OriginFetcher::new(transport, rules.clone())));
            }
        }
        stages.push(Stage { sources, head_start: *head_start });
    }
    Ok(stages)
}

/// How keys are judged, as the settings say.
pub fn key_policy(config: &Config) -> KeyPolicy {
    KeyPolicy {
        fetch_timeout: config.keys.fetch_timeout,
        agreement: config.keys.agreement,
        binding: config.keys.binding,
        first_seen: Rates {
            in_all: config.keys.first_seen_per_second,
            per_network: config.keys.first_seen_per_second_per_network,
        },
    }
}

/// A keyring as the settings have it, over `store`.
pub(super) async fn keyring(
    config: &Config,
    outside: &Outside,
    registry: &Registry,
    store: Option<Arc<dyn KeyStore>>,
) -> Result<Keyring, StartError> {
    let made = match &store {
        Some(store) => store.load_rules().await?,
        None => Rules::default(),
    };
    let rules = Rulebook::new(rules(config), made);
    let metrics = KeyMetrics::new(registry)?;
    Ok(Keyring::new(KeyringParts {
        cache: KeyCache::new(config.keys.cache_bytes_max as u64),
        store,
        stages: key_sources(config, outside, &rules, &metrics)?,
        clock: Arc::clone(&outside.clock),
        metrics,
        policy: key_policy(config),
        rules,
    }))
}

/// The same with other settings, that knows what the present one knows.
pub(super) fn renewed(
    renewal: &Renewal<'_>,
    config: &Config,
    outside: &Outside,
) -> Result<Keyring, StartError> {
    let rules = renewal.rules(rules(config));
    let metrics = renewal.metrics();
    Ok(renewal.keyring(KeyringParts {
        cache: renewal.cache(),
        store: renewal.store(),
        stages: key_sources(config, outside, &rules, &metrics)?,
        clock: Arc::clone(&outside.clock),
        metrics,
        policy: key_policy(config),
        rules,
    }))
}

/// The pins and bans of the settings.
pub fn rules(config: &Config) -> Rules {
    let pins = config.pins.iter();
    Rules {
        pins: pins.map(|pin| (pin.server_name.clone(), pin.verify_keys.clone())).collect(),
        banned_keys: config.keys.banned.iter().copied().collect(),
        banned_key_ids: config.keys.banned_key_ids.iter().cloned().collect(),
        banned_servers: config.keys.banned_servers.iter().cloned().collect(),
    }
}

/// The durable store, where there is to be one. Another process may hold it for the time `patience`.
pub(super) async fn store(
    config: &Config,
    clock: &dyn Clock,
    patience: Duration,
) -> Result<Option<Arc<LeasedStore>>, StartError> {
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
    let begun = Instant::now();
    let Opened { store, moved_aside } = loop {
        match FileStore::open(path, clock.now()) {
            Err(StoreError::Locked(_)) if begun.elapsed() < patience => sleep(LOCKED_PAUSE).await,
            opened => break opened?,
        }
    };
    if let Some(aside) = moved_aside {
        warn!(?path, ?aside, "the file of keys was damaged, has been moved aside and begun anew");
    }
    Ok(Some(Arc::new(LeasedStore::new(path.clone(), store))))
}
