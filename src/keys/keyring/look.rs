//! What can be said of keys without asking anybody.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Inner, KeyAnswer, KeyAnswers, KeysUnavailable};
use crate::keys::backoff::Memory;
use crate::keys::known::KnownKeys;
use crate::keys::rules::Banned;
use crate::proto::validity::Provenance;
use crate::proto::{KeyId, ServerName, Timestamp};

/// The key ID under which policy servers sign events. No server publishes it, so nobody is asked.
const POLICY_SERVER_KEY: &str = "ed25519:policy_server";

/// What can be said without asking anybody.
pub(super) enum Look {
    /// All there is to say.
    Answers(KeyAnswers),
    /// The sources have just failed.
    Unavailable(KeysUnavailable),
    /// These keys have to be asked for; with whatever is known of their server.
    Ask(Vec<KeyId>, Option<Arc<KnownKeys>>),
}

/// Whether all of `ids` are known as retired.
pub(super) fn all_retired(known: &KnownKeys, ids: &[KeyId], now: Timestamp) -> bool {
    ids.iter().all(|id| matches!(known.answer(id, now), KeyAnswer::Retired { .. }))
}

impl Inner {
    /// What the store has of the keys of `server`; memory has it from then on.
    pub(super) async fn stored(
        &self,
        server: &ServerName,
        now: Timestamp,
    ) -> Option<Arc<KnownKeys>> {
        loop {
            let flushes = self.shared.flushes.load(Ordering::SeqCst);
            let known = self.read(server).await?;
            self.parts.cache.restore(server, Arc::clone(&known), now);
            if self.shared.flushes.load(Ordering::SeqCst) == flushes {
                return Some(known);
            }
            // What was read may have been let go of meanwhile.
            self.parts.cache.forget(server);
        }
    }

    /// What the store has of the keys of `server`, verified again.
    pub(super) async fn read(&self, server: &ServerName) -> Option<Arc<KnownKeys>> {
        let record = match self.parts.store.as_ref()?.load(server).await {
            Ok(record) => record?,
            Err(error) => {
                self.parts.metrics.store_failed(&error);
                tracing::warn!(target: "fedgate::keys", %server, %error, "cannot read stored keys");
                return None;
            }
        };
        let rules = self.parts.rules.in_force();
        let (known, refused) = KnownKeys::from_record(record, server, rules.banned());
        for reason in refused {
            tracing::warn!(target: "fedgate::keys", %server, reason, "a stored document is not used");
        }
        Some(Arc::new(known))
    }

    /// What is known of the keys of `server`, on our own behalf: it does not count as use.
    pub(super) async fn known_unused(
        &self,
        server: &ServerName,
        now: Timestamp,
    ) -> Option<Arc<KnownKeys>> {
        match self.parts.cache.peek(server) {
            Some(known) => Some(known),
            None => self.stored(server, now).await,
        }
    }

    /// What can be said of the key `id` of `server`: the operator's word, else what `known` says, as
    /// far as enough witnesses agree.
    pub(super) fn answer(
        &self,
        server: &ServerName,
        known: Option<&KnownKeys>,
        id: &KeyId,
        now: Timestamp,
    ) -> KeyAnswer {
        let rules = self.parts.rules.in_force();
        if let Some(answer) = rules.answer(server, id, now) {
            return answer;
        }
        match known {
            Some(known) if known.body(id).is_some_and(|key| rules.banned().contains(key)) => {
                KeyAnswer::Banned(Banned::Key)
            }
            Some(known) if self.is_agreed(known, id) => known.answer(id, now),
            Some(_) | None => KeyAnswer::Unknown,
        }
    }

    /// Whether enough independent witnesses have shown the body of `id`.
    pub(super) fn is_agreed(&self, known: &KnownKeys, id: &KeyId) -> bool {
        let wanted = self.parts.policy.agreement;
        wanted <= 1 || known.witnesses(id) >= wanted
    }

