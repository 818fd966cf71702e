//! `fedgate keys`: what the file of keys says, and letting go of a server's keys.

use serde::Serialize;

use super::out::Out;
use super::{Exit, Failure, SettingsArguments, times};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Store};
use crate::keys::known::KnownKeys;
use crate::keys::record::{Binding, ServerRecord};
use crate::keys::store::{FileStore, KeyStore as _, StoreError};
use crate::keys::{KeyAnswer, known};
use crate::proto::ed25519::BannedKeys;
use crate::proto::{ServerName, Timestamp};

/// Names read from the file at one time.
const PAGE: usize = 1_000;

/// `fedgate keys`. These work on the file `keys.store`, which a running fedgate holds: stop it first.
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
    /// Let go of all that is kept of one server, so that its keys are learnt anew
    Flush {
        /// The server's name
        server: String,
        #[command(flatten)]
        settings: Settings,
    },
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
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    match command {
        Command::List(settings) => {
            let (store, _) = open(settings)?;
            let names = runtime.block_on(all(&store))?;
            list(&names, settings.json, out)
        }
        Command::Show { server, settings } => {
            let server = parse(server)?;
            let (store, config) = open(settings)?;
            let record = runtime.block_on(store.load(&server))?;
            let Some(record) = record else { return nothing(&server, out) };
            let shown = describe(record, &server, &config, SystemClock.now());
            show(&shown, settings.json, out)
        }
        Command::Flush { server, settings } => {
            let server = parse(server)?;
            let (store, _) = open(settings)?;
            let record = runtime.block_on(store.load(&server))?;
            if !runtime.block_on(store.forget(&server))? {
                return nothing(&server, out);
            }
            flushed(&server, record.unwrap_or_default(), settings.json, out)
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self { message: format!("error: {error}"), exit: Exit::Negative }
    }
}

fn parse(server: &str) -> Result<ServerName, Failure> {
    ServerName::parse(server)
        .map_err(|error| Failure::usage(format!("error: {server:?} is no server name: {error}")))
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

async fn all(store: &FileStore) -> Result<Vec<ServerName>, StoreError> {
    let mut names: Vec<ServerName> = Vec::new();
    loop {
        let page = store.servers(names.last(), PAGE).await?;
        let is_last = page.len() < PAGE;
        names.extend(page);
        if is_last {
            return Ok(names);
        }
    }
}

fn list(names: &[ServerName], json: bool, out: &mut Out) -> Result<Exit, Failure> {
    if json {
        let names: Vec<&str> = names.iter().map(ServerName::as_str).collect();
        out.json(&names)?;
    } else {
        for name in names {
            out.line(name.as_str())?;
        }
    }
    Ok(Exit::Fine)
}

fn nothing(server: &ServerName, out: &mut Out) -> Result<Exit, Failure> {
    out.line(&format!("nothing is kept of {server}"))?;
    Ok(Exit::Negative)
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

fn flushed(
    server: &ServerName,
    record: ServerRecord,
    json: bool,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let keys: Vec<String> = record
        .bindings
        .iter()
        .map(|binding| format!("{} {}", binding.id.as_str(), binding.key.to_base64()))
        .collect();
    if json {
        out.json(&keys)?;
        return Ok(Exit::Fine);
    }
    out.line(&format!("let go of what was kept of {server}:"))?;
    for key in keys {
        out.line(&format!("  {key}"))?;
    }
    Ok(Exit::Fine)
}
