//! The families that are registered once for a process, whatever its settings.

use std::sync::{Arc, LazyLock};

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::gate::events::metrics::EventMetrics;
use crate::gate::limits::metrics::LimitMetrics;
use crate::gate::metrics::GateMetrics;
use crate::gate::policy::metrics::PolicyMetrics;
use crate::notary::metrics::NotaryMetrics;
use crate::proto::Timestamp;
use crate::proxy::metrics::ProxyMetrics;
use crate::proxy::record::{Metrics, refusal_lines};

/// A panic is the process's: whatever thread or task it is in, there is one hook.
pub(super) static PANICS: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
    let panics = IntCounter::new(
        "fedgate_panics_total",
        "Panics: bugs in fedgate, each of which has ended one request or task",
    );
    panics.ok()
});

/// What the parts that are made anew with new settings count in.
pub(super) struct Families {
    pub(super) requests: Arc<Metrics>,
    pub(super) events: EventMetrics,
    pub(super) notary: NotaryMetrics,
    pub(super) policy: PolicyMetrics,
    pub(super) limits: LimitMetrics,
    pub(super) observing: IntGauge,
    pub(super) reloads: ReloadMetrics,
}

/// What became of new settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReloadOutcome {
    /// They are in force.
    Applied,
    /// They are wrong, or what they name cannot be used.
    Refused,
    /// They change what cannot be changed in place.
    RestartNeeded,
}

/// Reloads, in numbers.
#[derive(Clone, Debug)]
pub(super) struct ReloadMetrics {
    reloads: IntCounterVec,
    last_success: IntGauge,
    last_timestamp: IntGauge,
}

impl Families {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let build = IntGaugeVec::new(
            Opts::new("fedgate_build_info", "Always 1; the version of fedgate is the label"),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        let observing = IntGauge::new(
            "fedgate_observe_mode",
            "1 while refusals are only counted and everything is forwarded, else 0",
        )?;
        registry.register(Box::new(observing.clone()))?;
        if let Some(panics) = PANICS.as_ref() {
            registry.register(Box::new(panics.clone()))?;
        }
        Ok(Self {
            requests: Arc::new(Metrics {
                gate: GateMetrics::register(registry)?,
                proxy: ProxyMetrics::register(registry)?,
                lines: refusal_lines(),
            }),
            events: EventMetrics::register(registry)?,
            notary: NotaryMetrics::register(registry)?,
            policy: PolicyMetrics::register(registry)?,
            limits: LimitMetrics::register(registry)?,
            observing,
            reloads: ReloadMetrics::register(registry)?,
        })
    }
}

impl ReloadMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            reloads: IntCounterVec::new(
                Opts::new(
                    "fedgate_config_reloads_total",
                    "Times the settings were read again, by what became of them",
                ),
                &["outcome"],
            )?,
            last_success: IntGauge::new(
                "fedgate_config_last_reload_success",
                "1 if the settings as last read are in force, else 0",
            )?,
            last_timestamp: IntGauge::new(
                "fedgate_config_last_reload_timestamp_seconds",
                "When the settings in force were read, in seconds since 1970",
            )?,
        };
        registry.register(Box::new(metrics.reloads.clone()))?;
        registry.register(Box::new(metrics.last_success.clone()))?;
        registry.register(Box::new(metrics.last_timestamp.clone()))?;
        for outcome in
            [ReloadOutcome::Applied, ReloadOutcome::Refused, ReloadOutcome::RestartNeeded]
        {
            metrics.reloads.with_label_values(&[outcome.label()]);
        }
        Ok(metrics)
    }

    /// The settings that the process began with are in force.
    pub(super) fn began(&self, now: Timestamp) {
        self.last_success.set(1);
        self.last_timestamp.set(i64::try_from(now.as_ms() / 1_000).unwrap_or(i64::MAX));
    }

    pub(super) fn reloaded(&self, outcome: ReloadOutcome, now: Timestamp) {
        self.reloads.with_label_values(&[outcome.label()]).inc();
        match outcome {
            ReloadOutcome::Applied => self.began(now),
            ReloadOutcome::Refused | ReloadOutcome::RestartNeeded => self.last_success.set(0),
        }
    }
}

impl ReloadOutcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused => "refused",
            Self::RestartNeeded => "restart_needed",
        }
    }
}
