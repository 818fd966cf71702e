//! How a text that has been scanned differs from its canonical form.

use std::ops::Range;

/// Set in the last member of an object in [`Plan::members`]. Offsets are below it: see [`LENGTH_MAX`].
const LAST: u32 = 1 << 31;

/// Longest text in bytes that the 31-bit offsets of a [`Plan`] can address.
pub(super) const LENGTH_MAX: usize = LAST as usize;

/// What is to be changed in a text: nothing in a canonical one.
///
/// Memory: an object out of order has at least two members and so 14 bytes of text with its separator,
/// for which it takes 28 bytes here; each further member takes 8, and what is spelt in another way 4, of
/// which there can be one for every two bytes. While an object is open each of its members takes 4 bytes
/// more, and while it is sorted another 12, against 8 bytes of text or more as soon as there are too many
/// for shorter names. With what growing a vector costs (see [`growth`]) that and the text stay below six
/// times the text.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// The objects whose members are in another order, by where they open.
    objects: Vec<Disordered>,
    /// The members of each such object, in canonical order, the last one marked.
    members: Vec<Member>,
    /// Where something begins that is spelt in another way, ascending: white space, an escape or a number.
    spellings: Vec<u32>,
}

/// An object whose members are not in canonical order.
#[derive(Clone, Copy, Debug)]
struct Disordered {
    /// The offset of its opening brace.
    open: u32,
    /// The offset of its closing brace.
    close: u32,
    /// Where its members begin in [`Plan::members`].
    first: u32,
}

/// A member of such an object, from its name's opening quote to the comma or brace behind its value.
#[derive(Clone, Copy, Debug)]
struct Member {
    /// Where it begins, and whether it is the last one.
    start: u32,
    end: u32,
}

/// The changes within a part of a text, as places in a [`Plan`].
#[derive(Clone, Debug)]
pub(super) struct Changes {
    objects: Range<usize>,
    spellings: Range<usize>,
}

/// A change.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// What begins there is spelt in another way.
    Spelling(usize),
    /// The members of an object are in another order.
    Order {
        /// The offset of its opening brace.
        open: usize,
        /// The offset of its closing brace.
        close: usize,
        /// Its first member in canonical order, for [`Plan::member`].
        first: usize,
    },
}

impl Plan {
    /// Whether the text is its own canonical form.
    pub(super) const fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.spellings.is_empty()
    }

    /// How much memory it takes, in bytes.
    pub(super) const fn memory_bytes(&self) -> usize {
        self.objects.capacity() * size_of::<Disordered>()
            + self.members.capacity() * size_of::<Member>()
            + self.spellings.capacity() * size_of::<u32>()
    }

    /// Notes that what begins at `offset`, behind all that has been noted, is spelt in another way.
    pub(super) fn respell(&mut self, offset: usize) {
        reserve(&mut self.spellings, 1);
        self.spellings.push(offset as u32);
    }

    /// How much has been noted of spellings.
    pub(super) const fn spellings(&self) -> usize {
        self.spellings.len()
    }

    /// Forgets what has been noted of spellings beyond so many.
    pub(super) fn keep_spellings(&mut self, number: usize) {
        self.spellings.truncate(number);
    }

    /// Adds an object with its members in canonical order. Objects come in any order.
    pub(super) fn add(
        &mut self,
        object: Range<usize>,
        members: impl ExactSizeIterator<Item = Range<usize>>,
    ) {
        let (open, close) = (object.start as u32, object.end as u32);
        reserve(&mut self.objects, 1);
        self.objects.push(Disordered { open, close, first: self.members.len() as u32 });
        reserve(&mut self.members, members.len());
        let member =
            |place: Range<usize>| Member { start: place.start as u32, end: place.end as u32 };
        self.members.extend(members.map(member));
        if let Some(last) = self.members.last_mut() {
            last.start |= LAST;
        }
    }

    /// Says that all objects have been added.
    pub(super) fn finish(&mut self) {
        self.objects.sort_unstable_by_key(|object| object.open);
    }

    /// A member, and whether it is the last of its object.
    pub(super) fn member(&self, index: usize) -> Option<(Range<usize>, bool)> {
        let Member { start, end } = *self.members.get(index)?;
        Some(((start & !LAST) as usize..end as usize, start & LAST != 0))
    }

    /// Where the members of the object that opens at `open` begin, in canonical order, if it is out
    /// of order.
    pub(super) fn members_at(&self, open: usize) -> Option<impl Iterator<Item = usize>> {
        let index = self.objects.binary_search_by_key(&open, |object| object.open as usize).ok()?;
        let mut next = Some(self.objects.get(index)?.first as usize);
        Some(std::iter::from_fn(move || {
            let index = next?;
            let (member, is_last) = self.member(index)?;
            next = (!is_last).then_some(index + 1);
            Some(member.start)
        }))
    }

    /// All changes.
    pub(super) fn changes(&self) -> Changes {
        Changes { objects: 0..self.objects.len(), spellings: 0..self.spellings.len() }
    }

    /// Those of the changes that begin within a part of the text.
    pub(super) fn changes_within(&self, changes: &Changes, part: &Range<usize>) -> Changes {
        let [start, end] = [part.start, part.end].map(|offset| self.split(changes, offset));
        Changes { objects: start.0..end.0, spellings: start.1..end.1 }
    }

    /// Takes from the front of the changes those that begin before `offset`.
    pub(super) fn take_before(&self, changes: &mut Changes, offset: usize) -> Changes {
        let (object, spelling) = self.split(changes, offset);
        let taken = Changes {
            objects: changes.objects.start..object,
            spellings: changes.spellings.start..spelling,
        };
        (changes.objects.start, changes.spellings.start) = (object, spelling);
        taken
    }

    /// The places of the first changes that begin at `offset` or later.
    fn split(&self, changes: &Changes, offset: usize) -> (usize, usize) {
        let objects = self.objects.get(changes.objects.clone()).unwrap_or_default();
        let spellings = self.spellings.get(changes.spellings.clone()).unwrap_or_default();
        (
            changes.objects.start + objects.partition_point(|at| (at.open as usize) < offset),
            changes.spellings.start + spellings.partition_point(|at| (*at as usize) < offset),
        )
    }

    /// Takes the first of the changes.
    pub(super) fn take_first(&self, changes: &mut Changes) -> Option<Change> {
        let object = self.objects.get(changes.objects.clone()).and_then(<[_]>::first);
        let spelling = self.spellings.get(changes.spellings.clone()).and_then(<[_]>::first);
        match (object, spelling) {
            (Some(object), spelling) if spelling.is_none_or(|at| object.open < *at) => {
                changes.objects.start += 1;
                let Disordered { open, close, first } = *object;
                let (open, close) = (open as usize, close as usize);
                Some(Change::Order { open, close, first: first as usize })
            }
            (_, Some(at)) => {
                changes.spellings.start += 1;
                Some(Change::Spelling(*at as usize))
            }
            (_, None) => None,
        }
    }
}

/// Makes room for `additional` more.
pub(super) fn reserve<T>(vector: &mut Vec<T>, additional: usize) {
    if vector.capacity() - vector.len() < additional {
        vector.reserve_exact(growth(vector.len(), additional));
    }
}

/// For how many more there should be room: a quarter, since doubling could take more than the text.
pub(super) fn growth(length: usize, additional: usize) -> usize {
    additional.max(length / 4).max(16)
}
