//! `S * B - k * A` from tables of sums of multiples of B and -A: 64 additions and 7 doublings instead of
//! 253 doublings and 70 additions. In variable time, as everything here is public.

use std::iter::successors;
use std::sync::LazyLock;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::traits::Identity as _;
use curve25519_dalek::{EdwardsPoint, Scalar};

use super::VerifyKey;

/// A number below 2^256 is read as 256 digits of which each is 1 or -1, in words of 32: a column is
/// the digit of one place in each word, its teeth.
const TEETH: usize = 8;
/// A table has so many parts, each for [`COLUMNS`] columns. Measured: with 2 it takes 9% longer, with
/// 8 as long; what that saves in additions is lost to the processor's caches.
const PARTS: usize = 4;
/// Columns for which one part of a table serves, the sum being doubled in between.
const COLUMNS: usize = 32 / PARTS;
/// Points of a part: those for columns whose top digit is 1. The others are their opposites.
const ENTRIES: usize = 1 << (TEETH - 1);

/// The table of the base point.
static BASE: LazyLock<Comb> = LazyLock::new(|| Comb::new(&ED25519_BASEPOINT_POINT));

/// The table of a key, that of -A. With it a check takes two fifths of the time, and it takes as long
/// as 5 checks without it to make (measured).
#[derive(Debug)]
pub(super) struct KeyTable(Comb);

impl KeyTable {
    /// What one takes in memory, in bytes: 513 points.
    pub(super) const BYTES: usize = PARTS * ENTRIES * size_of::<EdwardsPoint>() + size_of::<Comb>();

    /// Makes the table of a key.
    pub(super) fn new(key: &VerifyKey) -> Self {
        Self(Comb::new(&-key.0.to_edwards()))
    }

    /// `s * B - k * A`.
    pub(super) fn expected_r(&self, s: &Scalar, k: &Scalar) -> EdwardsPoint {
        sum_of_multiples([(&BASE, s), (&self.0, k)])
    }
}

/// Sums of multiples of a point.
#[derive(Debug)]
struct Comb {
    point: EdwardsPoint,
    /// [`PARTS`] times [`ENTRIES`] points, for each part and the digits in a column the sum of
    /// `digit * 2^(32 * tooth + COLUMNS * part) * point`.
    entries: Vec<EdwardsPoint>,
}

impl Comb {
    fn new(point: &EdwardsPoint) -> Self {
        let next = |step: &EdwardsPoint| Some(doubled(*step, COLUMNS));
        let steps: Vec<_> = successors(Some(*point), next).take(TEETH * PARTS).collect();
        let mut entries = Vec::with_capacity(PARTS * ENTRIES);
        for part in 0..PARTS {
            let teeth: Vec<_> = steps.iter().skip(part).step_by(PARTS).copied().collect();
            extend_with_sums(&mut entries, &teeth);
        }
        Self { point: *point, entries }
    }

    /// Adds to `sum` what one column of each part stands for.
    fn add_column(&self, digits: &Digits, column: usize, sum: &mut EdwardsPoint) {
        for (part, entries) in self.entries.chunks_exact(ENTRIES).enumerate() {
            let signs = digits.column(COLUMNS * part + column);
            if let Some(entry) = signs.checked_sub(ENTRIES).and_then(|at| entries.get(at)) {
                *sum += entry;
            } else if let Some(entry) = entries.get((ENTRIES - 1).saturating_sub(signs)) {
                *sum -= entry;
            }
        }
    }
}

/// The sums of the teeth with all signs but that of the last, which is added: a set bit of the index
/// says that the tooth of its place is added too, one that is not that it is subtracted.
fn extend_with_sums(sums: &mut Vec<EdwardsPoint>, teeth: &[EdwardsPoint]) {
    let Some((last, lower)) = teeth.split_last() else { return };
    let from = sums.len();
    sums.push(lower.iter().fold(*last, |sum, tooth| sum - tooth));
    for tooth in lower {
        let twice = tooth + tooth;
        for at in from..sums.len() {
            let sum = sums.get(at).map(|sum| sum + twice);
            sums.extend(sum);
        }
    }
}

/// A number below 2^253, or the next if it is even, as 256 digits that are 1 or -1.
struct Digits {
    /// A set bit stands for 1, another for -1.
    signs: [u32; TEETH],
    is_even: bool,
}

impl Digits {
    /// As each digit is twice its sign bit less 1, all sign bits together are the odd number's half,
    /// rounded down, and 2^255.
    fn of(number: &Scalar) -> Self {
        let mut signs = [0; TEETH];
        for (word, bytes) in signs.iter_mut().zip(number.as_bytes().as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let mut carry = 1;
        for word in signs.iter_mut().rev() {
            (*word, carry) = (*word >> 1 | carry << 31, *word & 1);
        }
        Self { signs, is_even: carry == 0 }
    }

    /// The signs of one column, that of the top digit being the highest.
    fn column(&self, column: usize) -> usize {
        let signs = self.signs.iter().rev();
        signs.fold(0, |signs, word| signs << 1 | (word >> column & 1) as usize)
    }
}

/// The sum of scalars times the points of their tables, exactly: where a point is of mixed order it
/// matters that nothing is reduced on the way.
fn sum_of_multiples(terms: [(&Comb, &Scalar); 2]) -> EdwardsPoint {
    let terms = terms.map(|(comb, scalar)| (comb, Digits::of(scalar)));
    let mut sum = EdwardsPoint::identity();
    for column in (0..COLUMNS).rev() {
        if column < COLUMNS - 1 {
            sum = sum + sum;
        }
        for (comb, digits) in &terms {
            comb.add_column(digits, column, &mut sum);
        }
    }
    for (comb, digits) in &terms {
        if digits.is_even {
            sum -= comb.point;
        }
    }
    sum
}

/// `2^times * point`.
fn doubled(point: EdwardsPoint, times: usize) -> EdwardsPoint {
    // Three at once are cheaper.
    let point = (0..times / 3).fold(point, |point, _| point.mul_by_cofactor());
    (0..times % 3).fold(point, |point, _| point + point)
}

#[cfg(test)]
mod tests;
