//! What is counted about keys. Labels are closed lists; a server's name is never one.

mod history;

use std::time::Duration;

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    exponential_buckets,
};

pub(crate) use self::history::{HistoryMetrics, Unrecorded};
use super::fetch::FetchError;
use super::keyring::KeyAnswer;
use super::known::label;
use super::store::{StoreError, StoreSize};
use crate::proto::validity::Provenance;

/// The sources that are asked over the network.
const FETCHED_FROM: [Provenance; 3] =
    [Provenance::Homeserver, Provenance::Origin, Provenance::Notary];

/// The sources that are asked for several servers' keys in one query.
const QUERIED: [Provenance; 2] = [Provenance::Homeserver, Provenance::Notary];

/// The results of a lookup, best first.
const RESULTS: [LookupResult; 6] = [
    LookupResult::Valid,
    LookupResult::Banned,
    LookupResult::Retired,
    LookupResult::Expired,
    LookupResult::Unknown,
    LookupResult::Unavailable,
];

/// The kinds of a failed fetch.
const ERROR_KINDS: [&str; 10] = [
    "bad_answer",
    "blocked_address",
    "busy",
    "connect",
    "dns",
    "http",
    "status",
    "timeout",
    "tls",
    "too_large",
];

/// What comes of a refresh.
const REFRESH_RESULTS: [&str; 2] = ["renewed", "failed"];

/// The kinds of a store's errors.
const STORE_ERROR_KINDS: [&str; 4] = ["damaged", "io", "locked", "newer"];

/// Where the answer to a lookup came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupSource {
    /// What was known already.
    Memory,
    /// A document fetched for this lookup.
    Fetched(Provenance),
    /// Nowhere: no source could be asked.
    None,
}

impl LookupSource {
    const fn label(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Fetched(provenance) => label(provenance),
            Self::None => "none",
        }
    }
}

/// The result of a lookup: that of the best of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LookupResult {
    Valid,
    Banned,
    Retired,
    Expired,
    Unknown,
    Unavailable,
}

impl LookupResult {
    pub(crate) const fn of(answer: &KeyAnswer) -> Self {
        match answer {
            KeyAnswer::Banned(_) => Self::Banned,
            KeyAnswer::Expired { .. } => Self::Expired,
            KeyAnswer::Retired { .. } => Self::Retired,
            KeyAnswer::Unknown => Self::Unknown,
            KeyAnswer::Valid(_) => Self::Valid,
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Banned => "banned",
            Self::Retired => "retired",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What becomes of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueryResult {
    /// It was answered, with whatever documents.
    Answered,
    /// It failed, and all who waited for it with it.
    Failed,
    /// It failed, and each of its names is asked for alone.
    Split,
}

impl QueryResult {
    const ALL: [Self; 3] = [Self::Answered, Self::Failed, Self::Split];

    const fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Split => "split",
        }
    }
}

/// The metric families of the keyring.
#[derive(Clone, Debug)]
pub struct KeyMetrics {
    lookups: IntCounterVec,
    /// The one of them that most requests count in.
    hits: IntCounter,
    fetch_duration: HistogramVec,
    fetch_errors: IntCounterVec,
    collisions: IntCounterVec,
    /// Fetches that hold one of the places.
    pub(crate) fetches_in_flight: IntGauge,
    cache_entries: IntGauge,
    cache_bytes: IntGauge,
    backoff_entries: IntGauge,
    store_servers: IntGauge,
    store_bytes: IntGauge,
    hedges_won: IntCounterVec,
    /// Keys refused because witnesses showed different ones.
    pub(crate) disagreements: IntCounter,
    /// Lookups of first-seen servers for which there was no budget.
    pub(crate) first_seen_refused: IntCounter,
    refreshes: IntCounterVec,
    store_errors: IntCounterVec,
    queries: IntCounterVec,
    query_names: IntCounterVec,
    /// What is put into histories, and what is not.
    pub(crate) history: HistoryMetrics,
}

impl KeyMetrics {
    /// Declares the families in `registry`.
    ///
    /// # Errors
    /// If one of the names is taken already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let lookups = lookups()?;
        let hit = [LookupSource::Memory.label(), LookupResult::Valid.label()];
        let metrics = Self {
            hits: lookups.get_metric_with_label_values(&hit)?,
            lookups,
            fetch_duration: HistogramVec::new(
                HistogramOpts::new(
                    "fedgate_key_fetch_duration_seconds",
                    "Time one source took to answer one request for keys, or to fail.",
                )
                // 5 ms to 10 s.
                .buckets(exponential_buckets(0.005, 2.0, 12)?),
                &["source"],
            )?,
            fetch_errors: fetch_errors()?,
            collisions: collisions()?,
            fetches_in_flight: IntGauge::new(
                "fedgate_key_fetches_in_flight",
                "Fetches of keys running now, one per server.",
            )?,
            cache_entries: IntGauge::new(
                "fedgate_key_cache_entries",
                "Servers whose keys are in memory, as of the last fetch.",
            )?,
            cache_bytes: cache_bytes()?,
            backoff_entries: backoff_entries()?,
            store_servers: store_servers()?,
            store_bytes: store_bytes()?,
            hedges_won: hedges_won()?,
            disagreements: disagreements()?,
            first_seen_refused: first_seen_refused()?,
            refreshes: refreshes()?,
            store_errors: store_errors()?,
            queries: queries()?,
            query_names: query_names()?,
            history: HistoryMetrics::new(registry)?,
        };
        let vectors = [
            &metrics.lookups,
            &metrics.fetch_errors,
            &metrics.collisions,
            &metrics.hedges_won,
            &metrics.refreshes,
            &metrics.store_errors,
            &metrics.queries,
            &metrics.query_names,
        ];
        for counter in vectors {
            registry.register(Box::new(counter.clone()))?;
        }
        let gauges = [
            &metrics.fetches_in_flight,
            &metrics.cache_entries,
            &metrics.cache_bytes,
            &metrics.backoff_entries,
            &metrics.store_servers,
            &metrics.store_bytes,
        ];
        for gauge in gauges {
            registry.register(Box::new(gauge.clone()))?;
        }
        for counter in [&metrics.disagreements, &metrics.first_seen_refused] {
            registry.register(Box::new(counter.clone()))?;
        }
        registry.register(Box::new(metrics.fetch_duration.clone()))?;
        metrics.show_zeros();
        Ok(metrics)
    }

