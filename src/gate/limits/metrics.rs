//! What was refused or delayed for being too much.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// A limit, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bad signatures in one origin's name from one address.
    CoolDown,
    /// Failures of one address.
    Failures,
    /// Unsigned requests of one address.
    Open,
    /// The queue of one origin.
    OriginQueue,
    /// The time in it.
    OriginWait,
}

impl Limit {
    const ALL: [Self; 5] =
        [Self::CoolDown, Self::Failures, Self::Open, Self::OriginQueue, Self::OriginWait];

    const fn label(self) -> &'static str {
        match self {
            Self::CoolDown => "cool_down",
            Self::Failures => "failures",
            Self::Open => "open",
            Self::OriginQueue => "origin_queue",
            Self::OriginWait => "origin_wait",
        }
    }

    /// What the log says.
    pub(super) const fn detail(self) -> &'static str {
        match self {
            Self::CoolDown => {
                "too many bad signatures in this origin's name from this client \
                 (limits.bad_signatures_per_second)"
            }
            Self::Failures => {
                "too many requests of this client have failed (limits.failures_per_second)"
            }
            Self::Open => "too many unsigned requests of this client (limits.open_per_second)",
            Self::OriginQueue => {
                "too many requests of this origin are waiting (limits.origin_queue)"
            }
            Self::OriginWait => {
                "no place for this origin's request in time (limits.origin_queue_timeout)"
            }
        }
    }
}

/// The metric families of limits.
#[derive(Clone, Debug)]
pub struct LimitMetrics {
    refused: IntCounterVec,
    cool_downs: IntCounter,
    pub(super) delayed: IntCounter,
    pub(super) waiting: IntGauge,
}

impl LimitMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When one of their names is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            refused: IntCounterVec::new(
                Opts::new(
                    "fedgate_limits_refused_total",
                    "Requests refused for being too many, by limit",
                ),
                &["limit"],
            )?,
            cool_downs: IntCounter::new(
                "fedgate_limits_cool_downs_total",
                "How often bad signatures in an origin's name from one client have begun or prolonged \
                 a cool-down",
            )?,
            delayed: IntCounter::new(
                "fedgate_limits_delayed_total",
                "Verified requests that were delayed because of their origin's rate",
            )?,
            waiting: IntGauge::new(
                "fedgate_limits_waiting",
                "Verified requests that wait for a place of their origin",
            )?,
        };
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.cool_downs.clone()))?;
        registry.register(Box::new(metrics.delayed.clone()))?;
        registry.register(Box::new(metrics.waiting.clone()))?;
        for limit in Limit::ALL {
            metrics.refused.with_label_values(&[limit.label()]).reset();
        }
        Ok(metrics)
    }

    pub(super) fn refused(&self, limit: Limit) {
        self.refused.with_label_values(&[limit.label()]).inc();
    }

    pub(super) fn cools(&self) {
        self.cool_downs.inc();
    }
}
