//! The strict scan: says what is wrong with a text and where, and for a sound one notes where its
//! members are out of order.
//!
//! One pass without recursion. It builds no tree: what remains is a [`Plan`], which for a text whose
//! objects are all in order is empty, however much else has to be rewritten.

use std::cmp::Ordering;

use super::number::{check_value, take_number};
use super::order::{self, Named};
use super::string::{compare_names, take_string};
use super::{JsonError, JsonErrorKind};
use crate::proto::limits::JSON_DEPTH_MAX;

/// Set in the last entry of an object in [`Plan::order`]. Offsets are below it: see [`LENGTH_MAX`].
const LAST: u32 = 1 << 31;

/// Longest text in bytes that the 31-bit offsets of a [`Plan`] can address.
pub(super) const LENGTH_MAX: usize = LAST as usize;

/// The objects whose members are not in canonical order, and the order they belong in.
///
/// Memory: an object out of order has at least two members and so 14 bytes of text with its
/// separator, for which it takes 16 bytes here; each further member takes 4. While an object is open
/// each of its members takes 4 bytes more, and while it is sorted another 12, against 8 bytes of text
/// or more as soon as there are too many for shorter names. With what growing a vector costs (see
/// [`reserve`]) that and the text stay below four times the text.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Sorted by where the objects open.
    disordered: Vec<Disordered>,
    /// Where the members of each such object begin, in canonical order, the last one marked.
    order: Vec<u32>,
}

/// One object whose members are not in canonical order.
#[derive(Clone, Copy, Debug)]
struct Disordered {
    /// The offset of its opening brace.
    open: u32,
    /// Where its members begin in [`Plan::order`].
    first: u32,
}

impl Plan {
    /// The first object out of order that opens at `offset` or later.
    pub(super) fn first_from(&self, offset: usize) -> usize {
        self.disordered.partition_point(|object| (object.open as usize) < offset)
    }

    /// The members of the object that opens at `offset`, as an index for [`Plan::member`], if it is
    /// the given object out of order.
    pub(super) fn members_of(&self, object: usize, offset: usize) -> Option<usize> {
        let object = self.disordered.get(object)?;
        (object.open as usize == offset).then_some(object.first as usize)
    }

    /// Where the members of the object that opens at `open` begin, in canonical order, if it is out
    /// of order.
    pub(super) fn members_at(&self, open: usize) -> Option<impl Iterator<Item = usize>> {
        let mut next = Some(self.members_of(self.first_from(open), open)?);
        Some(std::iter::from_fn(move || {
            let index = next?;
            let (offset, is_last) = self.member(index)?;
            next = (!is_last).then_some(index + 1);
            Some(offset)
        }))
    }

    /// Where a member begins, and whether it is the last of its object.
    pub(super) fn member(&self, index: usize) -> Option<(usize, bool)> {
        self.order.get(index).map(|entry| ((entry & !LAST) as usize, entry & LAST != 0))
    }

    /// Adds an object with its members in canonical order.
    fn add(&mut self, open: u32, members: &[Named]) {
        reserve(&mut self.disordered, 1);
        self.disordered.push(Disordered { open, first: self.order.len() as u32 });
        reserve(&mut self.order, members.len());
        self.order.extend(members.iter().map(|member| member.start()));
        if let Some(last) = self.order.last_mut() {
            *last |= LAST;
        }
    }
}

/// Makes room for `additional` more, growing by a quarter: doubling could take more than the text.
pub(super) fn reserve<T>(vector: &mut Vec<T>, additional: usize) {
    if vector.capacity() - vector.len() < additional {
        vector.reserve_exact(additional.max(vector.len() / 4).max(16));
    }
}

/// An open container.
#[derive(Clone, Copy)]
enum Level {
    Array,
    Object {
        /// The offset of its opening brace.
        open: u32,
        /// Where its members begin in [`Scanner::members`].
        first: usize,
        /// Whether the names seen so far are strictly increasing.
        ordered: bool,
    },
}

/// Scans a UTF-8 text that must be one JSON object, with no white space before it.
pub(super) fn scan(text: &str) -> Result<Plan, JsonError> {
    let mut scanner = Scanner {
        text,
        rest: text.as_bytes(),
        outer: Vec::new(),
        level: None,
        members: Vec::new(),
        sorting: Vec::new(),
        plan: Plan::default(),
    };
    scanner.value()?;
    scanner.skip_space();
    if !scanner.rest.is_empty() {
        return Err(scanner.error(JsonErrorKind::TrailingData));
    }
    if !text.starts_with('{') {
        return Err(JsonError { kind: JsonErrorKind::NotAnObject, offset: 0 });
    }
    let mut plan = scanner.plan;
    // Objects were added as they closed.
    plan.disordered.sort_unstable_by_key(|object| object.open);
    Ok(plan)
}

struct Scanner<'t> {
    text: &'t str,
    rest: &'t [u8],
    /// The open containers around `level`.
    outer: Vec<Level>,
    level: Option<Level>,
    /// The offsets of the opening quotes of the names of all open objects, outermost first.
    members: Vec<u32>,
    /// Used anew for each object that is sorted.
    sorting: Vec<Named>,
    plan: Plan,
}

