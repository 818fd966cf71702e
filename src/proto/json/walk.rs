//! Walks over what is in a text that has been scanned: nothing is checked here, and a value can be
//! skipped by its quotes and brackets alone.

use std::ops::Range;

use super::number::{Number, take_number};
use super::string::skip_string;

/// Where a member of an object stands in the text.
#[derive(Clone, Debug)]
pub(super) struct MemberPlace {
    /// Its name with the quotes.
    pub(super) name: Range<usize>,
    /// Its value.
    pub(super) value: Range<usize>,
}

/// The member whose name begins at `start`.
pub(super) fn member_at(text: &[u8], start: usize) -> Option<MemberPlace> {
    let at = |rest: &[u8]| text.len() - rest.len();
    let after_name = skip_string(text.get(start..)?.strip_prefix(b"\"")?);
    let value = skip_space(skip_space(after_name).strip_prefix(b":")?);
    Some(MemberPlace { name: start..at(after_name), value: at(value)..at(skip_value(value)) })
}

/// The members of the object that opens at `open`, in the order of the text.
pub(super) fn members(text: &[u8], open: usize) -> impl Iterator<Item = MemberPlace> {
    let mut end = open;
    std::iter::from_fn(move || {
        // What stands before a name is the opening brace or a comma.
        let rest = skip_space(text.get(end..)?);
        let name = skip_space(rest.get(1..)?);
        let member = member_at(text, text.len() - name.len())?;
        end = member.value.end;
        Some(member)
    })
}

/// The values of the array that the text is.
pub(super) fn values(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        // What stands before a value is the opening bracket or a comma.
        let value = skip_space(skip_space(rest).get(1..)?);
        if matches!(value, [] | [b']', ..]) {
            rest = &[];
            return None;
        }
        rest = skip_value(value);
        value.get(..value.len() - rest.len())
    })
}

/// The numbers of a scanned text, wherever they stand.
pub(super) fn numbers(text: &[u8]) -> impl Iterator<Item = (Number, &[u8])> {
    let mut rest = text;
    std::iter::from_fn(move || {
        while let [byte, after @ ..] = rest {
            match byte {
                b'"' => rest = skip_string(after),
                b'-' | b'0'..=b'9' => {
                    let number = rest;
                    let (kind, after) = take_number(number).ok()?;
                    rest = after;
                    return Some((kind, number.get(..number.len() - after.len())?));
                }
                _ => rest = after,
            }
        }
        None
    })
}

/// What follows the value that the text begins with.
fn skip_value(text: &[u8]) -> &[u8] {
    let mut depth = 0_usize;
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        match byte {
            b'"' => {
                rest = skip_string(after);
                if depth == 0 {
                    break;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return after,
            b'}' | b']' if depth > 1 => depth -= 1,
            // The end of a number or a literal.
            b'}' | b']' | b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => break,
            _ => {}
        }
        rest = after;
    }
    rest
}

/// What is left of `text` behind leading JSON white space.
#[inline]
pub(super) fn skip_space(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let [b' ' | b'\t' | b'\n' | b'\r', after @ ..] = rest {
        rest = after;
    }
    rest
}
