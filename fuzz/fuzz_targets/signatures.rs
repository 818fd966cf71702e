//! Signatures, one by one, together and with tables, against `verify_strict`.

#![no_main]

use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::{EdwardsPoint, Scalar};
use fedgate::proto::ed25519::{HotKeys, Signature, VerifyKey, verify_all};
use fedgate_fuzz::input::Input;
use fedgate_fuzz::signing;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest as _, Sha512};

/// Signatures in one input.
const CHECKS_MAX: usize = 24;
/// The order of the base point.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// A public key, a message and what may be a signature.
struct Claim {
    key: [u8; 32],
    message: Vec<u8>,
    signature: [u8; 64],
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut claims = Vec::new();
    while !input.is_empty() && claims.len() < CHECKS_MAX {
        claims.push(claim(&mut input));
    }
    let hot_keys = HotKeys::new(HotKeys::BYTES_MAX);
    let (mut checks, mut verdicts) = (Vec::new(), Vec::new());
    for Claim { key, message, signature } in &claims {
        let usable = signing::usable(key);
        let read = VerifyKey::from_bytes(key);
        assert_eq!(read.is_ok(), usable.is_some(), "{key:?}: {read:?}");
        let (Ok(read), Some(usable)) = (read, usable) else { continue };
        let verdict = signing::verifies(&usable, message, signature);
        let signature = Signature::from_bytes(*signature);
        assert_eq!(read.verify(message, &signature).is_ok(), verdict);
        let check = || {
            let mut check = read.verifier(&signature).ok()?;
            let (first, second) = message.split_at(message.len() / 2);
            check.update(first);
            check.update(second);
            Some(check)
        };
        assert_eq!(check().is_some_and(|check| check.finish_hot(&hot_keys).is_ok()), verdict);
        match check() {
            Some(check) => {
                checks.push(check);
                verdicts.push(verdict);
            }
            None => assert!(!verdict),
        }
    }
    let together: Vec<_> = verify_all(&checks, Some(&hot_keys)).iter().map(Result::is_ok).collect();
    assert_eq!(together, verdicts);
});

fn claim(input: &mut Input<'_>) -> Claim {
    let (whose, kind) = (input.byte(), input.byte());
    let length = input.below(8);
    let message = input.bytes(length).to_vec();
    let mut secret = Scalar::from_bytes_mod_order([whose % 4 + 1; 32]);
    let mut point = EdwardsPoint::mul_base(&secret);
    match whose >> 2 & 7 {
        // A key of mixed order, and one of small order.
        5 => point += EIGHT_TORSION[usize::from(whose >> 5)],
        6 => {
            secret = Scalar::ZERO;
            point = EIGHT_TORSION[usize::from(whose >> 5)];
        }
        _ => {}
    }
    let mut key = point.compress().to_bytes();
    if whose >> 2 & 7 == 7 {
        input.bytes(32).iter().zip(&mut key).for_each(|(byte, key)| *key ^= byte);
    }
    let signature = signature(&secret, &key, &message, kind, input);
    Claim { key, message, signature }
}

/// A right signature, or one that is wrong in a certain way.
fn signature(
    secret: &Scalar,
    key: &[u8; 32],
    message: &[u8],
    kind: u8,
    input: &mut Input<'_>,
) -> [u8; 64] {
    let nonce = Scalar::from_bytes_mod_order([kind; 32]);
    let mut point = EdwardsPoint::mul_base(&nonce);
    match kind & 7 {
        1 => point += EIGHT_TORSION[usize::from(kind >> 3 & 7)],
        2 => point = EIGHT_TORSION[usize::from(kind >> 3 & 7)],
        _ => {}
    }
    let r = point.compress().to_bytes();
    let hash = Sha512::new().chain_update(r).chain_update(key).chain_update(message).finalize();
    let k = Scalar::from_bytes_mod_order_wide(&hash.into());
    let s = if kind & 7 == 2 { k * secret } else { nonce + k * secret };
    let mut s = s.to_bytes();
    if kind & 7 == 3 {
        add(&mut s, &ORDER);
    }
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(&s);
    if kind & 7 == 4 {
        let (at, change) = (input.below(64), input.byte());
        signature[at] ^= change;
    }
    if kind & 7 == 5 {
        input.bytes(64).iter().zip(&mut signature).for_each(|(byte, signature)| *signature = *byte);
    }
    signature
}

/// Adds numbers in little-endian bytes.
fn add(number: &mut [u8; 32], other: &[u8; 32]) {
    let mut carry = 0;
    for (byte, other) in number.iter_mut().zip(other) {
        let sum = u16::from(*byte) + u16::from(*other) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
}
