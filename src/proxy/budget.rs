//! The memory that requests may hold before they are verified, and until they are answered: one budget
//! for all, and a part of it for each client network (threat R2).
//!
//! Bytes are taken as they arrive. Where there is no room left, the network that holds most gives way
//! to one that holds less: its largest request that is still arriving is given up, and who wants the
//! room waits until it has been. A flood, from however many networks, leaves everybody else as much as
//! each of its networks has.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tokio::sync::Notify;

use super::client::is_trusted;
use super::metrics::ProxyMetrics;
use crate::proto::ClientNetwork;

/// The memory all requests may hold at one time.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    bounds: Bounds,
    trusted: Arc<[IpNet]>,
    shared: Arc<Shared>,
}

/// How much there is, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// For all.
    pub in_all: usize,
    /// For one client network.
    pub per_network: usize,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes those who wait for room.
    freed: Notify,
    metrics: ProxyMetrics,
}

/// Whose share it is; `None` for all trusted proxies that name no client: they are strangers to each
/// other, and only the budget for all holds for them.
type Holder = Option<ClientNetwork>;

#[derive(Debug, Default)]
struct State {
    used: usize,
    /// How much of that has been asked back and is not free yet.
    leaving: usize,
    next: u64,
    holders: HashMap<Holder, Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// Without what has been asked back.
    bytes: usize,
    shares: BTreeMap<u64, Taken>,
}

#[derive(Debug)]
struct Taken {
    bytes: usize,
    standing: Standing,
}

#[derive(Debug)]
enum Standing {
    /// It may be asked back, and this be told so.
    Arriving(Arc<Notify>),
    /// The request is complete.
    Kept,
    /// It has been asked back.
    Leaving,
}

/// Why there is no room for more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// This client's network has all it may have.
    Network,
    /// All is in use, and nobody holds more than this client's network.
    All,
    /// Somebody has been asked to make room, and will have soon.
    Yet,
    /// It has been asked back itself, for somebody with less.
    Yielded,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "this client's network holds all the memory it may",
            Self::All | Self::Yet => "all memory for requests is in use",
            Self::Yielded => "gave way to clients that hold less memory",
        })
    }
}

impl MemoryBudget {
    /// A budget, shown in `metrics`. Clients among `trusted` have no networks.
    pub fn new(bounds: Bounds, trusted: &[IpNet], metrics: ProxyMetrics) -> Self {
        let (state, freed) = (Mutex::default(), Notify::new());
        let shared = Arc::new(Shared { state, freed, metrics });
        Self { bounds, trusted: trusted.into(), shared }
    }

    /// The same budget under other settings: what is in use counts for both.
    #[must_use]
    pub fn renewed(&self, bounds: Bounds, trusted: &[IpNet]) -> Self {
        Self { bounds, trusted: trusted.into(), shared: Arc::clone(&self.shared) }
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.lock().used
    }

    /// An empty share for one request of `client`.
    pub fn share(&self, client: IpAddr) -> Share {
        let holder = (!is_trusted(client, &self.trusted)).then(|| ClientNetwork::of(client));
        Share { budget: self.clone(), holder, id: None, yields: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, state: &State) {
        self.shared.metrics.body_bytes.set(i64::try_from(state.used).unwrap_or(i64::MAX));
    }
}

impl State {
    /// Sees to room for `bytes` more of `holder`, at the cost of those who hold more than it will.
    fn make_room(&mut self, holder: Holder, bytes: usize, in_all: usize) -> Result<(), NoRoom> {
        if self.used.saturating_add(bytes) <= in_all {
            return Ok(());
        }
        let held = self.holders.get(&holder).map_or(0, |held| held.bytes).saturating_add(bytes);
        while (self.used - self.leaving).saturating_add(bytes) > in_all {
            let largest = self
                .holders
                .values_mut()
                .filter(|other| other.bytes > held)
                .filter_map(|other| other.largest().map(|share| (other, share)))
                .max_by_key(|(other, _)| other.bytes);
            let Some((other, share)) = largest else { return Err(NoRoom::All) };
            self.leaving += other.ask_back(share);
        }
        Err(NoRoom::Yet)
    }
}

impl Held {
    /// The largest share that may be asked back.
    fn largest(&self) -> Option<u64> {
        let arriving =
            self.shares.iter().filter(|(_, taken)| matches!(taken.standing, Standing::Arriving(_)));
        arriving.max_by_key(|(_, taken)| taken.bytes).map(|(id, _)| *id)
    }

