//! Keys for the signatures of events, which count by the time of the event (R84 to R86). The same
//! memory, the same sources, the same back-off and places as for requests.

use super::documents::{Allowance, Renewed, WantedKey};
use super::{Inner, KeyAnswer, Keyring, is_published};
use crate::keys::known::KnownKeys;
use crate::proto::event::EventKey;
use crate::proto::limits::KEY_VALIDITY_MS_MAX;
use crate::proto::{ServerName, Timestamp};

/// What is known of a key that should have signed an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventKeyAnswer {
    /// The newest copy there is. Whether it may verify an event is for [`EventKey::check`] to say.
    pub key: Option<EventKey>,
    /// Whether this is all there is to know. Otherwise nobody could be asked, or nobody who may say
    /// that there is no such key: nothing follows from its absence.
    pub is_settled: bool,
}

impl Keyring {
    /// Finds keys of `server` that have signed events; one answer per key, in order. Nobody is asked
    /// where what is known will do: a retired key, or a copy that is good until the time that is
    /// wanted.
    pub async fn event_keys(
        &self,
        server: &ServerName,
        wanted: &[WantedKey],
        allowance: &Allowance,
    ) -> Vec<EventKeyAnswer> {
        let inner = &self.0;
        let now = inner.parts.clock.now();
        let known = inner.known_unused(server, now).await;
        let answers = inner.event_answers(server, known.as_deref(), wanted, now);
        let open = wanted.iter().zip(&answers).filter(|(_, answer)| !answer.is_settled);
        let latest = open.clone().map(|(key, _)| key.minimum_valid_until.unwrap_or(now)).max();
        let Some(latest) = latest else { return answers };
        let beyond = Timestamp::from_ms(latest.as_ms().saturating_sub(1));
        let ids = open.map(|(key, _)| key.id.clone()).collect();
        let renewed = inner.renew(server, ids, beyond, known.is_some(), allowance).await;
        // A source that has not the last word may have brought what was missing all the same.
        let known = inner.known_unused(server, now).await;
        let mut answers = inner.event_answers(server, known.as_deref(), wanted, now);
        for answer in &mut answers {
            answer.is_settled |= match renewed {
                Renewed::Asked { origin_spoke } => origin_spoke,
                // The copy is as new as can be; a key that is missing may have been added since.
                Renewed::NothingNew => answer.key.is_some(),
                Renewed::Not => false,
            };
        }
        answers
    }
}

impl Inner {
    fn event_answers(
        &self,
        server: &ServerName,
        known: Option<&KnownKeys>,
        wanted: &[WantedKey],
        now: Timestamp,
    ) -> Vec<EventKeyAnswer> {
        wanted.iter().map(|key| self.event_answer(server, known, key, now)).collect()
    }

    /// What can be said without asking anybody.
    fn event_answer(
        &self,
        server: &ServerName,
        known: Option<&KnownKeys>,
        wanted: &WantedKey,
        now: Timestamp,
    ) -> EventKeyAnswer {
        let settled = |key| EventKeyAnswer { key, is_settled: true };
        let id = &wanted.id;
        let rules = self.parts.rules.in_force();
        match rules.answer(server, id, now) {
            None => {}
            Some(KeyAnswer::Valid(pinned)) => {
                let effective_until = Timestamp::MAX;
                return settled(Some(EventKey::Current { key: pinned.key, effective_until }));
            }
            Some(_banned) => return settled(None),
        }
        if !is_published(id) {
            return settled(None);
        }
        let Some(known) = known else { return EventKeyAnswer { key: None, is_settled: false } };
        if known.body(id).is_some_and(|key| rules.banned().contains(key)) {
            return settled(None);
        }
        let key = known.event_key(id).filter(|_| self.is_agreed(known, id));
        let is_settled = match (&key, wanted.minimum_valid_until) {
            (None, _) => false,
            (Some(EventKey::Retired { .. }), _) | (Some(EventKey::Current { .. }), None) => true,
            // No copy fetched now is good for longer than the 7 days.
            (Some(EventKey::Current { effective_until, .. }), Some(minimum)) => {
                minimum <= *effective_until || minimum > now.plus_ms(KEY_VALIDITY_MS_MAX)
            }
        };
        EventKeyAnswer { key, is_settled }
    }
}
