//! Which servers the file may have a record of, so that a name that was made up costs no read.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{PoisonError, RwLock};

/// Names remembered at most: ten times as many servers as there are. They take up to 19 MB; a hundred
/// thousand take 1.2 MB. A file with more is read for every name.
const NAMES_MAX: usize = 1_000_000;

/// Hashes of the names in the file. A name that is not among them is not in the file; one that is
/// may be. They are keyed, so that nobody can make up names that are read for.
///
/// Names are only added: when two share a hash, taking one away would hide the other. What was
/// removed from the file costs a read until the process ends.
#[derive(Debug)]
pub(super) struct Names {
    random: RandomState,
    /// None once there were too many.
    hashes: RwLock<Option<HashSet<u64>>>,
    max: usize,
}

impl Names {
    pub(super) fn new() -> Self {
        Self::bounded(NAMES_MAX)
    }

    fn bounded(max: usize) -> Self {
        Self { random: RandomState::new(), hashes: RwLock::new(Some(HashSet::new())), max }
    }

    /// Adds a name; before its record can be read.
    pub(super) fn add(&self, name: &str) {
        let mut hashes = self.hashes.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &mut *hashes {
            kept.insert(self.random.hash_one(name));
            if kept.len() > self.max {
                *hashes = None;
            }
        }
    }

    /// Adds all names there can be.
    pub(super) fn add_all(&self) {
        *self.hashes.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether there may be a record of `name`.
    pub(super) fn may_have(&self, name: &str) -> bool {
        let hashes = self.hashes.read().unwrap_or_else(PoisonError::into_inner);
        hashes.as_ref().is_none_or(|hashes| hashes.contains(&self.random.hash_one(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_was_added_is_there_and_hardly_any_other() {
        let names = Names::new();
        assert!(!names.may_have("s0.example"));
        for number in 0..1_000 {
            names.add(&format!("s{number}.example"));
        }
        let there = |number| names.may_have(&format!("s{number}.example"));
        assert!((0..1_000).all(there));
        assert_eq!((1_000..10_000).filter(|number| there(*number)).count(), 0);
    }

    #[test]
    fn too_many_names_are_not_kept_and_none_is_denied() {
        let names = Names::bounded(10);
        for number in 0..11 {
            assert!(!names.may_have("other.example"), "{number}");
            names.add(&format!("s{number}.example"));
        }
        assert!(names.may_have("other.example") && names.may_have("s0.example"));
        assert!(names.hashes.read().unwrap().is_none(), "the memory is given back");
    }
}
