//! Strings: finding their end, reading and writing escapes, comparing member names.

use std::borrow::Cow;
use std::cmp::Ordering;

use wide::u8x16;

use super::JsonErrorKind;

/// One in every byte of a word.
const ONES: u64 = u64::from_le_bytes([1; 8]);
/// The top bit of every byte of a word.
const TOPS: u64 = u64::from_le_bytes([0x80; 8]);

/// Marks, in its top bit, the first byte of the word that cannot stand plainly inside a string: a
/// control character, `"` or `\`. Bytes above the first mark may be marked wrongly (the subtraction
/// borrows), so only the lowest mark is used.
#[inline]
fn special_bytes(word: u64) -> u64 {
    // Flipping bit 1 moves `"` (0x22) to 0x20 and keeps the controls below it, so that one
    // comparison with 0x21 finds both; 0x20 and 0x21 themselves go to 0x22 and 0x23.
    let control_or_quote = word ^ (ONES * 0x02);
    let backslash = word ^ (ONES * 0x5c);
    (control_or_quote.wrapping_sub(ONES * 0x21) & !control_or_quote
        | backslash.wrapping_sub(ONES) & !backslash)
        & TOPS
}

/// Whether the byte cannot stand plainly inside a string.
#[inline]
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Where in 16 bytes the first one is that cannot stand plainly inside a string.
#[inline]
fn first_special(block: &[u8; 16]) -> Option<usize> {
    let block = u8x16::new(*block);
    // As above: what is at most 0x20 once bit 1 is flipped is a control or a quote.
    let moved = block ^ u8x16::splat(0x02);
    let control_or_quote = moved.simd_eq(moved.min(u8x16::splat(0x20)));
    let special = control_or_quote | block.simd_eq(u8x16::splat(b'\\'));
    let mask = special.to_bitmask();
    (mask != 0).then(|| mask.trailing_zeros() as usize)
}

/// What is left of `text` from its first special byte on.
#[inline]
pub(super) fn skip_plain(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let Some((block, after)) = rest.split_first_chunk::<16>() {
        if let Some(at) = first_special(block) {
            return rest.get(at..).unwrap_or_default();
        }
        rest = after;
    }
    while let Some((chunk, after)) = rest.split_first_chunk::<8>() {
        let special = special_bytes(u64::from_le_bytes(*chunk));
        if special != 0 {
            return rest.get(special.trailing_zeros() as usize / 8..).unwrap_or_default();
        }
        rest = after;
    }
    while let [byte, after @ ..] = rest {
        if is_special(*byte) {
            break;
        }
        rest = after;
    }
    rest
}

