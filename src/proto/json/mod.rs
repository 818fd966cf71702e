//! JSON as it may appear in a signed request: one strict scan, one canonical form, no tree.

use std::borrow::Cow;
use std::fmt;

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
    /// Something follows the object.
    TrailingData,
}

impl fmt::Display for JsonError {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!()
    }
}

/// One JSON object, scanned and found unambiguous.
#[derive(Debug)]
pub struct Object<'a> {
    _text: &'a [u8],
}

impl<'a> Object<'a> {
    /// Scans a whole text that must be exactly one JSON object.
    pub fn scan(_text: &'a [u8]) -> Result<Self, JsonError> {
        todo!()
    }

    /// Whether the text is its own canonical form, byte for byte.
    pub fn is_canonical(&self) -> bool {
        todo!()
    }

    /// Hands the canonical form to `sink`, in order, in one or more slices.
    pub fn write_canonical(&self, _sink: &mut impl FnMut(&[u8])) {
        todo!()
    }

    /// The same for the object without the named top-level members (as for signing: `signatures`
    /// and `unsigned`).
    pub fn write_canonical_without(&self, _omitted: &[&str], _sink: &mut impl FnMut(&[u8])) {
        todo!()
    }

    /// The top-level members, in the order of the text: decoded name and raw value text.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a [u8])> {
        std::iter::empty()
    }
}

/// Hands `text` to `sink` as a canonical JSON string, quotes included.
pub fn write_string(_text: &str, _sink: &mut impl FnMut(&[u8])) {
    todo!()
}
