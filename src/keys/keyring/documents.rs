//! The documents that show a server's keys, for those who ask fedgate as a notary. The same memory,
//! the same sources, the same back-off and places as for requests.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};

use super::flight::{Findings, FlightEnd, Quest};
use super::{Inner, Keyring, is_published};
use crate::keys::backoff::Memory;
use crate::keys::cache::StoredKeys;
use crate::keys::known::{KnownKeys, is_from_the_future, window_end};
use crate::keys::record::Source;
use crate::proto::server_keys::{BANNED, ServerKeys, UnverifiedServerKeys};
use crate::proto::{KeyId, ServerName, Timestamp};

/// A key that somebody asks a notary for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedKey {
    /// Its ID.
    pub id: KeyId,
    /// Until when its document should be valid at least; now unless given (R67).
    pub minimum_valid_until: Option<Timestamp>,
}

/// What one question may make us do.
#[derive(Debug)]
pub struct Allowance {
    /// Whose budgets count; none for our own homeserver.
    pub client: Option<IpAddr>,
    /// How many servers may still be asked for.
    pub fetches: AtomicUsize,
    /// When the answer is given, with what there is by then.
    pub until: Instant,
}

/// What came of asking for newer documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewed {
    /// The sources were asked and something can be said.
    Asked {
        /// Whether the origin itself has shown its keys.
        origin_spoke: bool,
    },
    /// The origin has just shown all its keys, and is not asked again yet.
    NothingNew,
    /// Nobody could be asked, or nobody could say anything.
    Not,
}

impl Allowance {
    fn take_fetch(&self) -> bool {
        let take = |left: usize| left.checked_sub(1);
        Instant::now() < self.until
            && self.fetches.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

impl Keyring {
    /// Takes in a document that our own homeserver has given of itself, and keeps it over restarts.
    pub async fn learn(&self, document: ServerKeys) {
        let (inner, server) = (&self.0, document.server_name().clone());
        let now = inner.parts.clock.now();
        let known = inner.known_unused(&server, now).await;
        let mut findings = Findings::beginning(&server, known, now);
        inner.keep(vec![document], &Source::Homeserver, &mut findings);
        if let Some(known) = &findings.known {
            inner.save(&server, known, findings.entries).await;
        }
    }

    /// The document kept of `server` that is valid the longest. Nobody is asked.
    pub async fn newest_document(&self, server: &ServerName) -> Option<Arc<StoredKeys>> {
        let known = self.0.known_unused(server, self.0.parts.clock.now()).await?;
        let mut documents = Vec::new();
        self.0.serve(server, &known, &[], &mut documents);
        documents.into_iter().max_by_key(|document| document.keys.valid_until_ts())
    }

    /// Adds to `found` what [`Keyring::documents`] would give, where all that is wanted is in memory
    /// and nothing of it is to be renewed. Whether that is so.
    pub fn documents_at_hand(
        &self,
        server: &ServerName,
        wanted: &[WantedKey],
        minimum_valid_until: Option<Timestamp>,
        found: &mut Vec<Arc<StoredKeys>>,
    ) -> bool {
        let inner = &self.0;
        if inner.parts.rules.in_force().rules().banned_servers.contains(server) {
            return true;
        }
        let Some(known) = inner.parts.cache.peek(server) else { return false };
        let now = inner.parts.clock.now();
        let is_due = due(Some(&known), wanted, minimum_valid_until, now).is_some();
        if !is_due {
            inner.serve(server, &known, wanted, found);
        }
        !is_due
    }

    /// The document with our signature, which `sign` makes once. What is made is kept with the
    /// document.
    ///
    /// # Errors
    /// What `sign` says.
    pub fn countersigned<'d, E>(
        &self,
        document: &'d StoredKeys,
        sign: impl FnOnce(&ServerKeys) -> Result<Bytes, E>,
    ) -> Result<&'d Bytes, E> {
        match document.countersigned() {
            Some(signed) => Ok(signed),
            None => Ok(self.0.parts.cache.keep_countersigned(document, sign(&document.keys)?)),
        }
    }

