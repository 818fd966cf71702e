//! One fetch of one server's keys, which everybody who wants them waits for.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::{Instant, timeout_at};

use super::{BUSY_RETRY, FETCHES_MAX, Inner, KeyAnswer, KeysUnavailable, Look, all_retired};
use crate::keys::cache::StoredKeys;
use crate::keys::fetch::{FetchError, KeyFetcher, KeyRequest};
use crate::keys::known::KnownKeys;
use crate::net::NetError;
use crate::proto::server_keys::ServerKeys;
use crate::proto::validity::Provenance;
use crate::proto::{KeyId, ServerName};

/// A running fetch; every clone resolves to its end.
pub(super) type Flight = Shared<BoxFuture<'static, FlightEnd>>;

/// A source that is asked gets at least this much time, if there is that much left: discovery, TLS
/// and the answer of a distant server.
const SOURCE_TIME_MIN: Duration = Duration::from_secs(2);

/// How a fetch has ended.
#[derive(Clone, Debug)]
pub(super) enum FlightEnd {
    /// Something can be said of the keys that were asked for.
    Answered {
        /// All that is known of the server now.
        known: Arc<KnownKeys>,
        /// Whether the origin itself has shown its keys: those it does not list do not exist.
        origin_spoke: bool,
    },
    /// Memory has the answer: another fetch ended just before this one began.
    LookAgain,
    /// Nothing can be said.
    Unavailable(KeysUnavailable),
}

/// Takes the fetch off the list of running ones, however it ends.
struct Landing {
    inner: Arc<Inner>,
    server: ServerName,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(&self.server);
    }
}

/// What the sources have said so far.
struct Findings {
    /// All that is known of the server by now.
    known: Option<Arc<KnownKeys>>,
    origin_spoke: bool,
    /// One entry per source that has not given a usable key.
    causes: Vec<String>,
}

impl Inner {
    /// Starts a fetch of the keys `ids` of `server`.
    pub(super) fn start(
        self: &Arc<Self>,
        server: ServerName,
        ids: Vec<KeyId>,
        deadline: Instant,
    ) -> Flight {
        let landing = Landing { inner: Arc::clone(self), server };
        // A task of its own: several requests wait for it, and none of them may end it by hanging
        // up. The deadline bounds its life.
        let task = tokio::spawn(async move {
            let inner = Arc::clone(&landing.inner);
            inner.fly(&landing.server, ids, deadline).await
        });
        let end = async move {
            task.await.unwrap_or_else(|error| {
                let causes = format!("the fetch ended early: {error}");
                FlightEnd::Unavailable(KeysUnavailable { retry_after: BUSY_RETRY, causes })
            })
        };
        end.boxed().shared()
    }

    async fn fly(&self, server: &ServerName, ids: Vec<KeyId>, deadline: Instant) -> FlightEnd {
        let now = self.parts.clock.now();
        let Look::Ask(ids) = self.look(server, &ids, now).await else {
            return FlightEnd::LookAgain;
        };
        // Who waits for a place for longer could not be served in the time left.
        let boarding = deadline - self.parts.fetch_timeout / 2;
        let Ok(Ok(_place)) = timeout_at(boarding, self.places.acquire()).await else {
            let causes = format!("{FETCHES_MAX} fetches are running already");
            tracing::warn!(target: "fedgate::keys", %server, %causes, "no keys");
            return FlightEnd::Unavailable(KeysUnavailable { retry_after: BUSY_RETRY, causes });
        };
        let in_flight = self.parts.metrics.fetch_in_flight();
        let findings = self.ask_in_turn(server, &ids, deadline).await;
        drop(in_flight);
        self.parts.metrics.cache_entries.set(as_gauge(self.parts.store.servers().await));
        self.judge(server, &ids, findings).await
    }

    /// Asks one source after the other, until a requested key is valid or the origin has spoken:
    /// nobody else may add to or take from what it says of itself.
    async fn ask_in_turn(&self, server: &ServerName, ids: &[KeyId], deadline: Instant) -> Findings {
        let known = self.parts.store.get(server).await;
        let mut findings = Findings { known, origin_spoke: false, causes: Vec::new() };
        let mut left = self.parts.fetchers.len();
        for fetcher in &self.parts.fetchers {
            let until = share_of_time(deadline, left);
            left -= 1;
            let name = fetcher.name();
            match self.ask(fetcher.as_ref(), server, ids, until).await {
                Ok(documents) if documents.is_empty() => {
                    findings.causes.push(format!("{name}: has no keys of this server"));
                }
                Ok(documents) => {
                    let origin = fetcher.provenance() == Provenance::Origin;
                    findings.origin_spoke |= origin;
                    self.keep(documents, fetcher.provenance(), &mut findings).await;
                    if origin || self.any_valid(findings.known.as_deref(), ids) {
                        return findings;
                    }
                    findings.causes.push(format!("{name}: none of the requested keys is valid"));
                }
                Err(error) => findings.causes.push(format!("{name}: {error}")),
            }
        }
        findings
    }

