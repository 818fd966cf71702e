//! What must hold in every world.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::keys::history::{Entry, Event, What};
use crate::proto::ed25519::BannedKeys;
use crate::proto::ed25519::VerifyKey;

const WEEK_MS: u64 = 7 * DAY;
const SET_BACK_MS: u64 = 5 * 60 * 1_000;

type KeyOf = (ServerName, KeyId);

/// A document that a source has handed out.
struct Handed {
    server: ServerName,
    source: Source,
    at: Timestamp,
    keys: ServerKeys,
}

/// The last valid answer on a key.
struct LastValid {
    at: Timestamp,
    until: Timestamp,
    /// How many documents of the server had been handed out by then.
    handed: usize,
}

/// All that has been said to the keyring and by it.
#[derive(Default)]
pub(super) struct Model {
    agreement: usize,
    handed: Vec<Handed>,
    running: BTreeMap<(ServerName, Source), usize>,
    bound: BTreeMap<KeyOf, VerifyKey>,
    last_valid: BTreeMap<KeyOf, LastValid>,
    /// The histories at the end of the last life.
    histories: BTreeMap<ServerName, Vec<Entry>>,
    pub(super) valid_answers: u64,
    pub(super) violations: Vec<String>,
}

impl Model {
    pub(super) fn new(agreement: usize) -> Self {
        Self { agreement, ..Self::default() }
    }

    /// (c) A source is asked once at a time for one server.
    pub(super) fn fetch_begins(&mut self, server: &ServerName, source: &Source) {
        let running = self.running.entry((server.clone(), source.clone())).or_default();
        *running += 1;
        if *running > 1 {
            self.violations.push(format!("(c) {source} is asked {running} times for {server}"));
        }
    }

    pub(super) fn fetch_ends(&mut self, server: &ServerName, source: &Source) {
        let running = self.running.entry((server.clone(), source.clone())).or_default();
        *running -= 1;
    }

    pub(super) fn hand_out(&mut self, source: &Source, at: Timestamp, keys: ServerKeys) {
        let (server, source) = (keys.server_name().clone(), source.clone());
        self.handed.push(Handed { server, source, at, keys });
    }

    /// The process has ended before it had put on disk all that was in memory.
    pub(super) fn crashed(&mut self) {
        self.last_valid.clear();
    }

    fn of<'a>(&'a self, server: &'a ServerName) -> impl DoubleEndedIterator<Item = &'a Handed> {
        self.handed.iter().filter(move |handed| handed.server == *server)
    }

    /// Checks an answer given at `now`; none if the keys were unavailable. `current` is what is known
    /// by then, unless a fetch is under way whose news may not have been taken in.
    pub(super) fn check(
        &mut self,
        server: &ServerName,
        id: &KeyId,
        answer: Option<&KeyAnswer>,
        current: Option<&KeyAnswer>,
        now: Timestamp,
    ) {
        let key_of = (server.clone(), id.clone());
        let handed = self.of(server).count();
        if let Some(KeyAnswer::Valid(key)) = answer {
            self.valid_answers += 1;
            self.check_valid(key, now);
            if key.provenance == Some(Provenance::Origin) {
                self.bound.entry(key_of.clone()).or_insert_with(|| key.key.clone());
            }
            // An answer may rest on what was known when its fetch ended, and be given after the next
            // one has brought other news.
            if let Some(KeyAnswer::Valid(key)) = current {
                let last = LastValid { at: now, until: key.effective_until, handed };
                self.last_valid.insert(key_of, last);
            } else {
                self.last_valid.remove(&key_of);
            }
            return;
        }
        // (d) What was valid stays valid to the end of its window when nobody says otherwise.
        if let Some(last) = self.last_valid.get(&key_of)
            && last.handed == handed
            && (last.at..=last.until).contains(&now)
        {
            let told = format!("(d) {id} of {server} was valid at {:?} and is {answer:?}", last.at);
            self.violations.push(told);
        }
    }

