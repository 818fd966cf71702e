//! The fast path: is this text already its own canonical form?
//!
//! Synapse and Dendrite send bodies as the canonical bytes they signed, so this is the common case
//! and decides what a request costs. One pass, one small record for each open container, nothing
//! kept for a value that is behind; and since it can go on where a text has ended so far, it can be
//! made while the text still comes.
//!
//! Why acceptance means that the text equals what [`super::emit`] would write for it: canonical JSON
//! leaves one spelling for every value, and this accepts that spelling only. No whitespace is
//! skipped; a string may hold only the canonical spelling of an escape, which leaves no other way to
//! write the same characters (what needs no escape cannot be escaped, surrogates cannot appear at
//! all); numbers are compared with what would be printed; the members of an object must have strictly
//! increasing decoded names, which also rules out duplicates. Anything else is not refused here but
//! left to the strict scan, which knows what is wrong or how to rewrite it.

use std::cmp::Ordering;
use std::ops::Range;

use super::number::{self, take_number};
use super::string::{compare_names, skip_canonical_escape, skip_plain};
use crate::proto::limits::JSON_DEPTH_MAX;

/// What cannot be taken for want of the rest of it is shorter, in bytes: a number, or a member's name
/// with its colon. Longer ones may be canonical, but not while the text still comes.
const TOKEN_BYTES_MAX: usize = 4_096;

/// How far a text that may still grow is the canonical form of an object.
#[derive(Debug)]
pub(super) struct CanonicalScan {
    /// Where the next token begins, or a string goes on.
    at: usize,
    next: Next,
    /// The innermost open container, and those around it.
    level: Option<Level>,
    outer: Vec<Level>,
}

/// What a scan has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The text is not, or not as far as can be told.
    Not,
    /// It is so far.
    Partly,
    /// All of it is.
    Whole,
}

/// What must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Value,
    /// The rest of a string that is a value.
    String,
    /// The end of a container, or a comma and what it goes on with.
    Behind,
}

/// An open container.
#[derive(Clone, Copy, Debug)]
enum Level {
    Array,
    /// An object and the last name seen in it.
    Object(Name),
}

/// Where a member's name stands, without its quotes.
#[derive(Clone, Copy, Debug)]
struct Name {
    start: usize,
    end: usize,
    escaped: bool,
}

impl Name {
    fn place(self) -> Range<usize> {
        self.start..self.end
    }

    #[inline]
    fn is_before(self, next: Self, text: &[u8]) -> bool {
        let raw = |name: Self| text.get(name.place()).unwrap_or_default();
        if self.escaped || next.escaped {
            return compare_names(raw(self), raw(next)) == Ordering::Less;
        }
        raw(self) < raw(next)
    }
}

/// Whether the UTF-8 text is one JSON object in canonical form, and within the bounds.
pub(super) fn is_canonical_object(text: &[u8]) -> bool {
    CanonicalScan::new().advance(text) == Progress::Whole
}

impl CanonicalScan {
    /// Of a text that is yet to come.
    pub(super) const fn new() -> Self {
        Self { at: 0, next: Next::Value, level: None, outer: Vec::new() }
    }

    /// Goes on with the same text, of which there may be more. Whether it is UTF-8 is not looked at.
    pub(super) fn advance(&mut self, text: &[u8]) -> Progress {
        if !text.starts_with(b"{") {
            return if text.is_empty() { Progress::Partly } else { Progress::Not };
        }
        let mut rest = text.get(self.at..).unwrap_or_default();
        let is_whole = self.take(text, &mut rest).is_some();
        self.at = text.len() - rest.len();
        match (is_whole, rest.len()) {
            (true, 0) => Progress::Whole,
            (false, 0..TOKEN_BYTES_MAX) => Progress::Partly,
            _ => Progress::Not,
        }
    }

