//! How much anybody may ask for, as the settings have it.

use std::sync::Arc;

use prometheus::Registry;

use super::StartError;
use crate::config::Config;
use crate::gate::limits::Limits;
use crate::gate::limits::metrics::LimitMetrics;

pub(super) fn limits(config: &Config, registry: &Registry) -> Result<Arc<Limits>, StartError> {
    let metrics = LimitMetrics::register(registry)?;
    Ok(Arc::new(Limits::new(&config.rates, &config.key_server.own_clients, metrics)))
}
