//! What is known of one server's keys, and how a further document changes it.
//!
//! Everything is kept per key ID, each with the document that speaks for it: a document adds keys
//! and renews them, it does not take away what another one said (the sytest notary cases; Synapse
//! 5305 and 5307). Only the origin itself takes a key back.

mod event_key;
mod news;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use self::news::label;
pub use self::news::{Collision, News};
use super::cache::StoredKeys;
use super::history::{Entry, Event, What};
use super::keyring::KeyAnswer;
use super::record::{Binding, Conflict, KeptDocument, ServerRecord, Source};
use crate::config::BindingMode;
use crate::proto::ed25519::{BannedKeys, VerifyKey};
use crate::proto::server_keys::UnverifiedServerKeys;
use crate::proto::validity::{Provenance, TrustedKey, effective_until};
use crate::proto::{KeyId, KeyMap, ServerName, Timestamp};

/// Documents kept per server. An honest server needs one, or two around a rotation; a notary that
/// answers with one document per key needs a few.
pub const DOCUMENTS_PER_SERVER_MAX: usize = 8;

/// Key IDs remembered per server: the ceiling of MSC4499. Past it, an ID that only others have shown
/// makes room for one that the origin shows.
pub const KEY_IDS_PER_SERVER_MAX: usize = 1_000;

/// How far in the future a document's time of fetch may lie before it is not believed, in
/// milliseconds. The clock has been set back by more than that: the time of the fetch says nothing
/// any more, and the 7 days would be counted from a day that has yet to come.
pub const CLOCK_SET_BACK_MS_MAX: u64 = 5 * 60 * 1_000;

/// The keys of one server, by ID.
#[derive(Clone, Debug, Default)]
pub struct KnownKeys {
    keys: KeyMap<KnownKey>,
    used_at: UsedAt,
}

/// When a request last asked for the keys, in ms since the epoch.
#[derive(Debug, Default)]
struct UsedAt(AtomicU64);

impl Clone for UsedAt {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

/// One key ID of a server: the body it is bound to and the document that speaks for it.
#[derive(Clone, Debug)]
struct KnownKey {
    /// The body: the document's own copy while there is a document.
    key: VerifyKey,
    /// The best kind of source that has shown this body: an origin's word binds for good (R62).
    learnt_from: Provenance,
    /// When this body was first shown.
    first_seen: Timestamp,
    /// Everybody who has shown this body, in their order.
    witnesses: Vec<Source>,
    /// Since when the key is retired, if it is: the first time that was named.
    retired: Option<Timestamp>,
    /// The last other body that was shown and is not believed.
    conflict: Option<Box<Conflict>>,
    /// The document that decides on the window, or on the retirement; none once it had to make room.
    /// It lists the body: among the current keys, unless the key is retired.
    document: Option<Arc<StoredKeys>>,
}

impl KnownKeys {
    /// A request has asked for the keys at `now`.
    pub(crate) fn used(&self, now: Timestamp) {
        self.used_at.0.store(now.as_ms(), Ordering::Relaxed);
    }

    /// When a request last asked for the keys.
    pub(crate) fn used_at(&self) -> Timestamp {
        Timestamp::from_ms(self.used_at.0.load(Ordering::Relaxed))
    }

    /// What is known of the key `id` for a request received at `now`.
    pub fn answer(&self, id: &KeyId, now: Timestamp) -> KeyAnswer {
        let Some(known) = self.keys.get(id) else { return KeyAnswer::Unknown };
        if let Some(expired_ts) = known.retired {
            return KeyAnswer::Retired { expired_ts };
        }
        let Some(stored) = &known.document else { return KeyAnswer::Unknown };
        let effective_until = window_end(stored);
        if !is_current(stored, now) {
            return KeyAnswer::Expired { effective_until };
        }
        KeyAnswer::Valid(TrustedKey {
            server: stored.keys.server_name().clone(),
            id: id.clone(),
            key: known.key.clone(),
            effective_until,
            provenance: Some(stored.source.kind()),
        })
    }

    /// The document that speaks for `id`.
    pub(crate) fn document(&self, id: &KeyId) -> Option<&Arc<StoredKeys>> {
        self.keys.get(id)?.document.as_ref()
    }

