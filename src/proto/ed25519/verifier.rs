//! Checking signatures, one or many at once.
//!
//! The verdict is that of dalek's `verify_strict`, which is libsodium's: S is reduced, R is not of
//! small order, the key is safe (a [`VerifyKey`] always is), and the encoding of `S * B - k * A` is
//! R byte for byte, for each signature by itself. Nothing is added up over several of them: an
//! equation that holds for a sum accepts another set of signatures, and one bad one spoils it. What
//! many at once share is only how the points are come by (a [`KeyTable`] for a key that signed many)
//! and one inversion for all encodings.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use curve25519_dalek::{EdwardsPoint, Scalar};
use ring::digest::{Context, SHA512};

use super::comb::KeyTable;
use super::hot::HotKeys;
use super::{BadSignature, Signature, VerifyKey};

/// The y-coordinates of the points of small order, in every encoding, the sign bit cleared: 1, 0 and
/// -1, the two of order 8, and `p` and `p + 1`, which stand for 0 and 1. A test derives them.
pub(super) const SMALL_ORDER_Y: [[u8; 32]; 7] = [
    y_coordinate(0x01, 0x00, 0x00),
    y_coordinate(0x00, 0x00, 0x00),
    y_coordinate(0xec, 0xff, 0x7f),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    y_coordinate(0xed, 0xff, 0x7f),
    y_coordinate(0xee, 0xff, 0x7f),
];

/// As many signatures of one key among those of one call make a table for it: it costs as much as 5
/// checks and saves three fifths of each (measured), so that as many pay for it.
const SIGNATURES_FOR_TABLE: u32 = 8;

/// A little-endian number with all bytes between the first and the last alike.
pub(super) const fn y_coordinate(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    let [low, .., high] = &mut bytes;
    *low = first;
    *high = last;
    bytes
}

/// Most tables made in one call, for the keys with the most signatures; together they are 1.3 MB, of
/// which no more is kept than [`HotKeys`] has room for. The events of a transaction are by one server
/// or two.
const TABLES_MADE_MAX: usize = 16;

/// A signature check in progress: takes the message in pieces.
#[derive(Clone)]
pub struct Verifier {
    /// Over R, the key, and the message so far.
    hash: Context,
    key: VerifyKey,
    r: [u8; 32],
    s: Scalar,
}

impl VerifyKey {
    /// Checks a signature over a message that is handed over in pieces. Refused at once: a scalar
    /// that is not reduced, and an R of small order.
    pub fn verifier(&self, signature: &Signature) -> Result<Verifier, BadSignature> {
        let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
        let r = *signature.r_bytes();
        if is_small_order(&r) {
            return Err(BadSignature);
        }
        // Whether it is reduced is no secret: to find that out in constant time took a hundredth of the check.
        let s = Scalar::from_bytes_mod_order(*signature.s_bytes());
        if s.as_bytes() != signature.s_bytes() {
            return Err(BadSignature);
        }
        let mut hash = Context::new(&SHA512);
        hash.update(&r);
        hash.update(self.as_bytes());
        Ok(Verifier { hash, key: self.clone(), r, s })
    }
}

pub(super) fn is_small_order(point: &[u8; 32]) -> bool {
    let mut y = *point;
    let [.., high] = &mut y;
    *high &= 0x7f;
    SMALL_ORDER_Y.contains(&y)
}

impl Verifier {
    /// The next piece of the message.
    pub fn update(&mut self, piece: &[u8]) {
        self.hash.update(piece);
    }

    /// The verdict on the message so far.
    pub fn finish(&self) -> Result<(), BadSignature> {
        self.finish_with(None)
    }

    /// The same verdict, at less cost if the key is a hot one. A good signature makes it hotter: what
    /// forgers send does not.
    pub fn finish_hot(&self, hot_keys: &HotKeys) -> Result<(), BadSignature> {
        self.finish_with(hot_keys.table(&self.key).as_deref())?;
        hot_keys.count(&self.key, 1);
        Ok(())
    }

    fn finish_with(&self, table: Option<&KeyTable>) -> Result<(), BadSignature> {
        verdict(&self.r, self.expected_r(table).compress().as_bytes())
    }

    /// What R must be the encoding of: `S * B - k * A`.
    fn expected_r(&self, table: Option<&KeyTable>) -> EdwardsPoint {
        let mut hash = [0; 64];
        for (byte, hashed) in hash.iter_mut().zip(self.hash.clone().finish().as_ref()) {
            *byte = *hashed;
        }
        let k = Scalar::from_bytes_mod_order_wide(&hash);
        match table {
            Some(table) => table.expected_r(&self.s, &k),
            None => {
                let minus_a = -self.key.0.to_edwards();
                EdwardsPoint::vartime_double_scalar_mul_basepoint(&k, &minus_a, &self.s)
            }
        }
    }
}

fn verdict(r: &[u8; 32], expected: &[u8; 32]) -> Result<(), BadSignature> {
    if r == expected { Ok(()) } else { Err(BadSignature) }
}

/// The verdicts on many signatures, in their order: each the same as that of [`Verifier::finish`],
/// whatever the others are, at less cost. Keys with many signatures among them, and those in
/// `hot_keys`, are checked with a table.
pub fn verify_all(
    checks: &[Verifier],
    hot_keys: Option<&HotKeys>,
) -> Vec<Result<(), BadSignature>> {
    let tables = tables(checks, hot_keys);
    let expected_r =
        |check: &Verifier| check.expected_r(tables.get(check.key.as_bytes()).map(AsRef::as_ref));
    let expected: Vec<_> = checks.iter().map(expected_r).collect();
    let expected = EdwardsPoint::compress_batch_alloc(&expected);
    let pairs = checks.iter().zip(&expected);
    pairs.map(|(check, expected)| verdict(&check.r, expected.as_bytes())).collect()
}

/// The tables that are there for the keys, or worth making.
fn tables(checks: &[Verifier], hot_keys: Option<&HotKeys>) -> BTreeMap<[u8; 32], Arc<KeyTable>> {
    let mut uses: BTreeMap<&[u8; 32], (u32, &VerifyKey)> = BTreeMap::new();
    for Verifier { key, .. } in checks {
        uses.entry(key.as_bytes()).or_insert((0, key)).0 += 1;
    }
    let mut tables = BTreeMap::new();
    let mut worth_one = Vec::new();
    for (bytes, (uses, key)) in uses {
        if let Some(table) = hot_keys.and_then(|hot_keys| hot_keys.count(key, uses)) {
            tables.insert(*bytes, table);
        } else if uses >= SIGNATURES_FOR_TABLE {
            worth_one.push((uses, key));
        }
    }
    worth_one.sort_by_key(|(uses, _)| Reverse(*uses));
    for (_, key) in worth_one.into_iter().take(TABLES_MADE_MAX) {
        let table = Arc::new(KeyTable::new(key));
        if let Some(hot_keys) = hot_keys {
            hot_keys.keep(key, &table);
        }
        tables.insert(*key.as_bytes(), table);
    }
    tables
}

#[cfg(test)]
mod tests;
