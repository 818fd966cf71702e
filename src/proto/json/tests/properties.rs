//! Properties over random values and random damage.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Characters of every kind that is treated differently somewhere.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        6 => prop::char::range('a', 'e'),
        2 => prop::char::range('\0', '\u{20}'),
        2 => prop::sample::select(vec!['"', '\\', '/', '\u{7f}', 'é', '\u{2028}', '\u{fb33}', '\u{ffff}', '😀']),
        1 => any::<char>(),
    ];
    vec(character, 0..12).prop_map(|characters| characters.into_iter().collect())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(text(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    btree_map(text(), value(), 0..8)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// Draws small numbers from a seed; what is spelt how need not be shrunk.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn space(&mut self, out: &mut String) {
        for _ in 0..self.roll(6).saturating_sub(3) {
            out.push([' ', '\n', '\t', '\r'][self.roll(4) as usize]);
        }
    }

    fn string(&mut self, text: &str, out: &mut String) {
        out.push('"');
        for character in text.chars() {
            if self.roll(4) == 0 {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let digits = format!("{unit:04x}");
                    out.push_str("\\u");
                    out.push_str(&if self.roll(2) == 0 { digits } else { digits.to_uppercase() });
                }
            } else if character == '/' && self.roll(2) == 0 {
                out.push_str("\\/");
            } else {
                let spelt = serde_json::to_string(&character.to_string()).unwrap();
                out.push_str(spelt.strip_prefix('"').unwrap().strip_suffix('"').unwrap());
            }
        }
        out.push('"');
    }

    /// Writes the value with its members in any order, with white space and needless escapes.
    fn write(&mut self, value: &Value, out: &mut String) {
        self.space(out);
        match value {
            Value::String(text) => self.string(text, out),
            Value::Array(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    self.write(item, out);
                }
                self.space(out);
                out.push(']');
            }
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                for index in (1..members.len()).rev() {
                    members.swap(index, self.roll(index as u64 + 1) as usize);
                }
                out.push('{');
                for (index, (name, member)) in members.into_iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    self.space(out);
                    self.string(name, out);
                    self.space(out);
                    out.push(':');
                    self.write(member, out);
                }
                self.space(out);
                out.push('}');
            }
            Value::Number(number) if number.as_u64() == Some(0) => out.push_str("-0"),
            Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
        }
        self.space(out);
    }
}

fn scramble(value: &Value, seed: u64) -> String {
    let mut text = String::new();
    Dice(seed).write(value, &mut text);
    text
}

/// The value without the numbers that serde_json makes floats of, which it does not round correctly,
/// and without zeros, since it does so with `-0`.
fn without_floats(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() || number.as_u64() == Some(0) => Value::Null,
        Value::Array(items) => items.into_iter().map(without_floats).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (name, without_floats(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

proptest! {
    /// serde_json keeps members in a `BTreeMap<String, _>` and spells strings canonically.
    #[test]
    fn any_spelling_has_the_canonical_form_of_its_value(value in object(), seed: u64) {
        let expected = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(&canonical(scramble(&value, seed)), &expected);
        prop_assert_eq!(&canonical(&expected), &expected);
        prop_assert!(Object::scan(expected.as_bytes()).unwrap().is_canonical());
    }

    #[test]
    fn leaving_out_members_equals_removing_them(value in object(), seed: u64, which: prop::sample::Index) {
        let text = scramble(&value, seed);
        let mut members = value.as_object().unwrap().clone();
        // Now and then a name that is not there.
        let name = members.keys().nth(which.index(members.len() + 1)).cloned().unwrap_or_default();
        members.remove(&name);
        prop_assert_eq!(without(&text, &[&name]), serde_json::to_string(&members).unwrap());
    }

    /// Members by name, two levels deep: the names are those of `text` with one character.
    #[test]
    fn writing_a_part_equals_taking_it(value in object(), seed: u64) {
        const INNER: &[(&str, Part)] = &[("c", Part::Whole), ("a", Part::Members(&[("b", Part::Whole)]))];
        let mut members = value.as_object().unwrap().clone();
        for (at, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            // Something to choose from, nested in different depths.
            let inner = if at % 2 == 0 { value.clone() } else { serde_json::json!({ "a": value, "c": at + 1 }) };
            members.insert(name.to_owned(), serde_json::json!({ "a": inner, "c": value, "x": 1 }));
        }
        let part = |name: &str| match name {
            "a" | "b" => Part::Members(INNER),
            "c" => Part::Whole,
            _ => Part::Nothing,
        };
        let take = |value: &Value, names: &[&str]| -> Value {
            let members = value.as_object().unwrap().iter();
            let kept = members.filter(|(name, _)| names.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect())
        };
        let text = scramble(&Value::Object(members.clone()), seed);
        let mut wanted = take(&Value::Object(members), &["a", "b", "c"]);
        for name in ["a", "b"] {
            wanted[name] = take(&wanted[name], &["a", "c"]);
            wanted[name]["a"] = take(&wanted[name]["a"], &["b"]);
        }
        let object = Object::scan(text.as_bytes()).unwrap();
        let written = collect(|mut sink| object.write_canonical_part(part, &mut sink));
        prop_assert_eq!(String::from_utf8(written).unwrap(), wanted.to_string());
    }

    #[test]
    fn members_are_those_of_the_value(value in object(), seed: u64) {
        let text = scramble(&value, seed);
        let members: serde_json::Map<_, _> = Object::scan(text.as_bytes())
            .unwrap()
            .members()
            .map(|(name, raw)| {
                // serde_json reads -0 as a float.
                let wrapped = canonical([b"{\"a\":", raw, b"}"].concat());
                let value: Value = serde_json::from_str(&wrapped).unwrap();
                (name.into_owned(), value["a"].clone())
            })
            .collect();
        prop_assert_eq!(Value::Object(members), value);
    }

    #[test]
    fn floats_print_what_reads_back(bits: u64) {
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite());
        let printed = canonical(format!("{{\"a\":{float:e}}}"));
        let number = printed.strip_prefix("{\"a\":").unwrap().strip_suffix('}').unwrap();
        let value: f64 = number.parse().unwrap();
        prop_assert_eq!(value.to_bits(), float.to_bits());
        prop_assert_eq!(&canonical(&printed), &printed);
    }

    /// Whatever a damaged byte makes of a text: nothing panics, and what is accepted has the value that serde_json reads.
    #[test]
    fn damage_is_refused_or_read_alike(
        value in object(), seed: u64, place: prop::sample::Index, byte: u8, sorted: bool,
    ) {
        let text = if sorted { value.to_string() } else { scramble(&value, seed) };
        let mut text = text.into_bytes();
        let index = place.index(text.len());
        let kinds = *b"{}[]:,\"\\ u0-.e";
        text[index] = *kinds.get(usize::from(byte)).unwrap_or(&byte);
        growing::check(&text);
        match Object::scan(&text) {
            Ok(object) => {
                let written = collect(|mut sink| object.write_canonical(&mut sink));
                prop_assert_eq!(object.is_canonical(), written == text);
                prop_assert!(Object::scan(&written).unwrap().is_canonical());
                let value = |text: &[u8]| without_floats(serde_json::from_slice(text).unwrap());
                prop_assert_eq!(value(&text), value(&written));
            }
            Err(error) => prop_assert!(error.offset <= text.len()),
        }
    }

    #[test]
    fn any_bytes_are_judged_without_panic(bytes in vec(any::<u8>(), 0..64)) {
        let _ = Object::scan(&bytes);
    }
}
