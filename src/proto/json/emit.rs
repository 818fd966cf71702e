//! Writes the canonical form of a scanned text.
//!
//! Nothing is checked here, nor is the text read but where the scan has noted something: what is
//! canonical already is handed on as slices of the text, as long as possible; only white space, escapes,
//! some numbers and members out of order cut them.

use std::ops::Range;

use super::number::{self, take_number};
use super::plan::{Change, Changes, Plan};
use super::string::{take_escape, write_character};
use super::walk::skip_space;

/// Writes canonical JSON to `sink`, which must be flushed in the end.
pub(super) struct Emitter<'t, F> {
    text: &'t [u8],
    plan: &'t Plan,
    /// A part of the text that is to be written as it is, held back since it may grow.
    kept: Range<usize>,
    sink: F,
}

/// A part of the text that is yet to be written, and what is to be changed in it.
struct Stretch {
    text: Range<usize>,
    changes: Changes,
}

/// An object out of order that is being written.
struct Frame {
    /// Its next member, as an index for [`Plan::member`]; none behind the last.
    next: Option<usize>,
    is_first: bool,
    /// What is to be changed in its members.
    changes: Changes,
    /// What is to be written behind its members, from its closing brace on.
    rest: Stretch,
}

impl<'t, F: FnMut(&[u8])> Emitter<'t, F> {
    pub(super) fn new(text: &'t [u8], plan: &'t Plan, sink: F) -> Self {
        Self { text, plan, kept: 0..0, sink }
    }

    /// Writes a part of the text that is made of whole values or members.
    pub(super) fn write(&mut self, part: Range<usize>) {
        let mut frames: Vec<Frame> = Vec::new();
        let changes = self.plan.changes_within(&self.plan.changes(), &part);
        let mut stretch = Stretch { text: part, changes };
        loop {
            frames.extend(self.write_stretch(stretch));
            let Some(frame) = frames.last_mut() else {
                return;
            };
            stretch = match self.next_member(frame) {
                Some(member) => member,
                None => match frames.pop() {
                    Some(frame) => frame.rest,
                    None => return,
                },
            };
        }
    }

    /// Writes a stretch of text up to the first object out of order.
    fn write_stretch(&mut self, mut stretch: Stretch) -> Option<Frame> {
        let Stretch { text, changes } = &mut stretch;
        while let Some(change) = self.plan.take_first(changes) {
            match change {
                Change::Spelling(at) => {
                    self.keep(text.start..at);
                    text.start = self.respell(at);
                }
                Change::Order { open, close, first } => {
                    self.keep(text.start..open + 1);
                    text.start = close;
                    let inner = self.plan.take_before(changes, close);
                    let (next, is_first) = (Some(first), true);
                    return Some(Frame { next, is_first, changes: inner, rest: stretch });
                }
            }
        }
        self.keep(text.clone());
        None
    }

    /// Goes to the next member of an object, if there is one, and writes the comma in front of it.
    fn next_member(&mut self, frame: &mut Frame) -> Option<Stretch> {
        let index = frame.next?;
        let (member, is_last) = self.plan.member(index)?;
        frame.next = (!is_last).then_some(index + 1);
        if !std::mem::take(&mut frame.is_first) {
            match member.start.checked_sub(1).filter(|at| self.text.get(*at) == Some(&b',')) {
                // It can be written with what follows it.
                Some(comma) => self.keep(comma..member.start),
                None => self.put(b","),
            }
        }
        let changes = self.plan.changes_within(&frame.changes, &member);
        Some(Stretch { text: member, changes })
    }

    /// Writes what begins there as canonical JSON spells it; where the text goes on.
    fn respell(&mut self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let after = match rest {
            [b'\\', escape @ ..] => take_escape(escape).ok().map(|(character, after)| {
                self.flush();
                write_character(character, &mut self.sink);
                after
            }),
            [b'-' | b'0'..=b'9', ..] => take_number(rest).ok().map(|(number, after)| {
                let text = rest.get(..rest.len() - after.len()).unwrap_or_default();
                if let Some(rewritten) = number::rewritten(number, text) {
                    self.put(rewritten.as_bytes());
                }
                after
            }),
            _ => Some(skip_space(rest)),
        };
        self.text.len() - after.unwrap_or_default().len()
    }

    /// Writes a part of the text, sooner or later.
    #[inline]
    pub(super) fn keep(&mut self, part: Range<usize>) {
        if self.kept.end != part.start {
            self.flush();
            self.kept.start = part.start;
        }
        self.kept.end = part.end;
    }

    /// Writes something else than the text at this place, behind all that was held back.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.flush();
        (self.sink)(bytes);
    }

    /// Writes what has been held back.
    pub(super) fn flush(&mut self) {
        let kept = self.text.get(self.kept.clone()).unwrap_or_default();
        if !kept.is_empty() {
            (self.sink)(kept);
        }
        self.kept = self.kept.end..self.kept.end;
    }
}
