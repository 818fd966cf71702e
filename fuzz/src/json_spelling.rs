//! Makes trees, and spells them in one of the many ways JSON has.

use crate::input::Input;
use crate::json::Value;

/// Characters of every kind that is treated differently somewhere.
const CHARACTERS: [char; 16] = [
    'a',
    'b',
    'c',
    '\0',
    '\u{1f}',
    '\n',
    '"',
    '\\',
    '/',
    '\u{7f}',
    '\u{e9}',
    '\u{2028}',
    '\u{fb33}',
    '\u{ffff}',
    '\u{1f600}',
    '\u{10ffff}',
];
const NUMBERS: [&str; 12] = [
    "0",
    "-0",
    "1",
    "-1",
    "9007199254740991",
    "-9007199254740992",
    "1.0",
    "1e3",
    "5e-324",
    "0.1",
    "9007199254740993.0",
    "123456789012345678901234567890",
];

/// An object made of the input.
pub fn tree(input: &mut Input<'_>, depth: usize) -> Value {
    let mut object = crate::json::object([]);
    for _ in 0..input.below(6) {
        let name = text(input);
        let value = value(input, depth);
        object.set(&name, value);
    }
    object
}

fn value(input: &mut Input<'_>, depth: usize) -> Value {
    match input.below(8) {
        0 => Value::Null,
        1 => Value::Bool(input.byte() % 2 == 0),
        2 => Value::Number(NUMBERS[input.below(NUMBERS.len())].to_owned()),
        3 => Value::Number(number(input)),
        4 | 5 => Value::String(text(input)),
        6 if depth > 0 => {
            let count = input.below(5);
            Value::Array((0..count).map(|_| value(input, depth - 1)).collect())
        }
        7 if depth > 0 => tree(input, depth - 1),
        _ => Value::Bool(true),
    }
}

/// Any finite value of 64 bits, in enough digits.
fn number(input: &mut Input<'_>) -> String {
    let mut bits = [0; 8];
    bits.iter_mut().for_each(|byte| *byte = input.byte());
    let value = f64::from_bits(u64::from_le_bytes(bits));
    if value.is_finite() { format!("{value:e}") } else { u64::from_le_bytes(bits).to_string() }
}

fn text(input: &mut Input<'_>) -> String {
    let length = input.below(10);
    (0..length).map(|_| CHARACTERS[input.below(CHARACTERS.len())]).collect()
}

/// Spells a value with white space, escapes and an order of members that the input chooses.
pub fn spell(value: &Value, input: &mut Input<'_>, out: &mut String) {
    space(input, out);
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(text) => out.push_str(text),
        Value::String(text) => spell_string(text.chars(), input, out),
        Value::Array(values) => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                spell(value, input, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            for at in (1..members.len()).rev() {
                members.swap(at, at - input.below(at + 1));
            }
            out.push('{');
            for (at, (name, value)) in members.into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                space(input, out);
                spell_string(name.iter().copied(), input, out);
                space(input, out);
                out.push(':');
                spell(value, input, out);
            }
            space(input, out);
            out.push('}');
        }
    }
    space(input, out);
}

fn space(input: &mut Input<'_>, out: &mut String) {
    // An input that has ended chooses nothing out of the ordinary.
    let choice = input.below(32);
    if (1..=4).contains(&choice) {
        out.push([' ', '\t', '\n', '\r'][choice - 1]);
    }
}

fn spell_string(text: impl Iterator<Item = char>, input: &mut Input<'_>, out: &mut String) {
    out.push('"');
    for character in text {
        let must = u32::from(character) < 0x20 || character == '"' || character == '\\';
        match (input.below(8), character) {
            (1, '/') => out.push_str("\\/"),
            (0 | 1, '"' | '\\') => out.extend(['\\', character]),
            (0 | 1, '\n') => out.push_str("\\n"),
            (2, _) => spell_units(character, out, |unit| format!("\\u{unit:04X}")),
            (choice, _) if must || choice == 3 => {
                spell_units(character, out, |unit| format!("\\u{unit:04x}"));
            }
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn spell_units(character: char, out: &mut String, spell: impl Fn(u16) -> String) {
    character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&spell(*unit)));
}
