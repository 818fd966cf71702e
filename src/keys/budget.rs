//! What strangers may make us do: how many first-seen servers are looked up, since anybody can make up
//! names (threat F6), and how much a notary is asked (K14).
//!
//! Requests of known servers are never counted: a flood of made-up names must not touch them.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::future::Cache;
use tokio::time::Instant;

use crate::proto::ClientNetwork;

/// Client networks remembered; those used least are forgotten, and start with a full budget again.
const NETWORKS_MAX: u64 = 65_536;

/// What is saved up at most of fetches, in seconds' worth of the rate: joining a large room brings
/// hundreds of first-seen servers at once.
pub(super) const FETCHES_BURST: Duration = Duration::from_secs(16);

/// How much per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Over all clients. Not zero.
    pub in_all: u32,
    /// From one client network. Not zero.
    pub per_network: u32,
}

/// A leaky bucket, as the time at which it will be full again (GCRA). It runs on tokio's clock, which
/// tests can pause; the crates that do this have clocks of their own.
#[derive(Debug)]
pub(crate) struct Bucket {
    interval: Duration,
    burst: Duration,
    empty_at: Instant,
}

impl Bucket {
    /// A full bucket that grows at this rate, up to what comes together in the time `burst`.
    pub(crate) fn new(per_second: u32, burst: Duration) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: burst.max(interval), empty_at: Instant::now() }
    }

    /// Takes so many; or says how long there will not be as many.
    pub(crate) fn take(&mut self, count: u32) -> Result<(), Duration> {
        if let Some(wait) = self.wait(count) {
            return Err(wait);
        }
        self.empty_at = self.empty_at.max(Instant::now()) + self.interval * count;
        Ok(())
    }

    /// How long there will not be as many; `None` if there are.
    pub(crate) fn wait(&self, count: u32) -> Option<Duration> {
        let now = Instant::now();
        let next = self.empty_at.max(now) + self.interval * count;
        next.checked_duration_since(now + self.burst).filter(|wait| !wait.is_zero())
    }

    /// Whether it is as it was made.
    pub(crate) fn is_full(&self) -> bool {
        self.empty_at <= Instant::now()
    }
}

/// What all strangers together and each client network have.
pub(crate) struct Budget {
    rates: Rates,
    burst: Duration,
    in_all: Mutex<Bucket>,
    networks: Cache<ClientNetwork, Arc<Mutex<Bucket>>>,
}

impl Budget {
    /// Budgets that grow at these rates, up to what comes together in the time `burst`.
    pub(crate) fn new(rates: Rates, burst: Duration) -> Self {
        let in_all = Mutex::new(Bucket::new(rates.in_all, burst));
        Self { rates, burst, in_all, networks: Cache::new(NETWORKS_MAX) }
    }

    /// Takes `count` on behalf of `client`; or says how long there is less than that for it, and
    /// whose budget is used up. The network's comes first, so that one network cannot use up
    /// everybody's.
    pub(crate) async fn take(
        &self,
        client: IpAddr,
        count: u32,
    ) -> Result<(), (Duration, &'static str)> {
        let own = self.take_of_network(client, count).await;
        own.map_err(|wait| (wait, "this client's network"))?;
        self.take_of_all(count).map_err(|wait| (wait, "all clients"))
    }

    /// Takes `count` of what all have, on behalf of nobody's network.
    pub(crate) fn take_of_all(&self, count: u32) -> Result<(), Duration> {
        self.in_all.lock().unwrap_or_else(PoisonError::into_inner).take(count)
    }

    /// Takes `count` of what the network of `client` has, and nothing of what all have; or says how long
    /// there is less than that.
    pub(crate) async fn take_of_network(&self, client: IpAddr, count: u32) -> Result<(), Duration> {
        let bucket = || Bucket::new(self.rates.per_network, self.burst);
        let fresh = async { Arc::new(Mutex::new(bucket())) };
        let network = self.networks.get_with(ClientNetwork::of(client), fresh).await;
        network.lock().unwrap_or_else(PoisonError::into_inner).take(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates { in_all: 10, per_network: 2 };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn taken(budget: &Budget, client: &str, tries: usize) -> usize {
        let mut taken = 0;
        for _ in 0..tries {
            taken += usize::from(budget.take(ip(client), 1).await.is_ok());
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn f6_a_network_has_its_burst_and_then_its_rate() {
        let budget = Budget::new(RATES, FETCHES_BURST);
        assert_eq!(taken(&budget, "192.0.2.1", 100).await, 32);
        // Neighbours share; others do not.
        assert_eq!(taken(&budget, "192.0.2.200", 100).await, 0);
        assert_eq!(taken(&budget, "::ffff:192.0.2.3", 100).await, 0);
        assert_eq!(taken(&budget, "198.51.100.1", 10).await, 10);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(taken(&budget, "192.0.2.1", 100).await, 10);
        let (wait, whose) = budget.take(ip("192.0.2.1"), 1).await.unwrap_err();
        assert_eq!((wait, whose), (Duration::from_millis(500), "this client's network"));
    }

    #[tokio::test(start_paused = true)]
    async fn f6_all_networks_together_keep_to_one_budget() {
        let budget = Budget::new(RATES, FETCHES_BURST);
        let mut sum = 0;
        for n in 0..100 {
            sum += taken(&budget, &format!("2001:db8:0:{n:x}00::1"), 10).await;
        }
        assert_eq!(sum, 160);
        let (_, whose) = budget.take(ip("203.0.113.9"), 1).await.unwrap_err();
        assert_eq!(whose, "all clients");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(taken(&budget, "203.0.113.9", 100).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn k14_many_are_taken_at_once_or_not_at_all() {
        let budget = Budget::new(RATES, FETCHES_BURST);
        let client = ip("192.0.2.1");
        assert_eq!(budget.take(client, 30).await, Ok(()));
        let (wait, _) = budget.take(client, 4).await.unwrap_err();
        assert_eq!(wait, Duration::from_secs(1));
        assert_eq!(budget.take(client, 2).await, Ok(()), "what was refused has cost nothing");
    }
}
