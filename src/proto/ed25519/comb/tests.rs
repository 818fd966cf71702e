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

/// Numbers below 2^252 made of the same byte, or of four in turns: columns of all signs alike, of all
/// but one, and of none alike.
fn extremes() -> Vec<Scalar> {
    let patterns = [0x00, 0x01, 0x02, 0x55, 0x7f, 0x80, 0xaa, 0xfe, 0xff];
    let with = |bytes: [u8; 32]| {
        let mut bytes = bytes;
        bytes[31] &= 0x0f;
        Scalar::from_canonical_bytes(bytes).unwrap()
    };
    let mut extremes: Vec<_> = patterns.map(|byte| with([byte; 32])).into();
    for word in [1, 1 << 31, u32::MAX, u32::MAX - 1, i32::MAX as u32, 0x8000_0001] {
        for place in 0..8 {
            // One word that differs from all others.
            let mut words = [0_u32; 8];
            words[place] = word;
            let bytes = |words: [u32; 8]| {
                let mut bytes = [0; 32];
                bytes
                    .iter_mut()
                    .zip(words.iter().flat_map(|word| word.to_le_bytes()))
                    .for_each(|(to, from)| *to = from);
                bytes
            };
            extremes.push(with(bytes(words)));
            extremes.push(with(bytes(words.map(|word| !word))));
        }
    }
    extremes
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
        let digits = Digits::of(&number);
        let mut value = Scalar::ZERO;
        for bit in (0..256).rev() {
            let is_set = digits.signs[bit / 32] >> (bit % 32) & 1 == 1;
            value += value;
            value += if is_set { Scalar::ONE } else { -Scalar::ONE };
        }
        let odd = if digits.is_even { number + Scalar::ONE } else { number };
        assert_eq!(value, odd);
        assert_eq!(digits.is_even, number.as_bytes()[0] % 2 == 0);
    }
}

#[test]
fn a_column_is_the_same_place_of_each_word() {
    let digits = Digits { signs: [1, 2, 1, 3, 0, 0, 0, 1 << 31], is_even: false };
    assert_eq!(digits.column(0), 0b0000_1101);
    assert_eq!(digits.column(1), 0b0000_1010);
    assert_eq!(digits.column(31), 0b1000_0000);
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
fn every_entry_is_the_sum_it_stands_for() {
    let base = EdwardsPoint::mul_base(&Scalar::from(77_u8)) + EIGHT_TORSION[1];
    let comb = Comb::new(&base);
    for (at, entry) in comb.entries.iter().enumerate() {
        let (part, signs) = (at / ENTRIES, at % ENTRIES + ENTRIES);
        let teeth = (0..TEETH).map(|tooth| (doubled(base, 32 * tooth + COLUMNS * part), tooth));
        let sum = teeth.fold(EdwardsPoint::identity(), |sum, (point, tooth)| {
            if signs >> tooth & 1 == 1 { sum + point } else { sum - point }
        });
        assert_eq!(*entry, sum, "{at}");
    }
    let bytes = comb.entries.capacity() * size_of::<EdwardsPoint>() + size_of::<Comb>();
    assert_eq!(bytes, KeyTable::BYTES);
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
