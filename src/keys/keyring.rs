//! The one entry to keys: memory, the durable store, else one shared fetch within a total deadline.

pub mod documents;
mod event_keys;
mod flight;
mod history;
mod inquire;
mod look;
mod operator;
mod refresh;
mod renewal;
mod tables;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use smallvec::SmallVec;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub use self::documents::{Allowance, WantedKey};
pub use self::event_keys::EventKeyAnswer;
use self::flight::{Flight, FlightEnd, Quest};
use self::history::Backlog;
pub(super) use self::look::is_published;
use self::look::{Look, all_retired};
pub use self::operator::AmendError;
pub use self::renewal::Renewal;
use super::backoff::Floors;
use super::budget::{Budget, FETCHES_BURST, Rates};
use super::cache::KeyCache;
use super::fetch::KeyFetcher;
use super::known::KnownKeys;
use super::metrics::{KeyMetrics, LookupResult, LookupSource};
use super::rules::{Banned, Rulebook};
use super::store::KeyStore;
use crate::clock::Clock;
use crate::config::BindingMode;
use crate::proto::ed25519::HotKeys;
use crate::proto::validity::TrustedKey;
use crate::proto::{KeyId, ServerName, Timestamp};

/// How many fetches run at one time, and how many may run or wait for a place; further ones are
/// refused at once.
#[derive(Clone, Copy, Debug)]
struct Lane {
    places: usize,
    flights_max: usize,
}

/// Servers whose keys have been seen: wide enough for ten thousand whose keys end in one second. A
/// fetch holds one TLS connection, about 100 KiB.
const KNOWN_LANE: Lane = Lane { places: 256, flights_max: 16_384 };

/// Servers never seen before: the bound of the threat model against floods of made-up origins.
const FIRST_SEEN_LANE: Lane = Lane { places: 64, flights_max: 1_024 };

/// How often one lookup may find that a fetch it waited for was for other keys. Each further turn
/// asks for its own keys unless yet another fetch comes first.
const TURNS_MAX: usize = 4;

/// When to try again after we had no room for a fetch: about as long as a full house takes to empty.
const BUSY_RETRY: Duration = Duration::from_secs(5);

/// How often strangers who ask us as a notary make us renew what we have of known servers: half a
/// lifetime of a thousand servers' keys is renewed in minutes.
const NOTARY_RATES: Rates = Rates { in_all: 50, per_network: 5 };

/// Finds the keys of other servers. Clones share everything.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

/// What a keyring is made of.
pub struct KeyringParts {
    /// Keys in memory.
    pub cache: KeyCache,
    /// Keys on disk, if they are to outlive the process.
    pub store: Option<Arc<dyn KeyStore>>,
    /// Whom to ask, in this order.
    pub stages: Vec<Stage>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: KeyMetrics,
    /// How keys are chosen and fetched.
    pub policy: KeyPolicy,
    /// Pins and bans. The sources hold the same book.
    pub rules: Rulebook,
}

/// Sources that are asked at one time.
pub struct Stage {
    /// The sources.
    pub sources: Vec<Arc<dyn KeyFetcher>>,
    /// How long they are waited for before the next stage is asked beside them.
    pub head_start: Duration,
}

/// How keys are chosen and fetched.
#[derive(Clone, Debug)]
pub struct KeyPolicy {
    /// Total time for finding a server's keys.
    pub fetch_timeout: Duration,
    /// How many independent witnesses must show a key. At least 1.
    pub agreement: usize,
    /// What becomes of another body under a key ID the origin has used before.
    pub binding: BindingMode,
    /// How many first-seen servers are looked up.
    pub first_seen: Rates,
}

impl Default for KeyPolicy {
    /// What holds when no setting says otherwise.
    fn default() -> Self {
        Self {
            fetch_timeout: Duration::from_secs(8),
            agreement: 1,
            binding: BindingMode::Enforce,
            first_seen: Rates { in_all: 20, per_network: 2 },
        }
    }
}

struct Inner {
    parts: KeyringParts,
    budget: Arc<Budget>,
    shared: Arc<Shared>,
}

