//! How much anybody may ask for, as the settings have it.

use std::sync::Arc;

use super::assembly::Assembly;
use crate::config::Config;
use crate::gate::limits::Limits;
use crate::gate::limits::metrics::LimitMetrics;

/// The limits; those of `previous` where the settings are the same, with what everybody has left.
pub(super) fn limits(
    config: &Config,
    metrics: &LimitMetrics,
    previous: Option<&Assembly>,
) -> Arc<Limits> {
    let own = |config: &Config| config.key_server.own_clients.clone();
    let is_same = |previous: &&Assembly| {
        previous.config.rates == config.rates && own(&previous.config) == own(config)
    };
    let same = previous.filter(is_same).and_then(|same| same.gateway.gate.limits());
    let new = || Arc::new(Limits::new(&config.rates, &own(config), metrics.clone()));
    same.map_or_else(new, Arc::clone)
}