    /// Asks a share back; how many bytes that is.
    fn ask_back(&mut self, share: u64) -> usize {
        let Some(taken) = self.shares.get_mut(&share) else { return 0 };
        if let Standing::Arriving(yields) = &taken.standing {
            yields.notify_one();
        }
        taken.standing = Standing::Leaving;
        self.bytes -= taken.bytes;
        taken.bytes
    }
}

/// What one request holds; given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: MemoryBudget,
    holder: Holder,
    /// Under what it stands in the budget; `None` before anything was taken.
    id: Option<u64>,
    yields: Arc<Notify>,
}

impl Share {
    /// Takes `bytes` more, now or not at all.
    ///
    /// # Errors
    /// There is no room; nothing was taken then.
    pub fn take_now(&mut self, bytes: usize) -> Result<(), NoRoom> {
        if bytes == 0 {
            return Ok(());
        }
        let Bounds { in_all, per_network } = self.budget.bounds;
        let mut state = self.budget.lock();
        let held = state.holders.get(&self.holder);
        let taken = self.id.and_then(|id| held?.shares.get(&id));
        if taken.is_some_and(|taken| matches!(taken.standing, Standing::Leaving)) {
            return Err(NoRoom::Yielded);
        }
        let held = held.map_or(0, |held| held.bytes);
        if self.holder.is_some() && held.saturating_add(bytes) > per_network {
            return Err(NoRoom::Network);
        }
        state.make_room(self.holder, bytes, in_all)?;
        let id = *self.id.get_or_insert_with(|| {
            state.next += 1;
            state.next
        });
        state.used += bytes;
        let held = state.holders.entry(self.holder).or_default();
        held.bytes += bytes;
        let standing = || Standing::Arriving(Arc::clone(&self.yields));
        let fresh = || Taken { bytes: 0, standing: standing() };
        held.shares.entry(id).or_insert_with(fresh).bytes += bytes;
        self.budget.show(&state);
        Ok(())
    }

    /// Takes `bytes` more, and waits where others have to make room first.
    ///
    /// # Errors
    /// There is no room, nor will there be.
    pub async fn take(&mut self, bytes: usize) -> Result<(), NoRoom> {
        match self.take_now(bytes) {
            Err(NoRoom::Yet) => {}
            // Most need not wait.
            taken => return taken,
        }
        let budget = self.budget.clone();
        loop {
            // Before looking again, so that what is freed in between is not missed.
            let mut freed = std::pin::pin!(budget.shared.freed.notified());
            freed.as_mut().enable();
            match self.take_now(bytes) {
                Err(NoRoom::Yet) => self.unless_yielded(freed).await?,
                taken => return taken,
            }
        }
    }

    /// Waits until what was taken is asked back. One may wait at a time.
    pub fn yielded(&self) -> impl Future<Output = ()> + Send + use<> {
        let yields = Arc::clone(&self.yields);
        async move { yields.notified().await }
    }

    /// What comes of `work`, which waits in the memory that was taken.
    ///
    /// # Errors
    /// That memory is asked back meanwhile.
    pub async fn unless_yielded<T>(&self, work: impl Future<Output = T>) -> Result<T, NoRoom> {
        tokio::select! {
            biased;
            () = self.yielded() => Err(NoRoom::Yielded),
            done = work => Ok(done),
        }
    }

