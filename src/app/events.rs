//! What becomes of events, as the settings have it.

use super::StartError;
use super::assembly::{main_name, token_text};
use crate::config::{Config, RefusalLines};
use crate::gate::events::metrics::EventMetrics;
use crate::gate::events::{Examiner, RoomAsker};
use crate::keys::Keyring;
use crate::keys::fetch::LocalHttp;

pub(super) fn examiner(
    config: &Config,
    keyring: &Keyring,
    metrics: &EventMetrics,
    previous: Option<&Examiner>,
) -> Result<Option<Examiner>, StartError> {
    let events = &config.events;
    let asker = match &events.admin_token_file {
        None => None,
        Some(path) => {
            let homeserver = events.admin_api.clone().unwrap_or_else(|| config.homeserver.clone());
            let http = LocalHttp { homeserver, host: main_name(config)? };
            let token = token_text("events.admin_token_file", path)?;
            Some(RoomAsker::new(http, token, events.rooms_max))
        }
    };
    let names = config.server_names.clone();
    let examiner = Examiner::new(events.clone(), names, keyring.clone(), asker, metrics.clone());
    let is_limited = config.log.refusals == RefusalLines::Limited;
    let examiner = if is_limited { examiner.map(Examiner::with_limited_lines) } else { examiner };
    Ok(match (examiner, previous) {
        (Some(examiner), Some(previous)) => Some(examiner.remembering(previous)),
        (examiner, _) => examiner,
    })
}
