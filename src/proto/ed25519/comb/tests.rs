use curve25519_dalek::constants::EIGHT_TORSION;
use proptest::prelude::*;

use super::*;

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

/// One step up in the digits.
fn base() -> Scalar {
    Scalar::from(1_u64 << WIDTH)
}

fn scalar(digit: i64) -> Scalar {
    let magnitude = Scalar::from(digit.unsigned_abs());
    if digit < 0 { -magnitude } else { magnitude }
}

/// The number of 252 bits with these digits in turns.
fn repeated(digits: [i64; 2]) -> Scalar {
    let turns = digits.iter().cycle().take(252 / WIDTH);
    turns.fold(Scalar::ZERO, |sum, digit| sum * base() + scalar(*digit))
}

/// The number of which all digits but the top one are the smallest.
fn lowest() -> Scalar {
    let top = (0..252 / WIDTH).fold(Scalar::ONE, |top, _| top * base());
    top + repeated([-31, -31])
}

/// Numbers of which all digits are the largest, the smallest, their neighbours, or 0, in turns.
fn extremes() -> Vec<Scalar> {
    let digits = [32, 31, 33, 63, 1, 0, -1, -31, -32];
    let pairs = digits.iter().flat_map(|first| digits.map(|second| repeated([*first, second])));
    pairs.chain([lowest(), -lowest()]).collect()
}

/// B, -B, small multiples, large ones, and each of these with a part of every small order.
fn bases() -> Vec<EdwardsPoint> {
    let times = [0_u64, 1, 2, 3, 7, 8, 31, 32, 33, 64, 1 << 12, u64::MAX];
    let times = times.iter().flat_map(|times| [Scalar::from(*times), -Scalar::from(*times)]);
    let points = times.map(|times| EdwardsPoint::mul_base(&times));
    points.flat_map(|point| EIGHT_TORSION.map(|small| point + small)).collect()
}

/// What dalek makes of `s * B + k * P`, by doubling.
fn plainly(point: &EdwardsPoint, s: &Scalar, k: &Scalar) -> EdwardsPoint {
    EdwardsPoint::vartime_double_scalar_mul_basepoint(k, point, s)
}

fn with_tables(comb: &Comb, s: &Scalar, k: &Scalar) -> EdwardsPoint {
    sum_of_multiples([(&BASE, s), (comb, k)])
}

#[test]
fn the_digits_of_a_number_stand_for_it() {
    for number in edges().into_iter().chain(extremes()) {
        let digits = digits(number.as_bytes());
        assert!(digits.iter().all(|digit| -32 < *digit && *digit <= 32), "{digits:?}");
        let value = digits.iter().rev();
        let value = value.fold(Scalar::ZERO, |sum, digit| sum * base() + scalar((*digit).into()));
        assert_eq!(value, number);
    }
}

#[test]
fn all_digits_can_be_extreme() {
    let all = |number: &Scalar, wanted: i8| {
        digits(number.as_bytes())[..252 / WIDTH].iter().all(|digit| *digit == wanted)
    };
    assert!(all(&repeated([32, 32]), 32));
    assert!(all(&lowest(), -31));
    assert!(all(&Scalar::ZERO, 0));
}

#[test]
fn sums_for_points_of_any_order_are_exact() {
    let few = [Scalar::ZERO, Scalar::ONE, -Scalar::ONE, Scalar::from(8_u8), Scalar::from(63_u8)];
    let scalars: Vec<_> = few.into_iter().chain(extremes()).collect();
    for (number, base) in bases().into_iter().enumerate() {
        let comb = Comb::new(&base);
        let turns = scalars.iter().cycle().skip(number);
        for (s, k) in turns.step_by(3).zip(few.iter().chain(&scalars).skip(number % 5).step_by(5)) {
            assert_eq!(with_tables(&comb, s, k), plainly(&base, s, k), "{number} {s:?} {k:?}");
        }
    }
}

#[test]
fn sums_for_edges_are_exact() {
    let base = EdwardsPoint::mul_base(&Scalar::from(77_u8)) + EIGHT_TORSION[1];
    let comb = Comb::new(&base);
    for (s, k) in edges().iter().zip(edges().iter().rev()) {
        assert_eq!(with_tables(&comb, s, k), plainly(&base, s, k), "{s:?} {k:?}");
        assert_eq!(with_tables(&comb, k, k), plainly(&base, k, k), "{k:?}");
    }
}

#[test]
fn every_entry_is_the_multiple_it_stands_for() {
    let base = EdwardsPoint::mul_base(&Scalar::from(77_u8)) + EIGHT_TORSION[1];
    let comb = Comb::new(&base);
    let mut first = base;
    for row in comb.0.chunks(ROW) {
        let mut multiple = EdwardsPoint::identity();
        for point in row {
            multiple += first;
            assert_eq!(*point, multiple);
        }
        first = doubled(first, WIDTH * PASSES);
    }
    assert_eq!(comb.0.len() * size_of::<EdwardsPoint>(), KeyTable::BYTES);
    assert_eq!(comb.0.capacity(), comb.0.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn sums_are_what_dalek_makes_of_them(
        secret: [u8; 32],
        small in 0_usize..8,
        scalars in prop::collection::vec(any::<[u8; 32]>(), 8),
    ) {
        let secret = Scalar::from_bytes_mod_order(secret);
        let base = EdwardsPoint::mul_base(&secret) + EIGHT_TORSION[small];
        let comb = Comb::new(&base);
        let scalars: Vec<_> = scalars.into_iter().map(Scalar::from_bytes_mod_order).collect();
        for (s, k) in scalars.iter().zip(scalars.iter().rev()) {
            prop_assert_eq!(with_tables(&comb, s, k), plainly(&base, s, k));
        }
    }
}