/// Skips one escape, given what follows its backslash, if it is spelt as canonical JSON spells it:
/// `\" \\ \b \f \n \r \t`, and lower-case `\u00xx` for the other control characters.
pub(super) fn skip_canonical_escape(text: &[u8]) -> Option<&[u8]> {
    match text {
        [b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', rest @ ..]
        | [b'u', b'0', b'0', b'0', b'0'..=b'7' | b'b' | b'e' | b'f', rest @ ..]
        | [b'u', b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Why an escape is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EscapeError<'a> {
    /// It breaks the grammar where this begins.
    Syntax(&'a [u8]),
    /// It is half of a surrogate pair.
    LoneSurrogate,
}

impl<'a> EscapeError<'a> {
    /// The same as a flaw of the text, given the text from the backslash on.
    pub(super) fn flaw(self, escape: &'a [u8]) -> Flaw<'a> {
        match self {
            Self::Syntax(at) => Flaw { kind: JsonErrorKind::Syntax, at },
            Self::LoneSurrogate => Flaw { kind: JsonErrorKind::LoneSurrogate, at: escape },
        }
    }
}

/// Reads one escape (both halves of a surrogate pair), given what follows its backslash.
pub(super) fn take_escape(text: &[u8]) -> Result<(char, &[u8]), EscapeError<'_>> {
    let Some((letter, rest)) = text.split_first() else {
        return Err(EscapeError::Syntax(text));
    };
    let character = match letter {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return take_unicode_escape(rest),
        _ => return Err(EscapeError::Syntax(text)),
    };
    Ok((character, rest))
}

/// Reads the digits of a `\u` escape, and the second escape when they are a leading surrogate.
fn take_unicode_escape(text: &[u8]) -> Result<(char, &[u8]), EscapeError<'_>> {
    let (unit, rest) = take_four_digits(text)?;
    if let Some(character) = char::from_u32(unit.into()) {
        return Ok((character, rest));
    }
    let Some(second) = rest.strip_prefix(br"\u") else {
        return Err(EscapeError::LoneSurrogate);
    };
    let (low, rest) = take_four_digits(second)?;
    match char::decode_utf16([unit, low]).next() {
        Some(Ok(character)) => Ok((character, rest)),
        _ => Err(EscapeError::LoneSurrogate),
    }
}

/// Reads four hexadecimal digits of either case.
fn take_four_digits(text: &[u8]) -> Result<(u16, &[u8]), EscapeError<'_>> {
    let mut unit = 0;
    let mut rest = text;
    for _ in 0..4 {
        let Some((digit, after)) = rest
            .split_first()
            .and_then(|(byte, after)| Some((char::from(*byte).to_digit(16)?, after)))
        else {
            return Err(EscapeError::Syntax(rest));
        };
        unit = unit << 4 | digit as u16;
        rest = after;
    }
    Ok((unit, rest))
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flaw<'a> {
    pub(super) kind: JsonErrorKind,
    /// The rest of the text from there on.
    pub(super) at: &'a [u8],
}

/// What follows the closing quote of a string that has been read before, given what follows its
/// opening quote.
pub(super) fn skip_string(text: &[u8]) -> &[u8] {
    let mut rest = skip_plain(text);
    loop {
        match rest {
            // The letter of an escape is skipped with its backslash; hexadecimal digits are plain.
            [b'\\', _, after @ ..] => rest = skip_plain(after),
            [_, after @ ..] => return after,
            [] => return rest,
        }
    }
}

/// Hands the decoded bytes of a string that has been read before, given without its quotes, to
/// `sink`.
fn decode(body: &[u8], sink: &mut impl FnMut(&[u8])) {
    let mut rest = body;
    loop {
        let after = skip_plain(rest);
        sink(rest.get(..rest.len() - after.len()).unwrap_or_default());
        let Some(Ok((character, after))) = after.strip_prefix(b"\\").map(take_escape) else {
            return;
        };
        sink(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = after;
    }
}

/// The value of a string that has been read before, given without its quotes.
pub(super) fn decoded(body: &str) -> Cow<'_, str> {
    if !body.contains('\\') {
        return Cow::Borrowed(body);
    }
    let mut bytes = Vec::with_capacity(body.len());
    decode(body.as_bytes(), &mut |part| bytes.extend_from_slice(part));
    // Parts are cut at backslashes only, so that what is UTF-8 stays UTF-8.
    Cow::Owned(String::from_utf8(bytes).unwrap_or_default())
}

/// Orders two member names by their decoded code points, which is the order of their UTF-8 bytes.
/// Each is given from behind its opening quote on, and ends at its closing quote or with the slice.
pub(super) fn compare_names(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        (a, b) = skip_common_plain(a, b);
        // Both are now at the same decoded position. Where one is at an escape it is also at the
        // start of a character, and so is the other, since all before decodes to the same bytes.
        match (a, b) {
            ([] | [b'"', ..], [] | [b'"', ..]) => return Ordering::Equal,
            ([] | [b'"', ..], _) => return Ordering::Less,
            (_, [] | [b'"', ..]) => return Ordering::Greater,
            ([b'\\', escape_a @ ..], [b'\\', escape_b @ ..]) => {
                let (Ok((x, rest_a)), Ok((y, rest_b))) =
                    (take_escape(escape_a), take_escape(escape_b))
                else {
                    return a.cmp(b);
                };
                if x != y {
                    return x.cmp(&y);
                }
                (a, b) = (rest_a, rest_b);
            }
            ([b'\\', ..], _) => match compare_escape(a, b) {
                Ok((rest_a, rest_b)) => (a, b) = (rest_a, rest_b),
                Err(order) => return order,
            },
            (_, [b'\\', ..]) => match compare_escape(b, a) {
                Ok((rest_b, rest_a)) => (a, b) = (rest_a, rest_b),
                Err(order) => return order.reverse(),
            },
            ([x, ..], [y, ..]) => return x.cmp(y),
        }
    }
}

/// Whether the name `a` comes before the name `b`, each given as above. Most names are told apart by their
/// first bytes, and of those without escapes before the difference this is enough; else it is not certain.
#[inline]
pub(super) fn are_surely_ordered(a: &[u8], b: &[u8]) -> bool {
    let (Some((a, _)), Some((b, _))) = (a.split_first_chunk::<8>(), b.split_first_chunk::<8>())
    else {
        return false;
    };
    // Of letters, one is enough.
    if a.first() < b.first() && a.first() > Some(&b'\\') {
        return true;
    }
    let (a, b) = (u64::from_le_bytes(*a), u64::from_le_bytes(*b));
    let shift = (a ^ b).trailing_zeros() & !7;
    // The same on both sides up to the difference: what is special there ends both names or needs decoding.
    let special = special_bytes(a).trailing_zeros();
    let (a, b) = ((a >> (shift & 63)) as u8, (b >> (shift & 63)) as u8);
    // A closing quote sorts as it is before all characters but space and exclamation mark.
    special >= shift && a < b && a > b'!' && a != b'\\' && b != b'\\'
}

/// Compares the escape that `a` begins with to the plain character that `b` begins with: what is
/// left of both when they are the same, else their order.
fn compare_escape<'t>(a: &'t [u8], b: &'t [u8]) -> Result<(&'t [u8], &'t [u8]), Ordering> {
    let Some(Ok((character, rest_a))) = a.strip_prefix(b"\\").map(take_escape) else {
        return Err(a.cmp(b));
    };
    let mut buffer = [0; 4];
    let encoded = character.encode_utf8(&mut buffer).as_bytes();
    // No UTF-8 character begins another, so comparing this many bytes never looks past a shorter
    // character of `b` without having found a difference in it.
    match b.split_at_checked(encoded.len()) {
        Some((head, rest_b)) if head == encoded => Ok((rest_a, rest_b)),
        _ => Err(encoded.cmp(b)),
    }
}

