//! The verdicts of one check, of many at once and of those with tables, held against `verify_strict`.

mod forged;

use proptest::prelude::*;

use self::forged::{Forger, Trial};
use super::*;
use crate::proto::ed25519::SigningKey;
use crate::proto::test_vectors::{self, hex, spec_key};

/// How many seeds the long run takes, each for some 20 signatures.
const SEEDS: &str = "FEDGATE_ED25519_SEEDS";

/// The verdict with a table, whether it is worth one or not.
fn with_table(check: Verifier) -> bool {
    let table = KeyTable::new(&check.key);
    check.finish_with(Some(&table)).is_ok()
}

/// Checks all in all ways; returns how many are good.
fn check(trials: &[Trial], hot_keys: Option<&HotKeys>) -> usize {
    let (mut checks, mut wanted) = (Vec::new(), Vec::new());
    let mut good = 0;
    for trial in trials {
        let strictly = trial.is_strictly_good();
        good += usize::from(strictly);
        let Some(check) = trial.verifier() else {
            assert!(!strictly, "refused at once: {trial:?}");
            continue;
        };
        assert_eq!(trial.verifier().unwrap().finish().is_ok(), strictly, "{trial:?}");
        if let Some(hot_keys) = hot_keys {
            let check = trial.verifier().unwrap();
            assert_eq!(check.finish_hot(hot_keys).is_ok(), strictly, "hot: {trial:?}");
        }
        checks.push(check);
        wanted.push((trial, strictly));
    }
    let verdicts = verify_all(&checks, hot_keys);
    assert_eq!(verdicts.len(), wanted.len());
    for (verdict, (trial, strictly)) in verdicts.iter().zip(wanted) {
        assert_eq!(verdict.is_ok(), strictly, "together: {trial:?}");
    }
    good
}

/// The same, each with a table too.
fn check_with_tables(trials: &[Trial]) -> usize {
    for trial in trials {
        let found = trial.verifier().is_some_and(with_table);
        assert_eq!(found, trial.is_strictly_good(), "with a table: {trial:?}");
    }
    check(trials, None)
}

/// The published vectors.
fn published() -> Vec<Trial> {
    let mut trials = Vec::new();
    for case in test_vectors::speccheck().as_array().unwrap() {
        let signature = hex(&case["signature"]);
        trials.extend(Trial::of(&hex(&case["pub_key"]), &hex(&case["message"]), &signature));
    }
    for group in test_vectors::wycheproof()["testGroups"].as_array().unwrap() {
        let key = hex(&group["publicKey"]["pk"]);
        for test in group["tests"].as_array().unwrap() {
            trials.extend(Trial::of(&key, &hex(&test["msg"]), &hex(&test["sig"])));
        }
    }
    trials
}

#[test]
fn published_vectors_are_decided_alike_alone_together_and_with_tables() {
    let trials = published();
    assert!(trials.len() > 140, "{}", trials.len());
    let good = check_with_tables(&trials);
    assert!(good > 80 && good < trials.len(), "{good} of {}", trials.len());
}

#[test]
fn no_point_of_small_order_is_taken_in_any_encoding() {
    let mut trials = Vec::new();
    for key in forged::small_order_encodings() {
        for r in forged::small_order_encodings() {
            for s in [[0; 32], Scalar::ONE.to_bytes()] {
                trials.push(Trial { key, message: b"any".to_vec(), signature: [r, s].concat() });
            }
        }
    }
    assert_eq!(trials.len(), 2 * 14 * 14);
    // A proper key whose owner makes the equation hold.
    trials.extend((0..200).flat_map(|seed| Forger::new(seed).small_order_r()));
    assert_eq!(check_with_tables(&trials), 0);
}

#[test]
fn one_bad_signature_spoils_none_of_the_others() {
    for bad in 0..40 {
        let key = spec_key();
        let trials: Vec<_> = (0..40_u8)
            .map(|number| {
                let mut signature = key.sign(&[number]).as_bytes().to_vec();
                signature[40] ^= u8::from(number == bad);
                let key = *key.verify_key().as_bytes();
                Trial { key, message: vec![number], signature }
            })
            .collect();
        assert_eq!(check(&trials, None), 39);
    }
}

