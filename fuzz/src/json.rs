//! JSON as a tree: read by recursive descent, written in canonical form from sorted maps.

use std::collections::BTreeMap;

use crate::number;

/// Deepest nesting of arrays and objects, as the library has it.
const DEPTH_MAX: usize = 500;

/// A value. Names are kept as characters, so that maps sort by code point.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    /// The text of a number.
    Number(String),
    String(String),
    Array(Vec<Value>),
    Object(BTreeMap<Vec<char>, Value>),
}

/// Reads a text that must be one object, unambiguous and within the bounds.
pub fn parse_object(text: &[u8]) -> Option<Value> {
    let characters: Vec<char> = std::str::from_utf8(text).ok()?.chars().collect();
    let mut reader = Reader { characters: &characters, at: 0 };
    reader.space();
    if reader.peek() != Some('{') {
        return None;
    }
    let value = reader.value(0)?;
    reader.space();
    (reader.at == characters.len()).then_some(value)
}

/// An object of these members.
pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    Value::Object(members.map(|(name, value)| (name.chars().collect(), value)).into())
}

pub fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

impl Value {
    pub fn member(&self, name: &str) -> Option<&Self> {
        self.members()?.get(&name.chars().collect::<Vec<_>>())
    }

    pub fn members(&self) -> Option<&BTreeMap<Vec<char>, Self>> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    pub fn array(&self) -> Option<&[Self]> {
        if let Self::Array(values) = self { Some(values) } else { None }
    }

    pub fn text(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The object without the named members.
    pub fn without(&self, names: &[&str]) -> Self {
        let Self::Object(members) = self else { return self.clone() };
        let mut members = members.clone();
        for name in names {
            members.remove(&name.chars().collect::<Vec<_>>());
        }
        Self::Object(members)
    }

    /// Sets a member of an object.
    pub fn set(&mut self, name: &str, value: Self) {
        if let Self::Object(members) = self {
            members.insert(name.chars().collect(), value);
        }
    }

    /// The object in a member, made if there is none.
    pub fn object_in(&mut self, name: &str) -> &mut Self {
        if !matches!(self, Self::Object(_)) {
            *self = object([]);
        }
        let Self::Object(members) = self else { unreachable!() };
        let member = members.entry(name.chars().collect()).or_insert_with(|| object([]));
        if !matches!(member, Self::Object(_)) {
            *member = object([]);
        }
        member
    }

    /// The canonical form.
    pub fn canonical(&self) -> Vec<u8> {
        let mut out = String::new();
        self.write(&mut out);
        out.into_bytes()
    }

    /// Whether there is a number in it that canonical JSON has no place for.
    pub fn has_foreign_number(&self) -> bool {
        match self {
            Self::Number(text) => !number::is_within_canonical_json(text),
            Self::Array(values) => values.iter().any(Self::has_foreign_number),
            Self::Object(members) => members.values().any(Self::has_foreign_number),
            Self::Null | Self::Bool(_) | Self::String(_) => false,
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(text) => out.push_str(&number::canonical(text).unwrap_or_default()),
            Self::String(text) => write_string(text.chars(), out),
            Self::Array(values) => {
                out.push('[');
                for (at, value) in values.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    value.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { "," });
                    write_string(name.iter().copied(), out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_string(text: impl Iterator<Item = char>, out: &mut String) {
    out.push('"');
    for character in text {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if u32::from(control) < 0x20 => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

struct Reader<'a> {
    characters: &'a [char],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn take(&mut self, wanted: char) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        word.chars().try_for_each(|character| self.take(character))?;
        Some(value)
    }

    /// The value that begins here, inside of so many arrays and objects.
    fn value(&mut self, depth: usize) -> Option<Value> {
        match self.peek()? {
            'n' => self.word("null", Value::Null),
            't' => self.word("true", Value::Bool(true)),
            'f' => self.word("false", Value::Bool(false)),
            '"' => self.string().map(Value::String),
            '[' if depth < DEPTH_MAX => self.array(depth + 1),
            '{' if depth < DEPTH_MAX => self.object(depth + 1),
            '-' | '0'..='9' => self.number(),
            _ => None,
        }
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        self.take('[')?;
        let mut values = Vec::new();
        self.space();
        if self.take(']').is_some() {
            return Some(Value::Array(values));
        }
        loop {
            self.space();
            values.push(self.value(depth)?);
            self.space();
            if self.take(']').is_some() {
                return Some(Value::Array(values));
            }
            self.take(',')?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.take('{')?;
        let mut members = BTreeMap::new();
        self.space();
        if self.take('}').is_some() {
            return Some(Value::Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.take(':')?;
            self.space();
            let value = self.value(depth)?;
            if members.insert(name.chars().collect(), value).is_some() {
                return None;
            }
            self.space();
            if self.take('}').is_some() {
                return Some(Value::Object(members));
            }
            self.take(',')?;
        }
    }

    fn number(&mut self) -> Option<Value> {
        let from = self.at;
        while matches!(self.peek(), Some('0'..='9' | '-' | '+' | '.' | 'e' | 'E')) {
            self.at += 1;
        }
        let text: String = self.characters[from..self.at].iter().collect();
        number::canonical(&text).map(|_| Value::Number(text))
    }

    fn string(&mut self) -> Option<String> {
        self.take('"')?;
        let mut units: Vec<u16> = Vec::new();
        loop {
            let character = self.peek()?;
            self.at += 1;
            match character {
                '"' => return String::from_utf16(&units).ok(),
                '\\' => units.push(self.escape()?),
                control if u32::from(control) < 0x20 => return None,
                other => units.extend(other.encode_utf16(&mut [0; 2]).iter()),
            }
        }
    }

    fn escape(&mut self) -> Option<u16> {
        let letter = self.peek()?;
        self.at += 1;
        Some(match letter {
            '"' | '\\' | '/' => letter as u16,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'u' => {
                let digits = self.characters.get(self.at..self.at + 4)?;
                self.at += 4;
                let digits = digits.iter().map(|digit| digit.to_digit(16));
                digits
                    .collect::<Option<Vec<_>>>()?
                    .iter()
                    .fold(0, |unit, digit| unit * 16 + *digit as u16)
            }
            _ => return None,
        })
    }
}