    /// Creates every series, so that a rate can be taken from the first event on.
    fn show_zeros(&self) {
        for result in RESULTS {
            self.lookups.with_label_values(&[LookupSource::Memory.label(), result.label()]);
        }
        let unavailable = LookupResult::Unavailable;
        self.lookups.with_label_values(&[LookupSource::None.label(), unavailable.label()]);
        for provenance in FETCHED_FROM {
            let source = label(provenance);
            for result in RESULTS.into_iter().filter(|result| *result != unavailable) {
                self.lookups.with_label_values(&[source, result.label()]);
            }
            for kind in ERROR_KINDS {
                self.fetch_errors.with_label_values(&[source, kind]);
            }
            self.fetch_duration.with_label_values(&[source]);
            self.collisions.with_label_values(&[source]);
            self.hedges_won.with_label_values(&[source]);
        }
        for source in QUERIED.map(label) {
            for result in QueryResult::ALL {
                self.queries.with_label_values(&[source, result.label()]);
            }
            self.query_names.with_label_values(&[source]);
        }
        for result in REFRESH_RESULTS {
            self.refreshes.with_label_values(&[result]);
        }
        for kind in STORE_ERROR_KINDS {
            self.store_errors.with_label_values(&[kind]);
        }
    }

    /// A lookup that found a valid key in memory.
    pub(crate) fn hit(&self) {
        self.hits.inc();
    }

    /// Any other lookup.
    pub(crate) fn lookup(&self, source: LookupSource, result: LookupResult) {
        self.lookups.with_label_values(&[source.label(), result.label()]).inc();
    }

    /// Counts a fetch that holds one of the places, for as long as the guard lives.
    pub(crate) fn fetch_in_flight(&self) -> InFlight<'_> {
        self.fetches_in_flight.inc();
        InFlight(&self.fetches_in_flight)
    }

    pub(crate) fn fetched(&self, source: Provenance, took: Duration) {
        self.fetch_duration.with_label_values(&[label(source)]).observe(took.as_secs_f64());
    }

    pub(crate) fn fetch_failed(&self, source: Provenance, error: &FetchError) {
        if let Some(kind) = error_kind(error) {
            self.fetch_errors.with_label_values(&[label(source), kind]).inc();
        }
    }

    /// A query for the keys of `names` servers has ended.
    pub(crate) fn queried(&self, source: Provenance, names: usize, result: QueryResult) {
        self.queries.with_label_values(&[label(source), result.label()]).inc();
        self.query_names.with_label_values(&[label(source)]).inc_by(names as u64);
    }

    pub(crate) fn cache_size(&self, servers: u64, bytes: u64) {
        self.cache_entries.set(gauge(servers));
        self.cache_bytes.set(gauge(bytes));
    }

    pub(crate) fn backoff_size(&self, servers: u64) {
        self.backoff_entries.set(gauge(servers));
    }

    pub(crate) fn store_size(&self, size: StoreSize) {
        self.store_servers.set(gauge(size.servers));
        self.store_bytes.set(gauge(size.bytes));
    }

    /// A later stage than the first has decided.
    pub(crate) fn hedge_won(&self, source: Provenance) {
        self.hedges_won.with_label_values(&[label(source)]).inc();
    }

    pub(crate) fn refreshed(&self, renewed: bool) {
        let [good, bad] = REFRESH_RESULTS;
        self.refreshes.with_label_values(&[if renewed { good } else { bad }]).inc();
    }

    pub(crate) fn store_failed(&self, error: &StoreError) {
        self.store_errors.with_label_values(&[error.kind()]).inc();
    }

    pub(crate) fn collided(&self, source: Provenance) {
        self.collisions.with_label_values(&[label(source)]).inc();
    }
}

