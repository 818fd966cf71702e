//! The scan: says what is wrong with a text and where, and for a sound one notes how it differs from its
//! canonical form.
//!
//! Synapse and Dendrite send bodies as the canonical bytes they signed, so that there is nothing to note;
//! this is the common case and decides what a request costs. One pass without recursion and without a
//! tree: for a value that is behind nothing is kept but what has to be changed in it. Since the scan can go
//! on where a text has ended so far, it can be made while the text still comes.
//!
//! Why a text without a note equals its canonical form: canonical JSON leaves one spelling for every
//! value, and any other is noted. White space is; so is every escape but the canonical ones, which leave
//! no other way to write the same characters (what needs no escape cannot be escaped, surrogates cannot
//! appear at all); numbers are compared with what would be printed; the members of an object must have
//! strictly increasing decoded names, which also rules out duplicates.

use std::cmp::Ordering;

use smallvec::SmallVec;

use super::number::{self, check_value, take_number};
use super::order::{self, Named};
use super::plan::{self, Plan};
use super::string::{
    Flaw, are_surely_ordered, compare_names, skip_canonical_escape, skip_plain, take_escape,
};
use super::walk::skip_space;
use super::{JsonError, JsonErrorKind};
use crate::proto::limits::JSON_DEPTH_MAX;

/// As many open containers as events have around anything in them, and some: they take no memory of their
/// own.
const LEVELS_INLINE: usize = 12;

/// As many members as there are in the open objects of a transaction around anything, and some.
const MEMBERS_INLINE: usize = 64;

/// The plan of a UTF-8 text that must be one JSON object, with no white space around it.
pub(super) fn scan(text: &[u8]) -> Result<Plan, JsonError> {
    let mut scan = Scan::new();
    scan.advance(text)?;
    let further = skip_space(text.get(scan.at..).unwrap_or_default());
    if !further.is_empty() {
        let offset = text.len() - further.len();
        return Err(JsonError { kind: JsonErrorKind::TrailingData, offset });
    }
    if !text.starts_with(b"{") {
        return Err(JsonError { kind: JsonErrorKind::NotAnObject, offset: 0 });
    }
    Ok(scan.notes.plan)
}

/// How far a text that may still grow has been scanned.
#[derive(Debug)]
pub(super) struct Scan {
    /// Where the next token begins, or a string goes on.
    at: usize,
    next: Next,
    /// The innermost open container.
    level: Option<Level>,
    notes: Notes,
}

/// What must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Value,
    /// The rest of a string that is a value.
    String,
    /// The first value of an array, or its end.
    FirstItem,
    /// The first member of an object, or its end.
    FirstName,
    /// The name of a further member.
    Name,
    /// The end of a container, or a comma.
    Behind,
}

/// An open container.
#[derive(Clone, Copy, Debug)]
struct Level {
    kind: Kind,
    /// The offset of its opening bracket.
    open: u32,
    /// Where its members begin in [`Notes::members`].
    first: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Kind {
    Array,
    /// An object whose names are strictly increasing so far.
    Object,
    /// Any other.
    DisorderedObject,
}

/// What is kept of the text that has been scanned.
#[derive(Debug)]
struct Notes {
    /// The open containers around the innermost one.
    outer: SmallVec<[Level; LEVELS_INLINE]>,
    /// The offsets of the opening quotes of the names of all open objects, outermost first; room for more
    /// behind them.
    members: SmallVec<[u32; MEMBERS_INLINE]>,
    /// How many there are.
    open_members: usize,
    /// Used anew for each object that is sorted.
    sorting: Vec<Named>,
    plan: Plan,
    is_canonical: bool,
}

impl Scan {
    /// Of a text that is yet to come.
    pub(super) fn new() -> Self {
        let notes = Notes {
            outer: SmallVec::new(),
            members: SmallVec::from_buf([0; MEMBERS_INLINE]),
            open_members: 0,
            sorting: Vec::new(),
            plan: Plan::default(),
            is_canonical: true,
        };
        Self { at: 0, next: Next::Value, level: None, notes }
    }