    /// From now on nothing of it is asked back: the request is complete.
    ///
    /// # Errors
    /// It has been asked back already.
    pub fn keep(&mut self) -> Result<(), NoRoom> {
        let Some(id) = self.id else { return Ok(()) };
        let mut state = self.budget.lock();
        let held = state.holders.get_mut(&self.holder);
        let Some(taken) = held.and_then(|held| held.shares.get_mut(&id)) else { return Ok(()) };
        if matches!(taken.standing, Standing::Leaving) {
            return Err(NoRoom::Yielded);
        }
        taken.standing = Standing::Kept;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let mut state = self.budget.lock();
        let Some(held) = state.holders.get_mut(&self.holder) else { return };
        let Some(taken) = held.shares.remove(&id) else { return };
        let was_leaving = matches!(taken.standing, Standing::Leaving);
        if !was_leaving {
            held.bytes -= taken.bytes;
        }
        if held.shares.is_empty() {
            state.holders.remove(&self.holder);
        }
        if was_leaving {
            state.leaving -= taken.bytes;
        }
        state.used -= taken.bytes;
        self.budget.show(&state);
        drop(state);
        self.budget.shared.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use prometheus::Registry;

    use super::*;

    fn budget(in_all: usize, per_network: usize) -> MemoryBudget {
        let metrics = ProxyMetrics::register(&Registry::new()).unwrap();
        let trusted = ["127.0.0.0/8".parse().unwrap()];
        MemoryBudget::new(Bounds { in_all, per_network }, &trusted, metrics)
    }

    fn share(budget: &MemoryBudget, client: &str) -> Share {
        budget.share(client.parse().unwrap())
    }

    #[test]
    fn r2_what_was_taken_comes_back() {
        let budget = budget(100, 100);
        let mut one = share(&budget, "192.0.2.1");
        assert_eq!(one.take_now(60), Ok(()));
        assert_eq!(one.take_now(40), Ok(()));
        assert_eq!(budget.used(), 100);
        assert_eq!(share(&budget, "192.0.2.1").take_now(1), Err(NoRoom::Network));
        assert_eq!(one.take_now(1), Err(NoRoom::Network));
        drop(one);
        assert_eq!(budget.used(), 0);
        assert_eq!(budget.lock().holders.len(), 0, "nothing is remembered of who is gone");
    }

    #[test]
    fn r2_a_network_has_its_part_and_no_more() {
        let budget = budget(100, 50);
        let mut shares: Vec<_> =
            ["192.0.2.1", "192.0.2.250"].map(|ip| share(&budget, ip)).into_iter().collect();
        assert_eq!(shares[0].take_now(30), Ok(()));
        assert_eq!(shares[1].take_now(21), Err(NoRoom::Network));
        assert_eq!(shares[1].take_now(20), Ok(()));
        assert_eq!(share(&budget, "2001:db8::1").take_now(50), Ok(()));
        // A trusted proxy that names nobody is not one network.
        let mut proxy = share(&budget, "127.0.0.1");
        assert_eq!(proxy.take_now(50), Ok(()));
        assert_eq!(proxy.take_now(1), Err(NoRoom::All));
    }

    #[tokio::test]
    async fn r2_the_network_that_holds_most_gives_way_to_one_that_holds_less() {
        let budget = budget(100, 60);
        let mut small = share(&budget, "198.51.100.1");
        let mut flood = [share(&budget, "192.0.2.1"), share(&budget, "192.0.2.2")];
        assert_eq!(flood[0].take_now(20), Ok(()));
        assert_eq!(flood[1].take_now(40), Ok(()));
        let mut other = share(&budget, "203.0.113.1");
        assert_eq!(other.take_now(40), Ok(()));
        assert_eq!(budget.used(), 100);
        assert_eq!(small.take_now(10), Err(NoRoom::Yet), "the larger one of the flood has to go");
        let [arriving, mut leaving] = flood;
        assert!(leaving.yielded().now_or_never().is_some());
        assert!(arriving.yielded().now_or_never().is_none());
        assert_eq!(leaving.take_now(1), Err(NoRoom::Yielded));
        assert_eq!(leaving.keep(), Err(NoRoom::Yielded));
        assert_eq!(budget.used(), 100, "it is still there");
        assert_eq!(small.take_now(10), Err(NoRoom::Yet), "and nobody else need go");
        assert!(arriving.yielded().now_or_never().is_none());
        let (taken, ()) = tokio::join!(small.take(10), async { drop(leaving) });
        assert_eq!((taken, budget.used()), (Ok(()), 70));
        drop((small, arriving, other));
        assert_eq!((budget.used(), budget.lock().leaving), (0, 0));
    }

    #[test]
    fn r2_nobody_gives_way_to_an_equal_or_when_complete() {
        let budget = budget(100, 100);
        let mut one = share(&budget, "192.0.2.1");
        assert_eq!(one.take_now(50), Ok(()));
        let mut two = share(&budget, "198.51.100.1");
        assert_eq!(two.take_now(50), Ok(()));
        assert_eq!(two.take_now(1), Err(NoRoom::All), "both have as much");
        assert_eq!((one.keep(), two.keep()), (Ok(()), Ok(())));
        assert_eq!(
            share(&budget, "203.0.113.1").take_now(1),
            Err(NoRoom::All),
            "both are complete"
        );
        assert_eq!(budget.used(), 100);
    }

    #[test]
    fn a_renewed_budget_counts_what_is_held_already() {
        let budget = budget(100, 100);
        let mut held = share(&budget, "192.0.2.1");
        assert_eq!((held.take_now(80), held.keep()), (Ok(()), Ok(())));
        let smaller = budget.renewed(Bounds { in_all: 50, per_network: 50 }, &[]);
        assert_eq!(smaller.used(), 80);
        assert_eq!(share(&smaller, "198.51.100.1").take_now(1), Err(NoRoom::All));
        drop(held);
        assert_eq!(share(&smaller, "198.51.100.1").take_now(50), Ok(()));
        assert_eq!(share(&smaller, "198.51.100.1").take_now(51), Err(NoRoom::Network));
    }
}
