//! Which servers may federate, as the settings have it.

use std::sync::Arc;

use prometheus::Registry;

use super::StartError;
use crate::clock::Clock;
use crate::config::Config;
use crate::gate::policy::Policy;
use crate::gate::policy::metrics::PolicyMetrics;

pub(super) fn policy(
    config: &Config,
    clock: &Arc<dyn Clock>,
    registry: &Registry,
) -> Result<Arc<Policy>, StartError> {
    let metrics = PolicyMetrics::register(registry)?;
    let policy = Policy::load(&config.policy, &config.server_names, metrics, Arc::clone(clock))?;
    Ok(Arc::new(policy))
}
