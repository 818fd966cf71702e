//! Reads single settings and collects what is wrong with them.

use super::super::diagnostic::{Diagnostic, Place, quoted};
use super::super::options::{self, Kind};
use super::super::settings::{Raw, Repeated, Settings, Value};
use super::super::values::{self, Checked, Problem};

/// Reads settings by full name. A `None` from any of its methods means that an error was noted.
pub(super) struct Reader<'a> {
    settings: &'a Settings,
    errors: Vec<Diagnostic>,
}

/// Reads the settings of one repeated section.
pub(super) struct Within<'a> {
    section: &'a Repeated,
    errors: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(settings: &'a Settings, errors: Vec<Diagnostic>) -> Self {
        Self { settings, errors }
    }

    pub(super) fn into_errors(self) -> Vec<Diagnostic> {
        self.errors
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        self.settings.get(name).is_some()
    }

    /// The repeated sections called `name`.
    pub(super) fn repeated(&self, name: &str) -> impl Iterator<Item = &'a Repeated> {
        self.settings.repeated().iter().filter(move |section| section.section == name)
    }

    pub(super) fn within(&self, section: &'a Repeated) -> Within<'a> {
        Within { section, errors: Vec::new() }
    }

    pub(super) fn take_errors(&mut self, within: Within<'_>) {
        self.errors.extend(within.errors);
    }

    /// A text setting that has a value.
    pub(super) fn text<T>(&mut self, name: &str, parse: impl Fn(&str) -> Checked<T>) -> Option<T> {
        self.optional(name, parse).flatten()
    }

    /// A text setting; `Some(None)` when it has no value.
    pub(super) fn optional<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Checked<T>,
    ) -> Option<Option<T>> {
        let Some(value) = self.settings.get(name) else { return Some(None) };
        let Raw::Text(text) = &value.raw else {
            self.errors.push(wrong_form(name, Kind::Text, value));
            return None;
        };
        match parse(text) {
            Ok(parsed) => Some(Some(parsed)),
            Err(problem) => {
                self.errors.push(wrong(name, value, problem));
                None
            }
        }
    }

    /// A list of texts. Every entry is checked.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Checked<T>,
    ) -> Option<Vec<T>> {
        let placed = self.placed_list(name, parse)?;
        Some(placed.into_iter().map(|(_, item)| item).collect())
    }

    /// The same with the place of each entry.
    pub(super) fn placed_list<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Checked<T>,
    ) -> Option<Vec<(&'a Place, T)>> {
        let value = self.settings.get(name)?;
        let Raw::List(items) = &value.raw else {
            self.errors.push(wrong_form(name, Kind::List, value));
            return None;
        };
        let mut parsed = Vec::with_capacity(items.len());
        for item in items {
            let Raw::Text(text) = &item.raw else {
                self.errors.push(wrong_form(name, Kind::List, value));
                continue;
            };
            match parse(text) {
                Ok(parse) => parsed.push((&item.place, parse)),
                Err(problem) => self.errors.push(Diagnostic {
                    message: format!("{name} has {}: {}", quoted(text), problem.message),
                    place: item.place.clone(),
                    help: problem.help,
                }),
            }
        }
        (parsed.len() == items.len()).then_some(parsed)
    }

    /// A whole number between `min` and `max`.
    pub(super) fn count<T: TryFrom<u64>>(&mut self, name: &str, min: u64, max: u64) -> Option<T> {
        let value = self.settings.get(name)?;
        let Raw::Integer(text) = &value.raw else {
            self.errors.push(wrong_form(name, Kind::Count, value));
            return None;
        };
        self.bounded(name, value, text.parse().ok(), min, max)
    }

    /// A size in bytes between `min` and `max`.
    pub(super) fn size<T: TryFrom<u64>>(&mut self, name: &str, min: u64, max: u64) -> Option<T> {
        let value = self.settings.get(name)?;
        let bytes = match &value.raw {
            Raw::Integer(text) => text.parse().ok(),
            Raw::Text(text) => match values::size(text) {
                Ok(bytes) => Some(bytes),
                Err(problem) => {
                    self.errors.push(wrong(name, value, problem));
                    return None;
                }
            },
            Raw::List(_) | Raw::Other(_) | Raw::Table(_) => {
                self.errors.push(wrong_form(name, Kind::Size, value));
                return None;
            }
        };
        self.bounded(name, value, bytes, min, max)
    }

    fn bounded<T: TryFrom<u64>>(
        &mut self,
        name: &str,
        value: &Value,
        number: Option<u64>,
        min: u64,
        max: u64,
    ) -> Option<T> {
        let number = number.filter(|number| (min..=max).contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        if number.is_none() {
            let help = format!("write a number from {min} to {max}");
            self.errors.push(wrong(name, value, Problem::new("the number is out of bounds", help)));
        }
        number
    }

    /// The entries of a table: names, where they are, and texts.
    pub(super) fn table(&mut self, name: &str) -> Option<Vec<(&'a str, &'a Place, &'a str)>> {
        let value = self.settings.get(name)?;
        let Raw::Table(entries) = &value.raw else {
            self.errors.push(wrong_form(name, Kind::Table, value));
            return None;
        };
        let mut texts = Vec::with_capacity(entries.len());
        for (entry, place, value) in entries {
            match &value.raw {
                Raw::Text(text) => texts.push((entry.as_str(), place, text.as_str())),
                Raw::Integer(_) | Raw::List(_) | Raw::Other(_) | Raw::Table(_) => {
                    self.errors.push(wrong_form(name, Kind::Table, value));
                }
            }
        }
        (texts.len() == entries.len()).then_some(texts)
    }

    /// What was read of an entry of the table `name`, at `place`.
    pub(super) fn checked<T>(
        &mut self,
        name: &str,
        place: &Place,
        parsed: Checked<T>,
    ) -> Option<T> {
        let note = |Problem { message, help }| {
            let (message, place) = (format!("{name}: {message}"), place.clone());
            self.errors.push(Diagnostic { message, place, help });
        };
        parsed.map_err(note).ok()
    }

    /// Notes an error unless all values of a list are different.
    pub(super) fn no_repeats<T: PartialEq>(&mut self, name: &str, list: &[T]) -> Option<()> {
        let repeated =
            list.iter().enumerate().find(|(at, item)| list.iter().take(*at).any(|o| o == *item));
        let Some((at, _)) = repeated else { return Some(()) };
        if let Some(Value { raw: Raw::List(items), .. }) = self.settings.get(name)
            && let Some(item) = items.get(at)
        {
            self.errors.push(Diagnostic {
                message: format!("{name} has {} twice", item.raw),
                place: item.place.clone(),
                help: "leave one of the two out".to_owned(),
            });
        }
        None
    }

    /// Notes that the value of `name` is wrong.
    pub(super) fn problem(&mut self, name: &str, problem: Problem) {
        if let Some(value) = self.settings.get(name) {
            self.errors.push(wrong(name, value, problem));
        }
    }

    /// Notes an error at the place of `name`.
    pub(super) fn error_at(&mut self, name: &str, message: String, help: String) {
        let place = self.settings.get(name).map(|value| value.place.clone());
        let place = place.unwrap_or_else(|| self.settings.place());
        self.errors.push(Diagnostic { message, place, help });
    }

    /// Notes an error in section number `index`, from 0, of those called `name`.
    pub(super) fn error_at_repeated(
        &mut self,
        name: &str,
        index: usize,
        message: String,
        help: String,
    ) {
        let place = self.repeated(name).nth(index).map(|section| section.place.clone());
        let place = place.unwrap_or_else(|| self.settings.place());
        self.errors.push(Diagnostic { message, place, help });
    }

    /// Notes that something is not there at all.
    pub(super) fn error_missing(&mut self, message: String, help: String) {
        let place = self.settings.place();
        self.errors.push(Diagnostic { message, place, help });
    }
}

