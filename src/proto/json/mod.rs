//! JSON as it may appear in a signed request: one strict scan, one canonical form, no tree.
//!
//! Cost in release, beside SHA-512 over the same bytes: 0.14 of its instructions to accept 200 KB that are
//! canonical, 0.4 to scan and write them with every object shuffled. Nothing is quadratic: of hostile
//! bodies of 13 MB the worst took 4 times the hash to scan (objects out of order within each other) and
//! 19 to write (short floats that grow to three times their length), and 5.4 times the body in memory,
//! itself included (small objects out of order, with white space all over).

mod emit;
mod growing;
mod number;
mod order;
mod part;
mod plan;
mod scan;
mod string;
#[cfg(test)]
mod tests;
mod utf8;
mod walk;

use std::borrow::Cow;
use std::fmt;

use self::emit::Emitter;
pub use self::growing::GrowingText;
pub use self::part::Part;
use self::plan::Plan;
pub use self::string::write_string;
use self::walk::MemberPlace;

/// Why a text is refused, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// What is wrong.
    pub kind: JsonErrorKind,
    /// Byte offset into the text.
    pub offset: usize,
}

/// What is wrong with a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonErrorKind {
    /// The text starts with a byte order mark.
    ByteOrderMark,
    /// A member name appears twice in one object (compared after unescaping).
    DuplicateKey,
    /// An integer has more digits than `JSON_INTEGER_DIGITS_MAX`.
    IntegerTooLong,
    /// Half of a surrogate pair stands alone.
    LoneSurrogate,
    /// The text is valid JSON but not an object.
    NotAnObject,
    /// The text is not UTF-8.
    NotUtf8,
    /// A number has no finite value.
    NumberNotFinite,
    /// The text breaks the JSON grammar.
    Syntax,
    /// Arrays and objects are nested deeper than `JSON_DEPTH_MAX`.
    TooDeep,
    /// The text is longer than 2 GiB.
    TooLong,
    /// Something follows the object.
    TrailingData,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.kind, self.offset)
    }
}

impl std::error::Error for JsonError {}

impl fmt::Display for JsonErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByteOrderMark => "the text starts with a byte order mark",
            Self::DuplicateKey => "a member name is repeated within one object",
            Self::IntegerTooLong => "an integer has too many digits",
            Self::LoneSurrogate => "an escape is half of a surrogate pair",
            Self::NotAnObject => "the text is not a JSON object",
            Self::NotUtf8 => "the text is not UTF-8",
            Self::NumberNotFinite => "a number is too large for a 64-bit float",
            Self::Syntax => "the text is not JSON",
            Self::TooDeep => "arrays and objects are nested too deep",
            Self::TooLong => "the text is longer than 2 GiB",
            Self::TrailingData => "something follows the JSON value",
        })
    }
}

/// One JSON object, scanned and found unambiguous.
///
/// The text is borrowed and never copied: what is kept besides is the order of members where the
/// text has them in another.
#[derive(Debug)]
pub struct Object<'a> {
    /// The object from its opening to its closing brace, which is UTF-8.
    text: &'a [u8],
    /// Whether there is white space around the object.
    padded: bool,
    /// How it differs from its canonical form.
    plan: Cow<'a, Plan>,
}

impl<'a> Object<'a> {
    /// Scans a whole text that must be exactly one JSON object, white space around it allowed
    /// (R31, R34, R35).
    ///
    /// # Errors
    /// What is found wrong first. A byte order mark and invalid UTF-8 are looked for before all else,
    /// and a repeated name at the end of its object if the names before it are out of order.
    pub fn scan(text: &'a [u8]) -> Result<Self, JsonError> {
        let (object, offset) = trim(text)?;
        let plan = scan::scan(object)
            .map_err(|error| JsonError { offset: offset + error.offset, ..error })?;
        Ok(Self { text: object, padded: object.len() != text.len(), plan: Cow::Owned(plan) })
    }

    /// An object of which it is known that it is its canonical form.
    fn canonical(text: &'a [u8]) -> Self {
        Self { text, padded: false, plan: Cow::Owned(Plan::default()) }
    }

    /// The object that a value is, given its text within this object: where all of this is canonical
    /// so is any part, and is not scanned again.
    ///
    /// # Errors
    /// The value is no object.
    pub fn scan_value(&self, value: &'a [u8]) -> Result<Self, JsonError> {
        match self.part(value) {
            Some(text) if self.plan.is_empty() && text.starts_with(b"{") => {
                Ok(Self::canonical(text))
            }
            _ => Self::scan(value),
        }
    }

    /// The bytes as a part of the text, if that is where they are.
    fn part(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let start = bytes.as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
        self.text.get(start..start.checked_add(bytes.len())?)
    }

    /// Whether the text is its own canonical form, byte for byte.
    pub fn is_canonical(&self) -> bool {
        self.plan.is_empty() && !self.padded
    }

    /// Hands the canonical form to `sink`, in order, in one or more slices: the bytes CPython's
    /// `json` and canonicaljson, and so Synapse, make of the same text.
    pub fn write_canonical(&self, sink: &mut impl FnMut(&[u8])) {
        let mut emitter = Emitter::new(self.text, &self.plan, sink);
        emitter.write(0..self.text.len());
        emitter.flush();
    }