    /// The body that `id` is bound to.
    pub(crate) fn body(&self, id: &KeyId) -> Option<&VerifyKey> {
        self.keys.get(id).map(|known| &known.key)
    }

    /// Whether one of the documents lists `key`, or an ID is bound to it.
    pub(crate) fn shows(&self, key: &[u8; 32]) -> bool {
        let listed = |document: &Arc<StoredKeys>| {
            let old = document.keys.old_verify_keys().values().map(|old| &old.key);
            document.keys.verify_keys().values().chain(old).any(|listed| listed.as_bytes() == key)
        };
        self.keys.values().any(|known| known.key.as_bytes() == key)
            || self.documents().iter().any(listed)
    }

    /// Which kind of source the answer on `id` rests on.
    pub(crate) fn source_of(&self, id: &KeyId) -> Option<Provenance> {
        Some(self.keys.get(id)?.document.as_ref()?.source.kind())
    }

    /// How many independent witnesses have shown the body of `id`: the origin and each notary count
    /// as one. The homeserver has its keys from them and is none.
    pub(crate) fn witnesses(&self, id: &KeyId) -> usize {
        let independent = |source: &&Source| **source != Source::Homeserver;
        self.keys.get(id).map_or(0, |known| known.witnesses.iter().filter(independent).count())
    }

    /// Another body that somebody has shown for `id` at `since` or later.
    pub(crate) fn conflict_since(&self, id: &KeyId, since: Timestamp) -> Option<&Conflict> {
        self.keys.get(id)?.conflict.as_deref().filter(|conflict| conflict.at >= since)
    }

    /// Who has shown which body for `id`, when there are two.
    pub(crate) fn dispute(&self, id: &KeyId) -> Option<String> {
        let known = self.keys.get(id)?;
        let conflict = known.conflict.as_ref()?;
        let witnesses: Vec<String> = known.witnesses.iter().map(Source::to_string).collect();
        let (one, other) = (known.key.to_base64(), conflict.key.to_base64());
        Some(format!("{one} ({}), {other} ({})", witnesses.join(", "), conflict.source))
    }

    /// Whether `id` is retired by a document of the origin's own that is still current, so that
    /// asking again would say nothing new.
    pub(crate) fn is_surely_retired(&self, id: &KeyId, now: Timestamp) -> bool {
        let Some(known) = self.keys.get(id) else { return false };
        let current =
            |stored: &Arc<StoredKeys>| stored.source == Source::Origin && is_current(stored, now);
        known.retired.is_some() && known.document.as_ref().is_some_and(current)
    }

    /// The time of the fetch and the end of the window of the valid document that lasts longest: keys
    /// that only older ones list are on their way out. None without a valid key.
    pub(crate) fn current_window(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let documents = self.documents();
        let valid = documents.iter().filter(|document| self.has_valid_key(document, now));
        valid
            .map(|document| (document.fetched_at, window_end(document)))
            .max_by_key(|(_, end)| *end)
    }

    /// The IDs of the keys that are valid at `now`.
    pub(crate) fn valid_ids(&self, now: Timestamp) -> Vec<KeyId> {
        let valid = |id: &&KeyId| matches!(self.answer(id, now), KeyAnswer::Valid(_));
        self.keys.keys().filter(valid).cloned().collect()
    }

    /// Takes in a further document and returns what is new about it.
    ///
    /// - A new key ID is added.
    /// - A known one keeps its body, except that the origin's word replaces what only others said
    ///   while that is within its window: a new owner of an old name cannot rewrite its past
    ///   (MSC4499, the freeze). [`BindingMode::Observe`] lets the origin replace its own word too.
    /// - The origin's newest document decides on the window of the keys it lists, either way; a
    ///   document from elsewhere can only prolong a window.
    /// - The origin retires its keys, and may take that back. Others retire only a key that is past
    ///   its window: otherwise a notary could take a server's keys away.
    pub fn add(&mut self, stored: StoredKeys, mode: BindingMode) -> News {
        let stored = Arc::new(stored);
        let mut collisions = Vec::new();
        let mut events = Vec::new();
        // An ID in both lists is retired: the stricter reading of an ambiguous document.
        let old_keys = stored.keys.old_verify_keys();
        let old = old_keys.iter().map(|(id, old)| (id, &old.key, Some(old.expired_ts)));
        let current = stored.keys.verify_keys().iter();
        let current = current.filter(|(id, _)| !old_keys.contains_key(id));
        for (id, key, retired) in old.chain(current.map(|(id, key)| (id, key, None))) {
            let (collision, whats) = self.add_key(id, key, retired, &stored, mode);
            collisions.extend(collision);
            events.extend(whats.into_iter().flatten().map(|what| {
                let (id, key) = (id.clone(), key.clone());
                Event { id, key, what }
            }));
        }
        self.drop_surplus_documents(&stored);
        self.keys.shrink_to_fit();
        let shown = |events| Entry::Shown { document: kept(&stored), events };
        News { collisions, entry: (!events.is_empty()).then(|| shown(events)) }
    }

