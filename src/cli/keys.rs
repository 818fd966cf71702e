//! `fedgate keys`: what is known of other servers' keys, and the operator's hand on them.

pub(super) mod desk;
mod history;

use serde_json::{Value, json};

use self::desk::{Desk, MayBegin, Undone};
use self::history::History;
use super::inquiry::{self, Inspect};
use super::out::Out;
use super::{Exit, Failure, SettingsArguments};
use crate::keys::rules::form::{ChangeForm, SubjectForm};
use crate::proto::ServerName;

/// `fedgate keys`.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    inspect: Inspect,
}

/// The verbs. All of them ask the fedgate that runs, and work on the file `keys.store` when none does.
#[derive(clap::Subcommand, Debug)]
enum Command {
    /// The same as `fedgate keys SERVER`, for servers called like one of these verbs
    Inspect(Inspect),
    /// Print the names of all servers whose keys are kept
    List(Settings),
    /// Print what has happened to the keys of one server: first sights, changes, retirements and
    /// disagreements, each with time and source
    History(History),
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

pub(super) fn run(arguments: &Arguments, out: &mut Out) -> Result<Exit, Failure> {
    let Some(command) = &arguments.command else {
        return inquiry::run(&arguments.inspect, out);
    };
    let done = match command {
        Command::Inspect(inspect) => return inquiry::run(inspect, out),
        Command::List(settings) => list(settings, out),
        Command::History(arguments) => history::run(arguments, out),
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

pub(super) fn parse(server: &str) -> Result<ServerName, Failure> {
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
    let mut lines = Vec::new();
    for (place, from) in [("settings", "the settings"), ("made", "made at run time")] {
        let rules = rules.get(place).cloned().unwrap_or_default();
        lines.extend(rule_lines(&rules).into_iter().map(|line| format!("{line}  ({from})")));
    }
    if lines.is_empty() {
        lines.push("nothing is pinned and nothing banned".to_owned());
    }
    for line in lines {
        out.line(&line)?;
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
