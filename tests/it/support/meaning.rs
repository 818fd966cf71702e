//! What a JSON text means, read slowly by a parser that is not the gate's.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON value as Matrix tells them apart: `1` and `1.0` are not the same.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    Array(Vec<Meaning>),
    Float(u64),
    Integer(String),
    Object(BTreeMap<String, Meaning>),
    Text(String),
    Word(String),
}

/// Reads a text; `None` when it is not JSON, or has a repeated member anywhere.
pub fn meaning(text: &[u8]) -> Option<Meaning> {
    read(serde_json::from_slice::<&RawValue>(text).ok()?)
}

fn read(raw: &RawValue) -> Option<Meaning> {
    let text = raw.get();
    match text.as_bytes().first()? {
        b'{' => {
            let Members(members) = serde_json::from_str(text).ok()?;
            let count = members.len();
            let object: BTreeMap<String, Meaning> = members
                .into_iter()
                .map(|(name, value)| Some((name, read(&value)?)))
                .collect::<Option<_>>()?;
            (object.len() == count).then_some(Meaning::Object(object))
        }
        b'[' => {
            let values: Vec<Box<RawValue>> = serde_json::from_str(text).ok()?;
            values.iter().map(|value| read(value)).collect::<Option<_>>().map(Meaning::Array)
        }
        b'"' => serde_json::from_str(text).ok().map(Meaning::Text),
        b'-' | b'0'..=b'9' if text.contains(['.', 'e', 'E']) => {
            text.parse::<f64>().ok().map(|float| Meaning::Float(float.to_bits()))
        }
        b'-' | b'0'..=b'9' if text == "-0" => Some(Meaning::Integer("0".to_owned())),
        b'-' | b'0'..=b'9' => Some(Meaning::Integer(text.to_owned())),
        _ => Some(Meaning::Word(text.to_owned())),
    }
}

/// The members of an object as they stand, repeated ones and all.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[test]
fn the_slow_reading_tells_apart_what_differs_and_nothing_else() {
    let same = [
        (r#"{"a":1,"b":[1.5]}"#, "{ \"b\" : [15e-1],\n\"\\u0061\":1}"),
        (r#"{"a":-0}"#, r#"{"a":0}"#),
        (r#"{"a":1e22}"#, r#"{"a":1E+22}"#),
    ];
    for (one, other) in same {
        assert_eq!(meaning(one.as_bytes()).unwrap(), meaning(other.as_bytes()).unwrap());
    }
    let differing = [(r#"{"a":1}"#, r#"{"a":1.0}"#), (r#"{"a":-0.0}"#, r#"{"a":0.0}"#)];
    for (one, other) in differing {
        assert_ne!(meaning(one.as_bytes()).unwrap(), meaning(other.as_bytes()).unwrap());
    }
    for broken in [r#"{"a":1,"\u0061":1}"#, r#"[{"a":{"b":1,"b":1}}]"#, "{", "{}{}", ""] {
        assert_eq!(meaning(broken.as_bytes()), None, "{broken}");
    }
}