    async fn ask(
        &self,
        fetcher: &dyn KeyFetcher,
        server: &ServerName,
        ids: &[KeyId],
        until: Instant,
    ) -> Result<Vec<ServerKeys>, FetchError> {
        let metrics = &self.parts.metrics;
        let request = KeyRequest {
            server: server.clone(),
            key_ids: ids.to_vec(),
            minimum_valid_until: self.parts.clock.now(),
        };
        let started = Instant::now();
        let answer = timeout_at(until, fetcher.fetch(&request)).await.unwrap_or_else(|_elapsed| {
            let given = until.saturating_duration_since(started).as_millis();
            Err(FetchError::Net(NetError::Timeout(format!("no answer within {given} ms"))))
        });
        let took = started.elapsed();
        match &answer {
            Ok(documents) => {
                metrics.fetched(fetcher.provenance(), took);
                if !documents.is_empty() {
                    log_documents(server, fetcher.name(), documents, took);
                }
            }
            Err(FetchError::NotServed) => {}
            Err(error) => {
                metrics.fetched(fetcher.provenance(), took);
                metrics.fetch_failed(fetcher.provenance(), error);
            }
        }
        answer
    }

    async fn keep(
        &self,
        documents: Vec<ServerKeys>,
        provenance: Provenance,
        findings: &mut Findings,
    ) {
        let fetched_at = self.parts.clock.now();
        for keys in documents {
            let stored = StoredKeys { keys, fetched_at, provenance };
            let inserted = self.parts.store.insert(stored).await;
            for collision in inserted.collisions {
                self.parts.metrics.collided(provenance);
                tracing::warn!(
                    target: "fedgate::keys",
                    %collision,
                    "a key ID has changed its key: either the server lost its key and uses the \
                     ID again, or somebody shows a false key; a restart forgets what is known"
                );
            }
            findings.known = Some(inserted.known);
        }
    }

    fn any_valid(&self, known: Option<&KnownKeys>, ids: &[KeyId]) -> bool {
        let now = self.parts.clock.now();
        let valid = |known: &KnownKeys, id| matches!(known.answer(id, now), KeyAnswer::Valid(_));
        known.is_some_and(|known| ids.iter().any(|id| valid(known, id)))
    }

    /// What follows from the findings, for those who wait and for those who ask next.
    async fn judge(&self, server: &ServerName, ids: &[KeyId], findings: Findings) -> FlightEnd {
        let now = self.parts.clock.now();
        let Findings { known, origin_spoke, causes } = findings;
        let valid = self.any_valid(known.as_deref(), ids);
        if let Some(known) = &known
            && (valid || origin_spoke)
        {
            if valid {
                self.floors.succeeded(server).await;
            } else {
                self.floors.absent(server, now).await;
            }
            if !causes.is_empty() {
                let causes = causes.join("; ");
                tracing::debug!(target: "fedgate::keys", %server, causes, "not every source helped");
            }
            return FlightEnd::Answered { known: Arc::clone(known), origin_spoke };
        }
        let causes: Arc<str> = if causes.is_empty() {
            Arc::from("no source is configured")
        } else {
            Arc::from(causes.join("; "))
        };
        let retry_after = self.floors.failed(server, now, &causes).await;
        // The origin could not be asked just now, but the key has been seen retired, by others or
        // earlier: that is enough to refuse, and not enough to keep from asking the origin again.
        if let Some(known) = known
            && all_retired(&known, ids, now)
        {
            return FlightEnd::Answered { known, origin_spoke };
        }
        let next = retry_after.as_secs();
        tracing::warn!(target: "fedgate::keys", %server, %causes, retry_after_s = next, "no keys");
        FlightEnd::Unavailable(KeysUnavailable { retry_after, causes: causes.to_string() })
    }
}

/// Until when the next of `left` sources may take: an equal share of the time left.
fn share_of_time(deadline: Instant, left: usize) -> Instant {
    let now = Instant::now();
    let remaining = deadline.saturating_duration_since(now);
    let sources = u32::try_from(left.max(1)).unwrap_or(u32::MAX);
    now + (remaining / sources).max(SOURCE_TIME_MIN).min(remaining)
}

fn as_gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn log_documents(server: &ServerName, source: &str, documents: &[ServerKeys], took: Duration) {
    let keys: Vec<&str> = documents
        .iter()
        .flat_map(|document| document.verify_keys().keys())
        .take(LOGGED_KEYS_MAX)
        .map(KeyId::as_str)
        .collect();
    let valid_until = documents.iter().map(ServerKeys::valid_until_ts).max();
    let dropped = documents.iter().map(|document| document.dropped().len()).sum::<usize>();
    tracing::info!(
        target: "fedgate::keys",
        %server,
        source,
        keys = keys.join(" "),
        valid_until_ts = valid_until.map(|until| until.as_ms()),
        dropped,
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "fetched keys"
    );
}

/// Key IDs told in one log line: servers have one or two.
const LOGGED_KEYS_MAX: usize = 8;
