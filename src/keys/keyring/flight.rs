//! One fetch of one server's keys, which everybody who wants them waits for.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, Shared};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    BUSY_RETRY, FIRST_SEEN_LANE, Inner, KNOWN_LANE, KeyAnswer, KeyringParts, KeysUnavailable, Look,
    Stage, all_retired,
};
use crate::keys::cache::StoredKeys;
use crate::keys::fetch::{FetchError, KeyFetcher, KeyRequest};
use crate::keys::history::Entry;
use crate::keys::known::KnownKeys;
use crate::keys::record::Source;
use crate::net::NetError;
use crate::net::trace::Trace;
use crate::proto::server_keys::ServerKeys;
use crate::proto::{KeyId, ServerName, Timestamp};

/// A running fetch; every clone resolves to its end.
pub(super) type Flight = Shared<BoxFuture<'static, FlightEnd>>;

/// What a fetch is to find.
#[derive(Clone, Debug)]
pub(super) struct Quest {
    /// The keys.
    pub(super) ids: Vec<KeyId>,
    /// Whether their server has been seen before.
    pub(super) is_known: bool,
    /// For a refresh: the end of the window that is to be exceeded.
    pub(super) refresh_after: Option<Timestamp>,
}

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
pub(super) struct Landing {
    inner: Arc<Inner>,
    server: ServerName,
}

impl Landing {
    pub(super) fn of(inner: &Arc<Inner>, server: &ServerName) -> Self {
        Self { inner: Arc::clone(inner), server: server.clone() }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = self.inner.shared.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(&self.server);
    }
}

/// What the sources have said so far.
pub(super) struct Findings {
    /// Whose keys are sought.
    server: ServerName,
    /// All that is known of the server by now.
    pub(super) known: Option<Arc<KnownKeys>>,
    origin_spoke: bool,
    /// Whether a document has been added.
    changed: bool,
    /// What is new about the documents, for the history.
    pub(super) entries: Vec<Entry>,
    /// One entry per source that has not given a usable key.
    causes: Vec<String>,
    /// When the first source was asked.
    since: Timestamp,
}

impl Findings {
    /// Nobody has been asked yet; `known` is known of `server`.
    pub(super) fn beginning(
        server: &ServerName,
        known: Option<Arc<KnownKeys>>,
        since: Timestamp,
    ) -> Self {
        Self {
            server: server.clone(),
            known,
            origin_spoke: false,
            changed: false,
            entries: Vec::new(),
            causes: Vec::new(),
            since,
        }
    }
}

/// What one source has said.
type Said<'a> = (&'a Source, usize, Result<Vec<ServerKeys>, FetchError>);

impl Inner {
    /// Starts a fetch.
    pub(super) fn launch(
        self: &Arc<Self>,
        server: &ServerName,
        quest: Quest,
        deadline: Instant,
    ) -> Flight {
        let landing = Landing::of(self, server);
        // A task of its own: several requests wait for it, and none of them may end it by hanging
        // up. The deadline bounds its life.
        let task = tokio::spawn(async move {
            let inner = Arc::clone(&landing.inner);
            inner.fly(&landing.server, quest, deadline).await
        });
        let end = async move {
            task.await.unwrap_or_else(|error| {
                let causes = format!("the fetch ended early: {error}");
                FlightEnd::Unavailable(KeysUnavailable { retry_after: BUSY_RETRY, causes })
            })
        };
        end.boxed().shared()
    }

    async fn fly(
        self: &Arc<Self>,
        server: &ServerName,
        mut quest: Quest,
        deadline: Instant,
    ) -> FlightEnd {
        let now = self.parts.clock.now();
        let known = if quest.refresh_after.is_some() {
            self.known_unused(server, now).await
        } else {
            let cached = self.parts.cache.get(server, now);
            let Look::Ask(ids, known) = self.look(server, &quest.ids, now, cached).await else {
                return FlightEnd::LookAgain;
            };
            quest.ids = ids;
            known
        };
        let (places, lane) = if quest.is_known {
            (&self.shared.known_places, KNOWN_LANE)
        } else {
            (&self.shared.first_seen_places, FIRST_SEEN_LANE)
        };
        // Who waits for a place for longer could not be served in the time left.
        let boarding = deadline - self.parts.policy.fetch_timeout / 2;
        let Ok(Ok(_place)) = timeout_at(boarding, places.acquire()).await else {
            let causes = format!("{} fetches are running already", lane.places);
            tracing::warn!(target: "fedgate::keys", %server, %causes, "no keys");
            return FlightEnd::Unavailable(KeysUnavailable { retry_after: BUSY_RETRY, causes });
        };
        let in_flight = self.parts.metrics.fetch_in_flight();
        let mut findings = self.ask_hedged(server, &quest, known, deadline).await;
        drop(in_flight);
        if let Some(known) = &findings.known
            && findings.changed
        {
            self.save(server, known, std::mem::take(&mut findings.entries)).await;
        }
        let end = self.judge(server, &quest, findings).await;
        self.show_sizes().await;
        end
    }

