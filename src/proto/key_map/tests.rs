use std::collections::BTreeMap;
use std::ops::Index;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// For tests, which may stop where nothing is found.
impl<V> Index<&KeyId> for KeyMap<V> {
    type Output = V;

    fn index(&self, id: &KeyId) -> &V {
        self.get(id).unwrap()
    }
}

fn id(number: u8) -> KeyId {
    KeyId::parse(&format!("ed25519:{number}")).unwrap()
}

proptest! {
    /// Whatever is done to it, it is what a B-tree map would be.
    #[test]
    fn it_is_a_map(
        first in vec((0..12_u8, any::<u8>()), 0..12),
        changes in vec((0..12_u8, proptest::option::of(any::<u8>())), 0..30),
        kept in any::<u8>(),
    ) {
        let entries = || first.iter().map(|(number, value)| (id(*number), *value));
        let mut map: KeyMap<u8> = entries().collect();
        let mut model: BTreeMap<KeyId, u8> = entries().collect();
        for (number, change) in changes {
            match change {
                Some(value) => prop_assert_eq!(
                    map.insert(id(number), value),
                    model.insert(id(number), value)
                ),
                None => prop_assert_eq!(map.remove(&id(number)), model.remove(&id(number))),
            }
        }
        for number in 0..12 {
            prop_assert_eq!(map.get(&id(number)), model.get(&id(number)));
            prop_assert_eq!(map.get_mut(&id(number)), model.get_mut(&id(number)));
            prop_assert_eq!(map.contains_key(&id(number)), model.contains_key(&id(number)));
        }
        map.retain(|_, value| *value < kept);
        model.retain(|_, value| *value < kept);
        prop_assert!(map.iter().eq(model.iter()));
        prop_assert!(map.keys().eq(model.keys()) && map.values().eq(model.values()));
        prop_assert_eq!((map.len(), map.is_empty()), (model.len(), model.is_empty()));
    }
}