    /// Takes in one key of a document. The collision there may be, and what is news about the key.
    fn add_key(
        &mut self,
        id: &KeyId,
        key: &VerifyKey,
        retired: Option<Timestamp>,
        stored: &Arc<StoredKeys>,
        mode: BindingMode,
    ) -> (Option<Collision>, [Option<What>; 2]) {
        let offered = KnownKey {
            key: key.clone(),
            learnt_from: stored.source.kind(),
            first_seen: stored.fetched_at,
            witnesses: vec![stored.source.clone()],
            retired,
            conflict: None,
            document: Some(Arc::clone(stored)),
        };
        let retires = retired.map(|expired_ts| What::Retired { expired_ts });
        let Some(known) = self.keys.get_mut(id) else {
            if !self.make_room_for_id(&stored.source) {
                return (None, [None, None]);
            }
            self.keys.insert(id.clone(), offered);
            return (None, [Some(What::FirstSeen), retires]);
        };
        if known.key == offered.key {
            return (None, [known.renew(offered), None]);
        }
        let replaced = known.yields_to_origin(stored.fetched_at, mode)
            && offered.learnt_from == Provenance::Origin;
        let collision = Collision {
            server: stored.keys.server_name().clone(),
            id: id.clone(),
            known: (known.key.clone(), known.learnt_from),
            offered: (offered.key.clone(), stored.source.clone()),
            replaced,
        };
        if replaced {
            let before = known.key.clone();
            let source = known.witnesses.first().cloned().unwrap_or(Source::Homeserver);
            let conflict = Conflict { key: before.clone(), source, at: stored.fetched_at };
            *known = KnownKey { conflict: Some(Box::new(conflict)), ..offered };
            let changed = What::Changed { known: before, replaced: true };
            return (Some(collision), [Some(changed), retires]);
        }
        let disputed = known.disputed_by(&offered.key, &stored.source);
        let (key, source) = collision.offered.clone();
        known.conflict = Some(Box::new(Conflict { key, source, at: stored.fetched_at }));
        (Some(collision), [disputed, None])
    }

    /// Whether there is room for a further key ID shown by `source`.
    fn make_room_for_id(&mut self, source: &Source) -> bool {
        if self.keys.len() < KEY_IDS_PER_SERVER_MAX {
            return true;
        }
        let provisional = self
            .keys
            .iter()
            .filter(|(_, known)| known.learnt_from != Provenance::Origin)
            .min_by_key(|(_, known)| known.first_seen)
            .map(|(id, _)| id.clone());
        let Some(id) = provisional.filter(|_| *source == Source::Origin) else { return false };
        self.keys.remove(&id);
        true
    }

    /// Keeps to [`DOCUMENTS_PER_SERVER_MAX`]: the oldest document goes first, those without a valid
    /// key before the others. The keys it speaks for stay bound to their bodies.
    fn drop_surplus_documents(&mut self, newest: &Arc<StoredKeys>) {
        let mut documents = self.documents();
        while documents.len() > DOCUMENTS_PER_SERVER_MAX {
            let surplus = documents
                .iter()
                .enumerate()
                .filter(|(_, document)| !Arc::ptr_eq(document, newest))
                .min_by_key(|(_, document)| {
                    (self.has_valid_key(document, newest.fetched_at), document.fetched_at)
                })
                .map(|(index, _)| index);
            let Some(index) = surplus else { return };
            let dropped = documents.swap_remove(index);
            for known in self.keys.values_mut().filter(|known| known.rests_on(&dropped)) {
                known.document = None;
            }
        }
    }

