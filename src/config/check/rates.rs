//! The rates of the section `limits`.

use super::super::RequestRates;
use super::super::values;
use super::reader::Reader;

/// More per second than one gate could serve.
const RATE_MAX: u64 = 100_000;

/// More places and longer queues than there could be connections.
const PLACES_MAX: u64 = 100_000;

pub(super) fn read(reader: &mut Reader<'_>) -> Option<RequestRates> {
    let origin_per_second = reader.count("limits.origin_per_second", 1, RATE_MAX);
    let origin_delay = reader.text("limits.origin_delay", values::duration);
    let origin_concurrent = reader.count("limits.origin_concurrent", 1, PLACES_MAX);
    let origin_queue = reader.count("limits.origin_queue", 0, PLACES_MAX);
    let origin_queue_timeout = reader.text("limits.origin_queue_timeout", values::duration);
    let failures_per_second = reader.count("limits.failures_per_second", 1, RATE_MAX);
    let open_per_second = reader.count("limits.open_per_second", 1, RATE_MAX);
    let bad_signatures = reader.count("limits.bad_signatures_per_second", 1, RATE_MAX);
    let cool_down = reader.text("limits.cool_down", values::duration);
    Some(RequestRates {
        origin_per_second: origin_per_second?,
        origin_delay: origin_delay?,
        origin_concurrent: origin_concurrent?,
        origin_queue: origin_queue?,
        origin_queue_timeout: origin_queue_timeout?,
        failures_per_second: failures_per_second?,
        open_per_second: open_per_second?,
        bad_signatures_per_second: bad_signatures?,
        cool_down: cool_down?,
    })
}