    /// Goes on with the same text, of which there may be more, to the end of the value that it is. Whether
    /// it is UTF-8 is not looked at.
    ///
    /// # Errors
    /// What is wrong, which may be no more than that the rest has not come yet: the scan can go on.
    pub(super) fn advance(&mut self, text: &[u8]) -> Result<(), JsonError> {
        let rest = text.get(self.at..).unwrap_or_default();
        let (next, level, last) = (self.next, self.level, self.notes.last_member());
        let mut place = Place { text, rest, level, next, last, notes: &mut self.notes };
        let result = place.take();
        let Place { rest, level, next, .. } = place;
        (self.at, self.level, self.next) = (text.len() - rest.len(), level, next);
        result.map_err(|flaw| JsonError { kind: flaw.kind, offset: text.len() - flaw.at.len() })?;
        self.notes.plan.finish();
        Ok(())
    }

    /// How many bytes have been scanned.
    pub(super) const fn scanned_bytes(&self) -> usize {
        self.at
    }

    /// Whether nothing has been found to be different in canonical form.
    pub(super) const fn is_canonical(&self) -> bool {
        self.notes.is_canonical
    }

    /// How the text differs from its canonical form, once it has ended.
    pub(super) const fn plan(&self) -> &Plan {
        &self.notes.plan
    }

    /// How much memory is taken by what is noted, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let Notes { outer, members, sorting, plan, .. } = &self.notes;
        outer.capacity() * size_of::<Level>()
            + members.capacity() * size_of::<u32>()
            + sorting.capacity() * size_of::<Named>()
            + plan.memory_bytes()
    }
}

/// A place in a text that is being scanned.
struct Place<'t, 'n> {
    text: &'t [u8],
    /// The end of the text, from the next token on.
    rest: &'t [u8],
    level: Option<Level>,
    next: Next,
    /// The last one of [`Notes::members`].
    last: u32,
    notes: &'n mut Notes,
}

