use proptest::prelude::*;

use super::*;
use crate::proto::ed25519::verifier::SMALL_ORDER_Y;

/// The group order L less one (RFC 8032, 5.1), and numbers around powers of two.
fn edges() -> Vec<Scalar> {
    let mut edges = vec![Scalar::ZERO, Scalar::ONE, -Scalar::ONE, -Scalar::from(2_u8)];
    let mut power = Scalar::ONE;
    for _ in 0..253 {
        edges.extend([power - Scalar::ONE, power, power + Scalar::ONE, -power]);
        power += power;
    }
    edges
}

/// The number with the same digit of `width` bits everywhere, as far as 252 bits go.
fn repeated(digit: i64, width: usize) -> Scalar {
    let base = Scalar::from(1_u64 << width);
    let digit =
        if digit < 0 { -Scalar::from(digit.unsigned_abs()) } else { Scalar::from(digit as u64) };
    (0..252 / width).fold(Scalar::ZERO, |sum, _| sum * base + digit)
}

/// The number of which all digits but the top one are the smallest.
fn lowest(width: usize) -> Scalar {
    let top = (0..252 / width).fold(Scalar::ONE, |top, _| top * Scalar::from(1_u64 << width));
    top + repeated(1 - (1 << (width - 1)), width)
}

/// Numbers of which all digits are the largest, the smallest, their neighbours, or 0 in turns.
fn extremes() -> Vec<Scalar> {
    let mut extremes = Vec::new();
    for width in [6, 8] {
        let half = 1_i64 << (width - 1);
        extremes.push(lowest(width));
        for digit in [half, half - 1, half + 1, -half, 1 - half, 2 * half - 1, 1, -1] {
            extremes.push(repeated(digit, width));
            extremes.push(repeated(digit, 2 * width));
            extremes.push(repeated(digit, 2 * width) * Scalar::from(1_u64 << width));
        }
    }
    extremes
}

/// The number that digits stand for, modulo L.
fn value<const WIDTH: usize>(digits: &[i16]) -> Scalar {
    digits.iter().rev().fold(Scalar::ZERO, |sum, digit| {
        let magnitude = Scalar::from(digit.unsigned_abs());
        let digit = if *digit < 0 { -magnitude } else { magnitude };
        sum * Scalar::from(1_u64 << WIDTH) + digit
    })
}

fn check_digits<const WIDTH: usize>(scalar: &Scalar) {
    let digits = digits::<WIDTH>(scalar.as_bytes());
    let half = 1 << (WIDTH - 1);
    assert!(digits.iter().all(|digit| -half < *digit && *digit <= half), "{digits:?}");
    assert!(digits[256_usize.div_ceil(WIDTH)..].iter().all(|digit| *digit == 0), "{digits:?}");
    assert_eq!(value::<WIDTH>(&digits), *scalar);
}

/// The points of small order, and mixed ones made of them.
fn torsion() -> Vec<EdwardsPoint> {
    let generator = curve25519_dalek::edwards::CompressedEdwardsY(SMALL_ORDER_Y[4]);
    let generator = generator.decompress().unwrap();
    (0..8_u8).map(|times| generator * Scalar::from(times)).collect()
}

/// Bases: B, -B, small multiples, large ones, and each of these with a part of order 2, 4 or 8.
fn bases() -> Vec<EdwardsPoint> {
    let multiples: Vec<Scalar> = [0_u64, 1, 2, 3, 7, 32, 33, 64, 128, 129, 1 << 40, u64::MAX]
        .into_iter()
        .flat_map(|times| [Scalar::from(times), -Scalar::from(times)])
        .collect();
    let points = multiples.iter().map(|times| ED25519_BASEPOINT_POINT * times);
    let torsion = torsion();
    points.flat_map(|point| torsion.iter().map(move |small| point + small)).collect()
}

/// What dalek makes of the same, by doubling.
fn plainly(point: &EdwardsPoint, scalar: &Scalar) -> EdwardsPoint {
    EdwardsPoint::vartime_double_scalar_mul_basepoint(scalar, point, &Scalar::ZERO)
}

#[test]
fn the_digits_of_a_number_stand_for_it() {
    for scalar in edges().into_iter().chain(extremes()) {
        check_digits::<6>(&scalar);
        check_digits::<8>(&scalar);
    }
}

#[test]
fn all_digits_can_be_extreme() {
    fn check<const WIDTH: usize>(digit: i16, scalar: &Scalar) {
        let digits = digits::<WIDTH>(scalar.as_bytes());
        assert!(digits[..252 / WIDTH].iter().all(|found| *found == digit), "{digits:?}");
    }
    check::<6>(32, &repeated(32, 6));
    check::<8>(128, &repeated(128, 8));
    check::<6>(-31, &lowest(6));
    check::<8>(-127, &lowest(8));
    check::<6>(0, &Scalar::ZERO);
}

#[test]
fn multiples_of_the_base_point_are_exact() {
    for scalar in edges().into_iter().chain(extremes()) {
        assert_eq!(BASE.multiply(&scalar), EdwardsPoint::mul_base(&scalar));
    }
}

#[test]
fn multiples_of_points_of_any_order_are_exact() {
    let scalars = extremes();
    for (number, base) in bases().into_iter().enumerate() {
        let comb = Comb::<6, 2>::new(&base);
        assert_eq!(comb.points.len() * size_of::<EdwardsPoint>(), KeyTable::BYTES);
        let few =
            [Scalar::ZERO, Scalar::ONE, -Scalar::ONE, Scalar::from(8_u8), Scalar::from(63_u8)];
        for scalar in few.iter().chain(scalars.iter().skip(number % 8).step_by(8)) {
            assert_eq!(comb.multiply(scalar), plainly(&base, scalar), "{number} {scalar:?}");
        }
    }
}

#[test]
fn every_entry_is_the_multiple_it_stands_for() {
    let base = ED25519_BASEPOINT_POINT * Scalar::from(77_u8) + torsion()[1];
    let comb = Comb::<6, 2>::new(&base);
    let mut first = base;
    for row in comb.points.chunks(32) {
        let mut multiple = EdwardsPoint::identity();
        for point in row {
            multiple += first;
            assert_eq!(*point, multiple);
        }
        first = doubled(first, 12);
    }
    assert_eq!(comb.points.len(), 704);
    assert_eq!(BASE.points.len(), 4_096);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn multiples_are_what_dalek_makes_of_them(
        base: [u8; 32],
        small in 0_usize..8,
        scalars in prop::collection::vec(any::<[u8; 32]>(), 8),
    ) {
        let base = Scalar::from_bytes_mod_order(base);
        let base = EdwardsPoint::mul_base(&base) + torsion()[small];
        let comb = Comb::<6, 2>::new(&base);
        for bytes in scalars {
            let scalar = Scalar::from_bytes_mod_order(bytes);
            prop_assert_eq!(comb.multiply(&scalar), plainly(&base, &scalar));
            prop_assert_eq!(BASE.multiply(&scalar), EdwardsPoint::mul_base(&scalar));
        }
    }
}
