//! The operator's word on keys: what is pinned and what is banned. It decides before anything that
//! was fetched.

pub mod form;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use super::keyring::KeyAnswer;
use crate::proto::ed25519::{BannedKeys, VerifyKey};
use crate::proto::limits::KEY_VALIDITY_MS_MAX;
use crate::proto::validity::TrustedKey;
use crate::proto::{KeyId, ServerName, Timestamp};

/// Most rules that are made at run time: a ban list of this length is rather a matter for the
/// settings, or for a list of servers that may federate at all.
pub const RULES_MADE_MAX: usize = 10_000;

/// Pins and bans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Keys that are used without asking anybody, and that no other key may take the ID of.
    pub pins: BTreeMap<ServerName, BTreeMap<KeyId, VerifyKey>>,
    /// Key bodies that are refused wherever they turn up, beside those fedgate ships with.
    pub banned_keys: BTreeSet<[u8; 32]>,
    /// Key IDs of one server that are refused.
    pub banned_key_ids: BTreeSet<(ServerName, KeyId)>,
    /// Servers none of whose keys are used.
    pub banned_servers: BTreeSet<ServerName>,
}

/// What can be banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A key body, whoever shows it under whatever ID.
    Key([u8; 32]),
    /// A key ID of one server.
    KeyId(ServerName, KeyId),
    /// All keys of a server.
    Server(ServerName),
}

/// A change of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// From now on this is the server's key of this ID, whatever anybody says.
    Pin(ServerName, KeyId, VerifyKey),
    /// The pin of this key ID ends.
    Unpin(ServerName, KeyId),
    /// From now on this is refused.
    Ban(Subject),
    /// The ban ends.
    Unban(Subject),
}

/// Why a change is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// The settings say something else, and they count over rules made at run time.
    #[error("the settings say otherwise ({0}); change them")]
    InSettings(&'static str),
    /// A key cannot be pinned and banned.
    #[error("this key is banned; lift the ban first, with `fedgate keys unban --key`")]
    PinOfBanned,
    /// Too many rules.
    #[error("there are {RULES_MADE_MAX} rules already; lift some, or write them into the settings")]
    TooMany,
}

impl Rules {
    /// Makes a change; whether it changes anything.
    ///
    /// # Errors
    /// When there is no room for a further rule.
    pub fn apply(&mut self, change: &Change) -> Result<bool, RulesError> {
        if matches!(change, Change::Pin(..) | Change::Ban(_)) && self.len() >= RULES_MADE_MAX {
            return Err(RulesError::TooMany);
        }
        Ok(match change.clone() {
            Change::Pin(server, id, key) => {
                let before = self.pins.entry(server).or_default().insert(id, key.clone());
                before != Some(key)
            }
            Change::Unpin(server, id) => self.unpin(&server, &id),
            Change::Ban(Subject::Key(key)) => self.banned_keys.insert(key),
            Change::Ban(Subject::KeyId(server, id)) => self.banned_key_ids.insert((server, id)),
            Change::Ban(Subject::Server(server)) => self.banned_servers.insert(server),
            Change::Unban(Subject::Key(key)) => self.banned_keys.remove(&key),
            Change::Unban(Subject::KeyId(server, id)) => self.banned_key_ids.remove(&(server, id)),
            Change::Unban(Subject::Server(server)) => self.banned_servers.remove(&server),
        })
    }

    fn unpin(&mut self, server: &ServerName, id: &KeyId) -> bool {
        let Some(pins) = self.pins.get_mut(server) else { return false };
        let was_pinned = pins.remove(id).is_some();
        if pins.is_empty() {
            self.pins.remove(server);
        }
        was_pinned
    }

    /// Whether the subject is banned by these rules.
    pub fn bans(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Key(key) => self.banned_keys.contains(key),
            Subject::KeyId(server, id) => {
                self.banned_key_ids.contains(&(server.clone(), id.clone()))
            }
            Subject::Server(server) => self.banned_servers.contains(server),
        }
    }

    /// The key pinned for an ID.
    pub fn pin(&self, server: &ServerName, id: &KeyId) -> Option<&VerifyKey> {
        self.pins.get(server)?.get(id)
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.pins.values().map(BTreeMap::len).sum::<usize>()
            + self.banned_keys.len()
            + self.banned_key_ids.len()
            + self.banned_servers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of these and of `made`; where both pin an ID, these count.
    fn with(&self, made: &Self) -> Self {
        let mut both = made.clone();
        for (server, pins) in &self.pins {
            both.pins.entry(server.clone()).or_default().extend(pins.clone());
        }
        both.banned_keys.extend(&self.banned_keys);
        both.banned_key_ids.extend(self.banned_key_ids.iter().cloned());
        both.banned_servers.extend(self.banned_servers.iter().cloned());
        both
    }
}

