//! Base64 as Matrix servers write and read it.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// What is written: standard alphabet, no padding. What is read: any padding up to the full one,
/// and loose trailing bits.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Longest text that is decoded, in bytes: a signature of 64 bytes takes 88 with padding.
const TEXT_BYTES_MAX: usize = 88;

/// Bytes that `TEXT_BYTES_MAX` characters decode to at most.
const DECODED_BYTES_MAX: usize = TEXT_BYTES_MAX / 4 * 3;

/// Why a text is not the base64 of the wanted number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base64Error;

impl fmt::Display for Base64Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not base64, or not of the right length")
    }
}

impl std::error::Error for Base64Error {}

/// Decodes exactly `N` bytes (at most 64), as liberally as Synapse does: padded or not, standard or
/// URL-safe alphabet, loose trailing bits (R55). Foreign characters, white space among them, are
/// refused; Synapse skips some of them, but nobody sends them.
pub fn decode_array<const N: usize>(text: &[u8]) -> Result<[u8; N], Base64Error> {
    const { assert!(N <= 64, "longer values do not fit TEXT_BYTES_MAX") };
    let mut standard = [0; TEXT_BYTES_MAX];
    let standard = standard.get_mut(..text.len()).ok_or(Base64Error)?;
    let mut decoded = [0; DECODED_BYTES_MAX];
    // Nearly everybody writes the standard alphabet.
    let length = ENGINE.decode_slice(text, &mut decoded).or_else(|_error| {
        for (to, from) in standard.iter_mut().zip(text) {
            *to = match from {
                b'-' => b'+',
                b'_' => b'/',
                other => *other,
            };
        }
        ENGINE.decode_slice(standard, &mut decoded).map_err(|_error| Base64Error)
    })?;
    decoded.get(..length).and_then(|bytes| bytes.try_into().ok()).ok_or(Base64Error)
}

/// Encodes with the standard alphabet and no padding (appendices, unpadded base64).
pub fn encode(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

/// Encodes with the URL-safe alphabet and no padding (rooms, version 4, event IDs).
pub fn encode_url_safe(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::test_vectors;

    #[test]
    fn the_specs_vectors_encode_and_decode() {
        let vectors = test_vectors::spec();
        let vectors = vectors["spec_unpadded_base64"]["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 7);
        for vector in vectors {
            let plain = vector["input_ascii"].as_str().unwrap();
            let encoded = vector["encoded"].as_str().unwrap();
            assert_eq!(encode(plain.as_bytes()), encoded);
            assert_eq!(decoded(encoded).as_deref(), Some(plain.as_bytes()), "{encoded}");
        }
    }

    /// Decodes a text of unknown length below 8 bytes.
    fn decoded(text: &str) -> Option<Vec<u8>> {
        let text = text.as_bytes();
        decode_array::<0>(text)
            .map(Vec::from)
            .or_else(|_| decode_array::<1>(text).map(Vec::from))
            .or_else(|_| decode_array::<2>(text).map(Vec::from))
            .or_else(|_| decode_array::<3>(text).map(Vec::from))
            .or_else(|_| decode_array::<4>(text).map(Vec::from))
            .or_else(|_| decode_array::<5>(text).map(Vec::from))
            .or_else(|_| decode_array::<6>(text).map(Vec::from))
            .ok()
    }

    #[test]
    fn r55_padding_is_optional() {
        for text in ["Zg", "Zg=", "Zg=="] {
            assert_eq!(decode_array(text.as_bytes()), Ok(*b"f"), "{text}");
        }
        for text in ["Zg===", "Z", "Zg==Zg==", "=", "Zm9v="] {
            assert_eq!(decoded(text), None, "{text}");
        }
    }

    #[test]
    fn the_url_safe_alphabet_and_mixtures_decode() {
        for text in ["+/+/", "-_-_", "+_-/"] {
            assert_eq!(decode_array(text.as_bytes()), Ok([0xfb, 0xff, 0xbf]), "{text}");
        }
    }

    #[test]
    fn loose_trailing_bits_are_dropped() {
        assert_eq!(decode_array(b"Zh"), Ok(*b"f"));
        assert_eq!(decode_array(b"Zm9"), Ok(*b"fo"));
    }

    #[test]
    fn foreign_characters_are_refused() {
        for text in ["Zg\n", " Zg", "Zm 9v", "Z\0", "Zm9v\u{e9}", "Zm.v", "Zm,v", "Zm\\v"] {
            assert_eq!(decoded(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_length_must_be_right() {
        assert_eq!(decode_array::<32>(encode(&[7; 31]).as_bytes()), Err(Base64Error));
        assert_eq!(decode_array(encode(&[7; 32]).as_bytes()), Ok([7_u8; 32]));
        assert_eq!(decode_array::<32>(encode(&[7; 33]).as_bytes()), Err(Base64Error));
        assert_eq!(decode_array(encode(&[7; 64]).as_bytes()), Ok([7_u8; 64]));
        assert_eq!(decode_array::<64>(&[b'A'; 1_000]), Err(Base64Error));
    }
}
