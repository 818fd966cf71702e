//! The tables of keys that sign much, in bounded memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::VerifyKey;
use super::comb::KeyTable;

/// As many keys are counted. A counted key takes some 300 bytes.
const KEYS_COUNTED_MAX: usize = 1_024;

/// After as many checks all counts are halved, so that what was long ago counts for little.
const CHECKS_PER_AGE: u32 = 1 << 14;

/// As many checks, those of former ages by halves, earn a key a table before it is in a transaction
/// that makes one for itself: 8 times what would pay for it.
const CHECKS_FOR_TABLE: u32 = 64;

/// Counts what keys are used for, and keeps tables for those that are used most. Shared by threads;
/// nothing is computed under its lock.
#[derive(Debug)]
pub struct HotKeys {
    tables_max: usize,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    keys: BTreeMap<[u8; 32], Counted>,
    /// The checks of this age.
    checks: u32,
}

#[derive(Debug)]
struct Counted {
    key: VerifyKey,
    checks: u32,
    table: Option<Arc<KeyTable>>,
}

impl HotKeys {
    /// What the tables of all take at most, in bytes, unless the caller decides otherwise: 102 keys.
    /// Most traffic comes from fewer servers.
    pub const BYTES_MAX: usize = 8 << 20;

    /// An empty memory for tables of up to so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self { tables_max: bytes_max / KeyTable::BYTES, memory: Mutex::default() }
    }

    /// How many tables are kept now.
    pub fn tables(&self) -> usize {
        self.memory().tables()
    }

    /// What they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.tables() * KeyTable::BYTES
    }

    /// Makes the table of the key that was used most without one, if it has earned it. It takes a
    /// tenth of a millisecond, and is for whoever has the time: not for a request. Returns whether
    /// there was such a key.
    pub fn make_one(&self) -> bool {
        let Some(key) = self.memory().due(self.tables_max) else { return false };
        self.keep(&key, &Arc::new(KeyTable::new(&key)));
        true
    }

    /// The table of a key, if it has one.
    pub(super) fn table(&self, key: &VerifyKey) -> Option<Arc<KeyTable>> {
        self.memory().keys.get(key.as_bytes())?.table.clone()
    }

    /// Counts so many checks with a key, and answers with its table, if it has one.
    pub(super) fn count(&self, key: &VerifyKey, checks: u32) -> Option<Arc<KeyTable>> {
        let mut memory = self.memory();
        memory.age(checks);
        if let Some(counted) = memory.keys.get_mut(key.as_bytes()) {
            counted.checks = counted.checks.saturating_add(checks);
            return counted.table.clone();
        }
        if memory.keys.len() < KEYS_COUNTED_MAX {
            let counted = Counted { key: key.clone(), checks, table: None };
            memory.keys.insert(*key.as_bytes(), counted);
        }
        None
    }

    /// Keeps the table of a key that is counted, if there is room for it or a key that is used less
    /// can make room.
    pub(super) fn keep(&self, key: &VerifyKey, table: &Arc<KeyTable>) {
        let mut memory = self.memory();
        if !memory.admits(key, self.tables_max) {
            return;
        }
        if memory.tables() >= self.tables_max
            && let Some(coldest) = memory.coldest()
        {
            coldest.table = None;
        }
        if let Some(counted) = memory.keys.get_mut(key.as_bytes()) {
            counted.table = Some(Arc::clone(table));
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn tables(&self) -> usize {
        self.keys.values().filter(|counted| counted.table.is_some()).count()
    }

    /// The key with a table that was used least.
    fn coldest(&mut self) -> Option<&mut Counted> {
        let with_table = self.keys.values_mut().filter(|counted| counted.table.is_some());
        with_table.min_by_key(|counted| counted.checks)
    }

    /// Whether a key may have a table: it is counted and has none, and there is room, or was used
    /// more than another that has one.
    fn admits(&mut self, key: &VerifyKey, tables_max: usize) -> bool {
        let counted = self.keys.get(key.as_bytes()).filter(|counted| counted.table.is_none());
        let Some(checks) = counted.map(|counted| counted.checks) else { return false };
        self.tables() < tables_max || self.coldest().is_some_and(|it| it.checks < checks)
    }

    /// The key that was used most of those without a table, if it has earned one.
    fn due(&mut self, tables_max: usize) -> Option<VerifyKey> {
        let without = self.keys.values().filter(|counted| counted.table.is_none());
        let hottest = without.max_by_key(|counted| counted.checks)?;
        let key = (hottest.checks >= CHECKS_FOR_TABLE).then(|| hottest.key.clone())?;
        self.admits(&key, tables_max).then_some(key)
    }

    /// Counts checks; at the end of an age halves what was counted for each key, and forgets those
    /// of which nothing is left.
    fn age(&mut self, checks: u32) {
        self.checks = self.checks.saturating_add(checks);
        if self.checks < CHECKS_PER_AGE {
            return;
        }
        self.checks = 0;
        self.keys.retain(|_, counted| {
            counted.checks /= 2;
            counted.checks > 0
        });
    }
}

#[cfg(test)]
mod tests;
