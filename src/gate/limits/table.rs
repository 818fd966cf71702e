//! States of strangers: bounded in number, and forgotten only where that changes nothing.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Fewer states than this are never looked through for those to forget.
const SWEEP_MIN: usize = 1_024;

/// How often a table that is full is looked through at most.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A state that may end up as it began.
pub(super) trait Fades {
    /// Whether it is as good as a new one: to forget it gives nothing away.
    fn is_faded(&self) -> bool;
}

/// States by key, with std's keyed hasher: keys are chosen by strangers.
///
/// A state is forgotten once it has faded and never before, so nobody can have his own forgotten by
/// making others. What finds no place any more is not kept account of: whoever has as many networks as
/// there are places could not be held to anything anyway, and everybody else is not to suffer for it.
#[derive(Debug)]
pub(super) struct Table<K, S> {
    held: Mutex<Held<K, S>>,
    max: usize,
}

#[derive(Debug)]
struct Held<K, S> {
    states: HashMap<K, S>,
    /// With as many states it is looked for faded ones.
    sweep_at: usize,
    swept: Option<Instant>,
}

impl<K: Eq + Hash, S: Fades> Table<K, S> {
    /// A table of at most `max` states.
    pub(super) fn new(max: usize) -> Self {
        let held = Held { states: HashMap::new(), sweep_at: SWEEP_MIN.min(max), swept: None };
        Self { held: Mutex::new(held), max }
    }

    /// Works on the state of `key`, if there is one.
    pub(super) fn look<T>(
        &self,
        key: impl FnOnce() -> K,
        work: impl FnOnce(&mut S) -> T,
    ) -> Option<T> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Most of the time nobody has done anything.
        if held.states.is_empty() {
            return None;
        }
        held.states.get_mut(&key()).map(work)
    }

    /// Works on the state of `key`, which is made where there is none; `None` without a place for it.
    pub(super) fn with<T>(
        &self,
        key: K,
        new: impl FnOnce() -> S,
        work: impl FnOnce(&mut S) -> T,
    ) -> Option<T> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.states.contains_key(&key) && !held.make_room(self.max) {
            return None;
        }
        Some(work(held.states.entry(key).or_insert_with(new)))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).states.len()
    }
}

impl<K: Eq + Hash, S: Fades> Held<K, S> {
    /// Whether there is room for one more, after what has faded is gone.
    fn make_room(&mut self, max: usize) -> bool {
        if self.states.len() < self.sweep_at {
            return true;
        }
        if self.swept.is_none_or(|at| at.elapsed() >= SWEEP_INTERVAL) {
            self.swept = Some(Instant::now());
            self.states.retain(|_, state| !state.is_faded());
            self.sweep_at = (self.states.len() * 2).clamp(SWEEP_MIN.min(max), max);
        }
        self.states.len() < max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct State(u32);

    impl Fades for State {
        fn is_faded(&self) -> bool {
            self.0 == 0
        }
    }

    fn put(table: &Table<u32, State>, key: u32, value: u32) -> bool {
        table.with(key, || State(0), |state| state.0 = value).is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_not_faded_stays_and_the_rest_gives_way() {
        let table = Table::new(4);
        for key in 0..4 {
            assert!(put(&table, key, 1));
        }
        assert!(!put(&table, 4, 1), "nobody's state is given up for another one");
        assert!(put(&table, 3, 0), "those that are there go on");
        assert!(!put(&table, 4, 1), "not looked through again so soon");
        tokio::time::advance(SWEEP_INTERVAL).await;
        assert!(put(&table, 4, 1));
        assert_eq!(table.len(), 4);
        assert_eq!(table.look(|| 3, |state| state.0), None);
        assert_eq!(table.look(|| 0, |state| state.0), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn there_are_never_more_states_than_places() {
        let table = Table::new(2_000);
        let taken = (0..3_000).filter(|key| put(&table, *key, 1)).count();
        assert_eq!((taken, table.len()), (2_000, 2_000));
    }

    #[tokio::test(start_paused = true)]
    async fn faded_states_do_not_pile_up() {
        let table = Table::new(1_000_000);
        for key in 0..100_000 {
            assert!(put(&table, key, 0));
            if key % 100 == 0 {
                tokio::time::advance(SWEEP_INTERVAL).await;
            }
        }
        assert!(table.len() <= 2 * SWEEP_MIN, "{}", table.len());
    }
}