    /// Shows how much is kept, in the metrics.
    async fn show_sizes(&self) {
        let KeyringParts { cache, store, metrics, .. } = &self.parts;
        let (servers, bytes) = cache.size();
        metrics.cache_size(servers, bytes);
        metrics.backoff_size(self.shared.floors.size().await);
        if let Some(store) = store {
            metrics.store_size(store.size());
        }
    }

    /// Asks stage after stage: the next one as soon as the last has failed, or beside it when it
    /// takes longer than its head start. Ends with a usable key, or when the origin has spoken:
    /// nobody else may add to or take from what it says of itself. Who has not answered by then is
    /// not waited for.
    async fn ask_hedged(
        &self,
        server: &ServerName,
        quest: &Quest,
        known: Option<Arc<KnownKeys>>,
        deadline: Instant,
    ) -> Findings {
        let mut findings = Findings::beginning(server, known, self.parts.clock.now());
        let mut stages = self.parts.stages.iter().enumerate();
        let mut running = FuturesUnordered::new();
        let mut silent: Vec<&Source> = Vec::new();
        let mut next_at = Instant::now();
        let mut more = true;
        loop {
            // Witnesses that are needed anyhow are asked at once.
            let eager = running.is_empty() || self.wants_witnesses(quest, &findings);
            if more && (eager || next_at <= Instant::now()) {
                match stages.next() {
                    Some((number, Stage { sources, head_start })) => {
                        for source in sources {
                            silent.push(source.source());
                            running.push(self.ask(source.as_ref(), number, server, quest));
                        }
                        next_at = Instant::now() + *head_start;
                    }
                    None => more = false,
                }
                continue;
            }
            tokio::select! {
                said = running.next() => {
                    let Some((source, number, answer)) = said else { return findings };
                    silent.retain(|other| *other != source);
                    self.take_in(source, answer, quest, &mut findings).await;
                    if self.is_settled(quest, &findings) {
                        if number > 0 && self.any_usable(&findings.server, findings.known.as_deref(), quest) {
                            self.parts.metrics.hedge_won(source.kind());
                        }
                        return findings;
                    }
                }
                () = sleep_until(next_at), if more => {}
                () = sleep_until(deadline) => {
                    for source in silent {
                        let error = NetError::Timeout("no answer in the time there is".to_owned());
                        let error = FetchError::Net(error);
                        self.parts.metrics.fetch_failed(source.kind(), &error);
                        findings.causes.push(format!("{source}: {error}"));
                    }
                    return findings;
                }
            }
        }
    }

