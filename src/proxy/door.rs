//! Who may hold a connection. Each client network has its number; and when all places are taken, those
//! who have shown no valid signature give way to who comes, so that a flood of idle or slow
//! connections cannot keep known servers out (threats R1 and R2). Nor can a flood of new connections, each
//! of which costs a handshake, or of requests that are refused: strangers have rates for both.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use moka::sync::Cache;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::client::is_trusted;
use super::metrics::{EarlyEnd, OpenConnection, ProxyMetrics};
use crate::keys::budget::{Budget, Rates};
use crate::proto::client_network::{ClientNetwork, is_on_internet};

/// How long to wait for a place before looking again who could give way: everybody may be at work.
const ROOM_PAUSE: Duration = Duration::from_millis(100);

/// One part in so many of all strangers is told to leave at one time: looking for them means looking at
/// all connections, which a flood of new ones must not cost each time.
const PART_LEAVING: usize = 64;

/// New connections a second, as each costs a handshake: of one client network, and of all those together
/// from which no valid signature has come yet. What is saved up is enough for every server to come back
/// after a restart.
pub const NEW_RATES: Rates = Rates { in_all: 500, per_network: 50 };
const NEW_BURST: Duration = Duration::from_secs(10);

/// Client networks remembered from which a valid signature has come.
const REGULARS_MAX: u64 = 65_536;

/// Requests that may be refused on one connection in a row before further ones have to wait.
const REFUSALS_AT_ONCE: u32 = 16;

/// How long they wait then, one after the other.
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);

/// The places for connections.
pub struct Door {
    rules: ArcSwap<DoorRules>,
    new: Budget,
    regulars: Cache<ClientNetwork, ()>,
    places: Arc<Semaphore>,
    /// Counts what happens, to tell what was earlier.
    ticks: AtomicU64,
    state: Mutex<State>,
    metrics: ProxyMetrics,
}

/// What the settings say of connections.
#[derive(Clone, Debug)]
pub struct DoorRules {
    /// For all.
    pub places_max: usize,
    /// For one client network.
    pub per_network: usize,
    /// These proxies bring many clients: they have no number of their own, and are known.
    pub trusted: Vec<IpNet>,
}

#[derive(Debug, Default)]
struct State {
    networks: HashMap<ClientNetwork, usize>,
    guests: HashMap<u64, Arc<Guest>>,
}

/// What is known of the other side of a connection.
#[derive(Debug)]
pub struct Guest {
    door: Arc<Door>,
    /// None for a trusted proxy.
    network: Option<ClientNetwork>,
    /// A valid signature has come from its network before, or it is a trusted proxy's.
    is_regular: bool,
    /// A valid signature has come over this connection, or it is a trusted proxy's.
    is_known: AtomicBool,
    /// Verified requests that are being served.
    at_work: AtomicUsize,
    /// When the last of them ended, or when it came.
    since: AtomicU64,
    is_leaving: AtomicBool,
    leave: Notify,
    /// Refused requests since the last verified one.
    refused: AtomicU32,
    /// Held by the refusal that waits.
    pause: tokio::sync::Mutex<()>,
}

/// A connection's place; free again when it is dropped.
#[derive(Debug)]
pub struct Seat {
    id: u64,
    guest: Arc<Guest>,
    place: Option<OwnedSemaphorePermit>,
    _open: OpenConnection,
}

impl Door {
    /// Places as the settings have them.
    pub fn new(rules: DoorRules, metrics: ProxyMetrics) -> Arc<Self> {
        let places = Arc::new(Semaphore::new(rules.places_max.min(Semaphore::MAX_PERMITS)));
        let (ticks, state) = (AtomicU64::new(0), Mutex::default());
        let rules = ArcSwap::from_pointee(rules);
        let (new, regulars) = (Budget::new(NEW_RATES, NEW_BURST), Cache::new(REGULARS_MAX));
        Arc::new(Self { rules, new, regulars, places, ticks, state, metrics })
    }

    /// Puts other settings in force. Where there are more connections already, new ones wait until
    /// enough of them have ended.
    pub fn renew(&self, rules: DoorRules) {
        let after = rules.places_max;
        let before = self.rules.swap(Arc::new(rules)).places_max;
        if let Some(more) = after.checked_sub(before) {
            self.places.add_permits(more);
            return;
        }
        let fewer = u32::try_from(before - after).unwrap_or(u32::MAX);
        let places = Arc::clone(&self.places);
        tokio::spawn(async move {
            if let Ok(taken) = places.acquire_many_owned(fewer).await {
                taken.forget();
            }
        });
    }