    /// The documents of `server` that show the keys `wanted`; without any, all that are kept
    /// (R65). What is kept is renewed first where it should be and may be (R68); whatever comes of
    /// that, what is kept is given, even expired (R69), and what a server lists no more, too (R70).
    ///
    /// `minimum_valid_until` is for all keys, where none is named.
    pub async fn documents(
        &self,
        server: &ServerName,
        wanted: &[WantedKey],
        minimum_valid_until: Option<Timestamp>,
        allowance: &Allowance,
    ) -> Vec<Arc<StoredKeys>> {
        let inner = &self.0;
        if inner.parts.rules.in_force().rules().banned_servers.contains(server) {
            return Vec::new();
        }
        let now = inner.parts.clock.now();
        let mut known = inner.known_unused(server, now).await;
        if let Some((ids, beyond)) = due(known.as_deref(), wanted, minimum_valid_until, now)
            && let Renewed::Asked { .. } =
                inner.renew(server, ids, beyond, known.is_some(), allowance).await
        {
            known = inner.known_unused(server, now).await;
        }
        let Some(known) = known else { return Vec::new() };
        let mut documents = Vec::new();
        inner.serve(server, &known, wanted, &mut documents);
        documents.extend(inner.let_go_of(server, &known, wanted).await);
        documents
    }
}

impl Inner {
    /// Asks for documents whose window ends after `beyond`.
    pub(super) async fn renew(
        self: &Arc<Self>,
        server: &ServerName,
        ids: Vec<KeyId>,
        beyond: Timestamp,
        is_known: bool,
        allowance: &Allowance,
    ) -> Renewed {
        let now = self.parts.clock.now();
        // Who has just failed, or shown all it has, is left alone for its time.
        match self.shared.floors.recall(server, now).await {
            Some(Memory::Absent) => return Renewed::NothingNew,
            Some(Memory::Failed { .. }) => return Renewed::Not,
            None => {}
        }
        if !allowance.take_fetch() {
            return Renewed::Not;
        }
        if let Some(client) = allowance.client {
            let budget = if is_known { &self.shared.notary_budget } else { &self.budget };
            if budget.take(client, 1).await.is_err() {
                self.parts.metrics.first_seen_refused.inc();
                return Renewed::Not;
            }
        }
        let deadline = Instant::now() + self.parts.policy.fetch_timeout;
        let quest = Quest { ids, is_known, refresh_after: Some(beyond) };
        let Ok(flight) = self.join_or_start(server, quest, deadline) else { return Renewed::Not };
        // The fetch goes on for those who ask next.
        match timeout_at(allowance.until, flight).await {
            Ok(FlightEnd::Answered { origin_spoke, .. }) => Renewed::Asked { origin_spoke },
            Ok(FlightEnd::LookAgain) => Renewed::Asked { origin_spoke: false },
            Ok(FlightEnd::Unavailable(_)) | Err(_) => Renewed::Not,
        }
    }

    /// Adds to `found` the documents of `known` that show the keys `wanted`, without any all of them,
    /// each once, as far as a notary may put its name to them.
    fn serve(
        &self,
        server: &ServerName,
        known: &KnownKeys,
        wanted: &[WantedKey],
        found: &mut Vec<Arc<StoredKeys>>,
    ) {
        let before = found.len();
        let mut add = |document: &Arc<StoredKeys>| {
            let mut of_server = found.iter().skip(before);
            if !of_server.any(|found| Arc::ptr_eq(found, document))
                && self.may_be_served(server, known, document)
            {
                found.push(Arc::clone(document));
            }
        };
        if wanted.is_empty() {
            known.documents().iter().for_each(add);
        } else {
            wanted.iter().filter_map(|key| known.document(&key.id)).for_each(&mut add);
        }
    }