    async fn ask<'a>(
        &self,
        fetcher: &'a dyn KeyFetcher,
        stage: usize,
        server: &ServerName,
        quest: &Quest,
    ) -> Said<'a> {
        let (metrics, source) = (&self.parts.metrics, fetcher.source());
        let now = self.parts.clock.now();
        let request = KeyRequest {
            server: server.clone(),
            key_ids: quest.ids.clone(),
            minimum_valid_until: quest.refresh_after.map_or(now, |end| end.plus_ms(1)),
            trace: Trace::default(),
            is_known: quest.is_known,
        };
        let started = Instant::now();
        let answer = fetcher.fetch(&request).await;
        let took = started.elapsed();
        match &answer {
            Ok(documents) => {
                metrics.fetched(source.kind(), took);
                if !documents.is_empty() {
                    log_documents(server, source, documents, took);
                }
            }
            Err(FetchError::NotServed) => {}
            Err(error) => {
                metrics.fetched(source.kind(), took);
                metrics.fetch_failed(source.kind(), error);
            }
        }
        (source, stage, answer)
    }

    async fn take_in(
        &self,
        source: &Source,
        answer: Result<Vec<ServerKeys>, FetchError>,
        quest: &Quest,
        findings: &mut Findings,
    ) {
        match answer {
            Ok(documents) if documents.is_empty() => {
                findings.causes.push(format!("{source}: has no keys of this server"));
            }
            Ok(documents) => {
                findings.origin_spoke |= *source == Source::Origin;
                self.keep(documents, source, findings);
                if !findings.origin_spoke
                    && !self.any_usable(&findings.server, findings.known.as_deref(), quest)
                {
                    let cause = format!("{source}: none of the requested keys is valid");
                    findings.causes.push(cause);
                }
            }
            Err(error) => findings.causes.push(format!("{source}: {error}")),
        }
    }

    /// Whether a requested key is there, and only witnesses are missing.
    fn wants_witnesses(&self, quest: &Quest, findings: &Findings) -> bool {
        let Some(known) = &findings.known else { return self.parts.policy.agreement > 1 };
        self.lacks_witnesses(known, &quest.ids, self.parts.clock.now())
    }

    /// Whether two witnesses have shown different bodies for a key that is not trusted yet.
    fn is_disputed(&self, quest: &Quest, findings: &Findings) -> bool {
        let Some(known) = &findings.known else { return false };
        self.parts.policy.agreement > 1
            && quest.ids.iter().any(|id| known.conflict_since(id, findings.since).is_some())
    }

    fn is_settled(&self, quest: &Quest, findings: &Findings) -> bool {
        if self.is_disputed(quest, findings) {
            return true;
        }
        let usable = self.any_usable(&findings.server, findings.known.as_deref(), quest);
        usable || (findings.origin_spoke && !self.wants_witnesses(quest, findings))
    }

    pub(super) fn keep(
        &self,
        documents: Vec<ServerKeys>,
        source: &Source,
        findings: &mut Findings,
    ) {
        let fetched_at = self.parts.clock.now();
        let binding = self.parts.policy.binding;
        for keys in documents {
            self.compare_with_pins(&keys, source);
            let stored = StoredKeys::new(keys, fetched_at, source.clone());
            let base = findings.known.as_ref();
            let inserted = self.parts.cache.insert(stored, binding, base);
            findings.entries.extend(inserted.news.entry);
            for collision in inserted.news.collisions {
                self.parts.metrics.collided(source.kind());
                tracing::warn!(
                    target: "fedgate::keys",
                    %collision,
                    "a key ID has changed its key: either the server lost its key and uses the \
                     ID again, or somebody shows a false key; `fedgate keys` shows and flushes what is \
                     known"
                );
            }
            findings.known = Some(inserted.known);
            findings.changed = true;
        }
    }

    /// Whether a requested key is valid as long as is wanted, and agreed on.
    fn any_usable(&self, server: &ServerName, known: Option<&KnownKeys>, quest: &Quest) -> bool {
        let now = self.parts.clock.now();
        let usable = |id| match self.answer(server, known, id, now) {
            KeyAnswer::Valid(key) => {
                quest.refresh_after.is_none_or(|end| key.effective_until > end)
            }
            KeyAnswer::Banned(_)
            | KeyAnswer::Expired { .. }
            | KeyAnswer::Retired { .. }
            | KeyAnswer::Unknown => false,
        };
        quest.ids.iter().any(usable)
    }

    /// What follows from the findings, for those who wait and for those who ask next.
    async fn judge(&self, server: &ServerName, quest: &Quest, mut findings: Findings) -> FlightEnd {
        let now = self.parts.clock.now();
        let usable = self.any_usable(&findings.server, findings.known.as_deref(), quest);
        let unagreed = self.without_agreement(server, quest, &findings);
        let origin_spoke = findings.origin_spoke;
        if let Some(known) = &findings.known
            && (usable || origin_spoke)
            && unagreed.is_none()
        {
            if usable {
                self.shared.floors.succeeded(server).await;
            } else {
                self.shared.floors.absent(server, now).await;
            }
            if !findings.causes.is_empty() {
                let causes = findings.causes.join("; ");
                tracing::debug!(target: "fedgate::keys", %server, causes, "not every source helped");
            }
            return FlightEnd::Answered { known: Arc::clone(known), origin_spoke };
        }
        findings.causes.extend(unagreed);
        let causes: Arc<str> = if findings.causes.is_empty() {
            Arc::from("no source is configured")
        } else {
            Arc::from(findings.causes.join("; "))
        };
        let retry_after = self.shared.floors.failed(server, now, &causes).await;
        // The origin could not be asked just now, but the key has been seen retired, by others or
        // earlier: that is enough to refuse, and not enough to keep from asking the origin again.
        if let Some(known) = findings.known
            && all_retired(&known, &quest.ids, now)
        {
            return FlightEnd::Answered { known, origin_spoke };
        }
        let next = retry_after.as_secs();
        tracing::warn!(target: "fedgate::keys", %server, %causes, retry_after_s = next, "no keys");
        FlightEnd::Unavailable(KeysUnavailable { retry_after, causes: causes.to_string() })
    }

    /// Why a requested key that was shown is not trusted all the same: too few have shown it, or
    /// others have shown another.
    fn without_agreement(
        &self,
        server: &ServerName,
        quest: &Quest,
        findings: &Findings,
    ) -> Option<String> {
        let known = findings.known.as_ref()?;
        let disputed = self.is_disputed(quest, findings);
        if disputed {
            self.parts.metrics.disagreements.inc();
            for id in &quest.ids {
                if let Some(told) = known.dispute(id) {
                    tracing::warn!(target: "fedgate::keys", %server, %id, told, "witnesses disagree");
                }
            }
            return Some("witnesses disagree on the key; the log says who showed which".to_owned());
        }
        if self.any_usable(server, Some(known), quest) || !self.wants_witnesses(quest, findings) {
            return None;
        }
        let shown = quest.ids.iter().map(|id| known.witnesses(id)).max().unwrap_or(0);
        let wanted = self.parts.policy.agreement;
        Some(format!("{shown} of the {wanted} witnesses that keys.agreement asks for show the key"))
    }
}

fn log_documents(server: &ServerName, source: &Source, documents: &[ServerKeys], took: Duration) {
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
        %source,
        keys = keys.join(" "),
        valid_until_ts = valid_until.map(|until| until.as_ms()),
        dropped,
        took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "fetched keys"
    );
}

/// Key IDs told in one log line: servers have one or two.
const LOGGED_KEYS_MAX: usize = 8;
