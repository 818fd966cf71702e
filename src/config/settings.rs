//! The settings as written, gathered from defaults, file, environment and command line, each value
//! with the place it came from. What they mean is for `check` to say.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, FilePlace, Place, toml_string, without_credentials};
use super::options::{self, Default, Kind, Opt, Section};
use super::sources::{Document, Sources};
use super::suggest;

/// Most syntax errors reported for one file; those after the first few are mostly their echo.
const SYNTAX_ERRORS_MAX: usize = 5;

/// A value as written.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) raw: Raw,
    pub(crate) place: Place,
}

/// The forms a value may be written in.
#[derive(Clone, Debug)]
pub(crate) enum Raw {
    /// A whole number.
    Integer(String),
    /// A list.
    List(Vec<Value>),
    /// A form no setting has: a float, a truth value, a date. As written.
    Other(String),
    /// A table: names, where they are, and values.
    Table(Vec<(String, Place, Value)>),
    /// A text.
    Text(String),
}

/// What is written, wherever it is.
impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b))
            | (Self::Other(a), Self::Other(b))
            | (Self::Text(a), Self::Text(b)) => a == b,
            (Self::List(a), Self::List(b)) => {
                a.iter().map(|value| &value.raw).eq(b.iter().map(|value| &value.raw))
            }
            (Self::Table(a), Self::Table(b)) => {
                let entries =
                    |(name, _, value): &(String, Place, Value)| (name.clone(), value.raw.clone());
                a.iter().map(entries).eq(b.iter().map(entries))
            }
            _ => false,
        }
    }
}

/// A repeated section: which, where it starts, and its values by name.
#[derive(Clone, Debug)]
pub(crate) struct Repeated {
    pub(crate) section: &'static str,
    pub(crate) place: Place,
    pub(crate) values: BTreeMap<&'static str, Value>,
}

/// Every setting that has a value, by full name.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    values: BTreeMap<String, Value>,
    repeated: Vec<Repeated>,
    file: Option<Arc<str>>,
    is_torn: bool,
}

impl Settings {
    /// Gathers the settings; a later layer replaces the value of an earlier one. The errors are
    /// those of form: unknown names, TOML syntax.
    pub(super) fn gather(
        document: Option<&Document>,
        sources: &Sources,
    ) -> (Self, Vec<Diagnostic>) {
        let mut settings = Self {
            values: BTreeMap::new(),
            repeated: Vec::new(),
            file: document.map(|document| Arc::clone(&document.path)),
            is_torn: false,
        };
        let mut errors = sources.unreadable.clone();
        settings.add_defaults();
        if let Some(document) = document {
            settings.add_file(document, &mut errors);
        }
        settings.add_environment(&sources.env, &mut errors);
        for flag in &sources.flags {
            let place = Place::Flag { name: flag.name, value: flag.value.clone() };
            settings.set(flag.setting, Value { raw: Raw::Text(flag.value.clone()), place });
        }
        (settings, errors)
    }

    /// The value of the setting with the full name `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// The repeated sections.
    pub(crate) fn repeated(&self) -> &[Repeated] {
        &self.repeated
    }

    /// Whether the file could not be read as TOML, so that nothing can be said of what it sets.
    pub(super) const fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// The place to name for what is missing altogether.
    pub(super) fn place(&self) -> Place {
        Place::Settings { path: self.file.clone() }
    }

    fn set(&mut self, name: &str, value: Value) {
        // One says what the other says: whoever sets one on a later layer means to replace both.
        let twin = match name {
            "server_name" => Some("server_names"),
            "server_names" => Some("server_name"),
            _ => None,
        };
        if let Some(twin) = twin
            && self.values.get(twin).is_some_and(|old| !old.place.same_layer(&value.place))
        {
            self.values.remove(twin);
        }
        self.values.insert(name.to_owned(), value);
    }

    fn add_defaults(&mut self) {
        for (section, option) in options::single() {
            if let Default::Value(text) = option.default
                && let Ok(value) = DeValue::parse(text)
            {
                let value = owned(&value, &|_| Place::Default);
                self.set(&section.full_name(option), value);
            }
        }
    }

    fn add_file(&mut self, document: &Document, errors: &mut Vec<Diagnostic>) {
        let at = |span| Place::File(FilePlace::new(&document.path, &document.text, span));
        let (table, syntax) = DeTable::parse_recoverable(&document.text);
        if !syntax.is_empty() {
            self.is_torn = true;
            errors.extend(syntax.iter().take(SYNTAX_ERRORS_MAX).map(|error| Diagnostic {
                message: format!("not valid TOML: {}", error.message()),
                place: error.span().map_or_else(|| self.place(), at),
                help: "texts need quotes, lists [brackets], and each name may appear once".into(),
            }));
            return;
        }
        for (name, value) in table.get_ref() {
            let Some(section) = options::section(name.get_ref()).filter(|s| !s.name.is_empty())
            else {
                self.add_option(&options::TOP, name, value, &at, errors);
                continue;
            };
            if section.repeated {
                self.add_repeated(section, value, &at, errors);
            } else if let DeValue::Table(table) = value.get_ref() {
                for (name, value) in table {
                    self.add_option(section, name, value, &at, errors);
                }
            } else {
                errors.push(not_a_section(section, at(value.span())));
            }
        }
    }