    /// Documents that had to make room for others and show keys that nothing else does: a key once
    /// served is never forgotten (R70). They are in the history.
    async fn let_go_of(
        &self,
        server: &ServerName,
        known: &KnownKeys,
        wanted: &[WantedKey],
    ) -> Vec<Arc<StoredKeys>> {
        let mut found = Vec::new();
        let Some(store) = &self.parts.store else { return found };
        for WantedKey { id, .. } in wanted.iter().filter(|key| known.document(&key.id).is_none()) {
            let Some(key) = known.body(id) else { continue };
            let kept = match store.document_of(server, id, key).await {
                Ok(Some(kept)) => kept,
                Ok(None) => continue,
                Err(error) => {
                    self.parts.metrics.store_failed(&error);
                    tracing::warn!(target: "fedgate::keys", %server, %error, "cannot read history");
                    return found;
                }
            };
            let rules = Arc::clone(&self.parts.rules.in_force());
            let keys = UnverifiedServerKeys::parse(kept.raw)
                .and_then(|document| document.verify(server, rules.banned()));
            let Ok(keys) = keys else { continue };
            let document = StoredKeys::new(keys, kept.fetched_at, kept.source);
            if self.may_be_served(server, known, &document) {
                found.push(Arc::new(document));
            }
        }
        found
    }

    /// Whether a document shows nothing that we do not believe ourselves: another body than the bound
    /// one, a banned key, a key that too few have shown (K3, K13).
    fn may_be_served(&self, server: &ServerName, known: &KnownKeys, document: &StoredKeys) -> bool {
        let keys = &document.keys;
        let rules = self.parts.rules.in_force();
        let old = keys.old_verify_keys().iter().map(|(id, old)| (id, &old.key));
        let believed = |(id, key): (&KeyId, _)| {
            known.body(id).is_none_or(|bound| bound == key)
                && !rules.banned().contains(key)
                && rules.ban(server, id).is_none()
                && rules.rules().pin(server, id).is_none_or(|pinned| pinned == key)
        };
        keys.dropped().iter().all(|(_, reason)| *reason != BANNED)
            && keys.verify_keys().iter().chain(old).all(believed)
            && keys.verify_keys().keys().all(|id| self.is_agreed(known, id))
    }
}

/// The keys to ask for, and the time that the window of a new document must exceed; none if what is
/// known will do.
fn due(
    known: Option<&KnownKeys>,
    wanted: &[WantedKey],
    minimum_valid_until: Option<Timestamp>,
    now: Timestamp,
) -> Option<(Vec<KeyId>, Timestamp)> {
    if wanted.is_empty() {
        let documents = known.map(KnownKeys::documents).unwrap_or_default();
        let newest = documents.iter().max_by_key(|document| document.keys.valid_until_ts());
        let beyond = beyond(newest.map(AsRef::as_ref), minimum_valid_until, now)?;
        return Some((known.map(|known| known.valid_ids(now)).unwrap_or_default(), beyond));
    }
    let mut ids = Vec::new();
    let mut latest = None;
    for key in wanted.iter().filter(|key| is_published(&key.id)) {
        let document = known.and_then(|known| known.document(&key.id)).map(AsRef::as_ref);
        if let Some(beyond) = beyond(document, key.minimum_valid_until, now) {
            latest = latest.max(Some(beyond));
            ids.push(key.id.clone());
        }
    }
    latest.map(|beyond| (ids, beyond))
}

/// The time that the window of a new document must exceed; none if `document` will do: it is valid
/// as long as is wanted, or without a wish, now and in the first half of its life.
fn beyond(
    document: Option<&StoredKeys>,
    minimum_valid_until: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let minimum = minimum_valid_until.unwrap_or(now);
    let before_minimum = Timestamp::from_ms(minimum.as_ms().saturating_sub(1));
    let Some(document) = document.filter(|document| !is_from_the_future(document, now)) else {
        return Some(before_minimum);
    };
    let (begin, end) = (document.fetched_at.as_ms(), document.keys.valid_until_ts().as_ms());
    let half = begin.saturating_add(end.saturating_sub(begin) / 2);
    if end < minimum.as_ms() {
        Some(before_minimum)
    } else if minimum_valid_until.is_none() && now.as_ms() > half {
        Some(window_end(document))
    } else {
        None
    }
}
