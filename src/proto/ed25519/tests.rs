use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;

use super::verifier::{SMALL_ORDER_Y, is_small_order, y_coordinate};
use super::*;
use crate::proto::test_vectors::{self, hex, spec_key};

/// The verdict of this file on key, message and signature as raw bytes.
fn accepts(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (key.try_into(), signature.try_into()) else { return false };
    VerifyKey::from_bytes(key)
        .is_ok_and(|key| key.verify(message, &Signature::from_bytes(signature)).is_ok())
}

/// The verdict of dalek's `verify_strict`, which equals libsodium's.
fn strict_accepts(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (key.try_into(), signature.try_into()) else { return false };
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    ed25519_dalek::VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

#[test]
fn speccheck_is_decided_as_libsodium_does() {
    let cases = test_vectors::speccheck();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 12);
    let mut accepted = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let (key, message) = (hex(&case["pub_key"]), hex(&case["message"]));
        let signature = hex(&case["signature"]);
        if accepts(&key, &message, &signature) {
            accepted.push(number);
        }
        assert_eq!(
            accepts(&key, &message, &signature),
            strict_accepts(&key, &message, &signature),
            "{number}"
        );
    }
    assert_eq!(accepted, [3]);
}

#[test]
fn r_of_small_order_is_refused_although_the_equation_holds() {
    let case = &test_vectors::speccheck()[2];
    let key = VerifyKey::from_bytes(&hex(&case["pub_key"]).try_into().unwrap()).unwrap();
    let signature = Signature::from_bytes(hex(&case["signature"]).try_into().unwrap());
    #[expect(clippy::disallowed_methods, reason = "the looser verdict is what the test is about")]
    let loosely = ed25519_dalek::Verifier::verify(
        &*key.0,
        &hex(&case["message"]),
        &ed25519_dalek::Signature::from_bytes(signature.as_bytes()),
    );
    assert!(loosely.is_ok());
    assert!(key.verifier(&signature).is_err());
}

#[test]
fn wycheproof_is_decided_as_libsodium_does() {
    let vectors = test_vectors::wycheproof();
    let mut counts = (0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        let key = hex(&group["publicKey"]["pk"]);
        for test in group["tests"].as_array().unwrap() {
            let (message, signature) = (hex(&test["msg"]), hex(&test["sig"]));
            let valid = test["result"] == "valid";
            assert_eq!(accepts(&key, &message, &signature), valid, "{}", test["tcId"]);
            assert_eq!(strict_accepts(&key, &message, &signature), valid, "{}", test["tcId"]);
            if valid { counts.0 += 1 } else { counts.1 += 1 }
        }
    }
    assert_eq!(counts.0 + counts.1, 151);
    assert!(counts.0 > 0 && counts.1 > 0, "{counts:?}");
}

#[test]
fn every_changed_bit_is_refused_as_strictly_as_verify_strict() {
    let key = spec_key();
    let public = *key.verify_key().as_bytes();
    let signature = *key.sign(b"message").as_bytes();
    assert!(accepts(&public, b"message", &signature));
    assert!(strict_accepts(&public, b"message", &signature));
    for bit in 0..512 {
        let mut changed = signature;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!accepts(&public, b"message", &changed), "bit {bit} of the signature");
        let mut changed = public;
        changed[bit / 16] ^= 1 << (bit % 8);
        assert!(!accepts(&changed, b"message", &signature), "bit {bit} of the key");
    }
    assert!(!accepts(&public, b"massage", &signature));
}

#[test]
fn a_scalar_that_is_not_reduced_is_refused() {
    // The group order, little-endian (RFC 8032, 5.1).
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let key = spec_key();
    let mut signature = *key.sign(b"message").as_bytes();
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        carry += u16::from(*byte) + u16::from(order);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
    assert_eq!(carry, 0);
    assert!(key.verify_key().verifier(&Signature::from_bytes(signature)).is_err());
}

/// The y-coordinates of the 8-torsion and, where they fit, their other encodings.
fn derived_small_order_y() -> BTreeSet<[u8; 32]> {
    let generator = ed25519_dalek::VerifyingKey::from_bytes(&SMALL_ORDER_Y[4]).unwrap();
    let generator = generator.to_edwards();
    let mut point = generator;
    let mut found = BTreeSet::new();
    for _ in 0..8 {
        let mut y = *point.compress().as_bytes();
        y[31] &= 0x7f;
        found.insert(y);
        // p ends in 0xed: adding it to y below 19 gives a second encoding below 2^255.
        if y[0] < 19 && y[1..].iter().all(|byte| *byte == 0) {
            found.insert(y_coordinate(0xed + y[0], 0xff, 0x7f));
        }
        point += generator;
    }
    assert_eq!(point.compress(), generator.compress(), "the generator is of order 8");
    found
}

