//! The policy's rules and what only trying them out has found.

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::lists::Counts;
use super::table::Cause;
use crate::proto::Timestamp;

/// The metric families of the policy.
#[derive(Clone, Debug)]
pub struct PolicyMetrics {
    rules: IntGaugeVec,
    broken: IntGauge,
    errors: IntCounter,
    loaded: Gauge,
    dry_run: IntCounterVec,
}

impl PolicyMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When one of their names is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            rules: IntGaugeVec::new(
                Opts::new(
                    "fedgate_policy_rules",
                    "Rules about servers, by whether they allow or deny, and whether they are in force",
                ),
                &["list", "mode"],
            )?,
            broken: IntGauge::new(
                "fedgate_policy_files_broken",
                "Policy files that cannot be used as they are now; what they said before is in force",
            )?,
            errors: IntCounter::new(
                "fedgate_policy_reload_errors_total",
                "Changed policy files that could not be used",
            )?,
            loaded: Gauge::new(
                "fedgate_policy_loaded_timestamp_seconds",
                "When the rules about servers were last put in force, since 1970",
            )?,
            dry_run: IntCounterVec::new(
                Opts::new(
                    "fedgate_policy_dry_run_total",
                    "Requests that rules which are only tried out would have refused, by cause",
                ),
                &["cause"],
            )?,
        };
        registry.register(Box::new(metrics.rules.clone()))?;
        registry.register(Box::new(metrics.broken.clone()))?;
        registry.register(Box::new(metrics.errors.clone()))?;
        registry.register(Box::new(metrics.loaded.clone()))?;
        registry.register(Box::new(metrics.dry_run.clone()))?;
        Ok(metrics)
    }

    pub(super) fn loaded(&self, counts: Counts, now: Timestamp) {
        let Counts { allow, allow_dry_run, deny, deny_dry_run } = counts;
        for (list, mode, count) in [
            ("allow", "enforce", allow),
            ("allow", "dry_run", allow_dry_run),
            ("deny", "enforce", deny),
            ("deny", "dry_run", deny_dry_run),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.rules.with_label_values(&[list, mode]).set(count);
        }
        self.loaded.set(std::time::Duration::from_millis(now.as_ms()).as_secs_f64());
    }

    pub(super) fn broken(&self, files: usize) {
        self.broken.set(i64::try_from(files).unwrap_or(i64::MAX));
    }

    pub(super) fn failed(&self) {
        self.errors.inc();
    }

    pub(super) fn tried(&self, cause: &Cause) {
        self.dry_run.with_label_values(&[cause.label()]).inc();
    }
}
