//! The history of one server's keys: an append-only list of what its documents have shown for the
//! first time, each with the signed document that shows it.

use crate::proto::ed25519::{BannedKeys, VerifyKey};
use crate::proto::server_keys::{ServerKeys, UnverifiedServerKeys};
use crate::proto::{KeyId, ServerName, Timestamp};

use super::record::KeptDocument;

/// Entries kept per server, the last of which says that there are no more: as many as key IDs
/// (`KEY_IDS_PER_SERVER_MAX`). An honest server has a few in a year.
pub const ENTRIES_PER_SERVER_MAX: u64 = 1_000;

/// Bytes kept per server, of entries and documents: twice what the documents of its record may take
/// (eight of 64 KiB), so that the file grows by no more than some times the records.
pub const BYTES_PER_SERVER_MAX: u64 = 1024 * 1024;

/// Bytes of entries and documents in one page, beside the first entry.
pub const PAGE_BYTES: usize = 512 * 1024;

/// One thing that has happened to the keys of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A document has shown something for the first time.
    Shown {
        /// The document, and when and where it was fetched.
        document: KeptDocument,
        /// What it shows.
        events: Vec<Event>,
    },
    /// The operator has let go of all that was known of the server: its keys are learnt anew.
    Flushed {
        /// When.
        at: Timestamp,
    },
    /// There is no room for more: nothing later is recorded.
    Full {
        /// When.
        at: Timestamp,
    },
}

/// Something new about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The key ID.
    pub id: KeyId,
    /// The body that the document shows under it.
    pub key: VerifyKey,
    /// What is new about it.
    pub what: What,
}

/// What is new about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The key ID had not been seen before.
    FirstSeen,
    /// Who has shown another body before now shows this one, or it takes the place of the other.
    Changed {
        /// The other body.
        known: VerifyKey,
        /// Whether this body takes its place.
        replaced: bool,
    },
    /// One source shows this body where others have shown another, which is kept.
    Disagreement {
        /// The other body.
        known: VerifyKey,
    },
    /// The key is retired.
    Retired {
        /// Since when, as the document says.
        expired_ts: Timestamp,
    },
    /// A retired key is in use again.
    TakenBack,
}

/// What an entry tells, as a word: one of a closed set, for metrics and people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`What::FirstSeen`].
    FirstSeen,
    /// [`What::Changed`].
    Changed,
    /// [`What::Disagreement`].
    Disagreement,
    /// [`What::Retired`].
    Retired,
    /// [`What::TakenBack`].
    TakenBack,
    /// [`Entry::Flushed`].
    Flushed,
    /// [`Entry::Full`].
    Full,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::FirstSeen,
        Self::Changed,
        Self::Disagreement,
        Self::Retired,
        Self::TakenBack,
        Self::Flushed,
        Self::Full,
    ];

    /// The word.
    pub const fn label(self) -> &'static str {
        match self {
            Self::FirstSeen => "first_seen",
            Self::Changed => "changed",
            Self::Disagreement => "disagreement",
            Self::Retired => "retired",
            Self::TakenBack => "taken_back",
            Self::Flushed => "flushed",
            Self::Full => "full",
        }
    }
}

impl What {
    /// Which kind of news it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::FirstSeen => Kind::FirstSeen,
            Self::Changed { .. } => Kind::Changed,
            Self::Disagreement { .. } => Kind::Disagreement,
            Self::Retired { .. } => Kind::Retired,
            Self::TakenBack => Kind::TakenBack,
        }
    }
}

impl Entry {
    /// When it happened: for a document, when it was fetched.
    pub const fn at(&self) -> Timestamp {
        match self {
            Self::Shown { document, .. } => document.fetched_at,
            Self::Flushed { at } | Self::Full { at } => *at,
        }
    }

    /// The kinds of what it tells, one per event.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        match self {
            Self::Shown { events, .. } => events.iter().map(|event| event.what.kind()).collect(),
            Self::Flushed { .. } => vec![Kind::Flushed],
            Self::Full { .. } => vec![Kind::Full],
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn size_bytes(&self) -> usize {
        let Self::Shown { document, events } = self else { return size_of::<Self>() };
        let of_events = events.len() * (size_of::<Event>() + 2 * VerifyKey::SHARED_BYTES);
        size_of::<Self>() + document.raw.len() + of_events
    }

    /// Checks that the document still verifies as one of `server`, without the keys in `banned`, and
    /// shows what the entry says.
    ///
    /// # Errors
    /// With what is wrong, in words.
    pub fn verify(&self, server: &ServerName, banned: &BannedKeys) -> Result<(), String> {
        let Self::Shown { document, events } = self else { return Ok(()) };
        let keys = UnverifiedServerKeys::parse(document.raw.clone())
            .and_then(|unverified| unverified.verify(server, banned))
            .map_err(|error| error.to_string())?;
        match events.iter().find(|event| !event.is_shown_by(&keys)) {
            Some(event) => {
                let kind = event.what.kind().label();
                Err(format!("the document does not show it: {kind} {}", event.id))
            }
            None => Ok(()),
        }
    }
}

impl Event {
    fn is_shown_by(&self, keys: &ServerKeys) -> bool {
        let old = keys.old_verify_keys().get(&self.id);
        let as_old = old.filter(|old| old.key == self.key);
        let as_current = keys.verify_keys().get(&self.id).is_some_and(|key| *key == self.key);
        match self.what {
            What::FirstSeen | What::Changed { .. } | What::Disagreement { .. } => {
                as_current || as_old.is_some()
            }
            What::Retired { expired_ts } => as_old.is_some_and(|old| old.expired_ts == expired_ts),
            What::TakenBack => as_current && old.is_none(),
        }
    }
}

/// An entry as it is read from a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptEntry {
    /// Its place in the history of its server, from 0.
    pub number: u64,
    /// The entry, or how it is damaged.
    pub entry: Result<Entry, String>,
    /// Whether it names the hash of the entry before it, as that is kept now: if not, an entry
    /// between them is missing, or the one before has been changed. True where the entry itself is
    /// damaged.
    pub follows: bool,
    /// The hash that the next entry has to name: a SHA-256.
    pub hash: [u8; 32],
}

impl KeptEntry {
    /// Checks all there is to check about it; see [`Entry::verify`].
    ///
    /// # Errors
    /// With what is wrong, in words.
    pub fn verify(&self, server: &ServerName, banned: &BannedKeys) -> Result<(), String> {
        let entry = self.entry.as_ref().map_err(Clone::clone)?;
        if !self.follows {
            return Err("it does not follow the entry before it: that is missing or changed".into());
        }
        entry.verify(server, banned)
    }
}

#[cfg(test)]
mod tests;
