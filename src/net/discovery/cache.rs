//! What well-known look-ups came to, per host, so that a server is not asked anew for every request
//! (server-server API, `GET /.well-known/matrix/server`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use tokio::time::Instant;

use super::well_known::Delegation;
use crate::net::metrics::Remembered;
use crate::net::{NetError, NetMetrics};
use crate::proto::ServerName;

/// Hosts remembered. When more are asked for than this, those asked for least are forgotten. With
/// names and error texts as long as they can be, 10,000 take about 25 MiB.
const HOSTS_MAX: u64 = 10_000;

/// How long a delegation holds when the answer does not say: the specification's recommendation.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(24 * 3_600);

/// How long a delegation holds at least, whatever the answer says: Synapse's floor.
const LIFETIME_MIN: Duration = Duration::from_secs(5 * 60);

/// How long a delegation holds at most: the specification's cap.
const LIFETIME_MAX: Duration = Duration::from_secs(48 * 3_600);

/// How long a failure holds: the most that the specification recommends.
const FAILURE_LIFETIME: Duration = Duration::from_secs(3_600);

/// How long a failure holds when the host had a valid document not long ago, and so likely has one
/// again soon: Synapse's time.
const FAILURE_LIFETIME_AFTER_VALID: Duration = Duration::from_secs(2 * 60);

/// How long a host counts as having had a valid document: as long as one may hold.
const VALID_REMEMBERED: Duration = LIFETIME_MAX;

/// Share of a lifetime by which it is made longer or shorter, so that what was learnt at once is not
/// asked for again at once: Synapse's.
const JITTER: f64 = 0.1;

/// Outcomes of well-known look-ups, bounded in number. Times are tokio's.
pub struct WellKnownCache {
    hosts: Cache<String, Arc<tokio::sync::Mutex<Memory>>>,
    random: Mutex<fastrand::Rng>,
    metrics: NetMetrics,
}

/// What is known of one host.
#[derive(Default)]
struct Memory {
    last: Option<Outcome>,
    /// When a valid document was got last.
    valid_at: Option<Instant>,
}

struct Outcome {
    result: Result<ServerName, NetError>,
    at: Instant,
    lifetime: Duration,
}

/// What is known of a host.
#[derive(Debug)]
pub struct Looked {
    /// The delegated name, or why there is none.
    pub result: Result<ServerName, NetError>,
    /// Whether it was known already.
    pub remembered: bool,
    /// How long it is remembered from now.
    pub remaining: Duration,
}

impl WellKnownCache {
    /// An empty cache; `random` spreads the lifetimes. It counts in `metrics`.
    pub fn new(random: fastrand::Rng, metrics: NetMetrics) -> Self {
        Self { hosts: Cache::new(HOSTS_MAX), random: Mutex::new(random), metrics }
    }

    /// The delegated name of `host`: as remembered, or else from `fetch`. Only one `fetch` of a host
    /// runs at a time; who comes meanwhile waits for it. One that is dropped leaves nothing behind,
    /// and the next runs its own.
    ///
    /// A delegation whose lifetime is over is not used any more when it can not be fetched again,
    /// though Synapse does so for a while: where it leads may be another's by now.
    pub async fn get(
        &self,
        host: &str,
        fetch: impl Future<Output = Result<Delegation, NetError>>,
    ) -> Looked {
        // Server names keep their case; hosts have none.
        let entry = self.hosts.get_with(host.to_ascii_lowercase(), async { Arc::default() }).await;
        let mut memory = entry.lock().await;
        if let Some(last) = &memory.last
            && let age = last.at.elapsed()
            && age < last.lifetime
        {
            self.metrics.looked_up(Remembered::WellKnown, true);
            let (result, remaining) = (last.result.clone(), last.lifetime - age);
            return Looked { result, remembered: true, remaining };
        }
        self.metrics.looked_up(Remembered::WellKnown, false);
        self.hosts.run_pending_tasks().await;
        self.metrics.entries(Remembered::WellKnown, self.hosts.entry_count());
        let fetched = fetch.await;
        let at = Instant::now();
        let lifetime = match &fetched {
            Ok(delegation) => {
                memory.valid_at = Some(at);
                self.spread(lifetime(delegation.cache_control.as_deref()))
                    .clamp(LIFETIME_MIN, LIFETIME_MAX)
            }
            Err(_) => self.spread(match memory.valid_at {
                Some(valid_at) if valid_at.elapsed() < VALID_REMEMBERED => {
                    FAILURE_LIFETIME_AFTER_VALID
                }
                _ => FAILURE_LIFETIME,
            }),
        };
        let result = fetched.map(|delegation| delegation.server);
        memory.last = Some(Outcome { result: result.clone(), at, lifetime });
        Looked { result, remembered: false, remaining: lifetime }
    }

    fn spread(&self, lifetime: Duration) -> Duration {
        let random = self.random.lock().unwrap_or_else(PoisonError::into_inner).f64();
        lifetime.mul_f64(1.0 + JITTER * (2.0 * random - 1.0))
    }
}

/// How long an answer with this `Cache-Control` may be used, before bounds and jitter. Of several
/// directives the strictest counts, and one that is not understood as the strictest (RFC 9111,
/// section 4.2.1).
///
/// `Expires` is not looked at. It takes the reading of dates, RFC 9111 has `max-age` override it,
/// and a server with nothing but `Expires` gets the default within the same cap.
fn lifetime(cache_control: Option<&[u8]>) -> Duration {
    cache_control
        .unwrap_or_default()
        .split(|byte| *byte == b',')
        .filter_map(|directive| {
            let (name, value) = match directive.iter().position(|byte| *byte == b'=') {
                Some(at) => directive.split_at(at),
                None => (directive, &b""[..]),
            };
            let name = name.trim_ascii();
            if name.eq_ignore_ascii_case(b"no-store") || name.eq_ignore_ascii_case(b"no-cache") {
                return Some(LIFETIME_MIN);
            }
            name.eq_ignore_ascii_case(b"max-age").then(|| max_age(value))
        })
        .min()
        .unwrap_or(LIFETIME_DEFAULT)
}

/// The time in `=300` or `="300"`.
fn max_age(value: &[u8]) -> Duration {
    let digits = value.strip_prefix(b"=").unwrap_or_default().trim_ascii();
    let digits = digits.strip_prefix(b"\"").and_then(|d| d.strip_suffix(b"\"")).unwrap_or(digits);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return LIFETIME_MIN;
    }
    // More than a u64 holds is more than the cap.
    let seconds = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
    seconds.map_or(LIFETIME_MAX, Duration::from_secs).min(LIFETIME_MAX)
}

#[cfg(test)]
mod tests;
