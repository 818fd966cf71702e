//! The fast path: is this text already its own canonical form?
//!
//! Synapse and Dendrite send bodies as the canonical bytes they signed, so this is the common case
//! and decides what a request costs. One pass, one small record for each open container, nothing
//! kept for a value that is behind.
//!
//! Why acceptance means that the text equals what [`super::emit`] would write for it: canonical JSON
//! leaves one spelling for every value, and this accepts that spelling only. No whitespace is
//! skipped; a string may hold only the canonical spelling of an escape, which leaves no other way to
//! write the same characters (what needs no escape cannot be escaped, surrogates cannot appear at
//! all); numbers are compared with what would be printed; the members of an object must have strictly
//! increasing decoded names, which also rules out duplicates. Anything else is not refused here but
//! left to the strict scan, which knows what is wrong or how to rewrite it.

use std::cmp::Ordering;

use super::number::{self, take_number};
use super::string::{compare_names, skip_canonical_escape, skip_plain};
use crate::proto::limits::JSON_DEPTH_MAX;

/// An open container.
#[derive(Clone, Copy)]
enum Level<'t> {
    Array,
    /// An object and the last name seen in it.
    Object(Name<'t>),
}

/// A member name without its quotes.
#[derive(Clone, Copy)]
struct Name<'t> {
    raw: &'t [u8],
    escaped: bool,
}

impl Name<'_> {
    #[inline]
    fn is_before(self, next: Self) -> bool {
        if self.escaped || next.escaped {
            return compare_names(self.raw, next.raw) == Ordering::Less;
        }
        self.raw < next.raw
    }
}

/// Whether the UTF-8 text is one JSON object in canonical form, and within the bounds.
pub(super) fn is_canonical_object(text: &[u8]) -> bool {
    text.first() == Some(&b'{') && skip_canonical_value(text).is_some_and(<[u8]>::is_empty)
}

/// What follows the canonical value that the text begins with.
fn skip_canonical_value(text: &[u8]) -> Option<&[u8]> {
    let mut outer: Vec<Level<'_>> = Vec::new();
    let mut level = None;
    let mut rest = text;
    loop {
        let may_open = outer.len() + usize::from(level.is_some()) < JSON_DEPTH_MAX;
        // A value must begin here.
        rest = match rest {
            [b'"', after @ ..] => skip_canonical_string(after)?,
            [b'{', b'}', after @ ..] | [b'[', b']', after @ ..] if may_open => after,
            [b'{', b'"', after @ ..] if may_open => {
                let (name, after) = take_name(after)?;
                outer.extend(level.replace(Level::Object(name)));
                rest = after;
                continue;
            }
            [b'[', after @ ..] if may_open => {
                outer.extend(level.replace(Level::Array));
                rest = after;
                continue;
            }
            [b'-' | b'0'..=b'9', ..] => skip_canonical_number(rest)?,
            [b't', b'r', b'u', b'e', after @ ..]
            | [b'n', b'u', b'l', b'l', after @ ..]
            | [b'f', b'a', b'l', b's', b'e', after @ ..] => after,
            _ => return None,
        };
        // A value has ended here: containers end, until one goes on.
        loop {
            match (&mut level, rest) {
                (None, _) => return Some(rest),
                (Some(Level::Array), [b',', after @ ..]) => {
                    rest = after;
                    break;
                }
                (Some(Level::Object(last)), [b',', b'"', after @ ..]) => {
                    let (name, after) = take_name(after)?;
                    if !last.is_before(name) {
                        return None;
                    }
                    *last = name;
                    rest = after;
                    break;
                }
                (Some(Level::Array), [b']', after @ ..])
                | (Some(Level::Object(_)), [b'}', after @ ..]) => {
                    level = outer.pop();
                    rest = after;
                }
                _ => return None,
            }
        }
    }
}

/// Takes a member name and its colon, given what follows the opening quote.
#[inline]
fn take_name(text: &[u8]) -> Option<(Name<'_>, &[u8])> {
    let rest = skip_plain(text);
    if let [b'"', b':', after @ ..] = rest {
        let raw = text.get(..text.len() - rest.len())?;
        return Some((Name { raw, escaped: false }, after));
    }
    let after = skip_canonical_string(rest)?;
    let raw = text.get(..text.len() - after.len() - 1)?;
    Some((Name { raw, escaped: true }, after.strip_prefix(b":")?))
}

/// What follows a canonical string, given what follows its opening quote.
#[inline]
fn skip_canonical_string(text: &[u8]) -> Option<&[u8]> {
    let mut rest = skip_plain(text);
    loop {
        match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', after @ ..] => rest = skip_plain(skip_canonical_escape(after)?),
            _ => return None,
        }
    }
}

/// What follows a canonical number.
#[inline]
fn skip_canonical_number(text: &[u8]) -> Option<&[u8]> {
    let (number, rest) = take_number(text).ok()?;
    let token = text.get(..text.len() - rest.len())?;
    number::is_canonical(number, token).then_some(rest)
}
