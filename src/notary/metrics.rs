//! What the key server counts.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// The key server's metric families.
#[derive(Clone, Debug)]
pub struct NotaryMetrics {
    answers: IntCounter,
    documents: IntCounter,
    renewals: IntCounterVec,
}

impl NotaryMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When one of their names is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            answers: IntCounter::new(
                "fedgate_notary_answers_total",
                "Answers as a notary to questions for the keys of others.",
            )?,
            documents: IntCounter::new(
                "fedgate_notary_documents_total",
                "Signed documents in those answers.",
            )?,
            renewals: IntCounterVec::new(
                Opts::new(
                    "fedgate_own_keys_renewals_total",
                    "Renewals of the homeserver's own key document, where it is published here.",
                ),
                &["result"],
            )?,
        };
        registry.register(Box::new(metrics.answers.clone()))?;
        registry.register(Box::new(metrics.documents.clone()))?;
        registry.register(Box::new(metrics.renewals.clone()))?;
        for result in ["renewed", "failed"] {
            metrics.renewals.with_label_values(&[result]).reset();
        }
        Ok(metrics)
    }

    pub(super) fn answered(&self, documents: usize) {
        self.answers.inc();
        self.documents.inc_by(u64::try_from(documents).unwrap_or(u64::MAX));
    }

    pub(super) fn renewed(&self, is_renewed: bool) {
        let result = if is_renewed { "renewed" } else { "failed" };
        self.renewals.with_label_values(&[result]).inc();
    }
}