    fn has_valid_key(&self, document: &Arc<StoredKeys>, now: Timestamp) -> bool {
        is_current(document, now)
            && self.keys.values().any(|known| known.retired.is_none() && known.rests_on(document))
    }

    /// The documents that speak for at least one key, each once.
    pub(crate) fn documents(&self) -> Vec<Arc<StoredKeys>> {
        let mut documents: Vec<Arc<StoredKeys>> = Vec::new();
        for document in self.keys.values().filter_map(|known| known.document.as_ref()) {
            if !documents.iter().any(|found| Arc::ptr_eq(found, document)) {
                documents.push(Arc::clone(document));
            }
        }
        documents
    }

    /// The form in which this is kept.
    pub(crate) fn to_record(&self) -> ServerRecord {
        let documents = self.documents();
        let place = |known: &KnownKey| documents.iter().position(|found| known.rests_on(found));
        let binding = |(id, known): (&KeyId, &KnownKey)| Binding {
            id: id.clone(),
            key: known.key.clone(),
            learnt_from: known.learnt_from,
            first_seen: known.first_seen,
            witnesses: known.witnesses.iter().cloned().collect(),
            expired_ts: known.retired,
            conflict: known.conflict.as_deref().cloned(),
            document: place(known),
        };
        ServerRecord {
            bindings: self.keys.iter().map(binding).collect(),
            documents: documents.iter().map(|document| kept(document)).collect(),
        }
    }

    /// What a record says of `server`. Every document is verified again; one that is not acceptable
    /// any more (its only signer has been banned meanwhile) is left out, and the reason returned.
    pub(crate) fn from_record(
        record: ServerRecord,
        server: &ServerName,
        banned: &BannedKeys,
    ) -> (Self, Vec<String>) {
        let mut refused = Vec::new();
        let mut verified = |kept: KeptDocument| {
            let keys = UnverifiedServerKeys::parse(kept.raw)
                .and_then(|document| document.verify(server, banned))
                .map_err(|error| refused.push(error.to_string()))
                .ok()?;
            let (fetched_at, source) = (kept.fetched_at, kept.source);
            Some(Arc::new(StoredKeys::new(keys, fetched_at, source)))
        };
        let documents: Vec<_> = record.documents.into_iter().map(&mut verified).collect();
        let known = |binding: Binding| {
            let document = binding.document.and_then(|at| documents.get(at)?.clone());
            // A document speaks for the body it shows, and for no other.
            let shown = document.and_then(|document| {
                let old = document.keys.old_verify_keys().get(&binding.id).map(|old| &old.key);
                let old = old.filter(|_| binding.expired_ts.is_some());
                let key = document.keys.verify_keys().get(&binding.id).or(old)?.clone();
                (key == binding.key).then_some((key, document))
            });
            let (key, document) = match shown {
                Some((key, document)) => (key, Some(document)),
                None => (binding.key, None),
            };
            let known = KnownKey {
                key,
                learnt_from: binding.learnt_from,
                first_seen: binding.first_seen,
                witnesses: binding.witnesses.into_iter().collect(),
                retired: binding.expired_ts,
                conflict: binding.conflict.map(Box::new),
                document,
            };
            (binding.id, known)
        };
        let keys = record.bindings.into_iter().map(known).collect();
        (Self { keys, used_at: UsedAt::default() }, refused)
    }

    /// About how much memory this takes, in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        let documents = self.documents();
        // Each with the counters of its Arc.
        let counters = 2 * size_of::<usize>();
        let of_documents = documents.iter().map(|document| document.size_bytes() + counters);
        let of_keys = self.keys.iter().map(|(id, known)| known.size_bytes(id));
        size_of::<Self>() + of_documents.sum::<usize>() + of_keys.sum::<usize>()
    }
}

