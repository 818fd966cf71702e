//! What is wrong with the settings, said so that the operator can put it right at once.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Longest part of an operator's line or value that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 120;

/// Everything that is wrong with the settings, all at once; never empty. Its text is for the
/// operator: one block for each error, with the place, the value seen and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Diagnostic>);

/// One error in the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diagnostic {
    pub(super) message: String,
    pub(super) place: Place,
    pub(super) help: String,
}

/// Where a value, or an error, was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A setting's default.
    Default,
    /// An environment variable.
    Env {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A place in the settings file.
    File(FilePlace),
    /// A flag on the command line.
    Flag {
        /// Its name, with the dashes.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// No place in particular: the settings as a whole, for what is missing.
    Settings {
        /// The settings file, if there is one.
        path: Option<Arc<str>>,
    },
}

/// A span of one line of the settings file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePlace {
    /// The file.
    pub(crate) path: Arc<str>,
    /// The line, from 1.
    pub(crate) line: usize,
    /// The column in characters, from 1.
    pub(crate) column: usize,
    line_text: String,
    width: usize,
}

impl ConfigErrors {
    /// The errors, in the order of the file.
    pub(super) fn new(mut errors: Vec<Diagnostic>) -> Self {
        errors.sort_by_key(|error| match &error.place {
            Place::File(place) => (0, place.line, place.column),
            Place::Settings { .. } => (1, 0, 0),
            Place::Env { .. } => (2, 0, 0),
            Place::Flag { .. } | Place::Default => (3, 0, 0),
        });
        Self(errors)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.0 {
            writeln!(f, "{error}")?;
        }
        let (count, plural) = (self.0.len(), if self.0.len() == 1 { "" } else { "s" });
        write!(
            f,
            "{count} error{plural} in the settings. `fedgate config sample` prints every setting \
             with its meaning."
        )
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        write!(f, "{}", Pointer(&self.place))?;
        writeln!(f, " {} = help: {}", margin(&self.place), self.help)
    }
}

/// As many spaces as the number of the place's line has digits.
fn margin(place: &Place) -> String {
    let digits = if let Place::File(place) = place { place.line.to_string().len() } else { 1 };
    " ".repeat(digits)
}

/// A place with the line it is on, marked.
struct Pointer<'a>(&'a Place);

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  --> {}", self.0)?;
        let Place::File(place) = self.0 else { return Ok(()) };
        let margin = margin(self.0);
        writeln!(f, " {margin} |")?;
        let line = shown(&place.line_text);
        writeln!(f, " {} | {line}", place.line)?;
        let before = place.column.saturating_sub(1).min(SHOWN_CHARS_MAX);
        // Hidden credentials make a line shorter than what was marked on it.
        let hidden = place
            .line_text
            .chars()
            .count()
            .min(SHOWN_CHARS_MAX)
            .saturating_sub(line.chars().count());
        let width = place.width.min(SHOWN_CHARS_MAX).saturating_sub(hidden).max(1);
        writeln!(f, " {margin} | {}{}", " ".repeat(before), "^".repeat(width))
    }
}

impl Place {
    /// Whether both are on the same layer: default, file, environment, command line.
    pub(super) fn same_layer(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::Env { name, value } => {
                write!(f, "environment variable {name}={}", quoted(value))
            }
            Self::File(place) => write!(f, "{}:{}:{}", place.path, place.line, place.column),
            Self::Flag { name, value } => write!(f, "command line {name} {}", quoted(value)),
            Self::Settings { path: Some(path) } => write!(f, "{path}"),
            Self::Settings { path: None } => {
                write!(f, "no settings file ({} does not exist)", super::DEFAULT_PATH)
            }
        }
    }
}

impl FilePlace {
    /// The place of the bytes `span` of `text`. A span over several lines is cut at the first.
    pub(super) fn new(path: &Arc<str>, text: &str, span: std::ops::Range<usize>) -> Self {
        let start = floor_boundary(text, span.start);
        let (before, after) = text.split_at_checked(start).unwrap_or((text, ""));
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let head = before.get(line_start..).unwrap_or_default();
        let tail = after.lines().next().unwrap_or_default();
        let marked = text
            .get(start..floor_boundary(text, span.end).max(start))
            .and_then(|marked| marked.lines().next())
            .unwrap_or_default();
        Self {
            path: Arc::clone(path),
            line: before.matches('\n').count() + 1,
            column: head.chars().count() + 1,
            line_text: format!("{head}{tail}"),
            width: marked.chars().count(),
        }
    }
}

/// The last character boundary of `text` at or before `index`.
fn floor_boundary(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// `text` as one line without control characters, cut short.
fn shown(text: &str) -> String {
    let text = without_credentials(text);
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.chars().take(SHOWN_CHARS_MAX).map(clean).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        line.push_str("...");
    }
    line
}

/// `text` in quotes, escaped as TOML has it, cut short.
pub(crate) fn quoted(text: &str) -> String {
    let text = without_credentials(text);
    match text.char_indices().nth(SHOWN_CHARS_MAX).and_then(|(at, _)| text.get(..at)) {
        Some(start) => toml_string(&format!("{start}...")),
        None => toml_string(&text),
    }
}

/// `text`, a value or a line of the file, with `***` for what may be the credentials of a URL:
/// everything up to the last `@`, from the scheme or else the opening quote on. Rather too much is
/// hidden than a password shown; it may hold any character, and the URL may be wrong.
pub(super) fn without_credentials(text: &str) -> Cow<'_, str> {
    let Some((before, after)) = text.rsplit_once('@') else { return Cow::Borrowed(text) };
    let start = match (before.find("://"), before.find(['"', '\''])) {
        (Some(scheme), _) => scheme + "://".len(),
        (None, Some(quote)) => quote + 1,
        (None, None) => 0,
    };
    match before.split_at_checked(start) {
        Some((kept, hidden)) if !hidden.is_empty() => Cow::Owned(format!("{kept}***@{after}")),
        _ => Cow::Borrowed(text),
    }
}

/// `text` as a TOML string.
pub(crate) fn toml_string(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
