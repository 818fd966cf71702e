//! What is counted about the way to other servers. Labels are closed lists; no name and no address is
//! ever one.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use super::address::{Blocked, purposes};

/// What is remembered on the way to a server.
#[derive(Clone, Copy, Debug)]
pub(super) enum Remembered {
    /// Answers of name servers.
    Dns,
    /// What came of asking for well-known documents.
    WellKnown,
}

impl Remembered {
    const ALL: [Self; 2] = [Self::Dns, Self::WellKnown];

    const fn label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::WellKnown => "well_known",
        }
    }
}

const HIT: &str = "hit";
const MISS: &str = "miss";

/// The metric families of the way to other servers.
#[derive(Clone, Debug)]
pub struct NetMetrics {
    lookups: IntCounterVec,
    entries: IntGaugeVec,
    blocked: IntCounterVec,
}

impl NetMetrics {
    /// Makes the families, which are in no registry yet.
    ///
    /// # Errors
    ///
    /// If one of them is declared wrongly.
    pub fn new() -> Result<Self, prometheus::Error> {
        let metrics = Self {
            lookups: IntCounterVec::new(
                Opts::new(
                    "fedgate_discovery_lookups_total",
                    "Questions about where a server is, by what they are about (dns, well_known) \
                     and whether the answer was remembered (hit) or asked for (miss).",
                ),
                &["cache", "result"],
            )?,
            entries: IntGaugeVec::new(
                Opts::new(
                    "fedgate_discovery_cache_entries",
                    "Answers about where servers are that are remembered, by what they are about, \
                     as of the last question.",
                ),
                &["cache"],
            )?,
            blocked: IntCounterVec::new(
                Opts::new(
                    "fedgate_outbound_blocked_addresses_total",
                    "Addresses that were not dialled because they are not public, by what their \
                     range is for.",
                ),
                &["range"],
            )?,
        };
        metrics.show_zeros();
        Ok(metrics)
    }

    /// Declares the families in `registry`.
    ///
    /// # Errors
    ///
    /// If one of the names is taken already.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.lookups.clone()))?;
        registry.register(Box::new(self.entries.clone()))?;
        registry.register(Box::new(self.blocked.clone()))
    }

    /// Creates every series, so that a rate can be taken from the first event on.
    fn show_zeros(&self) {
        for cache in Remembered::ALL {
            self.entries.with_label_values(&[cache.label()]);
            for result in [HIT, MISS] {
                self.lookups.with_label_values(&[cache.label(), result]);
            }
        }
        for purpose in purposes() {
            self.blocked.with_label_values(&[purpose]);
        }
    }

    pub(super) fn looked_up(&self, cache: Remembered, is_hit: bool) {
        let result = if is_hit { HIT } else { MISS };
        self.lookups.with_label_values(&[cache.label(), result]).inc();
    }

    pub(super) fn entries(&self, cache: Remembered, count: u64) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.entries.with_label_values(&[cache.label()]).set(count);
    }

    pub(super) fn blocked(&self, blocked: &Blocked) {
        self.blocked.with_label_values(&[blocked.purpose]).inc();
    }

    /// Hits, misses and entries.
    #[cfg(test)]
    pub(super) fn seen(&self, cache: Remembered) -> (u64, u64, i64) {
        let lookups = |result| self.lookups.with_label_values(&[cache.label(), result]).get();
        (lookups(HIT), lookups(MISS), self.entries.with_label_values(&[cache.label()]).get())
    }

    /// How many addresses of such a range were not dialled.
    #[cfg(test)]
    pub(super) fn times_blocked(&self, purpose: &str) -> u64 {
        self.blocked.with_label_values(&[purpose]).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::address::AddressPolicy;

    #[test]
    fn every_purpose_has_its_series_from_the_start() {
        let registry = Registry::new();
        let metrics = NetMetrics::new().unwrap();
        metrics.register(&registry).unwrap();
        let series = || {
            let families = registry.gather();
            let name = "fedgate_outbound_blocked_addresses_total";
            families.iter().find(|family| family.name() == name).unwrap().get_metric().len()
        };
        let before = series();
        for ip in ["127.0.0.1", "10.1.2.3", "::1", "fe80::1", "4000::1", "64:ff9b::7f00:1"] {
            let blocked = AddressPolicy::default().check(ip.parse().unwrap()).unwrap_err();
            metrics.blocked(&blocked);
        }
        assert_eq!(series(), before, "a purpose outside the list");
        assert_eq!(metrics.times_blocked("loopback"), 3);
        assert!(matches!(metrics.register(&registry), Err(prometheus::Error::AlreadyReg)));
    }
}