impl<'a> Within<'a> {
    pub(super) fn value(&self, name: &str) -> Option<&'a Value> {
        self.section.values.get(name)
    }

    pub(super) fn required_text<T>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Checked<T>,
    ) -> Option<T> {
        let Some(value) = self.value(name) else {
            let message = format!("[[{}]] without {name}", self.section.section);
            self.error_here(&message, &format!("set {name} below it"));
            return None;
        };
        let Raw::Text(text) = &value.raw else {
            self.wrong_form(name, value);
            return None;
        };
        match parse(text) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                self.error(name, value, problem);
                None
            }
        }
    }

    /// The value of an entry of a table.
    pub(super) fn entry<T>(
        &mut self,
        value: &Value,
        parse: impl Fn(&str) -> Checked<T>,
    ) -> Option<T> {
        let Raw::Text(text) = &value.raw else {
            self.errors.push(Diagnostic {
                message: format!(
                    "{}.verify_keys has {}: a key is a text",
                    self.section.section, value.raw
                ),
                place: value.place.clone(),
                help: "write \"key ID\" = \"key in base64\", without an inner { key = ... }".into(),
            });
            return None;
        };
        parse(text).map_err(|problem| self.error("verify_keys", value, problem)).ok()
    }

    /// The name of an entry of a table.
    pub(super) fn name<T>(&mut self, place: &Place, parsed: Checked<T>) -> Option<T> {
        let note = |problem: Problem| {
            self.errors.push(Diagnostic {
                message: format!("{}.verify_keys: {}", self.section.section, problem.message),
                place: place.clone(),
                help: problem.help,
            });
        };
        parsed.map_err(note).ok()
    }

    pub(super) fn wrong_form(&mut self, name: &str, value: &Value) {
        let option = options::section(self.section.section)
            .and_then(|section| section.options.iter().find(|option| option.name == name));
        let kind = option.map_or(Kind::Text, |option| option.kind);
        self.errors.push(wrong_form(&self.full_name(name), kind, value));
    }

    pub(super) fn error(&mut self, name: &str, value: &Value, problem: Problem) {
        self.errors.push(wrong(&self.full_name(name), value, problem));
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}.{name}", self.section.section)
    }

    pub(super) fn error_here(&mut self, message: &str, help: &str) {
        self.errors.push(Diagnostic {
            message: message.to_owned(),
            place: self.section.place.clone(),
            help: help.to_owned(),
        });
    }
}

