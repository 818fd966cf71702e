//! What is known of one server's keys, and how a further document changes it.
//!
//! Everything is kept per key ID, each with the document that speaks for it: a document adds keys
//! and renews them, it does not take away what another one said (the sytest notary cases; Synapse
//! 5305 and 5307). Only the origin itself takes a key back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::cache::StoredKeys;
use super::keyring::KeyAnswer;
use crate::proto::ed25519::VerifyKey;
use crate::proto::validity::{Provenance, effective_until};
use crate::proto::{KeyId, ServerName, Timestamp};

/// Documents kept per server. An honest server needs one, or two around a rotation; a notary that
/// answers with one document per key needs a few.
pub const DOCUMENTS_PER_SERVER_MAX: usize = 8;

/// Rough size of one parsed key in memory, in bytes, for the bound on the cache.
const KEY_BYTES: usize = 320;

/// The keys of one server, by ID.
#[derive(Clone, Debug, Default)]
pub struct KnownKeys {
    keys: BTreeMap<KeyId, KnownKey>,
}

/// One key ID of a server: the body it is bound to and the document that speaks for it.
#[derive(Clone, Debug)]
struct KnownKey {
    key: VerifyKey,
    /// The best source that has shown this body: an origin's word binds for good (R62).
    learnt_from: Provenance,
    /// Since when the key is retired, if it is.
    retired: Option<Timestamp>,
    /// The document that decides on the window, or on the retirement.
    document: Arc<StoredKeys>,
}

/// One key ID with two different bodies (R62).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// Whose key.
    pub server: ServerName,
    /// The ID both bodies go by.
    pub id: KeyId,
    /// The body known before, and the best source that had shown it.
    pub known: (VerifyKey, Provenance),
    /// The other body, and the source that shows it now.
    pub offered: (VerifyKey, Provenance),
    /// Whether the new body takes the place of the known one.
    pub replaced: bool,
}

impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (known, known_from) = (&self.known.0, label(self.known.1));
        let (offered, offered_from) = (&self.offered.0, label(self.offered.1));
        write!(f, "{} of {} was ", self.id, self.server)?;
        write!(f, "{} ({known_from}) and is now shown as ", known.to_base64())?;
        write!(f, "{} ({offered_from}); ", offered.to_base64())?;
        f.write_str(if self.replaced { "the new one is used" } else { "the known one is kept" })
    }
}

/// The name of a source in logs and metrics.
pub(crate) const fn label(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::Homeserver => "homeserver",
        Provenance::Notary => "notary",
        Provenance::Origin => "origin",
    }
}

impl KnownKeys {
    /// What is known of the key `id` for a request received at `now`.
    pub fn answer(&self, id: &KeyId, now: Timestamp) -> KeyAnswer {
        let Some(known) = self.keys.get(id) else { return KeyAnswer::Unknown };
        if let Some(expired_ts) = known.retired {
            return KeyAnswer::Retired { expired_ts };
        }
        let stored = &known.document;
        match stored.keys.trusted_key(id, stored.fetched_at, stored.provenance) {
            Some(key) => match key.check(now) {
                Ok(()) => KeyAnswer::Valid(key),
                Err(expired) => KeyAnswer::Expired { effective_until: expired.effective_until },
            },
            None => KeyAnswer::Unknown,
        }
    }

    /// Which kind of source the answer on `id` rests on.
    pub(crate) fn source_of(&self, id: &KeyId) -> Option<Provenance> {
        self.keys.get(id).map(|known| known.document.provenance)
    }

    /// Whether `id` is retired by a document of the origin's own that is still current, so that
    /// asking again would say nothing new.
    pub(crate) fn is_surely_retired(&self, id: &KeyId, now: Timestamp) -> bool {
        self.keys.get(id).is_some_and(|known| {
            known.retired.is_some()
                && known.document.provenance == Provenance::Origin
                && now <= window_end(&known.document)
        })
    }

