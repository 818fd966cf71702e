//! What one verified origin may ask for: as Synapse's `rc_federation` has it, a rate beyond which
//! requests are delayed, places at the homeserver, and a queue for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::metrics::{Limit, LimitMetrics};
use super::table::{Fades, Table};
use crate::config::RequestRates;
use crate::keys::budget::Bucket;
use crate::proto::ServerName;
use crate::proto::server_glob::policy_identity;

/// Origins kept account of: more than are active within one second anywhere.
const ORIGINS_MAX: usize = 65_536;

/// What can be saved up of an origin's rate.
const BURST: Duration = Duration::from_secs(1);

/// When to try again without a place in the queue: as long as it takes for the rate to start anew.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// The places of one origin.
#[derive(Debug)]
struct Places {
    free: Arc<Semaphore>,
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Origin {
    bucket: Bucket,
    places: Arc<Places>,
}

impl Fades for Origin {
    fn is_faded(&self) -> bool {
        // Whoever waits or has a place holds the places too.
        Arc::strong_count(&self.places) == 1 && self.bucket.is_full()
    }
}

/// A place at the homeserver, until it is dropped.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    _places: Arc<Places>,
}

/// A place in the queue, which is free again however the waiting ends.
struct Waiting<'a> {
    places: &'a Places,
    metrics: &'a LimitMetrics,
}

impl<'a> Waiting<'a> {
    fn enter(places: &'a Places, max: usize, metrics: &'a LimitMetrics) -> Option<Self> {
        let one_more = |waiting| (waiting < max).then_some(waiting + 1);
        places.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        metrics.waiting.inc();
        Some(Self { places, metrics })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.places.waiting.fetch_sub(1, Ordering::Relaxed);
        self.metrics.waiting.dec();
    }
}

/// All origins.
#[derive(Debug)]
pub(super) struct Origins {
    rates: RequestRates,
    table: Table<Box<str>, Origin>,
}

impl Origins {
    pub(super) fn new(rates: &RequestRates) -> Self {
        Self { rates: rates.clone(), table: Table::new(ORIGINS_MAX) }
    }

    /// A place for a request of `origin`, when it is its turn; it can be given up at any time. None is
    /// needed where there is no account of it.
    ///
    /// # Errors
    /// The queue is full, or the time for it is over.
    pub(super) async fn turn(
        &self,
        origin: &ServerName,
        metrics: &LimitMetrics,
    ) -> Result<Option<Place>, Limit> {
        let rates = &self.rates;
        let new = || Origin {
            bucket: Bucket::new(rates.origin_per_second, BURST),
            places: Arc::new(Places {
                free: Arc::new(Semaphore::new(rates.origin_concurrent)),
                waiting: AtomicUsize::new(0),
            }),
        };
        let entered = self.table.with(policy_identity(origin).into(), new, |origin| {
            (Arc::clone(&origin.places), origin.bucket.take(1).is_err())
        });
        let Some((places, is_over)) = entered else { return Ok(None) };
        let free = Arc::clone(&places.free);
        if !is_over && let Ok(permit) = Arc::clone(&free).try_acquire_owned() {
            return Ok(Some(Place { _permit: permit, _places: places }));
        }
        let permit = {
            let waiting = Waiting::enter(&places, rates.origin_queue, metrics);
            let _waiting = waiting.ok_or(Limit::OriginQueue)?;
            let turn = async {
                if is_over {
                    metrics.delayed.inc();
                    tokio::time::sleep(rates.origin_delay).await;
                }
                free.acquire_owned().await
            };
            tokio::time::timeout(rates.origin_queue_timeout, turn).await
        };
        match permit {
            Ok(Ok(permit)) => Ok(Some(Place { _permit: permit, _places: places })),
            Ok(Err(_)) | Err(_) => Err(Limit::OriginWait),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use prometheus::Registry;

    use super::super::tests::rates_of;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_origin_is_forgotten_once_its_rate_is_full_and_it_has_no_place() {
        let metrics = LimitMetrics::register(&Registry::new()).unwrap();
        let turn = async |origins: &Origins, name: &str| {
            origins.turn(&ServerName::parse(name).unwrap(), &metrics).await.unwrap()
        };
        for (rest, left) in [(BURST - Duration::from_millis(1), 1_025), (BURST, 2)] {
            let origins = Origins::new(&rates_of("origin_per_second = 1\norigin_concurrent = 1"));
            let _place = turn(&origins, "busy.example").await.expect("a place");
            // As many as are there before the table is looked through.
            for number in 1..1_024 {
                turn(&origins, &format!("{number}.example")).await;
            }
            tokio::time::advance(rest).await;
            turn(&origins, "last.example").await;
            assert_eq!(origins.table.len(), left);
            assert!(turn(&origins, "busy.example").now_or_never().is_none(), "it has its place");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_origins_are_kept_account_of_as_there_is_memory_for() {
        let metrics = LimitMetrics::register(&Registry::new()).unwrap();
        let origins = Origins::new(&rates_of(""));
        for number in 0..=65_536 {
            let origin = ServerName::parse(&format!("{number}.example")).unwrap();
            let place = origins.turn(&origin, &metrics).await.unwrap();
            assert_eq!(place.is_some(), number < 65_536, "{number}");
        }
    }
}
