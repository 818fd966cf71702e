//! The section `events`.

use super::super::values;
use super::super::{Events, EventsMode};
use super::reader::Reader;

const MODES: &[(&str, EventsMode)] =
    &[("off", EventsMode::Off), ("report", EventsMode::Report), ("enforce", EventsMode::Enforce)];

/// More servers than one request has events.
const FETCHES_MAX: u64 = 1_000;

/// Some gigabytes; no server is in so many rooms.
const ROOMS_MAX: u64 = 10_000_000;

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Events> {
    let mode = reader.text("events.mode", |text| values::choice(text, MODES));
    let time_budget = reader.text("events.time_budget", values::duration);
    let fetches_per_request_max = reader.count("events.fetches_per_request_max", 0, FETCHES_MAX);
    let rooms_max = reader.count("events.rooms_max", 1, ROOMS_MAX);
    let admin_token_file = reader.optional("events.admin_token_file", values::absolute_path);
    let admin_api = reader.optional("events.admin_api", values::homeserver);
    Some(Events {
        mode: mode?,
        time_budget: time_budget?,
        fetches_per_request_max: fetches_per_request_max?,
        rooms_max: rooms_max?,
        admin_token_file: admin_token_file?,
        admin_api: admin_api?,
    })
}