    /// Lets a connection from `peer` in; `None` when its network has all the connections it may have,
    /// or there are too many new ones.
    pub async fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Seat> {
        let rules = self.rules.load_full();
        let is_known = is_trusted(peer.to_canonical(), &rules.trusted);
        let network = (!is_known).then(|| ClientNetwork::of(peer));
        let is_regular = network.is_none_or(|network| self.regulars.contains_key(&network));
        if network.is_some() && !self.may_be_new(peer, is_regular).await {
            self.metrics.ended_early(EarlyEnd::TooManyNew);
            return None;
        }
        let id = self.tick();
        let mut state = self.lock();
        if let Some(network) = network {
            let count = state.networks.entry(network).or_default();
            if *count >= rules.per_network {
                drop(state);
                self.metrics.ended_early(EarlyEnd::NetworkFull);
                return None;
            }
            *count += 1;
        }
        let guest = Arc::new(Guest {
            door: Arc::clone(self),
            network,
            is_regular,
            is_known: AtomicBool::new(is_known),
            at_work: AtomicUsize::new(0),
            since: AtomicU64::new(id),
            is_leaving: AtomicBool::new(false),
            leave: Notify::new(),
            refused: AtomicU32::new(0),
            pause: tokio::sync::Mutex::default(),
        });
        state.guests.insert(id, Arc::clone(&guest));
        drop(state);
        Some(Seat { id, guest, place: None, _open: self.metrics.connection() })
    }

    /// Whether there may be a new connection from `peer` now. A network that is not on the Internet may
    /// be that of a proxy, and has no rate of its own.
    async fn may_be_new(&self, peer: IpAddr, is_regular: bool) -> bool {
        match (is_on_internet(peer), is_regular) {
            (true, true) => self.new.take_of_network(peer, 1).await.is_ok(),
            (true, false) => self.new.take(peer, 1).await.is_ok(),
            (false, true) => true,
            (false, false) => self.new.take_of_all(1).is_ok(),
        }
    }

    /// Waits for a place for `seat`; when there is none, somebody else has to leave.
    pub async fn seat(&self, seat: &mut Seat) {
        while !self.seat_now(seat) {
            self.make_room(seat.id);
            let place = Arc::clone(&self.places).acquire_owned();
            let place = tokio::time::timeout(ROOM_PAUSE, place).await;
            seat.place = place.ok().and_then(Result::ok);
        }
    }

    /// Takes a place for `seat` if there is one; whether it has one.
    pub fn seat_now(&self, seat: &mut Seat) -> bool {
        if seat.place.is_none() {
            seat.place = Arc::clone(&self.places).try_acquire_owned().ok();
        }
        seat.place.is_some()
    }

    /// Whether there is a place.
    pub fn has_room(&self) -> bool {
        self.places.available_permits() > 0
    }

    /// Tells the strangers who came first to leave; without any, the known one who has been idle for
    /// longest.
    fn make_room(&self, newcomer: u64) {
        let state = self.lock();
        let (known, mut strangers): (Vec<_>, Vec<_>) = state
            .guests
            .iter()
            .filter(|(id, guest)| **id != newcomer && !guest.is_leaving.load(Ordering::Relaxed))
            .partition(|(_, guest)| guest.is_known.load(Ordering::Relaxed));
        let count = (self.rules.load().places_max / PART_LEAVING).max(1);
        if let Some(last) = strangers.len().checked_sub(1) {
            strangers.select_nth_unstable_by_key(count.min(last), |(id, _)| **id);
            for (_, guest) in strangers.iter().take(count) {
                self.send_away(guest);
            }
            return;
        }
        let idle = known.iter().filter(|(_, guest)| guest.at_work.load(Ordering::Relaxed) == 0);
        if let Some((_, guest)) = idle.min_by_key(|(_, guest)| guest.since.load(Ordering::Relaxed))
        {
            self.send_away(guest);
        }
    }

    fn send_away(&self, guest: &Guest) {
        guest.is_leaving.store(true, Ordering::Relaxed);
        guest.leave.notify_one();
        self.metrics.ended_early(EarlyEnd::MadeRoom);
    }

    fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// What is known of who sits here.
    pub fn guest(&self) -> Arc<Guest> {
        Arc::clone(&self.guest)
    }

    /// Waits until the place is wanted for somebody else.
    pub async fn wanted(&self) {
        self.guest.leave.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.guest.door.lock();
        state.guests.remove(&self.id);
        let Some(network) = self.guest.network else { return };
        if let Some(count) = state.networks.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                state.networks.remove(&network);
            }
        }
    }
}