/// What a ban is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Banned {
    /// The key body.
    Key,
    /// The key ID of this server.
    KeyId,
    /// The server.
    Server,
}

impl fmt::Display for Banned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "its key",
            Self::KeyId => "this key ID of the server",
            Self::Server => "the server",
        })
    }
}

/// The rules at one moment: those of the settings and those made at run time.
#[derive(Debug)]
pub struct InForce {
    rules: Rules,
    banned: BannedKeys,
    is_empty: bool,
}

impl InForce {
    fn new(rules: Rules) -> Self {
        let banned = BannedKeys::new(rules.banned_keys.iter().copied());
        let is_empty = rules.is_empty();
        Self { rules, banned, is_empty }
    }

    /// All of them.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The banned key bodies, with those fedgate ships with.
    pub const fn banned(&self) -> &BannedKeys {
        &self.banned
    }

    /// Whether any key called `id` of `server` is refused.
    pub fn ban(&self, server: &ServerName, id: &KeyId) -> Option<Banned> {
        if self.is_empty {
            None
        } else if self.rules.banned_servers.contains(server) {
            Some(Banned::Server)
        } else {
            let subject = Subject::KeyId(server.clone(), id.clone());
            self.rules.bans(&subject).then_some(Banned::KeyId)
        }
    }

    /// What these say of the key `id` of `server` at `now`, if anything. A ban counts over a pin.
    pub fn answer(&self, server: &ServerName, id: &KeyId, now: Timestamp) -> Option<KeyAnswer> {
        if self.is_empty {
            return None;
        }
        if let Some(banned) = self.ban(server, id) {
            return Some(KeyAnswer::Banned(banned));
        }
        let key = self.rules.pin(server, id)?;
        if self.banned.contains(key) {
            return Some(KeyAnswer::Banned(Banned::Key));
        }
        Some(KeyAnswer::Valid(TrustedKey {
            server: server.clone(),
            id: id.clone(),
            key: key.clone(),
            effective_until: now.plus_ms(KEY_VALIDITY_MS_MAX),
            provenance: None,
        }))
    }
}

/// The rules in force, which can change at run time. Clones share everything.
#[derive(Clone, Debug)]
pub struct Rulebook(Arc<Book>);

#[derive(Debug)]
struct Book {
    settings: Rules,
    made: Mutex<Rules>,
    in_force: ArcSwap<InForce>,
}

impl Default for Rulebook {
    fn default() -> Self {
        Self::new(Rules::default(), Rules::default())
    }
}

impl Rulebook {
    /// The rules of the settings, and those made at run time that were kept.
    pub fn new(settings: Rules, made: Rules) -> Self {
        let in_force = ArcSwap::from_pointee(InForce::new(settings.with(&made)));
        Self(Arc::new(Book { settings, made: Mutex::new(made), in_force }))
    }

    /// The rules at this moment; not to be held for long.
    pub fn in_force(&self) -> Guard<Arc<InForce>> {
        self.0.in_force.load()
    }

    /// The rules that the settings make.
    pub fn of_settings(&self) -> &Rules {
        &self.0.settings
    }

    /// The rules made at run time.
    pub fn made(&self) -> Rules {
        self.0.made.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The rules made at run time as they would be after `change`; none if nothing would change.
    ///
    /// # Errors
    /// When the settings or another rule stand against it, or there are too many.
    pub(super) fn drafted(&self, change: &Change) -> Result<Option<Rules>, RulesError> {
        let settings = &self.0.settings;
        match change {
            Change::Pin(server, id, key) => {
                if self.in_force().banned.contains(key) {
                    return Err(RulesError::PinOfBanned);
                }
                if settings.pin(server, id).is_some_and(|other| other != key) {
                    return Err(RulesError::InSettings("[[pins]]"));
                }
            }
            Change::Unpin(server, id) => {
                if settings.pin(server, id).is_some() {
                    return Err(RulesError::InSettings("[[pins]]"));
                }
            }
            Change::Unban(subject) => {
                if settings.bans(subject) {
                    return Err(RulesError::InSettings(match subject {
                        Subject::Key(_) => "keys.banned",
                        Subject::KeyId(..) => "keys.banned_key_ids",
                        Subject::Server(_) => "keys.banned_servers",
                    }));
                }
            }
            Change::Ban(_) => {}
        }
        let mut made = self.made();
        Ok(made.apply(change)?.then_some(made))
    }

    /// Puts these rules in the place of those made at run time.
    pub(super) fn enact(&self, made: Rules) {
        let mut held = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.in_force.store(Arc::new(InForce::new(self.0.settings.with(&made))));
        *held = made;
    }
}

#[cfg(test)]
mod tests;
