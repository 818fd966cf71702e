//! `fedgate keys`: what is known of other servers' keys, and the operator's hand on them.

mod desk;

use serde::Serialize;
use serde_json::{Value, json};

use self::desk::{Desk, MayBegin, Undone};
use super::out::Out;
use super::{Exit, Failure, SettingsArguments, times};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Store};
use crate::keys::known::KnownKeys;
use crate::keys::record::{Binding, ServerRecord};
use crate::keys::rules::form::{ChangeForm, SubjectForm};
use crate::keys::store::{FileStore, KeyStore as _};
use crate::keys::{KeyAnswer, known};
use crate::proto::ed25519::BannedKeys;
use crate::proto::{ServerName, Timestamp};

/// `fedgate keys`. All of them ask the fedgate that runs, and work on the file `keys.store` when none
/// does.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Print the names of all servers whose keys are kept
    List(Settings),
    /// Print what is kept of one server: keys, who has shown them, and until when they may be used
    Show {
        /// The server's name
        server: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Let go of all that is known of one server, so that its keys are learnt anew
    Flush {
        /// The server's name
        server: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Ask for the keys of one server now, whatever is known of them
    Refresh {
        /// The server's name
        server: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Use this key from now on, without asking anybody, and accept no other under its ID
    Pin {
        /// The server's name
        server: String,
        /// The key's ID, as in ed25519:auto
        key_id: String,
        /// The key in base64, learnt from a place you trust
        key: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// End the pin of a key
    Unpin {
        /// The server's name
        server: String,
        /// The key's ID
        key_id: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Refuse a server, one of its key IDs, or a key wherever it turns up
    Ban(Subject),
    /// End a ban
    Unban(Subject),
    /// Print the pins and bans in force
    Rules(Settings),
}

/// What a ban is of.
#[derive(clap::Args, Debug)]
pub(super) struct Subject {
    /// The server's name
    #[arg(required_unless_present = "key", conflicts_with = "key")]
    server: Option<String>,
    /// One of its key IDs; all of its keys unless given
    key_id: Option<String>,
    /// A key in base64, whoever shows it
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// What all of them take.
#[derive(clap::Args, Debug)]
pub(super) struct Settings {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// One key as it is shown.
#[derive(Debug, Serialize)]
struct Shown {
    key_id: String,
    key: String,
    verdict: String,
    learnt_from: &'static str,
    first_seen_ts: u64,
    witnesses: Vec<String>,
    conflict: Option<String>,
}

pub(super) fn run(command: &Command, out: &mut Out) -> Result<Exit, Failure> {
    let done = match command {
        Command::List(settings) => list(settings, out),
        Command::Show { server, settings } => {
            show_kept(server, settings, out).map_err(Undone::from)
        }
        Command::Flush { server, settings } => flush(server, settings, out),
        Command::Refresh { server, settings } => refresh(server, settings, out),
        Command::Pin { server, key_id, key, settings } => {
            let subject = subject(Some(server), Some(key_id), Some(key));
            amend(ChangeForm::Pin(subject), "pinned", settings, out)
        }
        Command::Unpin { server, key_id, settings } => {
            let subject = subject(Some(server), Some(key_id), None);
            amend(ChangeForm::Unpin(subject), "no longer pinned", settings, out)
        }
        Command::Ban(of) => {
            let subject = subject(of.server.as_ref(), of.key_id.as_ref(), of.key.as_ref());
            amend(ChangeForm::Ban(subject), "banned", &of.settings, out)
        }
        Command::Unban(of) => {
            let subject = subject(of.server.as_ref(), of.key_id.as_ref(), of.key.as_ref());
            amend(ChangeForm::Unban(subject), "no longer banned", &of.settings, out)
        }
        Command::Rules(settings) => rules(settings, out),
    };
    match done {
        Ok(exit) => Ok(exit),
        Err(Undone::Nothing(said)) => {
            out.line(&said)?;
            Ok(Exit::Negative)
        }
        Err(Undone::Failed(failure)) => Err(failure),
    }
}

fn parse(server: &str) -> Result<ServerName, Failure> {
    ServerName::parse(server)
        .map_err(|error| Failure::usage(format!("error: {server:?} is no server name: {error}")))
}

impl Settings {
    fn desk(&self, may_begin: MayBegin) -> Result<Desk, Failure> {
        Desk::find(&self.settings.load()?, may_begin)
    }
}

/// The texts of a list in an answer.
fn texts<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v str> {
    value.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn list(settings: &Settings, out: &mut Out) -> Result<Exit, Undone> {
    let desk = settings.desk(MayBegin::No)?;
    let mut names: Vec<String> = Vec::new();
    let mut target = "/keys".to_owned();
    loop {
        let page = desk.call("GET", &target, "")?;
        names.extend(texts(&page, "servers").map(str::to_owned));
        let Some(next) = page.get("next").and_then(Value::as_str) else { break };
        target = format!("/keys?after={next}");
    }
    if settings.json {
        out.json(&names)?;
    } else {
        for name in names {
            out.line(&name)?;
        }
    }
    Ok(Exit::Fine)
}

fn flush(server: &str, settings: &Settings, out: &mut Out) -> Result<Exit, Undone> {
    let server = parse(server)?;
    let done = settings.desk(MayBegin::No)?.call("DELETE", &format!("/keys/{server}"), "")?;
    if settings.json {
        out.json(&done)?;
        return Ok(Exit::Fine);
    }
    out.line(&format!("let go of what was known of {server}:"))?;
    let text =
        |key: &Value, name| key.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    for key in done.get("flushed").and_then(Value::as_array).into_iter().flatten() {
        out.line(&format!("  {} {}", text(key, "key_id"), text(key, "key")))?;
    }
    Ok(Exit::Fine)
}

fn refresh(server: &str, settings: &Settings, out: &mut Out) -> Result<Exit, Undone> {
    let server = parse(server)?;
    let desk = settings.desk(MayBegin::Yes)?;
    let done = desk.call("POST", &format!("/keys/{server}/refresh"), "")?;
    let valid = done.get("valid_keys").and_then(Value::as_u64).unwrap_or_default();
    if settings.json {
        out.json(&done)?;
    } else {
        out.line(&format!("asked anew; {server} has {valid} valid keys now"))?;
    }
    Ok(if valid > 0 { Exit::Fine } else { Exit::Negative })
}

fn subject(server: Option<&String>, key_id: Option<&String>, key: Option<&String>) -> SubjectForm {
    SubjectForm { server_name: server.cloned(), key_id: key_id.cloned(), key: key.cloned() }
}

fn amend(
    change: ChangeForm,
    done: &str,
    settings: &Settings,
    out: &mut Out,
) -> Result<Exit, Undone> {
    let body = json!(change).to_string();
    let told = settings.desk(MayBegin::Yes)?.call("POST", "/rules", &body)?;
    if settings.json {
        out.json(&told)?;
    } else if told.get("changed").and_then(Value::as_bool) == Some(true) {
        out.line(done)?;
    } else {
        out.line(&format!("nothing to do: {done} already"))?;
    }
    Ok(Exit::Fine)
}

fn rules(settings: &Settings, out: &mut Out) -> Result<Exit, Undone> {
    let rules = settings.desk(MayBegin::No)?.call("GET", "/rules", "")?;
    if settings.json {
        out.json(&rules)?;
        return Ok(Exit::Fine);
    }
    for (place, from) in [("settings", "the settings"), ("made", "made at run time")] {
        let rules = rules.get(place).cloned().unwrap_or_default();
        for line in rule_lines(&rules) {
            out.line(&format!("{line}  ({from})"))?;
        }
    }
    Ok(Exit::Fine)
}

/// One line per rule, as in the command that makes it.
fn rule_lines(rules: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for (server, keys) in rules.get("pins").and_then(Value::as_object).into_iter().flatten() {
        for (id, key) in keys.as_object().into_iter().flatten() {
            lines.push(format!("pin {server} {id} {}", key.as_str().unwrap_or_default()));
        }
    }
    lines.extend(texts(rules, "banned_servers").map(|server| format!("ban {server}")));
    let pairs = rules.get("banned_key_ids").and_then(Value::as_array).into_iter().flatten();
    for pair in pairs {
        let words: Vec<&str> =
            pair.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        lines.push(format!("ban {}", words.join(" ")));
    }
    lines.extend(texts(rules, "banned_keys").map(|key| format!("ban --key {key}")));
    lines
}

/// The file of keys that the settings name. It is not made where there is none.
fn open(settings: &Settings) -> Result<(FileStore, Config), Failure> {
    let config = settings.settings.load()?;
    let path = match &config.keys.store {
        Store::Memory => {
            return Err(Failure::usage(
                "error: keys.store is \"\": keys are kept in memory only, and end with the process",
            ));
        }
        Store::File(path) | Store::FileIfPossible(path) => path,
    };
    if !path.exists() {
        let message = format!("error: keys.store = {path:?}: there is no such file");
        return Err(Failure { message, exit: Exit::Negative });
    }
    let opened = FileStore::open(path, SystemClock.now())?;
    if let Some(aside) = opened.moved_aside {
        let message = format!("error: keys.store was damaged; it has been moved to {aside:?}");
        return Err(Failure { message, exit: Exit::Negative });
    }
    Ok((opened.store, config))
}

fn show_kept(server: &str, settings: &Settings, out: &mut Out) -> Result<Exit, Failure> {
    let server = parse(server)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (store, config) = open(settings)?;
    let Some(record) = runtime.block_on(store.load(&server))? else {
        out.line(&format!("nothing is kept of {server}"))?;
        return Ok(Exit::Negative);
    };
    let shown = describe(record, &server, &config, SystemClock.now());
    show(&shown, settings.json, out)
}

fn describe(
    record: ServerRecord,
    server: &ServerName,
    config: &Config,
    now: Timestamp,
) -> Vec<Shown> {
    let banned = BannedKeys::new(config.keys.banned.iter().copied());
    let bindings = record.bindings.clone();
    let (known, _) = KnownKeys::from_record(record, server, &banned);
    bindings.into_iter().map(|binding| shown(binding, &known, now)).collect()
}

fn shown(binding: Binding, known: &KnownKeys, now: Timestamp) -> Shown {
    let verdict = match known.answer(&binding.id, now) {
        KeyAnswer::Valid(key) => {
            let left = times::span(key.effective_until.since(now));
            format!("valid for {left}, until {}", times::show(key.effective_until))
        }
        KeyAnswer::Expired { effective_until } => {
            format!("expired {}", times::show(effective_until))
        }
        KeyAnswer::Retired { expired_ts } => format!("retired {}", times::show(expired_ts)),
        KeyAnswer::Banned(banned) => format!("banned: {banned}"),
        KeyAnswer::Unknown => "bound; no current document shows it".to_owned(),
    };
    let conflict = binding.conflict.map(|other| {
        format!("{} by {} {}", other.key.to_base64(), other.source, times::show(other.at))
    });
    Shown {
        key_id: binding.id.as_str().to_owned(),
        key: binding.key.to_base64(),
        verdict,
        learnt_from: known::label(binding.learnt_from),
        first_seen_ts: binding.first_seen.as_ms(),
        witnesses: binding.witnesses.iter().map(ToString::to_string).collect(),
        conflict,
    }
}

fn show(keys: &[Shown], json: bool, out: &mut Out) -> Result<Exit, Failure> {
    if json {
        out.json(&keys)?;
        return Ok(Exit::Fine);
    }
    // No table: a key that is broken over lines cannot be copied.
    for key in keys {
        out.line(&format!("{} {}", key.key_id, key.key))?;
        out.line(&format!("  {}", key.verdict))?;
        let first_seen = times::show(Timestamp::from_ms(key.first_seen_ts));
        out.line(&format!("  shown by {}; first seen {first_seen}", key.witnesses.join(", ")))?;
        if let Some(conflict) = &key.conflict {
            out.line(&format!("  another key was shown: {conflict}"))?;
        }
    }
    Ok(Exit::Fine)
}
