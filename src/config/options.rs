//! The one table of settings: name, form, default and documentation. The defaults, the sample file,
//! the environment variables, `config dump` and the suggestions for misspelt names all come from it.

mod limits;
mod policy;
mod table;

pub(crate) use table::{SECTIONS, TOP};

/// A table of the settings file.
#[derive(Debug)]
pub(crate) struct Section {
    /// Its name; empty for the top of the file.
    pub(crate) name: &'static str,
    /// Whether it is written `[[name]]` and may be repeated.
    pub(crate) repeated: bool,
    /// What it is about, as shown in the sample.
    pub(crate) doc: &'static str,
    /// Its settings.
    pub(crate) options: &'static [Opt],
}

/// A setting.
#[derive(Debug)]
pub(crate) struct Opt {
    /// Its name within its section.
    pub(crate) name: &'static str,
    /// The form of its value.
    pub(crate) kind: Kind,
    /// What it is when nobody sets it.
    pub(crate) default: Default,
    /// What it means, as shown in the sample.
    pub(crate) doc: &'static str,
}

/// The form of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A whole number.
    Count,
    /// Texts in brackets; in the environment, separated by commas.
    List,
    /// Bytes: a whole number, or a text with a unit.
    Size,
    /// Names with texts, in braces.
    Table,
    /// A text in quotes.
    Text,
}

/// A setting's default, as TOML.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Default {
    /// Must be set; the sample shows this value.
    Required(&'static str),
    /// Not set; the sample shows this value as an example.
    Unset(&'static str),
    /// This value.
    Value(&'static str),
}

impl Default {
    /// The TOML text the sample shows.
    pub(crate) const fn shown(self) -> &'static str {
        match self {
            Self::Required(text) | Self::Unset(text) | Self::Value(text) => text,
        }
    }
}

impl Kind {
    /// What a value of this form looks like, to end the sentence "... must be".
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::Count => "a whole number, without quotes",
            Self::List => "a list of texts in brackets, as in [\"one\", \"two\"]",
            Self::Size => "a number of bytes, or a text with a unit, as in \"12.5 MiB\"",
            Self::Table => "names and values in braces, as in { \"name\" = \"value\" }",
            Self::Text => "a text in quotes",
        }
    }
}

impl Section {
    /// The full name of one of its settings: `listen.address`.
    pub(crate) fn full_name(&self, option: &Opt) -> String {
        if self.name.is_empty() {
            option.name.to_owned()
        } else {
            format!("{}.{}", self.name, option.name)
        }
    }

    /// The environment variable of one of its settings: `FEDGATE_LISTEN__ADDRESS`.
    pub(crate) fn variable(&self, option: &Opt) -> String {
        let path = self.full_name(option).replace('.', "__");
        format!("{}{}", super::ENV_PREFIX, path.to_ascii_uppercase())
    }
}

/// Every setting that stands alone, with its section: all but those of repeated sections.
pub(crate) fn single() -> impl Iterator<Item = (&'static Section, &'static Opt)> {
    SECTIONS
        .iter()
        .filter(|section| !section.repeated)
        .flat_map(|section| section.options.iter().map(move |option| (section, option)))
}

/// The section called `name`.
pub(crate) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}
