//! Which servers may federate, as the settings have it.

use std::sync::Arc;

use super::StartError;
use super::assembly::Assembly;
use crate::clock::Clock;
use crate::config::Config;
use crate::gate::policy::Policy;
use crate::gate::policy::metrics::PolicyMetrics;

/// The rules in force; those of `previous` where the settings are the same, with what its files said
/// last.
pub(super) fn policy(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &PolicyMetrics,
    previous: Option<&Assembly>,
) -> Result<Arc<Policy>, StartError> {
    let is_same = |previous: &&Assembly| {
        let before = &previous.config;
        before.policy == config.policy && before.server_names == config.server_names
    };
    if let Some(same) = previous.filter(is_same).and_then(|same| same.gateway.gate.policy()) {
        return Ok(Arc::clone(same));
    }
    let (names, metrics) = (&config.server_names, metrics.clone());
    Ok(Arc::new(Policy::load(&config.policy, names, metrics, Arc::clone(clock))?))
}
