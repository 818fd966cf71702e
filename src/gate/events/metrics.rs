//! What is counted of events and EDUs. Labels are closed sets; never a room, a server or a user.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

use super::rooms::Standing;

/// A check, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The event has the form of its room version, and is within the limits.
    Format,
    /// The servers that must have signed have, with keys valid at the event's time.
    Signatures,
    /// The content is what was hashed.
    ContentHash,
    /// An EDU speaks only for its origin's users.
    EduOrigin,
}

impl Check {
    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Signatures => "signatures",
            Self::ContentHash => "content_hash",
            Self::EduOrigin => "edu_origin",
        }
    }
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// It holds.
    Good,
    /// It does not.
    Bad,
    /// Nothing can be said.
    Unjudged,
}

impl CheckOutcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unjudged => "unjudged",
        }
    }
}

/// Why nothing can be said of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unjudged {
    /// A key it is signed with cannot be had now.
    KeyUnavailable,
    /// Its room's version is none whose rules are known.
    RoomVersion,
    /// The time for the request's events was over.
    TimeBudget,
}

impl Unjudged {
    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::KeyUnavailable => "key_unavailable",
            Self::RoomVersion => "room_version",
            Self::TimeBudget => "time_budget",
        }
    }
}

/// The label of a room's version.
pub(super) const fn version_label(standing: Standing) -> &'static str {
    match standing {
        Standing::Known(version) => version.as_str(),
        Standing::Unrecognised => "unrecognised",
        Standing::Open(_) => "unknown",
    }
}

/// The metric families of events.
#[derive(Clone, Debug)]
pub struct EventMetrics {
    checks: IntCounterVec,
    unjudged: IntCounterVec,
    rooms: IntGauge,
    durations: Histogram,
}

impl EventMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When one of their names is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            checks: IntCounterVec::new(
                Opts::new(
                    "fedgate_events_total",
                    "Checks of the events and EDUs in verified requests, by what was checked, what \
                     came of it and the room's version",
                ),
                &["check", "outcome", "room_version"],
            )?,
            unjudged: IntCounterVec::new(
                Opts::new(
                    "fedgate_events_unjudged_total",
                    "Events that passed unjudged, by the reason",
                ),
                &["reason"],
            )?,
            rooms: IntGauge::new(
                "fedgate_events_rooms_known",
                "Rooms whose version is remembered",
            )?,
            durations: Histogram::with_opts(
                HistogramOpts::new(
                    "fedgate_events_duration_seconds",
                    "Time that checking the events of one request took, with all fetches of keys",
                )
                .buckets(prometheus::exponential_buckets(0.000_05, 4.0, 8)?),
            )?,
        };
        registry.register(Box::new(metrics.checks.clone()))?;
        registry.register(Box::new(metrics.unjudged.clone()))?;
        registry.register(Box::new(metrics.rooms.clone()))?;
        registry.register(Box::new(metrics.durations.clone()))?;
        for reason in [Unjudged::KeyUnavailable, Unjudged::RoomVersion, Unjudged::TimeBudget] {
            metrics.unjudged.with_label_values(&[reason.label()]).reset();
        }
        Ok(metrics)
    }

    pub(super) fn checked(&self, check: Check, outcome: CheckOutcome, version: &'static str) {
        self.checks.with_label_values(&[check.label(), outcome.label(), version]).inc();
    }

    pub(super) fn unjudged(&self, reason: Unjudged) {
        self.unjudged.with_label_values(&[reason.label()]).inc();
    }

    pub(super) fn rooms(&self, count: u64) {
        self.rooms.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(super) fn took(&self, time: std::time::Duration) {
        self.durations.observe(time.as_secs_f64());
    }
}