#[test]
fn none_are_none() {
    assert_eq!(verify_all(&[], None), []);
}

#[test]
fn a_table_is_made_for_a_key_of_many_and_kept_if_it_may_be() {
    let trials = |count: u8| -> Vec<_> {
        let (key, other) = (spec_key(), SigningKey::from_seed(&[1; 32]));
        let check = |(number, key): (u8, &SigningKey)| {
            let mut check = key.verify_key().verifier(&key.sign(&[number])).unwrap();
            check.update(&[number]);
            check
        };
        (0..count).map(|number| check((number, &key))).chain([check((0, &other))]).collect()
    };
    let few = SIGNATURES_FOR_TABLE as u8 - 1;
    assert_eq!(tables(&trials(few), None).len(), 0);
    assert_eq!(tables(&trials(few + 1), None).len(), 1);
    let hot_keys = HotKeys::new(HotKeys::BYTES_MAX);
    assert_eq!(tables(&trials(few), Some(&hot_keys)).len(), 0);
    assert_eq!(hot_keys.bytes(), 0);
    assert_eq!(tables(&trials(few + 1), Some(&hot_keys)).len(), 1);
    assert_eq!(hot_keys.bytes(), KeyTable::BYTES);
    assert_eq!(tables(&trials(1), Some(&hot_keys)).len(), 1, "it is there");
}

#[test]
fn no_more_tables_are_made_than_the_bound_and_those_for_the_keys_used_most() {
    let keys = TABLES_MADE_MAX as u8 + 3;
    let check = |number: u8| {
        let key = SigningKey::from_seed(&[number; 32]);
        // The higher the number the more signatures, from just enough on.
        let count = SIGNATURES_FOR_TABLE + u32::from(number);
        (0..count).map(move |_| key.verify_key().verifier(&key.sign(b"")).unwrap())
    };
    let checks: Vec<_> = (0..keys).flat_map(check).collect();
    let tables = tables(&checks, None);
    assert_eq!(tables.len(), TABLES_MADE_MAX);
    for number in 0..keys {
        let key = SigningKey::from_seed(&[number; 32]).verify_key();
        assert_eq!(tables.contains_key(key.as_bytes()), number >= 3, "{number}");
    }
    assert!(verify_all(&checks, None).iter().all(Result::is_ok));
}

#[test]
fn every_kind_of_forgery_is_among_the_trials_good_and_bad() {
    let trials: Vec<_> = (0..400).flat_map(|seed| Forger::new(seed).batch()).collect();
    let mixed = trials.iter().filter(|trial| trial.has_mixed_key());
    let (good, bad): (Vec<_>, Vec<_>) = mixed.partition(|trial| trial.is_strictly_good());
    assert!(good.len() > 50 && bad.len() > 500, "{} and {}", good.len(), bad.len());
    let refused = trials.iter().filter(|trial| trial.verifier().is_none()).count();
    assert!(refused > 50, "{refused}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Honest, damaged and forged signatures of a few keys, mixed.
    #[test]
    fn whatever_is_checked_together_is_decided_as_strictly(seed: u64) {
        let hot_keys = HotKeys::new(HotKeys::BYTES_MAX);
        let trials = Forger::new(seed).batch();
        prop_assert_eq!(check(&trials, None), check(&trials, Some(&hot_keys)));
        check(&trials, Some(&hot_keys));
    }

    #[test]
    fn whatever_is_checked_with_a_table_is_decided_as_strictly(seed: u64) {
        check_with_tables(&Forger::new(seed).batch());
    }
}

#[test]
#[ignore = "takes as long as it is told to: see SEEDS"]
fn long_run_against_verify_strict() {
    let seeds = std::env::var(SEEDS).map_or(1_000, |seeds| seeds.parse().unwrap());
    let hot_keys = HotKeys::new(HotKeys::BYTES_MAX);
    let (mut all, mut good) = (0, 0);
    for seed in 0..seeds {
        let trials = Forger::new(seed ^ 0x5eed_0000_0000).batch();
        all += trials.len();
        good += check(&trials, Some(&hot_keys));
    }
    println!("{all} signatures, {good} of them good");
    assert!(good > 0 && good < all);
}
