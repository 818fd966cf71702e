//! The vectors below `tests/vectors`, for the unit tests of this module.

use serde_json::Value;

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The spec's published vectors, and some derived from them.
pub(super) fn spec() -> Value {
    parse(include_str!("../../tests/vectors/spec_vectors.json"))
}