/// What outlives new settings.
struct Shared {
    floors: Floors,
    /// Fetches of known servers' documents for strangers who ask us as a notary.
    notary_budget: Budget,
    /// The running fetches. One per server, so that nobody waits for two.
    flights: Mutex<HashMap<ServerName, Flight>>,
    /// One permit per fetch of a known server that may use the network.
    known_places: Semaphore,
    /// The same for servers never seen before.
    first_seen_places: Semaphore,
    /// How often keys have been let go of by the operator.
    flushes: AtomicU64,
    /// What the history lacks because the store did not take it.
    backlog: Backlog,
    /// The rules that count now. Held while the operator changes one, or new settings come.
    rules: tokio::sync::Mutex<Rulebook>,
    hot_keys: HotKeys,
}

/// What is known of one requested key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyAnswer {
    /// The operator, or fedgate itself, refuses it.
    Banned(Banned),
    /// A current copy is past its window, and no source has a newer one.
    Expired {
        /// The end of the window of the newest copy.
        effective_until: Timestamp,
    },
    /// The server lists the key as retired.
    Retired {
        /// Since when.
        expired_ts: Timestamp,
    },
    /// The server does not list the key.
    Unknown,
    /// Usable now.
    Valid(TrustedKey),
}

/// One answer for each key; most requests name one.
pub type KeyAnswers = SmallVec<[KeyAnswer; 1]>;

/// No source could be asked just now, so nothing can be said of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysUnavailable {
    /// When to try again.
    pub retry_after: Duration,
    /// What each source said, for the log.
    pub causes: String,
}

impl fmt::Display for KeysUnavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no source of keys could be asked ({})", self.causes)
    }
}

impl std::error::Error for KeysUnavailable {}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages = self.0.parts.stages.iter();
        let sources: Vec<String> = stages
            .flat_map(|stage| stage.sources.iter().map(|source| source.source().to_string()))
            .collect();
        f.debug_struct("Keyring").field("sources", &sources).finish_non_exhaustive()
    }
}

impl Keyring {
    /// A keyring of these parts. Needs a Tokio runtime when it is used.
    pub fn new(parts: KeyringParts) -> Self {
        if let Some(store) = &parts.store {
            parts.metrics.store_size(store.size());
        }
        let budget = Arc::new(Budget::new(parts.policy.first_seen, FETCHES_BURST));
        let shared = Arc::new(Shared {
            floors: Floors::new(),
            notary_budget: Budget::new(NOTARY_RATES, FETCHES_BURST),
            flights: Mutex::new(HashMap::new()),
            known_places: Semaphore::new(KNOWN_LANE.places),
            first_seen_places: Semaphore::new(FIRST_SEEN_LANE.places),
            flushes: AtomicU64::new(0),
            backlog: Backlog::default(),
            rules: tokio::sync::Mutex::new(parts.rules.clone()),
            hot_keys: HotKeys::new(HotKeys::BYTES_MAX),
        });
        Self(Arc::new(Inner { parts, budget, shared }))
    }

    /// Finds the keys `ids` of `origin` for a request received now from `client`; one answer per ID,
    /// in order.
    /// No network is used when at least one of them is in memory and valid (R50). Otherwise there
    /// is at most one fetch per server at a time, which everybody waits for, and which goes on when
    /// they hang up.
    ///
    /// # Errors
    /// When no source could be asked, or none that may say that a key does not exist: only the
    /// origin's own document proves that. The request may well be honest then (503, not 401).
    pub async fn request_keys(
        &self,
        origin: &ServerName,
        ids: &[KeyId],
        client: IpAddr,
    ) -> Result<KeyAnswers, KeysUnavailable> {
        let now = self.0.parts.clock.now();
        let cached = self.0.parts.cache.get(origin, now);
        if let Some(known) = &cached
            && let Some(answers) = self.0.valid_answers(origin, known, ids, now)
        {
            self.0.parts.metrics.hit();
            return Ok(answers);
        }
        // In a box: the usual way does not carry the room it takes.
        let (source, answers) = Box::pin(self.find(origin, ids, client, cached)).await;
        let result = match &answers {
            Ok(answers) => answers.iter().map(LookupResult::of).min(),
            Err(_) => Some(LookupResult::Unavailable),
        };
        self.0.parts.metrics.lookup(source, result.unwrap_or(LookupResult::Unknown));
        answers
    }

