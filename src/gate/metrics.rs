//! What the gate decided, for the operator's graphs. Labels are closed sets; never an origin.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::Rejection;
use super::route::Endpoint;

/// A stage of a request's way, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Finding the origin's keys.
    Keys,
    /// Receiving the body.
    Body,
    /// Checking body and signatures.
    Verify,
    /// Checking the events in it, with the fetches of their keys.
    Events,
    /// The homeserver's part, until its whole response has been passed on.
    Homeserver,
}

impl Stage {
    const fn label(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Body => "body",
            Self::Verify => "verify",
            Self::Events => "events",
            Self::Homeserver => "homeserver",
        }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forwarded.
    Allowed,
    /// Answered by fedgate itself.
    Answered,
    /// Forwarded in observe mode; enforcing would have refused it.
    Observed(Rejection),
    /// Not forwarded.
    Refused(Rejection),
}

impl Verdict {
    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Answered => "answered",
            Self::Observed(_) => "observed",
            Self::Refused(_) => "refused",
        }
    }

    /// The reason code; empty for what was allowed.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Allowed | Self::Answered => "",
            Self::Observed(rejection) | Self::Refused(rejection) => rejection.code(),
        }
    }
}

/// The gate's metric families.
#[derive(Clone, Debug)]
pub struct GateMetrics {
    requests: IntCounterVec,
    stages: Stages,
    observed: IntCounterVec,
}

/// Every request goes through some of these, so none is looked up by its label each time.
#[derive(Clone, Debug)]
struct Stages {
    keys: Histogram,
    body: Histogram,
    verify: Histogram,
    events: Histogram,
    homeserver: Histogram,
}

impl Stages {
    fn of(family: &HistogramVec) -> Self {
        let of = |stage: Stage| family.with_label_values(&[stage.label()]);
        Self {
            keys: of(Stage::Keys),
            body: of(Stage::Body),
            verify: of(Stage::Verify),
            events: of(Stage::Events),
            homeserver: of(Stage::Homeserver),
        }
    }
}

impl GateMetrics {
    /// Registers the families.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let stages = HistogramVec::new(
            HistogramOpts::new(
                "fedgate_request_stage_duration_seconds",
                "Time a request spent in each stage of its way",
            )
            .buckets(prometheus::exponential_buckets(0.000_05, 4.0, 10)?),
            &["stage"],
        )?;
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new(
                    "fedgate_requests_total",
                    "Requests by operation, verdict and reason for refusal",
                ),
                &["endpoint", "verdict", "reason"],
            )?,
            stages: Stages::of(&stages),
            observed: IntCounterVec::new(
                Opts::new(
                    "fedgate_observed_total",
                    "Requests that observe mode let through, by the reason they would have been \
                     refused for and whether the homeserver refused them too",
                ),
                &["reason", "homeserver"],
            )?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(stages))?;
        registry.register(Box::new(metrics.observed.clone()))?;
        Ok(metrics)
    }

    /// Counts one request, once.
    pub fn count(&self, endpoint: Option<Endpoint>, verdict: Verdict) {
        let endpoint = endpoint.map_or("", Endpoint::label);
        self.requests.with_label_values(&[endpoint, verdict.label(), verdict.reason()]).inc();
    }

    /// Records the time of one stage.
    pub fn stage(&self, stage: Stage, took: Duration) {
        let stages = &self.stages;
        let histogram = match stage {
            Stage::Keys => &stages.keys,
            Stage::Body => &stages.body,
            Stage::Verify => &stages.verify,
            Stage::Events => &stages.events,
            Stage::Homeserver => &stages.homeserver,
        };
        histogram.observe(took.as_secs_f64());
    }

    /// Counts whether the homeserver agreed with a refusal that observe mode held back.
    pub fn observed(&self, rejection: Rejection, homeserver_refused: bool) {
        let agreed = if homeserver_refused { "refused" } else { "accepted" };
        self.observed.with_label_values(&[rejection.code(), agreed]).inc();
    }
}
