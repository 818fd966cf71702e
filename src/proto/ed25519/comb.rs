//! Multiples of points that are known beforehand, from tables of their multiples: additions instead
//! of doublings. In variable time, as everything here is public.

use std::sync::LazyLock;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::traits::Identity as _;
use curve25519_dalek::{EdwardsPoint, Scalar};

use super::VerifyKey;

/// Most digits a number has here: 43 of 6 bits.
const DIGITS_MAX: usize = 43;

/// For the base point: 4,096 points, 640 KiB, made once (1 ms), 32 additions for a multiple.
static BASE: LazyLock<Comb<8, 1>> = LazyLock::new(|| Comb::new(&ED25519_BASEPOINT_POINT));

/// For one key: the multiples of -A, of which those of `S * B - k * A` are made. Measured against the
/// multiplication without it: a third of the time, and as long as 5 of them to make.
#[derive(Debug)]
pub(super) struct KeyTable(Comb<6, 2>);

impl KeyTable {
    /// What one takes in memory, in bytes: 704 points.
    pub(super) const BYTES: usize = Comb::<6, 2>::POINTS * size_of::<EdwardsPoint>();

    /// Makes the table of a key.
    pub(super) fn new(key: &VerifyKey) -> Self {
        Self(Comb::new(&-key.0.to_edwards()))
    }

    /// `s * B - k * A`.
    pub(super) fn expected_r(&self, s: &Scalar, k: &Scalar) -> EdwardsPoint {
        BASE.multiply(s) + self.0.multiply(k)
    }
}

/// Multiples of a point P for numbers that are read as digits of `WIDTH` bits, of which every
/// `PASSES`th is added in the same pass; between passes the sum is doubled `WIDTH` times.
#[derive(Debug)]
struct Comb<const WIDTH: usize, const PASSES: usize> {
    /// In rows of `ROW`: 1 to `ROW` times `2^(WIDTH * PASSES * row) * P`.
    points: Vec<EdwardsPoint>,
}

impl<const WIDTH: usize, const PASSES: usize> Comb<WIDTH, PASSES> {
    /// Points in a row: the largest digit.
    const ROW: usize = 1 << (WIDTH - 1);
    /// Digits of a number: scalars are below 2^253, and the top digit takes a carry.
    const DIGITS: usize = 256_usize.div_ceil(WIDTH);
    /// Points in all.
    const POINTS: usize = Self::DIGITS.div_ceil(PASSES) * Self::ROW;

    fn new(point: &EdwardsPoint) -> Self {
        let mut points = Vec::with_capacity(Self::POINTS);
        let mut first = *point;
        while points.len() < Self::POINTS {
            let mut multiple = first;
            points.push(multiple);
            for _ in 1..Self::ROW {
                multiple += first;
                points.push(multiple);
            }
            // The last of the row is 2^(WIDTH - 1) times the first.
            first = doubled(multiple, 1 + WIDTH * (PASSES - 1));
        }
        Self { points }
    }

    /// `scalar` times the point, exactly: where the point is of mixed order it matters that nothing
    /// is reduced on the way.
    fn multiply(&self, scalar: &Scalar) -> EdwardsPoint {
        let digits = digits::<WIDTH>(scalar.as_bytes());
        let mut sum = EdwardsPoint::identity();
        for pass in (0..PASSES).rev() {
            let in_pass = digits.iter().skip(pass).step_by(PASSES);
            for (row, digit) in self.points.chunks_exact(Self::ROW).zip(in_pass) {
                let multiple = usize::from(digit.unsigned_abs()).checked_sub(1);
                match multiple.and_then(|index| row.get(index)) {
                    Some(point) if *digit > 0 => sum += point,
                    Some(point) => sum -= point,
                    None => {}
                }
            }
            if pass > 0 {
                sum = doubled(sum, WIDTH);
            }
        }
        sum
    }
}

/// `2^times * point`.
fn doubled(point: EdwardsPoint, times: usize) -> EdwardsPoint {
    // Three at once are cheaper.
    let point = (0..times / 3).fold(point, |point, _| point.mul_by_cofactor());
    (0..times % 3).fold(point, |point, _| point + point)
}

/// The digits of a number below 2^253, lowest first: each above `-2^(WIDTH - 1)` and up to
/// `2^(WIDTH - 1)`. Those behind the last are 0.
fn digits<const WIDTH: usize>(number: &[u8; 32]) -> [i16; DIGITS_MAX] {
    let mut digits = [0; DIGITS_MAX];
    let mut bytes = number.iter();
    // The bits that are read and not yet in a digit, carries added.
    let (mut held, mut bits) = (0_u32, 0);
    for digit in &mut digits {
        while bits < WIDTH {
            held += u32::from(*bytes.next().unwrap_or(&0)) << bits;
            bits += 8;
        }
        let low = held & ((1 << WIDTH) - 1);
        (held, bits) = (held >> WIDTH, bits - WIDTH);
        *digit = low as i16;
        if low > 1 << (WIDTH - 1) {
            *digit -= 1 << WIDTH;
            held += 1;
        }
    }
    digits
}

#[cfg(test)]
mod tests;
