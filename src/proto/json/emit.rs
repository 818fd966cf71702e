//! Writes the canonical form of a scanned text, and walks over its top-level members.
//!
//! Nothing is checked here: the text has been accepted, and a value can be skipped or copied by its
//! quotes and brackets alone. What is canonical already is handed on as slices of the text, as long
//! as possible; only white space, escapes, some numbers and members out of order cut them.

use std::ops::Range;

use super::number::{self, Number, take_number};
use super::scan::{Plan, skip_space};
use super::string::{skip_canonical_escape, skip_plain, skip_string, take_escape, write_character};

/// Writes canonical JSON to `sink`, which must be flushed in the end.
pub(super) struct Emitter<'t, F> {
    text: &'t [u8],
    plan: &'t Plan,
    /// A part of the text that is to be written as it is, held back since it may grow.
    kept: Range<usize>,
    sink: F,
}

/// An object out of order that is being written.
struct Frame {
    /// Its next member, as an index for [`Plan::member`]; none behind the last.
    next: Option<usize>,
    /// The offset of its closing brace, once the member in front of that has been written.
    close: usize,
    /// How many containers were open between it and the next such object around it.
    depth: usize,
}

impl<'t, F: FnMut(&[u8])> Emitter<'t, F> {
    pub(super) fn new(text: &'t [u8], plan: &'t Plan, sink: F) -> Self {
        Self { text, plan, kept: 0..0, sink }
    }

    /// Writes the value or member that begins at `start`, up to the separator or closing bracket
    /// behind it, or to the end of the text.
    pub(super) fn write_from(&mut self, start: usize) {
        let mut frames: Vec<Frame> = Vec::new();
        // The next object out of order in the text, and the containers open around `rest` within
        // the innermost frame's current member.
        let mut object = self.plan.first_from(start);
        let mut depth = 0_usize;
        let mut rest = self.text.get(start..).unwrap_or_default();
        while let [byte, after @ ..] = rest {
            let at = self.text.len() - rest.len();
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => rest = after,
                b'"' => rest = self.write_string(rest, after),
                b'-' | b'0'..=b'9' => rest = self.write_number(rest),
                b'{' if self.plan.members_of(object, at).is_some() => {
                    let next = self.plan.members_of(object, at);
                    self.keep(at..at + 1);
                    frames.push(Frame { next, close: at, depth });
                    (rest, object) = self.next_member(&mut frames, &mut depth);
                }
                b',' | b'}' | b']' if depth == 0 => {
                    let Some(frame) = frames.last_mut() else {
                        return;
                    };
                    if *byte == b'}' {
                        frame.close = at;
                    }
                    if frame.next.is_some() {
                        self.put(b",");
                    }
                    (rest, object) = self.next_member(&mut frames, &mut depth);
                }
                _ => {
                    match byte {
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    self.keep(at..at + 1);
                    rest = after;
                }
            }
        }
    }

    /// Goes to the next member of the innermost object out of order, or behind that object. Returns
    /// the text from there on and the next object out of order in it.
    fn next_member(&mut self, frames: &mut Vec<Frame>, depth: &mut usize) -> (&'t [u8], usize) {
        let next = frames
            .last_mut()
            .and_then(|frame| Some((frame.next?, frame)))
            .and_then(|(index, frame)| Some((index, self.plan.member(index)?, frame)));
        let position = if let Some((index, (offset, is_last), frame)) = next {
            frame.next = (!is_last).then_some(index + 1);
            *depth = 0;
            offset
        } else {
            let Some(frame) = frames.pop() else {
                return (&[], 0);
            };
            self.keep(frame.close..frame.close + 1);
            *depth = frame.depth;
            frame.close + 1
        };
        (self.text.get(position..).unwrap_or_default(), self.plan.first_from(position))
    }

    /// Writes the string that `rest` begins with, given also what follows its opening quote.
    /// Returns what follows the string.
    fn write_string(&mut self, rest: &'t [u8], body: &'t [u8]) -> &'t [u8] {
        let mut from = self.text.len() - rest.len();
        let mut rest = skip_plain(body);
        while let [b'\\', escape @ ..] = rest {
            if let Some(after) = skip_canonical_escape(escape) {
                rest = skip_plain(after);
                continue;
            }
            let Ok((character, after)) = take_escape(escape) else {
                break;
            };
            self.keep(from..self.text.len() - rest.len());
            self.flush();
            write_character(character, &mut self.sink);
            from = self.text.len() - after.len();
            rest = skip_plain(after);
        }
        let after = rest.get(1..).unwrap_or_default();
        self.keep(from..self.text.len() - after.len());
        after
    }

    /// Writes the number that `rest` begins with and returns what follows it.
    fn write_number(&mut self, rest: &'t [u8]) -> &'t [u8] {
        let Ok((number, after)) = take_number(rest) else {
            return &[];
        };
        let start = self.text.len() - rest.len();
        let end = self.text.len() - after.len();
        let text = self.text.get(start..end).unwrap_or_default();
        match number::rewritten(number, text) {
            None => self.keep(start..end),
            Some(rewritten) => self.put(rewritten.as_bytes()),
        }
        after
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
