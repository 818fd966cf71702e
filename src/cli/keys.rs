//! `fedgate keys`: what the file of keys says, and letting go of a server's keys.

use super::inquiry::{self, Inspect};
use super::out::Out;
use super::{Exit, Failure, SettingsArguments};
use crate::clock::{Clock as _, SystemClock};
use crate::config::Store;
use crate::keys::record::ServerRecord;
use crate::keys::store::{FileStore, KeyStore as _, StoreError};
use crate::proto::ServerName;

/// Names read from the file at one time.
const PAGE: usize = 1_000;

/// `fedgate keys`.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    inspect: Inspect,
}

/// The verbs. All but `inspect` work on the file `keys.store`, which a running fedgate holds: stop it
/// first.
#[derive(clap::Subcommand, Debug)]
enum Command {
    /// The same as `fedgate keys SERVER`, for servers called like one of these verbs
    Inspect(Inspect),
    /// Print the names of all servers whose keys are kept
    List(Settings),
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

pub(super) fn run(arguments: &Arguments, out: &mut Out) -> Result<Exit, Failure> {
    let Some(command) = &arguments.command else {
        return inquiry::run(&arguments.inspect, out);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    match command {
        Command::List(settings) => {
            let store = open(settings)?;
            let names = runtime.block_on(all(&store))?;
            list(&names, settings.json, out)
        }
        Command::Inspect(inspect) => inquiry::run(inspect, out),
        Command::Flush { server, settings } => {
            let server = parse(server)?;
            let store = open(settings)?;
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

pub(super) fn parse(server: &str) -> Result<ServerName, Failure> {
    ServerName::parse(server)
        .map_err(|error| Failure::usage(format!("error: {server:?} is no server name: {error}")))
}

/// The file of keys that the settings name. It is not made where there is none.
fn open(settings: &Settings) -> Result<FileStore, Failure> {
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
    Ok(opened.store)
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