fn fetch_errors() -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(
        Opts::new(
            "fedgate_key_fetch_errors_total",
            "Requests for keys that gave none, by the source asked and what went wrong.",
        ),
        &["source", "kind"],
    )
}

fn collisions() -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(
        Opts::new(
            "fedgate_key_collisions_total",
            "Documents that show a known key ID with another key, by the source that showed it.",
        ),
        &["source"],
    )
}

fn cache_bytes() -> Result<IntGauge, prometheus::Error> {
    IntGauge::new(
        "fedgate_key_cache_bytes",
        "Memory that keys take, in bytes, as of the last fetch.",
    )
}

fn backoff_entries() -> Result<IntGauge, prometheus::Error> {
    IntGauge::new(
        "fedgate_key_backoff_entries",
        "Servers that are left alone for a while after a fetch that led nowhere, as of the last \
         fetch; some of them may be asked again by now.",
    )
}

fn store_servers() -> Result<IntGauge, prometheus::Error> {
    IntGauge::new(
        "fedgate_key_store_servers",
        "Servers in the durable store, as of the last fetch; 0 without one.",
    )
}

fn store_bytes() -> Result<IntGauge, prometheus::Error> {
    IntGauge::new(
        "fedgate_key_store_bytes",
        "Size of the durable store on disk, in bytes, as of the last fetch; 0 without one.",
    )
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn hedges_won() -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(
        Opts::new(
            "fedgate_key_hedges_won_total",
            "Fetches that a source other than the first decided, by that source.",
        ),
        &["source"],
    )
}

fn disagreements() -> Result<IntCounter, prometheus::Error> {
    IntCounter::new(
        "fedgate_key_disagreements_total",
        "Fetches refused because witnesses showed different keys under one ID.",
    )
}

fn first_seen_refused() -> Result<IntCounter, prometheus::Error> {
    IntCounter::new(
        "fedgate_key_first_seen_refused_total",
        "Lookups of servers never seen before that were refused for want of budget.",
    )
}

fn refreshes() -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(
        Opts::new(
            "fedgate_key_refreshes_total",
            "Keys fetched anew ahead of their end, by the result.",
        ),
        &["result"],
    )
}

fn store_errors() -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(
        Opts::new(
            "fedgate_key_store_errors_total",
            "What the durable store could not do, by the kind of error.",
        ),
        &["kind"],
    )
}

fn lookups() -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(
        Opts::new(
            "fedgate_key_lookups_total",
            "Lookups of an origin's keys, by where the answer came from (memory, the source fetched \
             from, none) and by the best of the requested keys.",
        ),
        &["source", "result"],
    )
}

fn queries() -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(
        Opts::new(
            "fedgate_key_queries_total",
            "Ended queries for the keys of one or more servers, by the source asked and the result; \
             after split, each server is asked for alone.",
        ),
        &["source", "result"],
    )
}

fn query_names() -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(
        Opts::new(
            "fedgate_key_query_names_total",
            "Servers that ended queries asked for, by the source asked.",
        ),
        &["source"],
    )
}

/// Counts a fetch for as long as it lasts, however it ends.
pub(crate) struct InFlight<'a>(&'a IntGauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The label of an error; none if the source was not asked at all.
/// The kind of a failed fetch; none when the source was not asked.
pub(crate) fn error_kind(error: &FetchError) -> Option<&'static str> {
    Some(match error {
        FetchError::BadAnswer(_) => "bad_answer",
        FetchError::Busy => "busy",
        FetchError::NotServed => return None,
        FetchError::Status(_) => "status",
        FetchError::Net(error) => error.kind(),
    })
}

#[cfg(test)]
mod tests;
