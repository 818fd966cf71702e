//! What differs between the settings in force and those that are to be.

use std::collections::BTreeMap;
use std::fmt;

use super::options::SECTIONS;
use super::settings::{Raw, Settings};

/// Settings that cannot be changed while fedgate runs: what they stand for is made once, at the start.
/// A name that ends in a dot stands for a section.
pub(super) const NEED_RESTART: [&str; 7] = [
    "listen.address",
    "listen.handover",
    "outbound.",
    "keys.store",
    "keys.cache_bytes_max",
    "admin.address",
    "log.format",
];

/// TLS is switched on or off at the start only; the files can be others.
const TLS: [&str; 2] = ["listen.tls_certificate", "listen.tls_private_key"];

/// Longest value that is shown, in characters.
const VALUE_CHARS_MAX: usize = 120;

/// Most changes that are shown by name.
const SHOWN_MAX: usize = 32;

/// A setting that has another value. Its text has no credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The setting, or the section that is repeated.
    pub(crate) name: String,
    before: Option<String>,
    after: Option<String>,
}

/// The changes from one set of settings to the next, in the order of the sample.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes(Vec<Change>);

impl Changes {
    /// What is other in `after`.
    pub(crate) fn between(before: &Settings, after: &Settings) -> Self {
        let mut changes = Vec::new();
        for section in SECTIONS {
            if section.repeated {
                let [was, is] = [before, after].map(|settings| entries(settings, section.name));
                if was != is {
                    let text = |entries: &[_]| (!entries.is_empty()).then(|| list(entries));
                    let (before, after) = (text(&was), text(&is));
                    changes.push(Change { name: section.name.to_owned(), before, after });
                }
                continue;
            }
            for option in section.options {
                let name = section.full_name(option);
                let [was, is] =
                    [before, after].map(|settings| settings.get(&name).map(|value| &value.raw));
                if was != is {
                    let text = |raw: &Raw| cut(raw.to_string());
                    changes.push(Change { before: was.map(text), after: is.map(text), name });
                }
            }
        }
        Self(changes)
    }

    /// Those that take a restart.
    pub(crate) fn needing_restart(&self) -> Self {
        Self(self.0.iter().filter(|change| change.needs_restart()).cloned().collect())
    }

    /// Whether nothing has changed.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Change {
    fn needs_restart(&self) -> bool {
        let is_named = NEED_RESTART
            .iter()
            .any(|name| self.name == *name || (name.ends_with('.') && self.name.starts_with(name)));
        let switches = self.before.is_none() || self.after.is_none();
        is_named || (switches && TLS.contains(&self.name.as_str()))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "unset".to_owned());
        write!(f, "{}: {} -> {}", self.name, shown(&self.before), shown(&self.after))
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, change) in self.0.iter().take(SHOWN_MAX).enumerate() {
            write!(f, "{}{change}", if index == 0 { "" } else { "; " })?;
        }
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

type Entry<'a> = BTreeMap<&'static str, &'a Raw>;

fn entries<'a>(settings: &'a Settings, section: &str) -> Vec<Entry<'a>> {
    let entries = settings.repeated().iter().filter(|entry| entry.section == section);
    entries.map(|e| e.values.iter().map(|(name, value)| (*name, &value.raw)).collect()).collect()
}

fn list(entries: &[Entry<'_>]) -> String {
    let entry = |entry: &Entry<'_>| {
        let values = entry.iter().map(|(name, raw)| format!("{name} = {raw}"));
        format!("{{ {} }}", values.collect::<Vec<_>>().join(", "))
    };
    cut(format!("[{}]", entries.iter().map(entry).collect::<Vec<_>>().join(", ")))
}

fn cut(text: String) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX).and_then(|(at, _)| text.get(..at)) {
        Some(start) => format!("{start}..."),
        None => text,
    }
}