    /// The same for the object without the named top-level members (as for signing: `signatures`
    /// and `unsigned`).
    pub fn write_canonical_without(&self, omitted: &[&str], sink: &mut impl FnMut(&[u8])) {
        let part = |name: &str| if omitted.contains(&name) { Part::Nothing } else { Part::Whole };
        self.write_canonical_part(part, sink);
    }

    /// The same for a part of the object (as for redaction): `part` says of each top-level member, by
    /// its decoded name, how much of it is written.
    pub fn write_canonical_part(
        &self,
        part: impl FnMut(&str) -> Part,
        sink: &mut impl FnMut(&[u8]),
    ) {
        part::write(self.text, &self.plan, part, sink);
    }

    /// The same, given what [`Self::raw_members`] found in this object, in its order: where the text is
    /// canonical, it is not walked through again.
    pub fn write_canonical_part_of(
        &self,
        members: &[RawMember<'a>],
        part: impl FnMut(&str) -> Part,
        sink: &mut impl FnMut(&[u8]),
    ) {
        if self.plan.is_empty() {
            part::write_known(self.text, members, part, sink);
        } else {
            self.write_canonical_part(part, sink);
        }
    }

    /// The length of the canonical form in bytes.
    pub fn canonical_bytes(&self) -> usize {
        let mut bytes = 0;
        self.write_canonical(&mut |piece: &[u8]| bytes += piece.len());
        bytes
    }

    /// The text of the first number that canonical JSON has no place for: with a fraction or an
    /// exponent, or an integer beyond 2^53 - 1 in magnitude (appendices, canonical JSON). `-0` is not
    /// among them: it is written as `0`.
    pub fn first_foreign_number(&self) -> Option<&'a str> {
        walk::numbers(self.text)
            .find(|(number, text)| !number::is_within_canonical_json(*number, text))
            .and_then(|(_, text)| std::str::from_utf8(text).ok())
    }

    /// The top-level members, in the order of the text: decoded name and raw value text. A value that
    /// is an object can be scanned in turn.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a [u8])> {
        self.raw_members().map(|member| (member.name, member.value))
    }

    /// The same with each member's whole text.
    pub fn raw_members(&self) -> impl Iterator<Item = RawMember<'a>> {
        let text = self.text;
        walk::members(text, 0).map(move |member| {
            let part = |range| text.get(range).unwrap_or_default();
            RawMember {
                name: decoded_name(text, &member),
                value: part(member.value.clone()),
                text: part(member.name.start..member.value.end),
                start: member.name.start,
            }
        })
    }
}

/// The string that the text of a value within a scanned text stands for; none if the value is no
/// string.
pub fn string_value(value: &[u8]) -> Option<Cow<'_, str>> {
    let body = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(body).ok().map(string::decoded)
}

/// The values of the array that the text of a value within a scanned text is; none if the value is
/// no array.
pub fn array_values(value: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    value.starts_with(b"[").then(|| walk::values(value))
}

/// The members of the object that the text of a value within a scanned text is, in the order of the
/// text: decoded name and raw value text; none if the value is no object. Unlike [`Object::scan`] it
/// checks nothing again.
pub fn object_members(value: &[u8]) -> Option<impl Iterator<Item = (Cow<'_, str>, &[u8])>> {
    let members = value.starts_with(b"{").then(|| walk::members(value, 0))?;
    Some(members.filter_map(|member| {
        Some((string_value(value.get(member.name)?)?, value.get(member.value)?))
    }))
}

/// The raw text of one such member's value; none also if the object has none of that name.
pub fn object_member<'v>(value: &'v [u8], name: &str) -> Option<&'v [u8]> {
    object_members(value)?.find(|(found, _)| found == name).map(|(_, member)| member)
}

/// A member of an object.
#[derive(Clone, Debug)]
pub struct RawMember<'a> {
    /// Its name, decoded.
    pub name: Cow<'a, str>,
    /// The text of its value.
    pub value: &'a [u8],
    /// The text of all of it, from the name's opening quote to the end of the value.
    pub text: &'a [u8],
    /// Where it begins in the text of the object.
    start: usize,
}

/// The decoded name of a member of the object that the text is.
fn decoded_name<'a>(text: &'a [u8], member: &MemberPlace) -> Cow<'a, str> {
    text.get(member.name.clone()).and_then(string_value).unwrap_or_default()
}

/// The text without the white space around it, and how many bytes of that were in front.
fn trim(text: &[u8]) -> Result<(&[u8], usize), JsonError> {
    let refuse = |kind, offset| Err(JsonError { kind, offset });
    if text.len() > plan::LENGTH_MAX {
        return refuse(JsonErrorKind::TooLong, plan::LENGTH_MAX);
    }
    if text.starts_with("\u{feff}".as_bytes()) {
        return refuse(JsonErrorKind::ByteOrderMark, 0);
    }
    if let Err(broken) = utf8::check(text) {
        return refuse(JsonErrorKind::NotUtf8, broken.offset);
    }
    let inner = walk::skip_space(text);
    let space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let behind = inner.iter().rev().take_while(space).count();
    Ok((inner.get(..inner.len() - behind).unwrap_or_default(), text.len() - inner.len()))
}