impl KnownKey {
    /// About how much memory this takes under `id`, in bytes, beside its document and what it shares
    /// with that.
    fn size_bytes(&self, id: &KeyId) -> usize {
        let own_body = if self.document.is_none() { VerifyKey::SHARED_BYTES } else { 0 };
        let conflict = size_of::<Conflict>() + VerifyKey::SHARED_BYTES;
        let conflict = if self.conflict.is_some() { conflict } else { 0 };
        let witnesses = self.witnesses.len() * size_of::<Source>();
        size_of::<(KeyId, Self)>() + id.shared_bytes() + own_body + conflict + witnesses
    }

    fn rests_on(&self, document: &Arc<StoredKeys>) -> bool {
        self.document.as_ref().is_some_and(|own| Arc::ptr_eq(own, document))
    }

    /// Whether the origin may put another body in the place of this one at `now`.
    fn yields_to_origin(&self, now: Timestamp, mode: BindingMode) -> bool {
        if self.learnt_from == Provenance::Origin {
            return mode == BindingMode::Observe;
        }
        let in_use = |document: &Arc<StoredKeys>| is_current(document, now);
        self.retired.is_none() && self.document.as_ref().is_some_and(in_use)
    }

    /// What is news about `source` showing the body `offered`, which is not believed: the same body
    /// shown again, with every renewal, is none.
    fn disputed_by(&self, offered: &VerifyKey, source: &Source) -> Option<What> {
        if self.conflict.as_ref().is_some_and(|conflict| conflict.key == *offered) {
            return None;
        }
        let known = self.key.clone();
        Some(if self.witnesses.contains(source) {
            What::Changed { known, replaced: false }
        } else {
            What::Disagreement { known }
        })
    }

    /// The same key with the same body in a later document. Whether that retires it, or takes that
    /// back.
    fn renew(&mut self, offered: Self) -> Option<What> {
        let before = self.retired;
        let at = offered.document.as_ref().map_or(Timestamp::default(), |found| found.fetched_at);
        let from_origin = offered.learnt_from == Provenance::Origin;
        let valid = self.retired.is_none() && self.ends(at) >= Some(at);
        let decides = match (self.retired, offered.retired) {
            (None, Some(_)) => from_origin || !valid,
            (Some(_), Some(_)) => {
                let by_origin = |document: &Arc<StoredKeys>| document.source == Source::Origin;
                from_origin || !self.document.as_ref().is_some_and(by_origin)
            }
            (Some(_), None) => from_origin,
            (None, None) => from_origin || offered.ends(at) > self.ends(at),
        };
        if decides {
            self.retired = offered.retired.map(|offered| self.retired.unwrap_or(offered));
            self.key = offered.key;
            self.document = offered.document;
        }
        for witness in offered.witnesses {
            if let Err(at) = self.witnesses.binary_search(&witness) {
                self.witnesses.insert(at, witness);
            }
        }
        if from_origin {
            self.learnt_from = Provenance::Origin;
        }
        match (before, self.retired) {
            (None, Some(expired_ts)) => Some(What::Retired { expired_ts }),
            (Some(_), None) => Some(What::TakenBack),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }

    /// The end of the window, as far as it is believed at `now`.
    fn ends(&self, now: Timestamp) -> Option<Timestamp> {
        let document = self.document.as_ref()?;
        (!is_from_the_future(document, now)).then(|| window_end(document))
    }
}

/// The form in which a document is kept.
fn kept(stored: &StoredKeys) -> KeptDocument {
    KeptDocument {
        raw: stored.keys.raw().clone(),
        fetched_at: stored.fetched_at,
        source: stored.source.clone(),
    }
}

/// Whether the clock has been set back since the document was fetched.
pub(crate) fn is_from_the_future(stored: &StoredKeys, now: Timestamp) -> bool {
    stored.fetched_at > now.plus_ms(CLOCK_SET_BACK_MS_MAX)
}

/// Whether a document's keys may be used for requests at `now`.
fn is_current(stored: &StoredKeys, now: Timestamp) -> bool {
    now <= window_end(stored) && !is_from_the_future(stored, now)
}

/// The last millisecond in which a document's keys may be used for requests (R42).
pub(crate) fn window_end(stored: &StoredKeys) -> Timestamp {
    effective_until(stored.keys.valid_until_ts(), stored.fetched_at)
}

#[cfg(test)]
mod tests;
