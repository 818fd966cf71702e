//! What is counted about histories of keys.

use prometheus::{IntCounterVec, Opts, Registry};

use crate::keys::history::Kind;

/// Why an event is missing in the history of a server's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unrecorded {
    /// There are as many entries, or bytes of them, as one server may have.
    Full,
    /// The store did not take it, and too much was waiting for the store already.
    Lost,
}

impl Unrecorded {
    const ALL: [Self; 2] = [Self::Full, Self::Lost];

    const fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Lost => "lost",
        }
    }
}

/// The metric families of histories.
#[derive(Clone, Debug)]
pub(crate) struct HistoryMetrics {
    events: IntCounterVec,
    unrecorded: IntCounterVec,
}

impl HistoryMetrics {
    /// Declares the families in `registry`, with every series there can be.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let events = IntCounterVec::new(
            Opts::new(
                "fedgate_key_history_events_total",
                "What has been put into the histories of servers' keys, by the kind of event.",
            ),
            &["event"],
        )?;
        let unrecorded = IntCounterVec::new(
            Opts::new(
                "fedgate_key_history_unrecorded_total",
                "Events that histories lack, by the reason: the history of that server is full, or \
                 the store did not take it.",
            ),
            &["reason"],
        )?;
        for counter in [&events, &unrecorded] {
            registry.register(Box::new(counter.clone()))?;
        }
        for kind in Kind::ALL {
            events.with_label_values(&[kind.label()]);
        }
        for why in Unrecorded::ALL {
            unrecorded.with_label_values(&[why.label()]);
        }
        Ok(Self { events, unrecorded })
    }

    /// An event is in a history, for good.
    pub(crate) fn recorded(&self, kind: Kind) {
        self.events.with_label_values(&[kind.label()]).inc();
    }

    /// An event is not, and will not be.
    pub(crate) fn unrecorded(&self, why: Unrecorded) {
        self.unrecorded.with_label_values(&[why.label()]).inc();
    }
}