fn wrong(name: &str, value: &Value, problem: Problem) -> Diagnostic {
    Diagnostic {
        message: format!("{name} = {}: {}", seen(value), problem.message),
        place: value.place.clone(),
        help: problem.help,
    }
}

fn wrong_form(name: &str, kind: Kind, value: &Value) -> Diagnostic {
    let (section, option) = name.rsplit_once('.').unwrap_or(("", name));
    let example = options::section(section)
        .and_then(|section| section.options.iter().find(|known| known.name == option))
        .map_or("", |known| known.default.shown());
    let help = match &value.raw {
        Raw::Integer(seconds) if option.ends_with("_timeout") => {
            format!("write {option} = \"{seconds}s\" for seconds")
        }
        Raw::Integer(_) | Raw::List(_) | Raw::Other(_) | Raw::Table(_) | Raw::Text(_) => {
            format!("write it as in {option} = {example}")
        }
    };
    Diagnostic {
        message: format!("{name} = {}: it must be {}", seen(value), kind.expected()),
        place: value.place.clone(),
        help,
    }
}

fn seen(value: &Value) -> String {
    match &value.raw {
        Raw::Text(text) => quoted(text),
        Raw::Integer(_) | Raw::List(_) | Raw::Other(_) | Raw::Table(_) => value.raw.to_string(),
    }
}