    fn add_option(
        &mut self,
        section: &Section,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        at: &dyn Fn(std::ops::Range<usize>) -> Place,
        errors: &mut Vec<Diagnostic>,
    ) {
        match known(section, name.get_ref()) {
            Some(option) => self.set(&section.full_name(option), owned(value, at)),
            None => errors.push(suggest::unknown_name(section, name.get_ref(), at(name.span()))),
        }
    }

    fn add_repeated(
        &mut self,
        section: &Section,
        value: &Spanned<DeValue<'_>>,
        at: &dyn Fn(std::ops::Range<usize>) -> Place,
        errors: &mut Vec<Diagnostic>,
    ) {
        let DeValue::Array(items) = value.get_ref() else {
            errors.push(not_a_section(section, at(value.span())));
            return;
        };
        for item in items.iter() {
            let DeValue::Table(table) = item.get_ref() else {
                errors.push(not_a_section(section, at(item.span())));
                continue;
            };
            let mut values = BTreeMap::new();
            for (name, value) in table {
                match known(section, name.get_ref()) {
                    Some(option) => {
                        values.insert(option.name, owned(value, at));
                    }
                    None => {
                        errors.push(suggest::unknown_name(section, name.get_ref(), at(name.span())))
                    }
                }
            }
            let place = at(item.span());
            self.repeated.push(Repeated { section: section.name, place, values });
        }
    }

    fn add_environment(&mut self, env: &[(String, String)], errors: &mut Vec<Diagnostic>) {
        for (variable, text) in env {
            let place = Place::Env { name: variable.clone(), value: text.clone() };
            let found = options::single().find(|(section, o)| section.variable(o) == *variable);
            match found {
                Some((section, option)) => {
                    let raw = raw_of_text(option.kind, text, &place);
                    self.set(&section.full_name(option), Value { raw, place });
                }
                None => errors.push(suggest::unknown_variable(variable, place)),
            }
        }
    }
}

fn known<'a>(section: &'a Section, name: &str) -> Option<&'a Opt> {
    section.options.iter().find(|option| option.name == name)
}

fn not_a_section(section: &Section, place: Place) -> Diagnostic {
    let (open, close) = if section.repeated { ("[[", "]]") } else { ("[", "]") };
    let first = section.options.first().map_or("", |option| option.name);
    Diagnostic {
        message: format!("{} is a section, not a setting", section.name),
        place,
        help: format!(
            "write {open}{}{close} on a line of its own and its settings, such as {first}, below it",
            section.name
        ),
    }
}

/// A value of the environment, where everything is text, as the file would have it.
fn raw_of_text(kind: Kind, text: &str, place: &Place) -> Raw {
    let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match kind {
        Kind::Count | Kind::Size if number => Raw::Integer(text.to_owned()),
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            let value = |item: &str| Value { raw: Raw::Text(item.into()), place: place.clone() };
            Raw::List(items.map(value).collect())
        }
        Kind::Count | Kind::Size | Kind::Table | Kind::Text => Raw::Text(text.to_owned()),
    }
}

fn owned(value: &Spanned<DeValue<'_>>, at: &dyn Fn(std::ops::Range<usize>) -> Place) -> Value {
    let raw = match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.clone().into_owned()),
        DeValue::Integer(integer) => Raw::Integer(integer.to_string()),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| owned(item, at)).collect()),
        DeValue::Table(table) => {
            let entry = |(name, value): (&Spanned<std::borrow::Cow<'_, str>>, _)| {
                (name.get_ref().clone().into_owned(), at(name.span()), owned(value, at))
            };
            Raw::Table(table.iter().map(entry).collect())
        }
        DeValue::Float(float) => Raw::Other(float.to_string()),
        DeValue::Boolean(truth) => Raw::Other(truth.to_string()),
        DeValue::Datetime(date) => Raw::Other(date.to_string()),
    };
    Value { raw, place: at(value.span()) }
}

/// As TOML, on one line, without credentials.
impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(text) | Self::Other(text) => f.write_str(text),
            Self::Text(text) => f.write_str(&toml_string(&without_credentials(text))),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if index == 0 { "" } else { ", " }, item.raw)?;
                }
                f.write_str("]")
            }
            Self::Table(entries) => {
                f.write_str("{ ")?;
                for (index, (name, _, value)) in entries.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{} = {}", toml_string(name), value.raw)?;
                }
                f.write_str(" }")
            }
        }
    }
}