    /// (h) A history only grows, and what it tells from its beginning on is what the record says; each
    /// entry is shown by its document, which one of the sources has handed out.
    pub(super) fn check_histories(&mut self, store: &MapStore) {
        let records = store.records.lock().unwrap();
        let histories = store.histories.lock().unwrap();
        let nobody = BannedKeys::new([]);
        for (server, record) in &*records {
            let history = histories.get(server).map_or(&[][..], |entries| entries);
            let before = self.histories.get(server).map_or(&[][..], |entries| entries);
            if !history.starts_with(before) {
                self.violations.push(format!("(h) the history of {server} has changed"));
            }
            let mut told = BTreeMap::new();
            for entry in history {
                if let Err(why) =
                    entry.verify(server, &nobody).and_then(|()| replay(entry, &mut told))
                {
                    self.violations.push(format!("(h) {server}: {why}: {entry:?}"));
                }
            }
            let bound = record.bindings.iter();
            let bound = bound.map(|key| (key.id.clone(), (key.key.clone(), key.expired_ts)));
            if told != bound.collect() {
                let told = format!("(h) {server}: {:?} is told in {history:?}", record.bindings);
                self.violations.push(told);
            }
        }
        self.histories.clone_from(&histories);
    }

    fn check_valid(&mut self, key: &TrustedKey, now: Timestamp) {
        let shown = |handed: &&Handed| handed.keys.verify_keys().get(&key.id) == Some(&key.key);
        let in_window = |handed: &Handed| {
            let end = handed.keys.valid_until_ts().min(handed.at.plus_ms(WEEK_MS));
            now <= end && handed.at <= now.plus_ms(SET_BACK_MS)
        };
        let mut broken = Vec::new();
        if !self.of(&key.server).filter(shown).any(in_window) {
            broken.push("(a) no document is within its window");
        }
        if self.bound.get(&(key.server.clone(), key.id.clone())).is_some_and(|k| *k != key.key) {
            broken.push("(b) the origin's key has been replaced");
        }
        let is_old = |handed: &Handed| {
            handed.keys.old_verify_keys().get(&key.id).is_some_and(|old| old.key == key.key)
        };
        let witnesses: BTreeSet<&Source> = self
            .of(&key.server)
            .filter(|handed| handed.source != Source::Homeserver)
            .filter(|handed| shown(handed) || is_old(handed))
            .map(|handed| &handed.source)
            .collect();
        if self.agreement > 1 && witnesses.len() < self.agreement {
            broken.push("(f) too few have shown the key");
        }
        let origins = self.of(&key.server).filter(|handed| handed.source == Source::Origin);
        if origins.rev().find(|handed| shown(handed) || is_old(handed)).is_some_and(is_old) {
            broken.push("(g) the origin has retired the key");
        }
        for told in broken {
            self.violations.push(format!("{told}: {key:?} at {now:?}"));
        }
    }
}

/// What an entry makes of the keys of its server.
fn replay(
    entry: &Entry,
    told: &mut BTreeMap<KeyId, (VerifyKey, Option<Timestamp>)>,
) -> Result<(), String> {
    let Entry::Shown { events, .. } = entry else { return Err("nobody does that".to_owned()) };
    for Event { id, key, what } in events {
        let before = told.get(id).cloned();
        let is_bound_to = |key| before.as_ref().is_some_and(|(bound, _)| bound == key);
        let fits = match what {
            What::FirstSeen => before.is_none(),
            What::Changed { known, .. } | What::Disagreement { known } => {
                is_bound_to(known) && known != key
            }
            What::Retired { .. } => is_bound_to(key) && told[id].1.is_none(),
            What::TakenBack => is_bound_to(key) && told[id].1.is_some(),
        };
        if !fits {
            return Err(format!("{id} was {before:?}"));
        }
        match what {
            What::FirstSeen | What::TakenBack | What::Changed { replaced: true, .. } => {
                told.insert(id.clone(), (key.clone(), None));
            }
            What::Retired { expired_ts } => {
                told.insert(id.clone(), (key.clone(), Some(*expired_ts)));
            }
            What::Changed { replaced: false, .. } | What::Disagreement { .. } => {}
        }
    }
    Ok(())
}
