//! `fedgate keys history`: what has happened to a server's keys, and whether the record of it is
//! right.

use serde_json::{Value, json};

use super::desk::{MayBegin, Undone};
use super::{Settings, parse};
use crate::cli::inquiry::plain;
use crate::cli::out::Out;
use crate::cli::{Exit, times};
use crate::proto::Timestamp;

/// Its arguments.
#[derive(clap::Args, Debug)]
pub(super) struct History {
    /// The server's name
    server: String,
    /// Check every signature again, that each document shows what is said of it, and that no entry
    /// is missing or has been changed
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(arguments: &History, out: &mut Out) -> Result<Exit, Undone> {
    let server = parse(&arguments.server)?;
    let desk = arguments.settings.desk(MayBegin::No)?;
    let verify = if arguments.verify { "&verify=true" } else { "" };
    let mut all = Vec::new();
    let (mut count, mut wrong) = (0, 0);
    let mut last = Value::Null;
    let mut from = 0;
    loop {
        let target = format!("/keys/{server}/history?from={from}{verify}");
        let mut page = desk.call("GET", &target, "")?;
        let entries = page.get_mut("entries").and_then(Value::as_array_mut).map(std::mem::take);
        for entry in entries.into_iter().flatten() {
            count += 1;
            wrong += usize::from(entry.get("wrong").is_some_and(Value::is_string));
            last = entry.get("hash").cloned().unwrap_or_default();
            if arguments.settings.json {
                all.push(entry);
            } else {
                for line in lines(&entry) {
                    out.line(&line)?;
                }
            }
        }
        let Some(next) = page.get("next").and_then(Value::as_u64) else { break };
        from = next;
    }
    if arguments.settings.json {
        out.json(&json!({ "server_name": server.as_str(), "entries": all }))?;
    } else if arguments.verify {
        let said = match wrong {
            0 => "all of them right".to_owned(),
            wrong => format!("{wrong} of them BAD"),
        };
        let last = plain(last.as_str().unwrap_or_default());
        out.line(&format!("{}, {said}; the last has the hash {last}", entries(count)))?;
    }
    Ok(if wrong == 0 { Exit::Fine } else { Exit::Negative })
}

fn entries(count: usize) -> String {
    format!("{count} entr{}", if count == 1 { "y" } else { "ies" })
}

/// One line per event of an entry.
fn lines(entry: &Value) -> Vec<String> {
    let text = |name| entry.get(name).and_then(Value::as_str);
    // The verdict, where one was asked for.
    let verdict = match entry.get("wrong") {
        None => "",
        Some(Value::String(_)) => "BAD  ",
        Some(_) => "OK   ",
    };
    let at = entry.get("at_ts").and_then(Value::as_u64).map(Timestamp::from_ms);
    let at = at.map_or_else(|| "at no known time".to_owned(), times::second);
    let mut lines: Vec<String> = match (entry.get("events"), text("event"), text("damaged")) {
        (Some(Value::Array(events)), ..) => {
            let source = plain(text("source").unwrap_or_default());
            let line = |event| format!("{verdict}{at}  {}  {source}", told(event));
            events.iter().map(line).collect()
        }
        (_, Some("flushed"), _) => {
            vec![format!("{verdict}{at}  flushed       all that was known, by the operator")]
        }
        (_, Some("full"), _) => {
            vec![format!("{verdict}{at}  full          nothing later is recorded")]
        }
        (.., damage) => {
            let number = entry.get("number").and_then(Value::as_u64).unwrap_or_default();
            let damage = plain(damage.unwrap_or("it is of no known kind"));
            vec![format!("{verdict}entry {number} is damaged: {damage}")]
        }
    };
    if let (Some(why), None) = (text("wrong"), text("damaged")) {
        lines.push(format!("     {}", plain(why)));
    }
    lines
}

/// What is new about a key.
fn told(event: &Value) -> String {
    let text = |name| event.get(name).and_then(Value::as_str).map(plain);
    let known = |name| text(name).unwrap_or_default();
    let mut told = format!("{:12}  {} {}", known("event"), known("key_id"), known("key"));
    if let Some(other) = text("replaces") {
        told.push_str(&format!(", in the place of {other}"));
    } else if let Some(other) = text("kept") {
        told.push_str(&format!(", {other} is kept"));
    } else if let Some(ts) = event.get("expired_ts").and_then(Value::as_u64) {
        told.push_str(&format!(", since {}", times::second(Timestamp::from_ms(ts))));
    }
    told
}
