//! A small map by key ID.

use super::KeyId;

/// What is known by key ID, in the order of the IDs. Servers have one key or two, and a B-tree has
/// room for eleven entries even where it holds one; this has room for those there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMap<V>(Vec<(KeyId, V)>);

impl<V> KeyMap<V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is under `id`.
    pub fn get(&self, id: &KeyId) -> Option<&V> {
        let at = self.place(id).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: &KeyId) -> Option<&mut V> {
        let at = self.place(id).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    /// Whether there is anything under `id`.
    pub fn contains_key(&self, id: &KeyId) -> bool {
        self.place(id).is_ok()
    }

    /// Puts `value` under `id` and returns what was there.
    pub fn insert(&mut self, id: KeyId, value: V) -> Option<V> {
        match self.place(&id) {
            Ok(at) => self.0.get_mut(at).map(|(_, found)| std::mem::replace(found, value)),
            Err(at) => {
                self.0.insert(at, (id, value));
                None
            }
        }
    }

    /// Takes away what is under `id`.
    pub fn remove(&mut self, id: &KeyId) -> Option<V> {
        let at = self.place(id).ok()?;
        Some(self.0.remove(at).1)
    }

    /// Takes away every entry that `keep` does not want.
    pub fn retain(&mut self, mut keep: impl FnMut(&KeyId, &V) -> bool) {
        self.0.retain(|(id, value)| keep(id, value));
    }

    /// Gives back the memory for entries that are not there.
    pub fn shrink_to_fit(&mut self) {
        self.0.shrink_to_fit();
    }

    /// The entries, in the order of their IDs.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyId, &V)> {
        self.0.iter().map(|(id, value)| (id, value))
    }

    /// The IDs, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &KeyId> {
        self.0.iter().map(|(id, _)| id)
    }

    /// The values, in the order of their IDs.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Where `id` is, or else belongs.
    fn place(&self, id: &KeyId) -> Result<usize, usize> {
        self.0.binary_search_by(|(found, _)| found.cmp(id))
    }
}

impl<V> Default for KeyMap<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> FromIterator<(KeyId, V)> for KeyMap<V> {
    /// Of several values under one ID the last stays.
    fn from_iter<I: IntoIterator<Item = (KeyId, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (id, value) in entries {
            map.insert(id, value);
        }
        map.shrink_to_fit();
        map
    }
}

#[cfg(test)]
mod tests;
