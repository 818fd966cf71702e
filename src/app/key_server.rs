//! What fedgate answers for keys, as the settings have it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::StartError;
use super::assembly::main_name;
use crate::clock::Clock;
use crate::config::{Config, Publish, Queries};
use crate::keys::Keyring;
use crate::keys::fetch::LocalHttp;
use crate::keys::signing_key_file::read;
use crate::notary::answer::NotaryParts;
use crate::notary::metrics::NotaryMetrics;
use crate::notary::publish::Origin;
use crate::notary::{KeyServer, Notary, Publisher};
use crate::proto::Timestamp;
use crate::proto::own_server_keys::OwnServerKeys;
use crate::proto::server_keys::OldVerifyKey;
use crate::proto::signing_keys::SigningKeys;

/// Added to the time for finding keys: the answer is given with what there is by then.
const ANSWER_SLACK: Duration = Duration::from_secs(2);

pub(super) fn key_server(
    config: &Config,
    keyring: &Keyring,
    clock: &Arc<dyn Clock>,
    metrics: &NotaryMetrics,
    previous: Option<&Notary>,
) -> Result<KeyServer, StartError> {
    let server_name = main_name(config)?;
    let signing_keys = keys_of(config.key_server.signing_key_file.as_deref())?;
    let notary_keys = keys_of(config.key_server.notary_key_file.as_deref())?;
    let origin = match (config.key_server.publish, &signing_keys) {
        (Publish::Forward, _) => None,
        (Publish::Cached, _) => {
            let homeserver = config.homeserver.clone();
            let http = LocalHttp { homeserver, host: server_name.clone() };
            Some(Origin::Homeserver(http, keyring.clone()))
        }
        (Publish::Own, Some(keys)) => Some(own(config, keys, clock.now())?),
        (Publish::Own, None) => return Err(StartError::NoSigningKey),
    };
    let publisher = origin.map(|origin| {
        let (name, clock) = (server_name.clone(), Arc::clone(clock));
        Arc::new(Publisher::new(name, origin, clock, metrics.clone()))
    });
    let notary = match (config.key_server.queries, notary_keys.or(signing_keys)) {
        (Queries::Forward, _) => None,
        (Queries::Answer, None) => return Err(StartError::NoSigningKey),
        (Queries::Answer, Some(keys)) => {
            let parts = NotaryParts {
                server_name,
                keys,
                keyring: keyring.clone(),
                publisher: publisher.clone(),
                own_clients: config.key_server.own_clients.clone(),
                fetches_per_query_max: config.key_server.fetches_per_query_max,
                timeout: config.keys.fetch_timeout + ANSWER_SLACK,
                metrics: metrics.clone(),
            };
            Some(Arc::new(match previous {
                Some(previous) => previous.renewed(parts),
                None => Notary::new(parts),
            }))
        }
    };
    Ok(KeyServer { publisher, notary })
}

/// The document made here; made once to see that it can be.
fn own(config: &Config, keys: &Arc<SigningKeys>, now: Timestamp) -> Result<Origin, StartError> {
    let old = config.key_server.old_verify_keys.iter();
    let old = old.map(|(id, (key, expired_ts))| {
        let (key, expired_ts) = (key.clone(), *expired_ts);
        (id.clone(), OldVerifyKey { key, expired_ts })
    });
    let valid_for_ms = u64::try_from(config.key_server.valid_for.as_millis()).unwrap_or(u64::MAX);
    let (keys, old) = (Arc::clone(keys), old.collect());
    let document = OwnServerKeys {
        server_name: &main_name(config)?,
        signing_keys: &keys,
        old_verify_keys: &old,
        valid_until_ts: now.plus_ms(valid_for_ms),
    };
    document.sign().map_err(|error| StartError::OwnKeys(error.to_string()))?;
    Ok(Origin::Own { keys, old, valid_for_ms })
}

/// The keys of a file, if one is named.
fn keys_of(path: Option<&Path>) -> Result<Option<Arc<SigningKeys>>, StartError> {
    let Some(path) = path else { return Ok(None) };
    let file = read(path)?;
    if let Some(warning) = file.warning {
        warn!(warning, "a signing key is not kept as it should be");
    }
    Ok(Some(Arc::new(file.keys)))
}