impl Guest {
    /// Notes that a verified request is served: until the returned value is dropped, its connection
    /// does not give way, and after that not to strangers.
    #[must_use]
    pub fn at_work(self: &Arc<Self>) -> AtWork {
        if !self.is_known.swap(true, Ordering::Relaxed)
            && let Some(network) = self.network
        {
            self.door.regulars.insert(network, ());
        }
        self.refused.store(0, Ordering::Relaxed);
        self.at_work.fetch_add(1, Ordering::Relaxed);
        AtWork(Arc::clone(self))
    }

    /// Whether no valid signature has come over this connection yet, nor from its network before.
    pub fn is_stranger(&self) -> bool {
        !self.is_regular && !self.is_known.load(Ordering::Relaxed)
    }

    /// Notes that a request is refused; whether that is to be told only after a [`Guest::pause`], since
    /// there were many in a row: asking in vain as fast as one can must not cost as much as it could.
    pub fn refused(&self) -> bool {
        let is_trusted = self.network.is_none();
        !is_trusted && self.refused.fetch_add(1, Ordering::Relaxed) >= REFUSALS_AT_ONCE
    }

    /// Waits for as long as a refusal does, after those that wait already.
    pub async fn pause(&self) {
        self.door.metrics.refusals_paused.inc();
        let _turn = self.pause.lock().await;
        tokio::time::sleep(REFUSAL_PAUSE).await;
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// A verified request that is being served.
#[derive(Debug)]
pub struct AtWork(Arc<Guest>);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.since.store(self.0.door.tick(), Ordering::Relaxed);
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use prometheus::Registry;

    use super::*;

    fn door(places: usize, per_network: usize) -> Arc<Door> {
        let metrics = ProxyMetrics::register(&Registry::new()).unwrap();
        Door::new(rules(places, per_network), metrics)
    }

    fn rules(places_max: usize, per_network: usize) -> DoorRules {
        DoorRules { places_max, per_network, trusted: vec!["127.0.0.0/8".parse().unwrap()] }
    }

    async fn come(door: &Arc<Door>, peer: &str) -> Seat {
        let mut seat = door.enter(peer.parse().unwrap()).await.expect("its network has a place");
        door.seat(&mut seat).await;
        seat
    }

    fn is_wanted(seat: &Seat) -> bool {
        seat.wanted().now_or_never().is_some()
    }

    #[tokio::test]
    async fn r2_a_network_has_so_many_connections() {
        let door = door(10, 2);
        let first = come(&door, "192.0.2.1").await;
        let _second = come(&door, "::ffff:192.0.2.2").await;
        assert!(door.enter("192.0.2.3".parse().unwrap()).await.is_none());
        let _other = come(&door, "198.51.100.1").await;
        let _proxies = [come(&door, "127.0.0.1").await, come(&door, "127.0.0.1").await];
        let _third = come(&door, "127.0.0.1").await;
        drop(first);
        assert!(door.enter("192.0.2.3".parse().unwrap()).await.is_some());
        assert_eq!(door.lock().networks.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn r2_the_stranger_who_came_first_gives_way() {
        let door = door(3, 3);
        let known = come(&door, "192.0.2.1").await;
        drop(known.guest().at_work());
        let strangers = [come(&door, "192.0.2.2").await, come(&door, "192.0.2.3").await];
        let newcomer = come(&door, "198.51.100.1");
        let leaving = async {
            strangers[0].wanted().await;
            assert!(!is_wanted(&strangers[1]) && !is_wanted(&known));
            drop(strangers);
        };
        let (_newcomer, ()) = tokio::join!(newcomer, leaving);
    }

    #[tokio::test(start_paused = true)]
    async fn r2_without_strangers_the_one_idle_for_longest_gives_way_and_none_at_work() {
        let door = door(3, 3);
        let seats = [
            come(&door, "192.0.2.1").await,
            come(&door, "192.0.2.2").await,
            come(&door, "192.0.2.3").await,
        ];
        let working = seats[0].guest().at_work();
        drop(seats[2].guest().at_work());
        drop(seats[1].guest().at_work());
        let newcomer = come(&door, "198.51.100.1");
        let mut seats = seats.map(Some);
        let leaving = async {
            seats[2].as_ref().unwrap().wanted().await;
            assert!(
                !is_wanted(seats[0].as_ref().unwrap()) && !is_wanted(seats[1].as_ref().unwrap())
            );
            seats[2] = None;
        };
        let (newcomer, ()) = tokio::join!(newcomer, leaving);
        // All are at work but the last one, who is idle for less time than the first one is busy.
        let _busy = [seats[1].as_ref().unwrap().guest().at_work(), newcomer.guest().at_work()];
        let mut next = std::pin::pin!(come(&door, "198.51.100.2"));
        assert!(next.as_mut().now_or_never().is_none());
        drop(working);
        let leaving = async {
            seats[0].as_ref().unwrap().wanted().await;
            seats[0] = None;
        };
        let (_next, ()) = tokio::join!(next, leaving);
    }

    #[tokio::test(start_paused = true)]
    async fn r2_many_strangers_leave_at_once() {
        let door = door(128, 200);
        let mut seats = Vec::new();
        for _ in 0..128 {
            seats.push(come(&door, "192.0.2.1").await);
        }
        let mut newcomer = std::pin::pin!(come(&door, "198.51.100.1"));
        assert!(newcomer.as_mut().now_or_never().is_none());
        let wanted: Vec<bool> = seats.iter().map(is_wanted).collect();
        assert_eq!(wanted.iter().filter(|wanted| **wanted).count(), 2);
        assert!(wanted[0] && wanted[1], "those who came first");
    }

    #[tokio::test(start_paused = true)]
    async fn r1_a_network_makes_only_so_many_connections_a_second() {
        let door = door(9_999, 9_999);
        let mut made = Vec::new();
        while let Some(seat) = door.enter("192.0.2.1".parse().unwrap()).await {
            made.push(seat);
        }
        assert_eq!(made.len(), 500);
        drop(made.pop().unwrap().guest().at_work());
        assert!(door.enter("192.0.2.9".parse().unwrap()).await.is_none(), "known or not");
        assert!(door.enter("127.0.0.1".parse().unwrap()).await.is_some(), "but for a proxy");
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..50 {
            assert!(door.enter("192.0.2.1".parse().unwrap()).await.is_some());
        }
        assert!(door.enter("192.0.2.1".parse().unwrap()).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn r1_strangers_together_make_only_so_many_and_keep_no_regular_out() {
        let door = door(9_999, 9_999);
        let regular = come(&door, "198.51.100.1").await;
        assert!(regular.guest().is_stranger());
        drop(regular.guest().at_work());
        assert!(!regular.guest().is_stranger());
        let mut made = 0;
        for n in 0..6_000_u32 {
            let peer = std::net::Ipv4Addr::from_bits(0x0a00_0001 + (n << 8));
            made += u32::from(door.enter(peer.into()).await.is_some());
        }
        assert_eq!(made, 4_999);
        assert!(door.enter("203.0.113.1".parse().unwrap()).await.is_none());
        assert!(door.enter("10.99.99.1".parse().unwrap()).await.is_none());
        let again =
            door.enter("198.51.100.9".parse().unwrap()).await.expect("its network is known");
        assert!(!again.guest().is_stranger());
        assert!(!door.enter("127.0.0.1".parse().unwrap()).await.unwrap().guest().is_stranger());
    }

    #[tokio::test(start_paused = true)]
    async fn r5_many_refusals_in_a_row_make_further_ones_wait_for_each_other() {
        let door = door(9, 9);
        let guest = come(&door, "192.0.2.1").await.guest();
        for _ in 0..2 {
            assert!((0..16).all(|_| !guest.refused()));
            assert!((0..3).all(|_| guest.refused()));
            let begin = tokio::time::Instant::now();
            tokio::join!(guest.pause(), guest.pause(), guest.pause());
            assert_eq!(begin.elapsed().as_secs(), 3);
            // A verified request ends it.
            drop(guest.at_work());
        }
        let proxy = come(&door, "127.0.0.1").await.guest();
        assert!((0..100).all(|_| !proxy.refused()));
    }

    #[tokio::test]
    async fn places_grow_at_once_and_shrink_as_connections_end() {
        let door = door(2, 9);
        let held = [come(&door, "192.0.2.1").await, come(&door, "192.0.2.1").await];
        assert!(!door.has_room());
        door.renew(rules(3, 9));
        let third = come(&door, "192.0.2.1").await;
        assert!(!door.has_room());
        door.renew(rules(1, 9));
        tokio::task::yield_now().await;
        for seat in held {
            drop(seat);
            tokio::task::yield_now().await;
            assert!(!door.has_room(), "still as many as there may be");
        }
        drop(third);
        assert!(door.has_room());
    }
}
