//! `S * B - k * A` from tables of multiples of B and -A: additions instead of doublings. In variable
//! time, as everything here is public.

use std::sync::LazyLock;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::traits::Identity as _;
use curve25519_dalek::{EdwardsPoint, Scalar};

use super::VerifyKey;

/// Bits of a digit. Of the sizes that were measured, this and [`PASSES`] take the least time for
/// their memory: wider digits save additions and lose as much to the processor's caches.
const WIDTH: usize = 6;
/// Every so manieth digit is added in the same pass; between passes the sum is doubled [`WIDTH`]
/// times.
const PASSES: usize = 2;
/// Digits of a number below 2^253, the top one with room for a carry.
const DIGITS: usize = 256_usize.div_ceil(WIDTH);
/// Points in a row of a table: the largest digit.
const ROW: usize = 1 << (WIDTH - 1);
/// Points of a table.
const POINTS: usize = DIGITS.div_ceil(PASSES) * ROW;

/// The table of the base point.
static BASE: LazyLock<Comb> = LazyLock::new(|| Comb::new(&ED25519_BASEPOINT_POINT));

/// The table of a key, that of -A. With it a check takes less than half the time, and it takes as
/// long as 5 checks without it to make (measured).
#[derive(Debug)]
pub(super) struct KeyTable(Comb);

impl KeyTable {
    /// What one takes in memory, in bytes: 704 points.
    pub(super) const BYTES: usize = POINTS * size_of::<EdwardsPoint>();

    /// Makes the table of a key.
    pub(super) fn new(key: &VerifyKey) -> Self {
        Self(Comb::new(&-key.0.to_edwards()))
    }

    /// `s * B - k * A`.
    pub(super) fn expected_r(&self, s: &Scalar, k: &Scalar) -> EdwardsPoint {
        sum_of_multiples([(&BASE, s), (&self.0, k)])
    }
}

/// Multiples of a point P, in rows of [`ROW`]: 1 to [`ROW`] times `2^(WIDTH * PASSES * row) * P`.
#[derive(Debug)]
struct Comb(Vec<EdwardsPoint>);

impl Comb {
    fn new(point: &EdwardsPoint) -> Self {
        let mut points = Vec::with_capacity(POINTS);
        let mut first = *point;
        while points.len() < POINTS {
            let mut multiple = first;
            points.push(multiple);
            for _ in 1..ROW {
                multiple += first;
                points.push(multiple);
            }
            // The last of the row is 2^(WIDTH - 1) times the first.
            first = doubled(multiple, WIDTH * PASSES - (WIDTH - 1));
        }
        Self(points)
    }

    /// Adds to `sum` what the digits of one pass stand for.
    fn add_pass(&self, digits: &[i8; DIGITS], pass: usize, sum: &mut EdwardsPoint) {
        let in_pass = digits.iter().skip(pass).step_by(PASSES);
        for (row, digit) in self.0.chunks_exact(ROW).zip(in_pass) {
            let multiple = usize::from(digit.unsigned_abs()).checked_sub(1);
            match multiple.and_then(|index| row.get(index)) {
                Some(point) if *digit > 0 => *sum += point,
                Some(point) => *sum -= point,
                None => {}
            }
        }
    }
}

/// The sum of scalars times the points of their tables, exactly: where a point is of mixed order it
/// matters that nothing is reduced on the way.
fn sum_of_multiples(terms: [(&Comb, &Scalar); 2]) -> EdwardsPoint {
    let terms = terms.map(|(comb, scalar)| (comb, digits(scalar.as_bytes())));
    let mut sum = EdwardsPoint::identity();
    for pass in (0..PASSES).rev() {
        for (comb, digits) in &terms {
            comb.add_pass(digits, pass, &mut sum);
        }
        if pass > 0 {
            sum = doubled(sum, WIDTH);
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

/// The digits of a number below 2^253, lowest first: each above `-2^(WIDTH - 1)` and up to
/// `2^(WIDTH - 1)`.
fn digits(number: &[u8; 32]) -> [i8; DIGITS] {
    let mut digits = [0; DIGITS];
    let mut bytes = number.iter();
    // The bits that are read and not yet in a digit, a carry added.
    let (mut held, mut bits) = (0_u32, 0);
    for digit in &mut digits {
        while bits < WIDTH {
            held += u32::from(*bytes.next().unwrap_or(&0)) << bits;
            bits += 8;
        }
        let low = held & ((1 << WIDTH) - 1);
        (held, bits) = (held >> WIDTH, bits - WIDTH);
        *digit = low as i8;
        if low > 1 << (WIDTH - 1) {
            *digit -= 1 << WIDTH;
            held += 1;
        }
    }
    digits
}

#[cfg(test)]
mod tests;