/// Drops the longest common part without special bytes off both.
fn skip_common_plain<'t>(a: &'t [u8], b: &'t [u8]) -> (&'t [u8], &'t [u8]) {
    let (mut a, mut b) = (a, b);
    while let (Some((x, rest_a)), Some((y, rest_b))) =
        (a.split_first_chunk::<8>(), b.split_first_chunk::<8>())
    {
        if x != y || special_bytes(u64::from_le_bytes(*x)) != 0 {
            break;
        }
        (a, b) = (rest_a, rest_b);
    }
    while let ([x, rest_a @ ..], [y, rest_b @ ..]) = (a, b) {
        if x != y || is_special(*x) {
            break;
        }
        (a, b) = (rest_a, rest_b);
    }
    (a, b)
}

/// Hands the one canonical spelling of a character inside a string to `sink`.
pub(super) fn write_character(character: char, sink: &mut impl FnMut(&[u8])) {
    match character {
        '"' => sink(br#"\""#),
        '\\' => sink(br"\\"),
        '\u{8}' => sink(br"\b"),
        '\u{c}' => sink(br"\f"),
        '\n' => sink(br"\n"),
        '\r' => sink(br"\r"),
        '\t' => sink(br"\t"),
        '\0'..='\u{1f}' => {
            let code = character as u8;
            let low = match code & 0xf {
                digit @ 0..=9 => b'0' + digit,
                digit => b'a' + (digit - 10),
            };
            sink(&[b'\\', b'u', b'0', b'0', b'0' + (code >> 4), low]);
        }
        _ => sink(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Hands `text` to `sink` as a canonical JSON string, quotes included.
pub fn write_string(text: &str, sink: &mut impl FnMut(&[u8])) {
    sink(b"\"");
    let mut rest = text.as_bytes();
    loop {
        let after = skip_plain(rest);
        sink(rest.get(..rest.len() - after.len()).unwrap_or_default());
        let Some((special, after)) = after.split_first() else {
            break;
        };
        write_character(char::from(*special), sink);
        rest = after;
    }
    sink(b"\"");
}
