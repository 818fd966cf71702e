use super::*;
use crate::proto::ed25519::{BadSignature, SigningKey};

fn key(number: usize) -> VerifyKey {
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    SigningKey::from_seed(&seed).verify_key()
}

/// Any table: whose it is does not matter here.
fn table() -> Arc<KeyTable> {
    Arc::new(KeyTable::new(&key(0)))
}

fn has_table(hot_keys: &HotKeys, number: usize) -> bool {
    let memory = hot_keys.memory();
    memory.keys.get(key(number).as_bytes()).is_some_and(|counted| counted.table.is_some())
}

#[test]
fn tables_are_kept_as_long_as_there_is_room_and_then_for_the_keys_used_most() {
    let hot_keys = HotKeys::new(2 * KeyTable::BYTES + 1);
    let table = table();
    for (number, checks) in [(1, 10), (2, 20), (3, 10), (4, 11)] {
        assert!(hot_keys.count(&key(number), checks).is_none());
        hot_keys.keep(&key(number), &table);
    }
    // The third was not used more than the first, the fourth was.
    assert_eq!([1, 2, 3, 4].map(|number| has_table(&hot_keys, number)), [false, true, false, true]);
    assert_eq!(hot_keys.bytes(), 2 * KeyTable::BYTES);
    assert!(hot_keys.count(&key(4), 1).is_some());
    assert!(hot_keys.count(&key(1), 1).is_none());
}

#[test]
fn without_room_for_one_table_none_is_kept() {
    let hot_keys = HotKeys::new(KeyTable::BYTES - 1);
    hot_keys.count(&key(1), CHECKS_FOR_TABLE);
    hot_keys.keep(&key(1), &table());
    assert!(!hot_keys.make_one());
    assert_eq!(hot_keys.bytes(), 0);
}

#[test]
fn a_key_that_is_not_counted_gets_no_table() {
    let hot_keys = HotKeys::new(HotKeys::BYTES_MAX);
    hot_keys.keep(&key(1), &table());
    assert_eq!(hot_keys.bytes(), 0);
}

#[test]
fn tables_are_made_for_keys_that_have_earned_them_hottest_first() {
    let hot_keys = HotKeys::new(2 * KeyTable::BYTES);
    hot_keys.count(&key(1), CHECKS_FOR_TABLE - 1);
    assert!(!hot_keys.make_one());
    hot_keys.count(&key(1), 1);
    hot_keys.count(&key(2), CHECKS_FOR_TABLE + 1);
    assert!(hot_keys.make_one());
    assert!(has_table(&hot_keys, 2) && !has_table(&hot_keys, 1));
    assert!(hot_keys.make_one());
    assert!(has_table(&hot_keys, 1));
    assert!(!hot_keys.make_one());
    hot_keys.count(&key(3), CHECKS_FOR_TABLE);
    assert!(!hot_keys.make_one(), "it was not used more than the others");
    hot_keys.count(&key(3), 1);
    assert!(hot_keys.make_one());
    assert!(has_table(&hot_keys, 3) && !has_table(&hot_keys, 1));
}

#[test]
fn what_was_long_ago_is_forgotten() {
    let hot_keys = HotKeys::new(HotKeys::BYTES_MAX);
    hot_keys.count(&key(1), 7);
    hot_keys.keep(&key(1), &table());
    for _ in 0..2 {
        hot_keys.count(&key(2), CHECKS_PER_AGE);
    }
    assert!(has_table(&hot_keys, 1), "7 / 2 / 2 is 1");
    hot_keys.count(&key(2), CHECKS_PER_AGE);
    assert!(!has_table(&hot_keys, 1));
    assert_eq!(hot_keys.bytes(), 0);
}

#[test]
fn no_more_keys_are_counted_than_the_bound_until_some_are_forgotten() {
    let hot_keys = HotKeys::new(HotKeys::BYTES_MAX);
    for number in 0..KEYS_COUNTED_MAX + 5 {
        hot_keys.count(&key(number), 1);
    }
    assert_eq!(hot_keys.memory().keys.len(), KEYS_COUNTED_MAX);
    hot_keys.count(&key(KEYS_COUNTED_MAX), 1);
    assert!(!hot_keys.memory().keys.contains_key(key(KEYS_COUNTED_MAX).as_bytes()));
    hot_keys.count(&key(3), CHECKS_PER_AGE);
    hot_keys.count(&key(KEYS_COUNTED_MAX), 1);
    assert_eq!(hot_keys.memory().keys.len(), 2);
}

#[test]
fn good_signatures_make_a_key_hot_and_forged_ones_do_not() {
    let hot_keys = HotKeys::new(HotKeys::BYTES_MAX);
    let signing = SigningKey::from_seed(&[7; 32]);
    let (key, signature) = (signing.verify_key(), signing.sign(b"message"));
    let check = |message: &[u8]| {
        let mut check = key.verifier(&signature).unwrap();
        check.update(message);
        check.finish_hot(&hot_keys)
    };
    for _ in 0..2 * CHECKS_FOR_TABLE {
        assert_eq!(check(b"another"), Err(BadSignature));
    }
    assert!(!hot_keys.make_one());
    for _ in 0..CHECKS_FOR_TABLE {
        assert_eq!(check(b"message"), Ok(()));
    }
    assert!(hot_keys.make_one());
    assert_eq!((check(b"message"), check(b"another")), (Ok(()), Err(BadSignature)));
}