    /// Whether one of `ids` would be valid if only enough witnesses had shown it.
    pub(super) fn lacks_witnesses(&self, known: &KnownKeys, ids: &[KeyId], now: Timestamp) -> bool {
        let lacks = |id: &KeyId| {
            matches!(known.answer(id, now), KeyAnswer::Valid(_)) && !self.is_agreed(known, id)
        };
        ids.iter().any(lacks)
    }

    /// The answers after a fetch, and the source they rest on; none if the fetch was for other keys.
    pub(super) fn conclude(
        &self,
        origin: &ServerName,
        known: &KnownKeys,
        origin_spoke: bool,
        ids: &[KeyId],
        asked: &[KeyId],
    ) -> Option<(Provenance, KeyAnswers)> {
        let now = self.parts.clock.now();
        let answer = |id| self.answer(origin, Some(known), id, now);
        let answers: KeyAnswers = ids.iter().map(answer).collect();
        let valid = answers.iter().position(|answer| matches!(answer, KeyAnswer::Valid(_)));
        if valid.is_none() && !origin_spoke && !all_retired(known, asked, now) {
            return None;
        }
        let decisive = valid.and_then(|at| ids.get(at)).or(asked.first());
        let source = decisive.and_then(|id| known.source_of(id)).unwrap_or(Provenance::Origin);
        Some((source, answers))
    }

    /// The answers, if at least one of the keys is valid: there is nothing more to ask then.
    pub(super) fn valid_answers(
        &self,
        server: &ServerName,
        known: &KnownKeys,
        ids: &[KeyId],
        now: Timestamp,
    ) -> Option<KeyAnswers> {
        let answer = |id| self.answer(server, Some(known), id, now);
        let answers: KeyAnswers = ids.iter().map(answer).collect();
        let valid = answers.iter().any(|answer| matches!(answer, KeyAnswer::Valid(_)));
        valid.then_some(answers)
    }

    /// What can be said of `ids` with what is in memory, `cached`, or else in the store.
    pub(super) async fn look(
        &self,
        origin: &ServerName,
        ids: &[KeyId],
        now: Timestamp,
        cached: Option<Arc<KnownKeys>>,
    ) -> Look {
        if let Some(answers) = self.ruled(origin, ids, now) {
            return Look::Answers(answers);
        }
        let known = match cached {
            Some(known) => Some(known),
            None => self.stored(origin, now).await,
        };
        let answer = |id| self.answer(origin, known.as_deref(), id, now);
        let answers: KeyAnswers = ids.iter().map(answer).collect();
        if answers.iter().any(|answer| matches!(answer, KeyAnswer::Valid(_))) {
            return Look::Answers(answers);
        }
        let settled = |id: &KeyId, answer: &KeyAnswer| {
            matches!(answer, KeyAnswer::Banned(_))
                || known.as_ref().is_some_and(|known| known.is_surely_retired(id, now))
        };
        let open = |(id, answer): &(&KeyId, &KeyAnswer)| is_published(id) && !settled(id, answer);
        let ask: Vec<KeyId> =
            ids.iter().zip(&answers).filter(open).map(|(id, _)| id.clone()).collect();
        if ask.is_empty() {
            return Look::Answers(answers);
        }
        match (self.shared.floors.recall(origin, now).await, known) {
            // What the origin lists, and too few have shown, is not absent.
            (Some(Memory::Absent), Some(known)) if self.lacks_witnesses(&known, &ask, now) => {
                Look::Ask(ask, Some(known))
            }
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
            (Some(Memory::Absent), None) => Look::Ask(ask, None),
            (None, known) => Look::Ask(ask, known),
        }
    }
}

/// Whether a server may publish such a key at all: nobody is asked for the others.
pub(in crate::keys) fn is_published(id: &KeyId) -> bool {
    id.is_ed25519() && id.as_str() != POLICY_SERVER_KEY
}
