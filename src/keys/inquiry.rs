//! Finding out all there is to say of one server's keys: what is known beforehand, what every source
//! says and how it was reached, and what follows for a request received now. For people: no request
//! is ever decided by it, and nothing that is learnt of keys is kept. Discovery and name resolution
//! remember as ever, so that an inquiry shows what they remember.

mod report;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub use self::report::{
    BackOff, BackOffReason, DocumentReport, DroppedKey, Inquiry, Kept, KeyReport, KeyState,
    ListedKey, OtherKey, SignatureReport, SourceError, SourceReport, StoreReport, StoreState,
    Verdict,
};
use self::verdict::Bench;
use super::cache::StoredKeys;
use super::fetch::{FetchError, KeyFetcher, KeyRequest};
use super::keyring::{KeyPolicy, Stage, is_published};
use super::known::{Collision, KnownKeys};
use super::metrics::error_kind;
use super::record::{ServerRecord, Source};
use super::rules::InForce;
use crate::clock::Clock;
use crate::net::NetError;
use crate::net::trace::Trace;
use crate::proto::server_keys::ServerKeys;
use crate::proto::{KeyId, ServerName, Timestamp};

/// Most key IDs that sources are asked for: as many as a request may name.
const ASKED_IDS_MAX: usize = 8;

/// How long the other sources wait to hear from the origin which keys it has, as a share of the time
/// for everything: notaries have to be asked for keys by their IDs.
const ORIGIN_SHARE: u32 = 4;

/// Asks on an operator's behalf.
pub struct Inquirer<'a> {
    /// Whom to ask.
    pub stages: &'a [Stage],
    /// How keys are judged, and how much time there is.
    pub policy: &'a KeyPolicy,
    /// Pins and bans.
    pub rules: &'a InForce,
    /// The time.
    pub clock: &'a dyn Clock,
}

/// What is known before anybody is asked.
#[derive(Debug)]
pub struct Beforehand {
    /// What a running gate has in memory.
    pub memory: Option<Arc<KnownKeys>>,
    /// What is on disk.
    pub stored: Stored,
    /// Whether a running gate would not ask now.
    pub back_off: Option<BackOff>,
}

/// What is on disk.
#[derive(Debug)]
pub enum Stored {
    /// What there is of the server.
    Read(Option<ServerRecord>),
    /// It was not looked into, and why.
    Not(StoreState, Option<String>),
}

/// What sources are asked.
struct Question<'a> {
    server: &'a ServerName,
    ids: &'a [KeyId],
    known: Option<&'a KnownKeys>,
    now: Timestamp,
    began: Instant,
    /// The keys the origin shows, once it has spoken or failed.
    origin_shows: watch::Sender<Option<Vec<KeyId>>>,
}

/// What one source said.
struct Answer<'a> {
    source: &'a Source,
    asked_for: Vec<KeyId>,
    took: Duration,
    trace: Trace,
    result: Result<Vec<ServerKeys>, FetchError>,
}