impl<'t> Place<'t, '_> {
    /// Takes token by token, to the end of the outermost value. What fails has taken nothing.
    fn take(&mut self) -> Result<(), Flaw<'t>> {
        'token: loop {
            'value: {
                match (self.next, self.rest) {
                    (Next::Behind, _)
                    | (Next::FirstItem, [b']', ..])
                    | (Next::FirstName, [b'}', ..]) => break 'value,
                    (Next::String, _) => {
                        self.take_string()?;
                        break 'value;
                    }
                    (Next::FirstName | Next::Name, [b'"', name @ ..]) => self.take_name(name)?,
                    (Next::FirstItem, [byte, ..]) if !is_space(*byte) => self.next = Next::Value,
                    (Next::FirstItem | Next::FirstName | Next::Name, _) => {
                        self.take_space()?;
                        continue 'token;
                    }
                    (Next::Value, _) => {}
                }
                if self.take_begin()? {
                    continue 'token;
                }
            }
            self.next = Next::Behind;
            if self.take_behind()? {
                return Ok(());
            }
        }
    }

    /// Takes a scalar, or what opens a container, which is answered with `true`; so is white space.
    #[inline]
    fn take_begin(&mut self) -> Result<bool, Flaw<'t>> {
        match self.rest {
            [b'"', after @ ..] => {
                self.rest = skip_plain(after);
                if let [b'"', after @ ..] = self.rest {
                    self.rest = after;
                } else {
                    self.next = Next::String;
                    self.take_string()?;
                }
            }
            [b'{', after @ ..] => {
                self.open(after, Kind::Object, Next::FirstName)?;
                return Ok(true);
            }
            [b'[', after @ ..] => {
                self.open(after, Kind::Array, Next::FirstItem)?;
                return Ok(true);
            }
            [b'-' | b'0'..=b'9', ..] => self.take_number()?,
            [b't', b'r', b'u', b'e', after @ ..]
            | [b'n', b'u', b'l', b'l', after @ ..]
            | [b'f', b'a', b'l', b's', b'e', after @ ..] => self.rest = after,
            _ => {
                self.take_space()?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    #[inline]
    fn open(&mut self, after: &'t [u8], kind: Kind, next: Next) -> Result<(), Flaw<'t>> {
        if self.notes.outer.len() + usize::from(self.level.is_some()) >= JSON_DEPTH_MAX {
            return Err(self.flaw(JsonErrorKind::TooDeep));
        }
        let (open, first) = (self.offset() as u32, self.notes.open_members as u32);
        if let Some(around) = self.level.replace(Level { kind, open, first }) {
            self.notes.outer.push(around);
        }
        self.rest = after;
        self.next = next;
        Ok(())
    }

    #[inline]
    fn close(&mut self, after: &'t [u8]) {
        self.level = self.notes.outer.pop();
        self.last = self.notes.last_member();
        self.rest = after;
    }

    /// Takes what follows a value: containers end, until one goes on. Whether the outermost has ended.
    #[inline]
    fn take_behind(&mut self) -> Result<bool, Flaw<'t>> {
        loop {
            let Some(level) = self.level else { return Ok(true) };
            match (level.kind, self.rest) {
                (Kind::Array, [b',', after @ ..]) => {
                    self.rest = after;
                    self.next = Next::Value;
                    return Ok(false);
                }
                (_, [b',', after @ ..]) => {
                    self.rest = after;
                    self.next = Next::Name;
                    return Ok(false);
                }
                (Kind::Array, [b']', after @ ..]) => self.close(after),
                (Kind::Object | Kind::DisorderedObject, [b'}', after @ ..]) => {
                    if level.kind == Kind::DisorderedObject {
                        self.reorder(level)?;
                    }
                    self.notes.open_members = level.first as usize;
                    self.close(after);
                }
                _ => self.take_space()?,
            }
        }
    }

    /// Takes a member's name and its colon, given what follows the opening quote.
    #[inline]
    fn take_name(&mut self, name: &'t [u8]) -> Result<(), Flaw<'t>> {
        let start = self.offset() as u32;
        let after = match skip_plain(name) {
            [b'"', b':', after @ ..] => after,
            rest => self.take_unusual_name(rest)?,
        };
        if self.next == Next::Name {
            let last = self.text.get(self.last as usize + 1..).unwrap_or_default();
            if !are_surely_ordered(last, name) {
                self.compare_names(last, name)?;
            }
        }
        self.notes.add_member(start);
        self.last = start;
        self.rest = after;
        self.next = Next::Value;
        Ok(())
    }

    /// What follows the colon of a name with escapes in it or space behind it, given what follows the plain
    /// part of the name. It is there as a whole, or not taken at all.
    #[inline(never)]
    fn take_unusual_name(&mut self, rest: &'t [u8]) -> Result<&'t [u8], Flaw<'t>> {
        let (begin, spellings) = (self.rest, self.notes.plan.spellings());
        self.rest = rest;
        let result = self.take_string().and_then(|()| {
            if self.rest.first().copied().is_some_and(is_space) {
                self.take_space()?;
            }
            self.rest.strip_prefix(b":").ok_or(self.flaw(JsonErrorKind::Syntax))
        });
        self.rest = begin;
        if result.is_err() {
            self.notes.plan.keep_spellings(spellings);
        }
        result
    }

    /// Compares a further name with the one before it. Once they are out of order, members wait for the
    /// sort, which finds repetitions too.
    #[inline(never)]
    fn compare_names(&mut self, last: &'t [u8], name: &'t [u8]) -> Result<(), Flaw<'t>> {
        let Some(Level { kind: kind @ Kind::Object, .. }) = &mut self.level else { return Ok(()) };
        match compare_names(last, name) {
            Ordering::Less => {}
            Ordering::Equal => return Err(self.flaw(JsonErrorKind::DuplicateKey)),
            Ordering::Greater => {
                *kind = Kind::DisorderedObject;
                self.notes.is_canonical = false;
            }
        }
        Ok(())
    }

    /// Notes in which order the members of an object belong, which ends here.
    #[inline(never)]
    fn reorder(&mut self, object: Level) -> Result<(), Flaw<'t>> {
        let (text, close) = (self.text, self.offset());
        let Notes { members, open_members, sorting, plan, .. } = &mut *self.notes;
        let members = members.get(object.first as usize..*open_members).unwrap_or_default();
        sorting.clear();
        plan::reserve(sorting, members.len());
        let named = |(index, start): (usize, &u32)| Named::new(text, index, *start);
        sorting.extend(members.iter().enumerate().map(named));
        if let Err(repetition) = order::sort(text, sorting) {
            let start = members.get(repetition).map_or(close, |start| *start as usize);
            let at = text.get(start..).unwrap_or_default();
            return Err(Flaw { kind: JsonErrorKind::DuplicateKey, at });
        }
        let place = |member: &Named| {
            let start = |index| members.get(index).map(|start| *start as usize);
            let index = member.index();
            let end = match start(index + 1) {
                Some(next) => comma_before(text, next),
                None => close,
            };
            start(index).unwrap_or(end)..end
        };
        plan.add(object.open as usize..close, sorting.iter().map(place));
        Ok(())
    }

    /// Takes what there is of a string, given what follows its opening quote or an earlier part of it.
    #[inline(never)]
    fn take_string(&mut self) -> Result<(), Flaw<'t>> {
        loop {
            self.rest = skip_plain(self.rest);
            match self.rest {
                [b'"', after @ ..] => {
                    self.rest = after;
                    return Ok(());
                }
                [b'\\', escape @ ..] => {
                    let after = if let Some(after) = skip_canonical_escape(escape) {
                        after
                    } else {
                        let (_, after) =
                            take_escape(escape).map_err(|error| error.flaw(self.rest))?;
                        self.note_spelling();
                        after
                    };
                    self.rest = after;
                }
                _ => return Err(self.flaw(JsonErrorKind::Syntax)),
            }
        }
    }

    #[inline]
    fn take_number(&mut self) -> Result<(), Flaw<'t>> {
        let syntax = |at| Flaw { kind: JsonErrorKind::Syntax, at };
        let (number, after) = take_number(self.rest).map_err(syntax)?;
        let text = self.rest.get(..self.rest.len() - after.len()).unwrap_or_default();
        check_value(number, text).map_err(|kind| self.flaw(kind))?;
        // More of it might come.
        if after.is_empty() && self.level.is_some() {
            return Err(syntax(after));
        }
        if number::rewritten(number, text).is_some() {
            self.note_spelling();
        }
        self.rest = after;
        Ok(())
    }

    /// Takes white space, of which there must be some.
    #[inline(never)]
    fn take_space(&mut self) -> Result<(), Flaw<'t>> {
        let after = skip_space(self.rest);
        if after.len() == self.rest.len() {
            return Err(self.flaw(JsonErrorKind::Syntax));
        }
        self.note_spelling();
        self.rest = after;
        Ok(())
    }

    /// Notes that what follows is spelt in another way.
    fn note_spelling(&mut self) {
        self.notes.plan.respell(self.offset());
        self.notes.is_canonical = false;
    }

    fn offset(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    fn flaw(&self, kind: JsonErrorKind) -> Flaw<'t> {
        Flaw { kind, at: self.rest }
    }
}

impl Notes {
    #[inline]
    fn add_member(&mut self, start: u32) {
        match self.members.get_mut(self.open_members) {
            Some(place) => *place = start,
            None => self.push_member(start),
        }
        self.open_members += 1;
    }

    #[inline(never)]
    fn push_member(&mut self, start: u32) {
        if self.members.len() == self.members.capacity() {
            self.members.reserve_exact(plan::growth(self.members.len(), 1));
        }
        self.members.push(start);
    }

    /// The last member of the innermost open object that has one.
    #[inline]
    fn last_member(&self) -> u32 {
        let last = self.open_members.checked_sub(1);
        last.and_then(|last| self.members.get(last)).copied().unwrap_or_default()
    }
}

/// Where the comma before the member that begins at `offset` stands.
#[inline]
fn comma_before(text: &[u8], offset: usize) -> usize {
    text.get(..offset).unwrap_or_default().trim_ascii_end().len().saturating_sub(1)
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