    /// Takes in a further document and returns the key IDs it shows with another body.
    ///
    /// - A new key ID is added.
    /// - A known one keeps its body, except that the origin's word replaces what only others said.
    /// - The origin's newest document decides on the window of the keys it lists, either way; a
    ///   document from elsewhere can only prolong a window.
    /// - The origin retires its keys, and may take that back. Others retire only a key that is past
    ///   its window: otherwise a notary could take a server's keys away.
    pub fn add(&mut self, stored: StoredKeys) -> Vec<Collision> {
        let stored = Arc::new(stored);
        let mut collisions = Vec::new();
        // An ID in both lists is retired: the stricter reading of an ambiguous document.
        for (id, old) in stored.keys.old_verify_keys() {
            self.add_key(id, &old.key, Some(old.expired_ts), &stored, &mut collisions);
        }
        for (id, key) in stored.keys.verify_keys() {
            if !stored.keys.old_verify_keys().contains_key(id) {
                self.add_key(id, key, None, &stored, &mut collisions);
            }
        }
        self.drop_surplus_documents(&stored);
        collisions
    }

    fn add_key(
        &mut self,
        id: &KeyId,
        key: &VerifyKey,
        retired: Option<Timestamp>,
        stored: &Arc<StoredKeys>,
        collisions: &mut Vec<Collision>,
    ) {
        let offered = KnownKey {
            key: key.clone(),
            learnt_from: stored.provenance,
            retired,
            document: Arc::clone(stored),
        };
        let Some(known) = self.keys.get_mut(id) else {
            self.keys.insert(id.clone(), offered);
            return;
        };
        if known.key != offered.key {
            let replaced = known.learnt_from != Provenance::Origin
                && offered.learnt_from == Provenance::Origin;
            collisions.push(Collision {
                server: stored.keys.server_name().clone(),
                id: id.clone(),
                known: (known.key.clone(), known.learnt_from),
                offered: (offered.key.clone(), offered.learnt_from),
                replaced,
            });
            if replaced {
                *known = offered;
            }
            return;
        }
        known.renew(offered);
    }

    /// Keeps to [`DOCUMENTS_PER_SERVER_MAX`]: the oldest document goes first, with the keys it
    /// speaks for, those without a valid key before the others.
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
            self.keys.retain(|_, known| !Arc::ptr_eq(&known.document, &dropped));
        }
    }

    fn has_valid_key(&self, document: &Arc<StoredKeys>, now: Timestamp) -> bool {
        now <= window_end(document)
            && self
                .keys
                .values()
                .any(|known| known.retired.is_none() && Arc::ptr_eq(&known.document, document))
    }

    /// The documents that speak for at least one key, each once.
    fn documents(&self) -> Vec<Arc<StoredKeys>> {
        let mut documents: Vec<Arc<StoredKeys>> = Vec::new();
        for known in self.keys.values() {
            if !documents.iter().any(|document| Arc::ptr_eq(document, &known.document)) {
                documents.push(Arc::clone(&known.document));
            }
        }
        documents
    }

    /// About how much memory this takes, in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        let of_documents = self.documents().into_iter().map(|document| {
            let keys = document.keys.verify_keys().len() + document.keys.old_verify_keys().len();
            document.keys.raw().len() + keys * KEY_BYTES
        });
        of_documents.sum::<usize>() + self.keys.len() * KEY_BYTES
    }
}

impl KnownKey {
    /// The same key with the same body in a later document.
    fn renew(&mut self, offered: Self) {
        let at = offered.document.fetched_at;
        let from_origin = offered.learnt_from == Provenance::Origin;
        let valid = self.retired.is_none() && at <= window_end(&self.document);
        match (self.retired, offered.retired) {
            (None, Some(_)) => {
                if from_origin || !valid {
                    self.retired = offered.retired;
                    self.document = offered.document;
                }
            }
            (Some(first), Some(again)) => {
                self.retired = Some(first.min(again));
                if from_origin || self.document.provenance != Provenance::Origin {
                    self.document = offered.document;
                }
            }
            (Some(_), None) => {
                if from_origin {
                    self.retired = None;
                    self.document = offered.document;
                }
            }
            (None, None) => {
                if from_origin || window_end(&offered.document) > window_end(&self.document) {
                    self.document = offered.document;
                }
            }
        }
        if from_origin {
            self.learnt_from = Provenance::Origin;
        }
    }
}

/// The last millisecond in which a document's keys may be used for requests (R42).
fn window_end(stored: &StoredKeys) -> Timestamp {
    effective_until(stored.keys.valid_until_ts(), stored.fetched_at)
}

#[cfg(test)]
mod tests;
