//! Sorts the members of one object by name.
//!
//! Not a sort by comparison: names chosen to share long parts full of escapes would be decoded again
//! in each of `n log n` comparisons. Here all names are read in step, character by character, and
//! only those that are still the same go on, so that no character is decoded twice.

use super::string::take_escape;

/// A member and how far its name has been read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    /// One more than the code point last read; zero at the end of the name, which sorts first.
    current: u32,
    /// The offset of what follows that character.
    next: u32,
    /// Which member it is, in the order of the text.
    index: u32,
}

impl Named {
    /// The member of that index, whose name's opening quote is at `start`.
    pub(super) fn new(text: &[u8], index: usize, start: u32) -> Self {
        let mut member = Self { current: 0, next: start + 1, index: index as u32 };
        member.advance(text);
        member
    }

    /// Which member it is, in the order of the text.
    pub(super) fn index(self) -> usize {
        self.index as usize
    }

    /// Reads one more character of the name, which has been scanned before.
    fn advance(&mut self, text: &[u8]) {
        let rest = text.get(self.next as usize..).unwrap_or_default();
        let (character, length) = match rest {
            [b'"', ..] | [] => {
                self.current = 0;
                return;
            }
            [b'\\', escape @ ..] => match take_escape(escape) {
                Ok((character, after)) => (character, rest.len() - after.len()),
                Err(_) => (char::REPLACEMENT_CHARACTER, rest.len()),
            },
            [ascii @ ..=0x7f, ..] => (char::from(*ascii), 1),
            _ => {
                // No character is longer.
                let first = rest.get(..4).unwrap_or(rest).utf8_chunks().next();
                let character = first.and_then(|valid| valid.valid().chars().next());
                let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
                (character, character.len_utf8())
            }
        };
        self.current = u32::from(character) + 1;
        self.next += length as u32;
    }
}

/// Sorts members by the code points of their decoded names. Where names are repeated, answers with
/// the first member in the text that repeats one.
pub(super) fn sort(text: &[u8], members: &mut [Named]) -> Result<(), usize> {
    let mut repetition: Option<u32> = None;
    // `at..end` is sorted by the next character of names that are the same up to there; the ends of
    // the longer runs it is a part of wait in `outer`.
    let (mut at, mut end) = (0, members.len());
    let mut outer: Vec<usize> = Vec::new();
    members.sort_unstable_by_key(|member| member.current);
    loop {
        let run = members.get_mut(at..end).unwrap_or_default();
        let Some(current) = run.first().map(|member| member.current) else {
            match outer.pop() {
                Some(longer) => end = longer,
                None => break,
            }
            continue;
        };
        let length = run.iter().take_while(|member| member.current == current).count();
        let same = run.get_mut(..length).unwrap_or_default();
        if length == 1 || current == 0 {
            same.sort_unstable_by_key(|member| member.index);
            let second = same.get(1).map(|member| member.index);
            repetition = repetition.into_iter().chain(second).min();
            at += length;
            continue;
        }
        same.iter_mut().for_each(|member| member.advance(text));
        same.sort_unstable_by_key(|member| member.current);
        if at + length < end {
            outer.push(end);
            end = at + length;
        }
    }
    repetition.map_or(Ok(()), |index| Err(index as usize))
}
