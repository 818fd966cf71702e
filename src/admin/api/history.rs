//! Histories of keys as JSON.

use serde_json::{Map, Value, json};

use super::{Failure, bad};
use crate::keys::history::{Entry, Event, KeptEntry, What};
use crate::proto::base64;

/// What of a history is asked for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The number of the first entry.
    pub(super) from: u64,
    /// Whether to check each entry.
    pub(super) verify: bool,
}

impl Asked {
    pub(super) fn of(query: &str) -> Result<Self, Failure> {
        let mut asked = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("from", number)) => {
                    asked.from = number.parse().map_err(|_error| bad("from is no number"))?;
                }
                Some(("verify", "true")) => asked.verify = true,
                _ => return Err(bad("the parameters are from=NUMBER and verify=true")),
            }
        }
        Ok(asked)
    }
}

/// An entry, as far as it can be read.
pub(super) fn told(kept: &KeptEntry) -> Map<String, Value> {
    let mut told = Map::new();
    let mut tell = |name: &str, value: Value| told.insert(name.to_owned(), value);
    tell("number", json!(kept.number));
    tell("hash", json!(base64::encode(&kept.hash)));
    match &kept.entry {
        Err(damage) => {
            tell("damaged", json!(damage));
        }
        Ok(entry) => {
            tell("at_ts", json!(entry.at().as_ms()));
            match entry {
                Entry::Shown { document, events } => {
                    tell("source", json!(document.source.to_string()));
                    tell("events", events.iter().map(event).collect());
                    tell("document", json!(str::from_utf8(&document.raw).ok()));
                }
                Entry::Flushed { .. } => drop(tell("event", json!("flushed"))),
                Entry::Full { .. } => drop(tell("event", json!("full"))),
            }
        }
    }
    told
}

fn event(event: &Event) -> Value {
    let mut told = json!({
        "event": event.what.kind().label(),
        "key_id": event.id.as_str(),
        "key": event.key.to_base64(),
    });
    let (name, value) = match &event.what {
        What::Changed { known, replaced } => {
            let told_of = if *replaced { "replaces" } else { "kept" };
            (told_of, json!(known.to_base64()))
        }
        What::Disagreement { known } => ("kept", json!(known.to_base64())),
        What::Retired { expired_ts } => ("expired_ts", json!(expired_ts.as_ms())),
        What::FirstSeen | What::TakenBack => return told,
    };
    if let Some(told) = told.as_object_mut() {
        told.insert(name.to_owned(), value);
    }
    told
}
