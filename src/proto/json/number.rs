//! Numbers: their grammar, and the text CPython prints for their value.

use std::fmt::{self, Write};

use super::JsonErrorKind;
use crate::proto::limits::JSON_INTEGER_DIGITS_MAX;

/// How a number is written, which for Synapse decides what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// Digits only: an integer of any size, kept digit by digit.
    Integer,
    /// With a fraction or an exponent: a binary64 value, whatever its magnitude.
    Float,
}

/// Takes a number off the front; an error is the rest of the text where the grammar breaks.
#[inline]
pub(super) fn take_number(text: &[u8]) -> Result<(Number, &[u8]), &[u8]> {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let mut rest = match unsigned {
        [b'0', rest @ ..] => rest,
        [b'1'..=b'9', rest @ ..] => skip_digits(rest),
        _ => return Err(unsigned),
    };
    let mut number = Number::Integer;
    if let [b'.', fraction @ ..] = rest {
        rest = take_digits(fraction)?;
        number = Number::Float;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        rest = match exponent {
            [b'+' | b'-', digits @ ..] => take_digits(digits)?,
            digits => take_digits(digits)?,
        };
        number = Number::Float;
    }
    Ok((number, rest))
}

/// Drops all leading digits.
#[inline]
fn skip_digits(text: &[u8]) -> &[u8] {
    let digits = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.get(digits..).unwrap_or_default()
}

/// Drops all leading digits, of which there must be one.
fn take_digits(text: &[u8]) -> Result<&[u8], &[u8]> {
    match text {
        [b'0'..=b'9', rest @ ..] => Ok(skip_digits(rest)),
        _ => Err(text),
    }
}

/// Checks that a well-formed number has a value (R36, R37): Synapse refuses longer integers and what
/// overflows to infinity. What underflows becomes zero there and here.
pub(super) fn check_value(number: Number, text: &[u8]) -> Result<(), JsonErrorKind> {
    match number {
        Number::Integer => {
            let digits = text.strip_prefix(b"-").unwrap_or(text).len();
            if digits > JSON_INTEGER_DIGITS_MAX {
                Err(JsonErrorKind::IntegerTooLong)
            } else {
                Ok(())
            }
        }
        Number::Float => match parse_float(text) {
            Some(value) if value.is_finite() => Ok(()),
            _ => Err(JsonErrorKind::NumberNotFinite),
        },
    }
}

/// Whether canonical JSON, taken by the letter, has a place for the number: an integer from
/// -(2^53 - 1) to 2^53 - 1 (appendices, canonical JSON).
pub(super) fn is_within_canonical_json(number: Number, text: &[u8]) -> bool {
    const LARGEST: &[u8] = b"9007199254740991";
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    // No number begins with a needless zero, so that the longer one is the larger one.
    number == Number::Integer && (digits.len(), digits) <= (LARGEST.len(), LARGEST)
}

/// The canonical form of a number with a value, unless it is the text itself.
pub(super) fn rewritten(number: Number, text: &[u8]) -> Option<ShortText> {
    let mut printed = ShortText::default();
    match number {
        Number::Integer if text == b"-0" => printed.write_str("0").ok()?,
        Number::Integer => return None,
        Number::Float => print_float(parse_float(text)?, &mut printed).ok()?,
    }
    (printed.as_bytes() != text).then_some(printed)
}

/// The nearest binary64 value, ties to even, as CPython and Rust both read it.
fn parse_float(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A short text without an allocation. CPython's longest float has 24 bytes.
#[derive(Default)]
pub(super) struct ShortText {
    bytes: [u8; 32],
    length: usize,
}

impl ShortText {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Prints a finite value as CPython's `repr` does: the fewest digits that read back as the same
/// value, and of those the nearest, the even one of two equally near; with an exponent (signed, of
/// at least two digits) when that is below -4 or above 15; else always with a point and a digit
/// behind it. The buffer is large enough, so that this does not fail.
fn print_float(value: f64, out: &mut ShortText) -> fmt::Result {
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-4..1e16).contains(&magnitude) {
        write!(out, "{value}")?;
        let Some(decimals) = decimals(out.as_bytes()) else {
            return out.write_str(".0");
        };
        return settle_tie(value, out, |nearest| write!(nearest, "{value:.decimals$}"));
    }
    let mut text = ShortText::default();
    write!(text, "{value:e}")?;
    if let Some(decimals) = decimals(text.as_bytes()) {
        settle_tie(value, &mut text, |nearest| write!(nearest, "{value:.decimals$e}"))?;
    }
    let text = std::str::from_utf8(text.as_bytes()).unwrap_or_default();
    let (mantissa, exponent) = text.split_once('e').ok_or(fmt::Error)?;
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    write!(out, "{mantissa}e{sign}{digits:0>2}")
}

/// How many digits stand behind the point, if there is one.
fn decimals(text: &[u8]) -> Option<usize> {
    let point = text.iter().position(|byte| *byte == b'.')?;
    Some(text.iter().skip(point + 1).take_while(|byte| byte.is_ascii_digit()).count())
}

/// Rust's shortest digits round up when the value is exactly between two texts of that length, where
/// CPython takes the even one. Printing a given number of digits does round to even, but is not held
/// to read back as the same value.
fn settle_tie(
    value: f64,
    shortest: &mut ShortText,
    print_nearest: impl FnOnce(&mut ShortText) -> fmt::Result,
) -> fmt::Result {
    // With 15 digits or fewer only one text of that length is near enough to read back.
    if shortest.length > 15 {
        let mut nearest = ShortText::default();
        print_nearest(&mut nearest)?;
        if nearest.as_bytes() != shortest.as_bytes()
            && parse_float(nearest.as_bytes()) == Some(value)
        {
            *shortest = nearest;
        }
    }
    Ok(())
}
