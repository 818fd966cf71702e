//! What follows for a request received now, and what an operator can do about it.

use super::report::{Kept, KeyReport, KeyState, Verdict, date};
use super::{Answer, BackOff, BackOffReason, Beforehand, StoreState, Stored};
use crate::keys::fetch::FetchError;
use crate::keys::keyring::{KeyAnswer, KeyPolicy};
use crate::keys::known::{Collision, KnownKeys};
use crate::keys::record::{Binding, Source};
use crate::keys::rules::InForce;
use crate::net::NetError;
use crate::proto::ed25519::VerifyKey;
use crate::proto::server_keys::BANNED;
use crate::proto::{KeyId, ServerName, Timestamp};

/// Most key IDs that a summary names.
const NAMED_IDS_MAX: usize = 4;

/// Judges keys as a request's are judged.
pub(super) struct Bench<'a> {
    pub(super) policy: &'a KeyPolicy,
    pub(super) rules: &'a InForce,
    pub(super) server: &'a ServerName,
    pub(super) now: Timestamp,
    /// The key IDs that sources have just shown with another body than known.
    pub(super) collisions: &'a [Collision],
}

impl Bench<'_> {
    /// Whether a request signed with the key of `binding` would pass.
    pub(super) fn state(&self, known: &KnownKeys, binding: &Binding) -> KeyState {
        let is_banned = self.rules.ban(self.server, &binding.id).is_some()
            || self.rules.banned().contains(&binding.key);
        if is_banned {
            return KeyState::Banned;
        }
        match self.rules.rules().pin(self.server, &binding.id) {
            Some(pinned) if *pinned == binding.key => return KeyState::Pinned,
            Some(_) => return KeyState::Overruled,
            None => {}
        }
        let own = |collision: &&Collision| {
            collision.id == binding.id && collision.offered.1 == Source::Origin
        };
        if self.collisions.iter().filter(own).any(|collision| !collision.replaced) {
            return KeyState::Conflict;
        }
        match known.answer(&binding.id, self.now) {
            KeyAnswer::Valid(_) if self.is_agreed(known, &binding.id) => KeyState::Valid,
            KeyAnswer::Valid(_) => KeyState::Unagreed,
            KeyAnswer::Expired { .. } => KeyState::Expired,
            KeyAnswer::Retired { .. } => KeyState::Retired,
            KeyAnswer::Banned(_) => KeyState::Banned,
            KeyAnswer::Unknown => KeyState::Unknown,
        }
    }

    /// Whether any key of `known` would do.
    pub(super) fn accepts(&self, known: &KnownKeys) -> bool {
        known.to_record().bindings.iter().any(|binding| self.state(known, binding).passes())
            || self.pinned().next().is_some()
    }

    /// The keys that are pinned, and not banned.
    fn pinned(&self) -> impl Iterator<Item = (&KeyId, &VerifyKey)> {
        let pins = self.rules.rules().pins.get(self.server);
        pins.into_iter().flatten().filter(|(id, key)| {
            self.rules.ban(self.server, id).is_none() && !self.rules.banned().contains(key)
        })
    }

    /// Every key there is something to say of: those that are known, and pinned ones that are not.
    fn keys(&self, known: &KnownKeys) -> Vec<KeyReport> {
        let mut keys = Kept::of(known, |binding| self.state(known, binding), self.now).keys;
        for (id, key) in self.pinned() {
            if !keys
                .iter()
                .any(|other| other.state == KeyState::Pinned && other.key_id == id.as_str())
            {
                keys.push(KeyReport::pinned(id, key));
            }
        }
        keys.sort_by_key(|key| (key.state, std::cmp::Reverse(key.effective_until_ts)));
        keys
    }

    fn is_agreed(&self, known: &KnownKeys, id: &KeyId) -> bool {
        let wanted = self.policy.agreement;
        let disputed = || known.conflict_since(id, self.now).is_some();
        wanted <= 1 || (known.witnesses(id) >= wanted && !disputed())
    }

    /// The verdict on what is `known` after `answers`; `was_valid` says whether a key was valid
    /// before.
    pub(super) fn verdict(
        &self,
        known: &KnownKeys,
        answers: &[Answer<'_>],
        was_valid: bool,
        before: &Beforehand,
    ) -> Verdict {
        let server = self.server;
        let keys = self.keys(known);
        let is_usable = keys.iter().any(|key| key.state.passes());
        // A key that is known and valid is used without asking.
        let back_off = before.back_off.as_ref().filter(|_| !was_valid);
        let accepted = is_usable && back_off.is_none();
        let (summary, advice) = match back_off {
            _ if accepted => (accepted_summary(server, &keys), None),
            Some(back_off) if is_usable => waiting(server, back_off),
            _ => self.refused(&keys, answers, &before.stored),
        };
        Verdict { accepted, summary, advice, keys }
    }

    /// Why no key would do, the most telling reason first.
    fn refused(
        &self,
        keys: &[KeyReport],
        answers: &[Answer<'_>],
        stored: &Stored,
    ) -> (String, Option<String>) {
        let server = self.server;
        let first = |state| keys.iter().find(|key| key.state == state);
        let (reason, advice) = if self.rules.rules().banned_servers.contains(server) {
            let advice = "the ban is yours: keys.banned_servers, or `fedgate keys unban`";
            ("the server is banned".to_owned(), advice.to_owned())
        } else if let Some(key) = first(KeyState::Conflict) {
            (
                format!("the server shows another key as {} than the one bound to it", key.key_id),
                format!(
                    "ask its operator, not over Matrix, whether the key was lost; if so, \
                     `fedgate keys flush {server}`"
                ),
            )
        } else if let Some(key) = first(KeyState::Unagreed) {
            let wanted = self.policy.agreement;
            (
                format!("fewer than {wanted} witnesses agree on {}", key.key_id),
                "add notaries, or lower keys.agreement".to_owned(),
            )
        } else if answers.iter().any(shows_banned) || first(KeyState::Banned).is_some() {
            (
                "its keys are banned".to_owned(),
                "the server needs a new key, unless the ban is yours: see `fedgate keys rules`"
                    .to_owned(),
            )
        } else if let Some((source, error)) = telling_error(answers) {
            let state = keys.first().map(|key| format!("{}; ", stale(key))).unwrap_or_default();
            (format!("{state}{source}: {error}"), advice(error))
        } else if let Some(key) = keys.first() {
            let advice = if answers.is_empty() {
                "leave out --offline to ask its sources"
            } else {
                "the server's operator has to publish a current key: no source has any"
            };
            (stale(key), advice.to_owned())
        } else if answers.is_empty() {
            let closed =
                matches!(stored, Stored::Not(StoreState::Locked | StoreState::Unreadable, _));
            let reason = if closed {
                "what is kept of it can not be looked into"
            } else {
                "nothing is kept of it"
            };
            (reason.to_owned(), "leave out --offline to ask its sources".to_owned())
        } else {
            ("no source has keys of it".to_owned(), "check the spelling of the name".to_owned())
        };
        (format!("requests of {server} are not accepted: {reason}"), Some(advice))
    }
}

fn accepted_summary(server: &ServerName, keys: &[KeyReport]) -> String {
    let usable = || keys.iter().filter(|key| key.state.passes());
    let ids: Vec<&str> = usable().take(NAMED_IDS_MAX).map(|key| key.key_id.as_str()).collect();
    let until = if usable().any(|key| key.state == KeyState::Pinned) {
        "for as long as that is pinned".to_owned()
    } else {
        let until = usable().filter_map(|key| key.effective_until_ts).max().unwrap_or_default();
        format!("until {} unless renewed", date(Timestamp::from_ms(until)))
    };
    format!("requests of {server} signed with {} are accepted, {until}", ids.join(", "))
}

fn waiting(server: &ServerName, back_off: &BackOff) -> (String, Option<String>) {
    let reason = match back_off.reason {
        BackOffReason::Absent => {
            "when it showed its keys last, the one asked for could not be used"
        }
        BackOffReason::Failed => "asking for its keys has just failed",
    };
    let remaining = back_off.remaining_s;
    let summary = format!(
        "requests of {server} are not accepted yet: {reason}, and it is asked again in {remaining} s"
    );
    (summary, Some(format!("wait, or ask at once with `fedgate keys refresh {server}`")))
}

/// Why a key that is known is of no use.
fn stale(key: &KeyReport) -> String {
    let at = |time: &Option<String>| time.clone().unwrap_or_default();
    match key.state {
        KeyState::Expired => format!("{} has expired at {}", key.key_id, at(&key.effective_until)),
        KeyState::Retired => format!("{} is retired since {}", key.key_id, at(&key.expired)),
        KeyState::Unknown => format!("no current document shows {}", key.key_id),
        KeyState::Overruled => format!("another key is pinned as {}", key.key_id),
        KeyState::Valid
        | KeyState::Pinned
        | KeyState::Unagreed
        | KeyState::Conflict
        | KeyState::Banned => {
            format!("{} is not used", key.key_id)
        }
    }
}

fn shows_banned(answer: &Answer<'_>) -> bool {
    let dropped = answer.documents().iter().flat_map(|document| document.dropped());
    dropped.into_iter().any(|(_, reason)| *reason == BANNED)
}

/// The origin's failure, else the first one.
fn telling_error<'a>(answers: &'a [Answer<'_>]) -> Option<(&'a Source, &'a FetchError)> {
    let failed = |answer: &'a Answer<'_>| Some((answer.source, answer.result.as_ref().err()?));
    let errors = || answers.iter().filter_map(failed);
    errors().find(|(source, _)| **source == Source::Origin).or_else(|| errors().next())
}

fn advice(error: &FetchError) -> String {
    let text = match error {
        FetchError::Net(NetError::BlockedAddress(_)) => {
            "set outbound.allowed_ranges, if the server is meant to be at such an address"
        }
        FetchError::Net(NetError::Connect(_) | NetError::Timeout(_)) => {
            "see which step failed: a firewall on this side, outbound.proxy, or the server is down; \
             a notary ([[notaries]]) helps while it is"
        }
        FetchError::Net(NetError::Dns(_)) => {
            "check the spelling of the name, and the name servers with `fedgate check`"
        }
        FetchError::Net(NetError::Tls(_)) => {
            "the server's operator has to put its certificate right; see the step that failed"
        }
        FetchError::BadAnswer(_)
        | FetchError::Net(NetError::Http(_) | NetError::TooLarge(_))
        | FetchError::Status(_) => "the server's operator has to put its answer right",
        FetchError::Busy => "try again: the gate has too many questions for this source",
        FetchError::NotServed => "let keys.sources name others than the homeserver",
    };
    text.to_owned()
}