impl<'t> Scanner<'t> {
    /// Scans one value and all it contains.
    fn value(&mut self) -> Result<(), JsonError> {
        loop {
            self.skip_space();
            if self.begin_value()? {
                continue;
            }
            // A value has ended: containers end, until one goes on.
            loop {
                let Some(level) = self.level else {
                    return Ok(());
                };
                self.skip_space();
                match (level, self.rest) {
                    (Level::Array, [b',', rest @ ..]) => {
                        self.rest = rest;
                        break;
                    }
                    (Level::Object { .. }, [b',', rest @ ..]) => {
                        self.rest = rest;
                        self.skip_space();
                        self.name()?;
                        break;
                    }
                    (Level::Array, [b']', rest @ ..]) => self.close(rest),
                    (Level::Object { open, first, ordered }, [b'}', rest @ ..]) => {
                        self.close(rest);
                        self.end_object(open, first, ordered)?;
                    }
                    _ => return Err(self.error(JsonErrorKind::Syntax)),
                }
            }
        }
    }

    /// Takes a scalar or an empty container, or opens a container up to its first value, which is
    /// answered with `true`.
    fn begin_value(&mut self) -> Result<bool, JsonError> {
        match self.rest {
            [b'"', text @ ..] => self.rest = self.string(text)?,
            [b'{', rest @ ..] => {
                let open = self.offset() as u32;
                self.open(rest, Level::Object { open, first: self.members.len(), ordered: true })?;
                if let [b'}', rest @ ..] = self.rest {
                    self.close(rest);
                } else {
                    self.name()?;
                    return Ok(true);
                }
            }
            [b'[', rest @ ..] => {
                self.open(rest, Level::Array)?;
                if let [b']', rest @ ..] = self.rest {
                    self.close(rest);
                } else {
                    return Ok(true);
                }
            }
            [b'-' | b'0'..=b'9', ..] => self.number()?,
            [b't', ..] => self.literal(b"true")?,
            [b'f', ..] => self.literal(b"false")?,
            [b'n', ..] => self.literal(b"null")?,
            _ => return Err(self.error(JsonErrorKind::Syntax)),
        }
        Ok(false)
    }

    fn open(&mut self, rest: &'t [u8], level: Level) -> Result<(), JsonError> {
        if self.outer.len() + usize::from(self.level.is_some()) >= JSON_DEPTH_MAX {
            return Err(self.error(JsonErrorKind::TooDeep));
        }
        self.outer.extend(self.level.replace(level));
        self.rest = rest;
        self.skip_space();
        Ok(())
    }

    fn close(&mut self, rest: &'t [u8]) {
        self.level = self.outer.pop();
        self.rest = rest;
    }

    /// Takes a member name and its colon.
    fn name(&mut self) -> Result<(), JsonError> {
        let [b'"', text @ ..] = self.rest else {
            return Err(self.error(JsonErrorKind::Syntax));
        };
        let offset = self.offset() as u32;
        let rest = self.string(text)?;
        if let Some(Level::Object { first, ordered, .. }) = &mut self.level {
            // Once out of order, members wait for the sort, which finds repetitions too.
            if *ordered && let Some(last) = self.members.get(*first..).and_then(<[_]>::last) {
                let last = self.text.as_bytes().get(*last as usize + 1..).unwrap_or_default();
                match compare_names(last, text) {
                    Ordering::Less => {}
                    Ordering::Equal => return Err(self.error(JsonErrorKind::DuplicateKey)),
                    Ordering::Greater => *ordered = false,
                }
            }
        }
        reserve(&mut self.members, 1);
        self.members.push(offset);
        self.rest = rest;
        self.skip_space();
        self.rest =
            self.rest.strip_prefix(b":").ok_or_else(|| self.error(JsonErrorKind::Syntax))?;
        Ok(())
    }

    /// Lets go of a closed object's members, noting their order when the text has another.
    fn end_object(&mut self, open: u32, first: usize, ordered: bool) -> Result<(), JsonError> {
        if !ordered {
            let members = self.members.get(first..).unwrap_or_default();
            self.sorting.clear();
            reserve(&mut self.sorting, members.len());
            self.sorting.extend(members.iter().map(|start| Named::new(self.text, *start)));
            order::sort(self.text, &mut self.sorting).map_err(|offset| JsonError {
                kind: JsonErrorKind::DuplicateKey,
                offset: offset as usize,
            })?;
            self.plan.add(open, &self.sorting);
        }
        self.members.truncate(first);
        Ok(())
    }

    fn string(&self, text: &'t [u8]) -> Result<&'t [u8], JsonError> {
        take_string(text).map_err(|flaw| self.error_at(flaw.kind, flaw.at))
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let (number, rest) =
            take_number(self.rest).map_err(|at| self.error_at(JsonErrorKind::Syntax, at))?;
        let text = self.rest.get(..self.rest.len() - rest.len()).unwrap_or_default();
        check_value(number, text).map_err(|kind| self.error(kind))?;
        self.rest = rest;
        Ok(())
    }

    fn literal(&mut self, literal: &[u8]) -> Result<(), JsonError> {
        self.rest =
            self.rest.strip_prefix(literal).ok_or_else(|| self.error(JsonErrorKind::Syntax))?;
        Ok(())
    }

    #[inline]
    fn skip_space(&mut self) {
        self.rest = skip_space(self.rest);
    }

    fn offset(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    fn error(&self, kind: JsonErrorKind) -> JsonError {
        self.error_at(kind, self.rest)
    }

    fn error_at(&self, kind: JsonErrorKind, rest: &[u8]) -> JsonError {
        JsonError { kind, offset: self.text.len() - rest.len() }
    }
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
