//! The one entry to keys: memory, else one shared fetch within a total deadline.

mod flight;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::flight::{Flight, FlightEnd};
use super::backoff::{Floors, Memory};
use super::cache::KeyCache;
use super::fetch::KeyFetcher;
use super::known::KnownKeys;
use super::metrics::{KeyMetrics, LookupResult, LookupSource};
use crate::clock::Clock;
use crate::proto::validity::{Provenance, TrustedKey};
use crate::proto::{KeyId, ServerName, Timestamp};

/// Servers fetched from at one time: the bound of the threat model against floods of made-up
/// origins.
const FETCHES_MAX: usize = 64;

/// Fetches running and waiting for a place; further ones are refused at once.
const FLIGHTS_MAX: usize = 1_024;

/// How often one lookup may find that a fetch it waited for was for other keys. Each further turn
/// asks for its own keys unless yet another fetch comes first.
const TURNS_MAX: usize = 4;

/// When to try again after we had no room for a fetch: about as long as a full house takes to empty.
const BUSY_RETRY: Duration = Duration::from_secs(5);

/// The key ID under which policy servers sign events. No server publishes it, so nobody is asked.
const POLICY_SERVER_KEY: &str = "ed25519:policy_server";

/// Finds the keys of other servers. Clones share everything.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

/// What a keyring is made of.
pub struct KeyringParts {
    /// Where keys are kept.
    pub store: KeyCache,
    /// The sources, in the order they are asked.
    pub fetchers: Vec<Arc<dyn KeyFetcher>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: KeyMetrics,
    /// Total time for finding a server's keys.
    pub fetch_timeout: Duration,
}

struct Inner {
    parts: KeyringParts,
    floors: Floors,
    /// The running fetches. One per server, so that nobody waits for two.
    flights: Mutex<HashMap<ServerName, Flight>>,
    /// One permit per fetch that may use the network.
    places: Semaphore,
}

/// What is known of one requested key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the usual one, and short-lived"
)]
pub enum KeyAnswer {
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
        let sources: Vec<&str> = self.0.parts.fetchers.iter().map(|source| source.name()).collect();
        f.debug_struct("Keyring").field("sources", &sources).finish_non_exhaustive()
    }
}

/// What can be said without asking anybody.
enum Look {
    /// All there is to say.
    Answers(Vec<KeyAnswer>),
    /// The sources have just failed.
    Unavailable(KeysUnavailable),
    /// These keys have to be asked for.
    Ask(Vec<KeyId>),
}

impl Keyring {
    /// A keyring of these parts. Needs a Tokio runtime when it is used.
    pub fn new(parts: KeyringParts) -> Self {
        Self(Arc::new(Inner {
            parts,
            floors: Floors::new(),
            flights: Mutex::new(HashMap::new()),
            places: Semaphore::new(FETCHES_MAX),
        }))
    }

    /// Finds the keys `ids` of `origin` for a request received now; one answer per ID, in order.
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
    ) -> Result<Vec<KeyAnswer>, KeysUnavailable> {
        let (source, answers) = self.find(origin, ids).await;
        let result = match &answers {
            Ok(answers) => answers.iter().map(LookupResult::of).min(),
            Err(_) => Some(LookupResult::Unavailable),
        };
        self.0.parts.metrics.lookup(source, result.unwrap_or(LookupResult::Unknown));
        answers
    }

    async fn find(
        &self,
        origin: &ServerName,
        ids: &[KeyId],
    ) -> (LookupSource, Result<Vec<KeyAnswer>, KeysUnavailable>) {
        // A fetch that was under way before this lookup ends before this deadline.
        let deadline = Instant::now() + self.0.parts.fetch_timeout;
        for _ in 0..TURNS_MAX {
            let now = self.0.parts.clock.now();
            let ask = match self.0.look(origin, ids, now).await {
                Look::Answers(answers) => return (LookupSource::Memory, Ok(answers)),
                Look::Unavailable(error) => return (LookupSource::Memory, Err(error)),
                Look::Ask(ask) => ask,
            };
            let flight = match self.0.join_or_start(origin, &ask, deadline) {
                Ok(flight) => flight,
                Err(error) => return (LookupSource::None, Err(error)),
            };
            match flight.await {
                FlightEnd::Answered { known, origin_spoke } => {
                    let now = self.0.parts.clock.now();
                    if let Some((source, answers)) = conclude(&known, origin_spoke, ids, &ask, now)
                    {
                        return (LookupSource::Fetched(source), Ok(answers));
                    }
                }
                FlightEnd::LookAgain => {}
                FlightEnd::Unavailable(error) => return (LookupSource::None, Err(error)),
            }
        }
        let causes = format!("other keys of {origin} were fetched {TURNS_MAX} times meanwhile");
        (LookupSource::None, Err(KeysUnavailable { retry_after: BUSY_RETRY, causes }))
    }
}

