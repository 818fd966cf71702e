//! Signatures that are honest, damaged, or made by somebody who knows the curve.

use curve25519_dalek::constants::EIGHT_TORSION;
use sha2::{Digest as _, Sha512};

use super::*;
use crate::proto::ed25519::SigningKey;

/// A key, a message and a signature, whatever they are worth.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) key: [u8; 32],
    pub(super) message: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

impl Trial {
    /// None where the lengths are wrong: such never get here.
    pub(super) fn of(key: &[u8], message: &[u8], signature: &[u8]) -> Option<Self> {
        let signature = <[u8; 64]>::try_from(signature).ok()?.to_vec();
        Some(Self { key: key.try_into().ok()?, message: message.to_vec(), signature })
    }

    fn signature(&self) -> [u8; 64] {
        self.signature.as_slice().try_into().unwrap()
    }

    /// The verdict of dalek's `verify_strict`, which equals libsodium's.
    pub(super) fn is_strictly_good(&self) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&self.signature());
        ed25519_dalek::VerifyingKey::from_bytes(&self.key)
            .is_ok_and(|key| key.verify_strict(&self.message, &signature).is_ok())
    }

    /// The check with the message taken in, in two pieces; none if it is refused at once.
    pub(super) fn verifier(&self) -> Option<Verifier> {
        let key = VerifyKey::from_bytes(&self.key).ok()?;
        let mut check = key.verifier(&Signature::from_bytes(self.signature())).ok()?;
        let (first, second) = self.message.split_at(self.message.len() / 2);
        check.update(first);
        check.update(second);
        Some(check)
    }

    /// Whether the key has a part of small order.
    pub(super) fn has_mixed_key(&self) -> bool {
        VerifyKey::from_bytes(&self.key).is_ok_and(|key| !key.0.to_edwards().is_torsion_free())
    }
}

/// All 14 encodings of points of small order.
pub(super) fn small_order_encodings() -> Vec<[u8; 32]> {
    let signs = SMALL_ORDER_Y.into_iter().flat_map(|y| [(y, 0), (y, 0x80)]);
    signs
        .map(|(mut y, sign)| {
            y[31] |= sign;
            y
        })
        .collect()
}

/// Makes trials, the same for the same seed.
pub(super) struct Forger {
    seed: u64,
    drawn: u64,
}

impl Forger {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, drawn: 0 }
    }

    fn bytes(&mut self) -> [u8; 64] {
        self.drawn += 1;
        Sha512::new()
            .chain_update(self.seed.to_le_bytes())
            .chain_update(self.drawn.to_le_bytes())
            .finalize()
            .into()
    }

    fn below(&mut self, end: usize) -> usize {
        usize::from(u16::from_le_bytes([self.bytes()[0], self.bytes()[1]])) % end
    }

    fn scalar(&mut self) -> Scalar {
        Scalar::from_bytes_mod_order_wide(&self.bytes())
    }

    fn message(&mut self) -> Vec<u8> {
        let length = [0, 1, 32, 200][self.below(4)];
        self.bytes().iter().cycle().take(length).copied().collect()
    }

    /// Trials of one to four keys, up to a dozen for each, in turns.
    pub(super) fn batch(&mut self) -> Vec<Trial> {
        let mut keys = Vec::new();
        for _ in 0..=self.below(4) {
            let count = 1 + self.below(12);
            keys.push(if self.below(2) == 0 { self.honest(count) } else { self.forged(count) });
        }
        let mut trials = Vec::new();
        while keys.iter().any(|key| !key.is_empty()) {
            trials.extend(keys.iter_mut().filter_map(Vec::pop));
        }
        trials
    }

    /// Signatures of an honest key, half of them damaged since.
    fn honest(&mut self, count: usize) -> Vec<Trial> {
        let key = SigningKey::from_seed(self.bytes()[..32].try_into().unwrap());
        let make = |_| {
            let message = self.message();
            let signature = key.sign(&message).as_bytes().to_vec();
            let mut trial = Trial { key: *key.verify_key().as_bytes(), message, signature };
            self.damage(&mut trial);
            trial
        };
        (0..count).map(make).collect()
    }

    /// Changes something, in half of all cases.
    fn damage(&mut self, trial: &mut Trial) {
        let bit = |forger: &mut Self, bytes: &mut [u8]| {
            let at = forger.below(bytes.len().max(1) * 8);
            if let Some(byte) = bytes.get_mut(at / 8) {
                *byte ^= 1 << (at % 8);
            }
        };
        match self.below(16) {
            0 => bit(self, &mut trial.signature[..32]),
            1 => bit(self, &mut trial.signature[32..]),
            2 => bit(self, &mut trial.message),
            3 => bit(self, &mut trial.key),
            4 => add_order(&mut trial.signature[32..]),
            5 => trial.signature[32..].fill(0),
            6 => {
                let r = small_order_encodings()[self.below(14)];
                trial.signature[..32].copy_from_slice(&r);
            }
            7 => trial.signature.copy_from_slice(&self.bytes()),
            _ => {}
        }
    }

    /// Signatures by a key A + T, with an R + U, T and U of small order: good where U happens to be
    /// `-k * T`. The secret is sometimes a small number, so that A is B, -B or close to it.
    fn forged(&mut self, count: usize) -> Vec<Trial> {
        let small = Scalar::from(self.below(9) as u64);
        let secret = [self.scalar(), small, -small][self.below(3)];
        let part = EIGHT_TORSION[self.below(8)];
        let point = EdwardsPoint::mul_base(&secret) + part;
        let key = point.compress().to_bytes();
        let make = |_| {
            let message = self.message();
            let nonce = [self.scalar(), small][self.below(2)];
            let r = EdwardsPoint::mul_base(&nonce) + EIGHT_TORSION[self.below(8)];
            let signature = completed(secret, &key, nonce, r.compress().to_bytes(), &message);
            let mut trial = Trial { key, message, signature };
            if self.below(4) == 0 {
                self.damage(&mut trial);
            }
            trial
        };
        (0..count).map(make).collect()
    }

    /// Signatures with an R of small order for which the equation holds, or would if R were read.
    pub(super) fn small_order_r(&mut self) -> Vec<Trial> {
        let secret = self.scalar();
        let key = EdwardsPoint::mul_base(&secret).compress().to_bytes();
        let message = self.message();
        let encodings = small_order_encodings().into_iter();
        encodings
            .map(|r| {
                let signature = completed(secret, &key, Scalar::ZERO, r, &message);
                Trial { key, message: message.clone(), signature }
            })
            .collect()
    }
}

/// A signature with S = nonce + k * secret.
fn completed(
    secret: Scalar,
    key: &[u8; 32],
    nonce: Scalar,
    r: [u8; 32],
    message: &[u8],
) -> Vec<u8> {
    let hash = Sha512::new().chain_update(r).chain_update(key).chain_update(message);
    let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
    [r, (nonce + k * secret).to_bytes()].concat()
}

/// S + L, of which the equation says the same as of S.
fn add_order(s: &mut [u8]) {
    let order_less_one = (-Scalar::ONE).to_bytes();
    let mut carry = 1;
    for (byte, order) in s.iter_mut().zip(order_less_one) {
        carry += u16::from(*byte) + u16::from(order);
        *byte = carry.to_le_bytes()[0];
        carry >>= 8;
    }
}
