//! Names nobody knows, and which one was probably meant.

use super::ENV_PREFIX;
use super::diagnostic::{Diagnostic, Place};
use super::options::{self, SECTIONS, Section};

/// How alike two names must be (Jaro-Winkler, 0 to 1) for one to be suggested for the other.
const LIKENESS_MIN: f64 = 0.85;

/// The candidate most like `seen`, if any is alike enough.
pub(super) fn closest<'a>(
    seen: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(seen, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// The error for `name`, which `section` does not have.
pub(super) fn unknown_name(section: &Section, name: &str, place: Place) -> Diagnostic {
    let own = section.options.iter().map(|option| option.name);
    let is_top = section.name.is_empty();
    let sections =
        SECTIONS.iter().map(|section| section.name).filter(|name| is_top && !name.is_empty());
    let known: Vec<&str> = own.chain(sections).collect();
    let home = SECTIONS.iter().find(|other| other.options.iter().any(|o| o.name == name));
    let hint = match (closest(name, known.iter().copied()), home) {
        (_, Some(home)) => belongs(home, name),
        (Some(close), None) => format!("did you mean {close}? "),
        (None, None) => String::new(),
    };
    let (whose, owner) = if is_top {
        ("setting or section", "at the top of the file".to_owned())
    } else {
        ("setting", format!("in [{}]", section.name))
    };
    Diagnostic {
        message: format!("unknown {whose} {name} {owner}"),
        place,
        help: format!("{hint}known here: {}", known.join(", ")),
    }
}

fn belongs(home: &Section, name: &str) -> String {
    if home.name.is_empty() {
        format!("{name} belongs at the top of the file, before the first [section]; ")
    } else {
        format!("{name} belongs below [{}]; ", home.name)
    }
}

/// The error for an environment variable that is no setting's.
pub(super) fn unknown_variable(variable: &str, place: Place) -> Diagnostic {
    let known: Vec<String> =
        options::single().map(|(section, option)| section.variable(option)).collect();
    let path = variable.strip_prefix(ENV_PREFIX).unwrap_or(variable);
    // FEDGATE_LISTEN_ADDRESS for FEDGATE_LISTEN__ADDRESS is the mistake everybody makes once.
    let flat = |name: &str| name.replace("__", "_");
    let close = known
        .iter()
        .find(|name| flat(name) == flat(variable))
        .map(String::as_str)
        .or_else(|| closest(variable, known.iter().map(String::as_str)));
    let help = match close {
        _ if path.starts_with("NOTARIES") => {
            "notaries are set in the settings file, below [[notaries]]".to_owned()
        }
        _ if path.starts_with("PINS") => {
            "pins are set in the settings file, below [[pins]]".to_owned()
        }
        Some(close) => format!("did you mean {close}? Otherwise unset it"),
        None => format!(
            "settings are called {ENV_PREFIX}SECTION__NAME, as in FEDGATE_LISTEN__ADDRESS; unset it"
        ),
    };
    Diagnostic { message: format!("unknown environment variable {variable}"), place, help }
}