/// The answers after a fetch, and the source they rest on; none if the fetch was for other keys.
fn conclude(
    known: &KnownKeys,
    origin_spoke: bool,
    ids: &[KeyId],
    asked: &[KeyId],
    now: Timestamp,
) -> Option<(Provenance, Vec<KeyAnswer>)> {
    let answers: Vec<KeyAnswer> = ids.iter().map(|id| known.answer(id, now)).collect();
    let valid = answers.iter().position(|answer| matches!(answer, KeyAnswer::Valid(_)));
    if valid.is_none() && !origin_spoke && !all_retired(known, asked, now) {
        return None;
    }
    let decisive = valid.and_then(|at| ids.get(at)).or(asked.first());
    let source = decisive.and_then(|id| known.source_of(id)).unwrap_or(Provenance::Origin);
    Some((source, answers))
}

/// Whether all of `ids` are known as retired.
fn all_retired(known: &KnownKeys, ids: &[KeyId], now: Timestamp) -> bool {
    ids.iter().all(|id| matches!(known.answer(id, now), KeyAnswer::Retired { .. }))
}

impl Inner {
    async fn look(&self, origin: &ServerName, ids: &[KeyId], now: Timestamp) -> Look {
        let known = self.parts.store.get(origin).await;
        let answer = |id| known.as_ref().map_or(KeyAnswer::Unknown, |known| known.answer(id, now));
        let answers: Vec<KeyAnswer> = ids.iter().map(answer).collect();
        if answers.iter().any(|answer| matches!(answer, KeyAnswer::Valid(_))) {
            return Look::Answers(answers);
        }
        let settled =
            |id: &KeyId| known.as_ref().is_some_and(|known| known.is_surely_retired(id, now));
        let ask: Vec<KeyId> =
            ids.iter().filter(|id| is_published(id) && !settled(id)).cloned().collect();
        if ask.is_empty() {
            return Look::Answers(answers);
        }
        match (self.floors.recall(origin, now).await, known) {
            // Without the document the origin gave (the store may have let go of it), nothing can
            // be said of a key that is not the one that was asked for then.
            (Some(Memory::Absent), Some(_)) => Look::Answers(answers),
            (Some(Memory::Failed { .. }), Some(known)) if all_retired(&known, &ask, now) => {
                Look::Answers(answers)
            }
            (Some(Memory::Failed { remaining, causes }), _) => Look::Unavailable(KeysUnavailable {
                retry_after: remaining,
                causes: format!("not asked again yet; last time: {causes}"),
            }),
            (Some(Memory::Absent), None) | (None, _) => Look::Ask(ask),
        }
    }

    /// The running fetch for `origin`, or a new one for the keys `ask`.
    fn join_or_start(
        self: &Arc<Self>,
        origin: &ServerName,
        ask: &[KeyId],
        deadline: Instant,
    ) -> Result<Flight, KeysUnavailable> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(origin) {
            return Ok(flight.clone());
        }
        if flights.len() >= FLIGHTS_MAX {
            let causes = format!("{FLIGHTS_MAX} fetches are running or waiting already");
            return Err(KeysUnavailable { retry_after: BUSY_RETRY, causes });
        }
        let flight = self.start(origin.clone(), ask.to_vec(), deadline);
        flights.insert(origin.clone(), flight.clone());
        Ok(flight)
    }
}

/// Whether a server may publish such a key at all: nobody is asked for the others.
fn is_published(id: &KeyId) -> bool {
    id.is_ed25519() && id.as_str() != POLICY_SERVER_KEY
}

#[cfg(test)]
mod tests;