    /// Takes what is canonical off the front of `rest`, the end of the text, token by token; up to the
    /// end of the object, else none.
    #[inline]
    fn take<'t>(&mut self, text: &'t [u8], rest: &mut &'t [u8]) -> Option<()> {
        loop {
            let next = self.next;
            match next {
                Next::Value if self.take_begin(text, rest)? => continue,
                Next::String => take_string(rest)?,
                Next::Value | Next::Behind => {}
            }
            self.next = Next::Behind;
            // A value has ended here: containers end, until one goes on.
            loop {
                match (&mut self.level, *rest) {
                    (None, _) => return Some(()),
                    (Some(Level::Array), [b',', after @ ..]) => {
                        *rest = after;
                        break;
                    }
                    (Some(Level::Object(last)), [b',', b'"', after @ ..]) => {
                        let (name, after) = take_name(text, after)?;
                        if !last.is_before(name, text) {
                            return None;
                        }
                        *last = name;
                        *rest = after;
                        break;
                    }
                    (Some(Level::Array), [b']', after @ ..])
                    | (Some(Level::Object(_)), [b'}', after @ ..]) => {
                        self.level = self.outer.pop();
                        *rest = after;
                    }
                    _ => return None,
                }
            }
            self.next = Next::Value;
        }
    }

    /// Takes a value, or of one with values in it what stands before the first, which is answered with
    /// `true`.
    #[inline]
    fn take_begin<'t>(&mut self, text: &'t [u8], rest: &mut &'t [u8]) -> Option<bool> {
        let may_open = self.outer.len() + usize::from(self.level.is_some()) < JSON_DEPTH_MAX;
        match *rest {
            [b'"', after @ ..] => {
                *rest = after;
                self.next = Next::String;
                take_string(rest)?;
            }
            [b'{', b'}', after @ ..] | [b'[', b']', after @ ..] if may_open => *rest = after,
            [b'{', b'"', after @ ..] if may_open => {
                let (name, after) = take_name(text, after)?;
                self.outer.extend(self.level.replace(Level::Object(name)));
                *rest = after;
                return Some(true);
            }
            [b'[', after @ ..] if may_open && !after.is_empty() => {
                self.outer.extend(self.level.replace(Level::Array));
                *rest = after;
                return Some(true);
            }
            [b'-' | b'0'..=b'9', ..] => *rest = skip_canonical_number(rest)?,
            [b't', b'r', b'u', b'e', after @ ..]
            | [b'n', b'u', b'l', b'l', after @ ..]
            | [b'f', b'a', b'l', b's', b'e', after @ ..] => *rest = after,
            _ => return None,
        }
        Some(false)
    }
}

/// Takes a member name and its colon, given what follows the opening quote.
#[inline]
fn take_name<'t>(text: &[u8], name: &'t [u8]) -> Option<(Name, &'t [u8])> {
    let start = text.len() - name.len();
    let rest = skip_plain(name);
    if let [b'"', b':', after @ ..] = rest {
        return Some((Name { start, end: text.len() - rest.len(), escaped: false }, after));
    }
    let mut after = rest;
    take_string(&mut after)?;
    let end = text.len() - after.len() - 1;
    Some((Name { start, end, escaped: true }, after.strip_prefix(b":")?))
}

/// Takes what there is of a canonical string, given what follows its opening quote or an earlier part of
/// it; none unless that is all of it.
#[inline]
fn take_string(rest: &mut &[u8]) -> Option<()> {
    loop {
        *rest = skip_plain(rest);
        match *rest {
            [b'"', after @ ..] => {
                *rest = after;
                return Some(());
            }
            [b'\\', after @ ..] => *rest = skip_canonical_escape(after)?,
            _ => return None,
        }
    }
}

/// What follows a canonical number, of which more might come if nothing does.
#[inline]
fn skip_canonical_number(text: &[u8]) -> Option<&[u8]> {
    let (number, rest) = take_number(text).ok().filter(|(_, rest)| !rest.is_empty())?;
    let token = text.get(..text.len() - rest.len())?;
    number::is_canonical(number, token).then_some(rest)
}