    /// Finds out which sources can be asked, before a request needs them.
    pub async fn probe(&self) {
        let sources = self.0.parts.stages.iter().flat_map(|stage| &stage.sources);
        join_all(sources.map(|source| source.probe())).await;
    }

    async fn find(
        &self,
        origin: &ServerName,
        ids: &[KeyId],
        client: IpAddr,
        mut cached: Option<Arc<KnownKeys>>,
    ) -> (LookupSource, Result<KeyAnswers, KeysUnavailable>) {
        // A fetch that was under way before this lookup ends before this deadline.
        let deadline = Instant::now() + self.0.parts.policy.fetch_timeout;
        for _ in 0..TURNS_MAX {
            let now = self.0.parts.clock.now();
            let (ask, known) = match self.0.look(origin, ids, now, cached).await {
                Look::Answers(answers) => return (LookupSource::Memory, Ok(answers)),
                Look::Unavailable(error) => return (LookupSource::Memory, Err(error)),
                Look::Ask(ask, known) => (ask, known),
            };
            let flight = match self.0.running(origin) {
                Some(flight) => Ok(flight),
                None => self.0.start(origin, &ask, known.is_some(), client, deadline).await,
            };
            let end = match flight {
                Ok(flight) => flight.await,
                Err(error) => return (LookupSource::None, Err(error)),
            };
            match end {
                FlightEnd::Answered { known, origin_spoke } => {
                    if let Some((source, answers)) =
                        self.0.conclude(origin, &known, origin_spoke, ids, &ask)
                    {
                        return (LookupSource::Fetched(source), Ok(answers));
                    }
                }
                FlightEnd::LookAgain => {}
                FlightEnd::Unavailable(error) => return (LookupSource::None, Err(error)),
            }
            cached = self.0.parts.cache.get(origin, self.0.parts.clock.now());
        }
        let causes = format!("other keys of {origin} were fetched {TURNS_MAX} times meanwhile");
        (LookupSource::None, Err(KeysUnavailable { retry_after: BUSY_RETRY, causes }))
    }
}

impl Inner {
    /// The running fetch for `origin`.
    fn running(&self, origin: &ServerName) -> Option<Flight> {
        let flights = self.shared.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.get(origin).cloned()
    }

    /// Starts a fetch for the keys `ask`; one of a first-seen server only while there is budget.
    async fn start(
        self: &Arc<Self>,
        origin: &ServerName,
        ask: &[KeyId],
        is_known: bool,
        client: IpAddr,
        deadline: Instant,
    ) -> Result<Flight, KeysUnavailable> {
        if !is_known && let Err((retry_after, whose)) = self.budget.take(client, 1).await {
            // Somebody else may have had the budget for it meanwhile.
            if let Some(flight) = self.running(origin) {
                return Ok(flight);
            }
            self.parts.metrics.first_seen_refused.inc();
            let causes = format!("{whose} made fedgate look up too many servers never seen before");
            return Err(KeysUnavailable { retry_after, causes });
        }
        let quest = Quest { ids: ask.to_vec(), is_known, refresh_after: None };
        self.join_or_start(origin, quest, deadline)
    }

    /// The running fetch for `origin`, or a new one.
    fn join_or_start(
        self: &Arc<Self>,
        origin: &ServerName,
        quest: Quest,
        deadline: Instant,
    ) -> Result<Flight, KeysUnavailable> {
        let lane = if quest.is_known { KNOWN_LANE } else { FIRST_SEEN_LANE };
        let mut flights = self.shared.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(origin) {
            return Ok(flight.clone());
        }
        if flights.len() >= lane.flights_max {
            let causes = format!("{} fetches are running or waiting already", lane.flights_max);
            return Err(KeysUnavailable { retry_after: BUSY_RETRY, causes });
        }
        let flight = self.launch(origin, quest, deadline);
        flights.insert(origin.clone(), flight.clone());
        Ok(flight)
    }
}

#[cfg(test)]
mod tests;
