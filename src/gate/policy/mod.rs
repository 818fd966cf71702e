//! Which servers may federate at all: the operator's rules, and those of policy rooms he follows.
//!
//! A server is judged by the origin its request claims, before a key is looked for: one that may not
//! federate costs neither IO nor memory. Who claims another's name gains nothing by that.

mod file;
mod lists;
pub mod metrics;
mod room;
mod table;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::{error, info, warn};

use self::lists::Reading;
use self::metrics::PolicyMetrics;
use super::quiet::Quiet;
use super::route::Endpoint;
use super::{Refusal, Rejection};
use crate::clock::Clock;
use crate::config;
use crate::proto::ServerName;
pub use file::PolicyFileError;
pub use lists::{Counts, Lists};
pub use table::{Cause, Judgement, Rule, RulePlace, Table};

/// The rules in force.
pub struct Policy {
    table: ArcSwap<Table>,
    lists: Mutex<Lists>,
    text: Arc<str>,
    interval: Duration,
    metrics: PolicyMetrics,
    clock: Arc<dyn Clock>,
    quiet: Arc<Quiet<&'static str>>,
}

impl Policy {
    /// Reads all files. `own` are our own names, which no rule is about.
    ///
    /// # Errors
    /// What is wrong with the first file that cannot be used: who asks for rules must not run without
    /// them.
    pub fn load(
        policy: &config::Policy,
        own: &[ServerName],
        metrics: PolicyMetrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PolicyFileError> {
        let mut lists = Lists::new(policy, own);
        for reading in lists.read_changed() {
            warn_of_own_name(&reading);
            reading.outcome?;
        }
        metrics.loaded(lists.counts(), clock.now());
        Ok(Self {
            table: ArcSwap::from_pointee(lists.table()),
            lists: Mutex::new(lists),
            text: policy.text.as_str().into(),
            interval: policy.files_interval,
            metrics,
            clock,
            quiet: Quiet::new(|cause, lines| {
                info!(target: "fedgate::policy", cause, lines, "more of these, left out");
            }),
        })
    }

    /// Whether requests of `origin` may pass. Counts and logs what rules that are only tried out
    /// would have refused.
    ///
    /// # Errors
    /// They may not; the refusal names the rule and where it stands.
    pub(super) fn check(&self, origin: &ServerName, endpoint: Endpoint) -> Result<(), Refusal> {
        let Judgement { denied, dry_run, .. } = self.table.load().judge(origin);
        if let Some(cause) = denied {
            let refusal = Refusal::new(Rejection::PolicyDenied, format_args!("denied: {cause}"));
            return Err(refusal.of_endpoint(endpoint).of_origin(origin).saying(&self.text));
        }
        if let Some(cause) = dry_run {
            self.metrics.tried(&cause);
            if self.quiet.lets_through(cause.label()) {
                info!(
                    target: "fedgate::policy",
                    %origin,
                    endpoint = endpoint.label(),
                    detail = %cause,
                    "would be refused"
                );
            }
        }
        Ok(())
    }

    /// Looks at the files again and again, and puts what has changed in force. Runs for ever.
    pub async fn watch(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(self.interval).await;
            self.look_again().await;
        }
    }

    /// Reads the files that have changed.
    pub async fn look_again(self: &Arc<Self>) {
        let policy = Arc::clone(self);
        // Disks take their time, and so do a hundred thousand rules.
        let read = tokio::task::spawn_blocking(move || policy.read_changed());
        if let Err(error) = read.await {
            error!(%error, "policy files not read");
        }
    }

    fn read_changed(&self) {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let readings = lists.read_changed();
        if readings.is_empty() {
            return;
        }
        for reading in &readings {
            warn_of_own_name(reading);
            match &reading.outcome {
                Ok((counts, skipped)) => {
                    let Counts { allow, allow_dry_run, deny, deny_dry_run } = counts;
                    let rules = allow + allow_dry_run + deny + deny_dry_run;
                    let file = reading.file.path.display();
                    info!(%file, rules, skipped, "policy file read again");
                }
                Err(error) => {
                    self.metrics.failed();
                    error!(%error, "policy file not read again; what it said before is in force");
                }
            }
        }
        self.metrics.broken(lists.broken());
        if readings.iter().any(|reading| reading.outcome.is_ok()) {
            self.table.store(Arc::new(lists.table()));
            self.metrics.loaded(lists.counts(), self.clock.now());
        }
    }
}

fn warn_of_own_name(reading: &Reading) {
    if let Some(rule) = &reading.against_us {
        warn!(%rule, "a rule against our own name has no effect");
    }
}