impl Inquirer<'_> {
    /// Says all there is to say of `server`, with what every source answers when it is asked for the
    /// keys `ids`; without any, for those the origin shows and those known beforehand. All sources
    /// are asked at one time, and within the time for one fetch.
    pub async fn ask(&self, server: &ServerName, ids: &[KeyId], before: Beforehand) -> Inquiry {
        let (began, now) = (Instant::now(), self.clock.now());
        let (known, memory, store) = self.told(server, &before, now);
        let origin_shows = watch::Sender::new(None);
        let known_now = known.as_deref();
        let question = Question { server, ids, known: known_now, now, began, origin_shows };
        let answers = self.ask_all(&question).await;
        let mut known = known.as_deref().cloned().unwrap_or_default();
        let was_valid = self.bench(server, now, &[]).accepts(&known);
        let collisions = self.take_in(&mut known, &answers, now);
        let verdict =
            self.bench(server, now, &collisions).verdict(&known, &answers, was_valid, &before);
        Inquiry {
            server: server.to_string(),
            at_ts: now.as_ms(),
            at: report::date(now),
            took_ms: ms(began.elapsed()),
            memory,
            store,
            back_off: before.back_off,
            sources: answers.iter().map(|answer| answer.report(now)).collect(),
            verdict,
        }
    }

    /// The same without asking anybody.
    pub fn look(&self, server: &ServerName, before: Beforehand) -> Inquiry {
        let now = self.clock.now();
        let (known, memory, store) = self.told(server, &before, now);
        let known = known.as_deref().cloned().unwrap_or_default();
        let bench = self.bench(server, now, &[]);
        let verdict = bench.verdict(&known, &[], bench.accepts(&known), &before);
        Inquiry {
            server: server.to_string(),
            at_ts: now.as_ms(),
            at: report::date(now),
            took_ms: 0,
            memory,
            store,
            back_off: before.back_off,
            sources: Vec::new(),
            verdict,
        }
    }

    /// What is known beforehand, and the reports on it.
    fn told(
        &self,
        server: &ServerName,
        before: &Beforehand,
        now: Timestamp,
    ) -> (Option<Arc<KnownKeys>>, Option<Kept>, StoreReport) {
        let kept = |known: &KnownKeys| {
            Kept::of(known, |binding| self.bench(server, now, &[]).state(known, binding), now)
        };
        let memory = before.memory.as_deref().map(kept);
        let (stored, store) = match &before.stored {
            Stored::Read(record) => {
                let known = record.clone().map(|record| {
                    let (known, refused) =
                        KnownKeys::from_record(record, server, self.rules.banned());
                    (Arc::new(known), refused)
                });
                let detail = known
                    .as_ref()
                    .and_then(|(_, refused)| refused.first())
                    .map(|reason| format!("a stored document is not used: {reason}"));
                let known = known.map(|(known, _)| known);
                let kept = known.as_deref().map(kept);
                (known, StoreReport { state: StoreState::Read, detail, kept })
            }
            Stored::Not(state, detail) => {
                (None, StoreReport { state: *state, detail: detail.clone(), kept: None })
            }
        };
        // Memory holds whatever the store does, and more.
        (before.memory.clone().or(stored), memory, store)
    }

    fn bench<'a>(
        &'a self,
        server: &'a ServerName,
        now: Timestamp,
        collisions: &'a [Collision],
    ) -> Bench<'a> {
        Bench { policy: self.policy, rules: self.rules, server, now, collisions }
    }

    async fn ask_all(&self, question: &Question<'_>) -> Vec<Answer<'_>> {
        let sources: Vec<&dyn KeyFetcher> =
            self.stages.iter().flat_map(|stage| &stage.sources).map(AsRef::as_ref).collect();
        if !sources.iter().any(|source| *source.source() == Source::Origin) {
            question.origin_shows.send_replace(Some(Vec::new()));
        }
        join_all(sources.into_iter().map(|source| self.ask_one(source, question))).await
    }

    async fn ask_one<'a>(
        &self,
        fetcher: &'a dyn KeyFetcher,
        question: &Question<'_>,
    ) -> Answer<'a> {
        let limit = self.policy.fetch_timeout;
        let source = fetcher.source();
        let asked_for = match source {
            Source::Origin => question.ids.to_vec(),
            Source::Homeserver | Source::Notary(_) => {
                question.ids(question.began + limit / ORIGIN_SHARE).await
            }
        };
        let trace = Trace::on();
        let request = KeyRequest {
            server: question.server.clone(),
            key_ids: asked_for.clone(),
            minimum_valid_until: question.now,
            is_known: question.known.is_some(),
            trace: trace.clone(),
        };
        let began = Instant::now();
        let result = timeout_at(question.began + limit, fetcher.fetch(&request)).await;
        let result = result.unwrap_or_else(|_elapsed| {
            let text = format!("no answer within {limit:?}");
            Err(FetchError::Net(NetError::Timeout(text)))
        });
        if *source == Source::Origin {
            let documents = result.as_deref().unwrap_or_default().iter();
            let shown = documents.flat_map(|keys| keys.verify_keys().keys().cloned());
            question.origin_shows.send_replace(Some(shown.collect()));
        }
        Answer { source, asked_for, took: began.elapsed(), trace, result }
    }

    /// Adds what was said to what is known, as a fetch would. The first sources come first: the
    /// origin has the last word on its own keys, whenever it speaks.
    fn take_in(
        &self,
        known: &mut KnownKeys,
        answers: &[Answer<'_>],
        now: Timestamp,
    ) -> Vec<Collision> {
        let mut collisions = Vec::new();
        for stored in answers.iter().flat_map(|answer| answer.stored(now)) {
            collisions.extend(known.add(stored, self.policy.binding).collisions);
        }
        collisions
    }
}

impl Question<'_> {
    /// The keys to ask others than the origin for.
    async fn ids(&self, until: Instant) -> Vec<KeyId> {
        if !self.ids.is_empty() {
            return self.ids.to_vec();
        }
        let mut origin = self.origin_shows.subscribe();
        let shown = timeout_at(until, origin.wait_for(Option::is_some)).await;
        let shown = shown.ok().and_then(Result::ok).and_then(|shown| shown.clone());
        let mut ids = shown.unwrap_or_default();
        let valid = self.known.map(|known| known.valid_ids(self.now)).unwrap_or_default();
        let all = self.known.map(|known| known.to_record().bindings).unwrap_or_default();
        let current = all.into_iter().filter(|binding| binding.expired_ts.is_none());
        for id in valid.into_iter().chain(current.map(|binding| binding.id)) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids.retain(is_published);
        ids.truncate(ASKED_IDS_MAX);
        ids
    }
}

impl Answer<'_> {
    fn documents(&self) -> &[ServerKeys] {
        self.result.as_deref().unwrap_or_default()
    }

    fn stored(&self, now: Timestamp) -> impl Iterator<Item = StoredKeys> {
        let stored =
            move |keys: &ServerKeys| StoredKeys::new(keys.clone(), now, self.source.clone());
        self.documents().iter().map(stored)
    }

    fn report(&self, now: Timestamp) -> SourceReport {
        let (steps, steps_left_out) = self.trace.steps();
        SourceReport {
            source: self.source.to_string(),
            asked_for: self.asked_for.iter().map(ToString::to_string).collect(),
            took_ms: ms(self.took),
            steps,
            steps_left_out,
            documents: self.stored(now).map(|stored| report::document(&stored)).collect(),
            error: self.result.as_ref().err().map(|error| SourceError {
                kind: error_kind(error).unwrap_or("not_served").to_owned(),
                text: error.to_string(),
            }),
        }
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