#[test]
fn the_list_of_small_order_encodings_is_complete() {
    assert_eq!(derived_small_order_y(), BTreeSet::from(SMALL_ORDER_Y));
}

#[test]
fn k9_weak_keys_are_refused_in_every_encoding() {
    for y in SMALL_ORDER_Y {
        for sign in [0, 0x80] {
            let mut encoding = y;
            encoding[31] |= sign;
            assert_eq!(VerifyKey::from_bytes(&encoding), Err(VerifyKeyError::Weak));
            assert!(is_small_order(&encoding));
        }
    }
    assert!(!is_small_order(spec_key().verify_key().as_bytes()));
}

#[test]
fn k9_encodings_that_are_not_canonical_are_refused() {
    // y from p + 2 to p + 18, in so far as dalek finds a point there at all.
    let mut points = 0;
    for low in 2..19 {
        let encoding = y_coordinate(0xed + low, 0xff, 0x7f);
        points += usize::from(ed25519_dalek::VerifyingKey::from_bytes(&encoding).is_ok());
        assert_eq!(VerifyKey::from_bytes(&encoding), Err(VerifyKeyError::NotAPoint));
    }
    assert!(points > 0);
}

#[test]
fn k8_keys_and_signatures_of_other_lengths_are_refused() {
    assert_eq!(VerifyKey::from_base64(&base64::encode(&[1; 33])), Err(VerifyKeyError::Encoding));
    assert_eq!(VerifyKey::from_base64(""), Err(VerifyKeyError::Encoding));
    assert_eq!(Signature::from_base64(&base64::encode(&[1; 63])), None);
    assert_eq!(Signature::from_base64(&base64::encode(&[1; 65])), None);
    assert_eq!(Signature::from_base64("=".repeat(88).as_str()), None);
}

#[test]
fn r55_keys_and_signatures_are_read_padded_and_not() {
    let key = spec_key().verify_key();
    let vectors = test_vectors::spec();
    assert_eq!(vectors["spec_signing"]["public_key_b64_derived"], key.to_base64());
    for text in [key.to_base64(), key.to_base64() + "="] {
        assert_eq!(VerifyKey::from_base64(&text).as_ref(), Ok(&key));
    }
    let signature = spec_key().sign(b"");
    for text in [signature.to_base64(), signature.to_base64() + "=="] {
        assert_eq!(Signature::from_base64(&text), Some(signature));
    }
}

#[test]
fn the_pieces_of_a_message_do_not_matter() {
    let message = b"the whole message";
    let signature = spec_key().sign(message);
    for middle in 0..=message.len() {
        let mut verifier = spec_key().verify_key().verifier(&signature).unwrap();
        verifier.update(&message[..middle]);
        verifier.update(b"");
        verifier.update(&message[middle..]);
        assert_eq!(verifier.finish(), Ok(()));
    }
}

#[test]
fn r48_the_shipped_list_bans_the_key_of_cve_2026_24044() {
    let shipped = VerifyKey::from_base64("l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og=").unwrap();
    let other = spec_key().verify_key();
    let list = BannedKeys::new([]);
    assert!(list.contains(&shipped));
    assert!(!list.contains(&other));
    let list = BannedKeys::new([*other.as_bytes()]);
    assert!(list.contains(&shipped));
    assert!(list.contains(&other));
}

#[test]
fn what_a_key_takes_is_its_counters_and_its_point() {
    type Shared = (AtomicUsize, AtomicUsize, ed25519_dalek::VerifyingKey);
    assert_eq!(VerifyKey::SHARED_BYTES, size_of::<Shared>());
}

#[test]
fn private_keys_are_not_printed() {
    assert_eq!(format!("{:?}", spec_key()), "SigningKey(..)");
}

#[test]
fn a_private_key_is_wiped_when_it_is_let_go_and_never_printed() {
    // Does not compile without dalek's feature `zeroize`.
    fn is_wiped<T: zeroize::ZeroizeOnDrop>() {}
    is_wiped::<ed25519_dalek::SigningKey>();
    assert_eq!(format!("{:?}", SigningKey::from_seed(&[7; 32])), "SigningKey(..)");
}
