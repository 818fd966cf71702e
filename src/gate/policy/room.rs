//! The state of a moderation policy room as a source of rules (client-server API, moderation policy
//! lists).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::file::{Contents, PolicyFileError, Source};
use super::table::{Rule, RulePlace};
use crate::config::PolicyRule;
use crate::proto::ServerGlob;

/// The types of rules about servers: the stable one, and those in use before it.
const TYPES: [&str; 3] =
    ["m.policy.rule.server", "m.room.rule.server", "org.matrix.mjolnir.rule.server"];

/// The recommendations that count; whatever else is recommended is for others.
const BANS: [&str; 2] = ["m.ban", "org.matrix.mjolnir.ban"];

/// A value of the expected form, or any other: an event may be anything.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lenient<T> {
    Sound(T),
    Other(IgnoredAny),
}

impl<T> Default for Lenient<T> {
    fn default() -> Self {
        Self::Other(IgnoredAny)
    }
}

impl<T> Lenient<T> {
    fn sound(self) -> Option<T> {
        match self {
            Self::Sound(value) => Some(value),
            Self::Other(_) => None,
        }
    }
}

#[derive(Deserialize)]
struct StateEvent {
    #[serde(rename = "type", default)]
    kind: Lenient<String>,
    #[serde(default)]
    state_key: Lenient<String>,
    #[serde(default)]
    content: Lenient<PolicyContent>,
}

#[derive(Deserialize)]
struct PolicyContent {
    #[serde(default)]
    entity: Lenient<String>,
    #[serde(default)]
    recommendation: Lenient<String>,
}

/// What the last state of a type and key says.
enum State {
    Ban(Arc<Rule>),
    /// A ban that no server name can match.
    Unusable,
    /// Nothing, or nothing any more.
    Nothing,
}

/// Reads an array of events, or an object with such arrays. Of events with the same type and state
/// key the last one counts.
///
/// # Errors
/// When it is neither.
pub(super) fn read(text: &str, source: &Source) -> Result<Contents, PolicyFileError> {
    let mut place = Places { text, at: 0, line: 1, column: 1 };
    let mut state = BTreeMap::new();
    for event in events(text, source)? {
        let place = place.of(event.get(), source);
        let event: StateEvent = match serde_json::from_str(event.get()) {
            Ok(event) => event,
            Err(_) => {
                let RulePlace::Event { line, .. } = place else { continue };
                let message = "one of the array's values is not an event".to_owned();
                return Err(source.error(Some(line), message, HELP));
            }
        };
        let kind = event.kind.sound();
        let kind = kind.and_then(|kind| TYPES.iter().position(|known| *known == kind));
        if let (Some(kind), Some(key)) = (kind, event.state_key.sound()) {
            let content = event.content.sound();
            state.insert((kind, key), content.map_or(State::Nothing, |c| c.state(source, place)));
        }
    }
    let mut contents = Contents::default();
    for state in state.into_values() {
        match state {
            State::Ban(rule) => contents.rules.push(rule),
            State::Unusable => contents.skipped += 1,
            State::Nothing => {}
        }
    }
    Ok(contents)
}

const HELP: &str =
    "save what GET /_matrix/client/v3/rooms/{roomId}/state answers for the policy room";

fn events<'t>(text: &'t str, source: &Source) -> Result<Vec<&'t RawValue>, PolicyFileError> {
    let broken = |error: serde_json::Error| {
        source.error(Some(error.line()), format!("it is not the JSON of events: {error}"), HELP)
    };
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(broken);
    }
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(broken)?;
    let mut arrays: Vec<&str> = members.into_values().map(RawValue::get).collect();
    arrays.retain(|value| value.starts_with('['));
    // In the order of the file, whatever the members are called.
    arrays.sort_by_key(|value| value.as_ptr().addr());
    if arrays.is_empty() {
        return Err(source.error(None, "it has no array of events".to_owned(), HELP));
    }
    let mut events = Vec::new();
    for array in arrays {
        let array: Vec<&RawValue> = serde_json::from_str(array).map_err(broken)?;
        events.extend(array);
    }
    Ok(events)
}

impl PolicyContent {
    fn state(self, source: &Source, place: RulePlace) -> State {
        let recommendation = self.recommendation.sound();
        if !recommendation.is_some_and(|said| BANS.contains(&said.as_str())) {
            return State::Nothing;
        }
        let glob = self.entity.sound().and_then(|entity| ServerGlob::parse(&entity).ok());
        let Some(glob) = glob else { return State::Unusable };
        let rule = PolicyRule { glob, dry_run: false };
        State::Ban(Rule::new(rule, source.dry_run, place))
    }
}

/// Counts lines up to events that come one after the other.
struct Places<'t> {
    text: &'t str,
    at: usize,
    line: usize,
    column: usize,
}

impl Places<'_> {
    /// The place of a part of the text, behind all that were asked about before.
    fn of(&mut self, part: &str, source: &Source) -> RulePlace {
        let start = part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        for byte in self.text.bytes().take(start).skip(self.at) {
            (self.line, self.column) =
                if byte == b'\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
        }
        self.at = self.at.max(start);
        let file = Arc::clone(&source.file);
        RulePlace::Event { file, line: self.line, column: self.column }
    }
}
