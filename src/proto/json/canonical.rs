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

use smallvec::SmallVec;

use super::number::{self, take_number};
use super::string::{compare_names, skip_canonical_escape, skip_plain};
use crate::proto::limits::JSON_DEPTH_MAX;

/// What cannot be taken for want of the rest of it is shorter, in bytes: a number, or a member's name
/// with its colon. Longer ones may be canonical, but not while the text still comes.
const TOKEN_BYTES_MAX: usize = 4_096;

/// As many open containers as events have around anything in them, and some: they take no memory of their
/// own.
const LEVELS_INLINE: usize = 12;

/// How far a text that may still grow is the canonical form of an object.
#[derive(Debug)]
pub(super) struct CanonicalScan {
    /// Where the next token begins, or a string goes on.
    at: usize,
    next: Next,
    /// The innermost open container, and those around it.
    level: Option<Level>,
    outer: Outer,
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
    /// Whatever follows, the text is not canonical.
    Nothing,
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
        let (this, next_raw) = (raw(self), raw(next));
        if self.escaped || next.escaped {
            return compare_names(this, next_raw) == Ordering::Less;
        }
        match (this, next_raw) {
            // Most names differ in their first byte.
            ([a, ..], [b, ..]) if a != b => a < b,
            _ => this < next_raw,
        }
    }
}

/// Whether the UTF-8 text is one JSON object in canonical form, and within the bounds.
pub(super) fn is_canonical_object(text: &[u8]) -> bool {
    CanonicalScan::new().advance(text) == Progress::Whole
}

impl CanonicalScan {
    /// Of a text that is yet to come.
    pub(super) fn new() -> Self {
        Self { at: 0, next: Next::Value, level: None, outer: SmallVec::new() }
    }

    /// Goes on with the same text, of which there may be more. Whether it is UTF-8 is not looked at.
    pub(super) fn advance(&mut self, text: &[u8]) -> Progress {
        if !text.starts_with(b"{") {
            return if text.is_empty() { Progress::Partly } else { Progress::Not };
        }
        let rest = text.get(self.at..).unwrap_or_default();
        let mut place = Place { text, rest, level: self.level, next: self.next };
        let is_whole = place.take(&mut self.outer).is_some();
        let Place { rest, level, next, .. } = place;
        (self.at, self.level, self.next) = (text.len() - rest.len(), level, next);
        match (is_whole, rest.len()) {
            (true, 0) => Progress::Whole,
            (false, 0..TOKEN_BYTES_MAX) if next != Next::Nothing => Progress::Partly,
            _ => Progress::Not,
        }
    }
}

/// How far a scan has come.
struct Place<'t> {
    text: &'t [u8],
    /// The end of the text, from the next token on.
    rest: &'t [u8],
    level: Option<Level>,
    next: Next,
}

type Outer = SmallVec<[Level; LEVELS_INLINE]>;

impl Place<'_> {
    /// Takes what is canonical, token by token; up to the end of the object, else none.
    #[inline]
    fn take(&mut self, outer: &mut Outer) -> Option<()> {
        loop {
            let next = self.next;
            match next {
                Next::Value if self.take_begin(outer)? => continue,
                Next::String => take_string(&mut self.rest)?,
                Next::Value | Next::Behind => {}
                Next::Nothing => return None,
            }
            self.next = Next::Behind;
            if self.take_behind(outer)? {
                return Some(());
            }
            self.next = Next::Value;
        }
    }

    /// Takes a value, or of one with values in it what stands before the first, which is answered with
    /// `true`.
    #[inline]
    fn take_begin(&mut self, outer: &mut Outer) -> Option<bool> {
        let may_open = outer.len() + usize::from(self.level.is_some()) < JSON_DEPTH_MAX;
        match self.rest {
            [b'"', after @ ..] => {
                let behind = skip_plain(after);
                if let [b'"', behind @ ..] = behind {
                    self.rest = behind;
                    return Some(false);
                }
                self.rest = behind;
                self.next = Next::String;
                take_string(&mut self.rest)?;
            }
            [b'{', b'}', after @ ..] | [b'[', b']', after @ ..] if may_open => self.rest = after,
            [b'{', b'"', after @ ..] if may_open => {
                let (name, after) = take_name(self.text, after)?;
                self.open(outer, Level::Object(name));
                self.rest = after;
                return Some(true);
            }
            [b'[', after @ ..] if may_open && !after.is_empty() => {
                self.open(outer, Level::Array);
                self.rest = after;
                return Some(true);
            }
            [b'-' | b'0'..=b'9', ..] => self.rest = skip_canonical_number(self.rest)?,
            [b't', b'r', b'u', b'e', after @ ..]
            | [b'n', b'u', b'l', b'l', after @ ..]
            | [b'f', b'a', b'l', b's', b'e', after @ ..] => self.rest = after,
            _ => return None,
        }
        Some(false)
    }

    #[inline]
    fn open(&mut self, outer: &mut Outer, level: Level) {
        if let Some(around) = self.level.replace(level) {
            outer.push(around);
        }
    }

    /// Takes what follows a value: containers end, until one goes on. Whether the outermost has ended.
    #[inline]
    fn take_behind(&mut self, outer: &mut Outer) -> Option<bool> {
        loop {
            match (&mut self.level, self.rest) {
                (None, _) => return Some(true),
                (Some(Level::Array), [b',', after @ ..]) => {
                    self.rest = after;
                    return Some(false);
                }
                (Some(Level::Object(last)), [b',', b'"', after @ ..]) => {
                    let (name, after) = take_name(self.text, after)?;
                    if !last.is_before(name, self.text) {
                        self.next = Next::Nothing;
                        return None;
                    }
                    *last = name;
                    self.rest = after;
                    return Some(false);
                }
                (Some(Level::Array), [b']', after @ ..])
                | (Some(Level::Object(_)), [b'}', after @ ..]) => {
                    self.level = outer.pop();
                    self.rest = after;
                }
                _ => return None,
            }
        }
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
