//! `fedgate keys SERVER`: how a server's keys are got, what each source says, and whether its requests
//! would pass.

mod text;

use std::path::Path;
use std::sync::Arc;

pub(super) use self::text::plain;
use super::keys::desk::Running;
use super::out::Out;
use super::{Exit, Failure, SettingsArguments, keys};
use crate::app::{self, StartError};
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, Store};
use crate::keys::inquiry::{Beforehand, Inquirer, Inquiry, StoreState, Stored};
use crate::keys::rules::{Rulebook, Rules};
use crate::keys::store::{FileStore, KeyStore as _, StoreError};
use crate::proto::{KeyId, ServerName};

/// `fedgate keys SERVER`.
#[derive(clap::Args, Debug)]
pub(super) struct Inspect {
    /// The server's name: all its sources are asked for its keys, and nothing of it is kept
    // Missing only beside another verb: clap sees to it.
    #[arg(required = true)]
    server: Option<String>,
    /// Ask for the key with this ID; repeat it for several [default: those the server itself shows
    /// and those that are kept]
    #[arg(long = "key", value_name = "ID")]
    key_ids: Vec<String>,
    /// Ask nobody; print what is kept
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    settings: SettingsArguments,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Inspect, out: &mut Out) -> Result<Exit, Failure> {
    let server = keys::parse(arguments.server.as_deref().unwrap_or_default())?;
    let ids = arguments.key_ids.iter().map(|id| parse_id(id)).collect::<Result<Vec<_>, _>>()?;
    let config = arguments.settings.load()?;
    let inquiry = inquire(&config, &server, &ids, arguments.offline)?;
    if arguments.json {
        out.json(&inquiry)?;
    } else {
        out.print(&text::text(&inquiry))?;
    }
    Ok(if inquiry.verdict.accepted { Exit::Fine } else { Exit::Negative })
}

fn parse_id(id: &str) -> Result<KeyId, Failure> {
    KeyId::parse(id).map_err(|error| Failure::usage(format!("error: --key {id:?}: {error}")))
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::usage(format!("error: {error}"))
    }
}

/// The one place that decides who inquires: the fedgate that runs with these settings, or else this
/// process itself, with their sources and what is in the file of keys.
fn inquire(
    config: &Config,
    server: &ServerName,
    ids: &[KeyId],
    offline: bool,
) -> Result<Inquiry, Failure> {
    if let Some(running) = Running::find(config)? {
        return running.inquiry(server, ids, offline);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(inquire_here(config, server, ids, offline))
}

async fn inquire_here(
    config: &Config,
    server: &ServerName,
    ids: &[KeyId],
    offline: bool,
) -> Result<Inquiry, Failure> {
    let clock = Arc::new(SystemClock);
    let (stored, made) = stored(config, server, clock.as_ref()).await;
    let before = Beforehand { memory: None, stored, back_off: None };
    let policy = app::key_policy(config);
    let book = Rulebook::new(app::rules(config), made);
    let rules = book.in_force();
    let stages = app::key_sources_alone(config, &book)?;
    let inquirer =
        Inquirer { stages: &stages, policy: &policy, rules: &rules, clock: clock.as_ref() };
    if offline {
        return Ok(inquirer.look(server, before));
    }
    Ok(inquirer.ask(server, ids, before).await)
}

/// What is kept of `server` on disk, and the rules made at run time. The file is let go of before
/// anybody is asked, so that a fedgate that starts meanwhile gets it.
async fn stored(config: &Config, server: &ServerName, clock: &dyn Clock) -> (Stored, Rules) {
    let path = match &config.keys.store {
        Store::Memory => return (Stored::Not(StoreState::Unused, None), Rules::default()),
        Store::File(path) | Store::FileIfPossible(path) => path,
    };
    if !path.exists() {
        let detail = format!("keys.store = {path:?}");
        return (Stored::Not(StoreState::Absent, Some(detail)), Rules::default());
    }
    read(path, server, clock).await.unwrap_or_else(|error| {
        let state = match error {
            StoreError::Locked(_) => StoreState::Locked,
            StoreError::Damaged(_) | StoreError::Io(_) | StoreError::Newer(_) => {
                StoreState::Unreadable
            }
        };
        (Stored::Not(state, Some(error.to_string())), Rules::default())
    })
}

async fn read(
    path: &Path,
    server: &ServerName,
    clock: &dyn Clock,
) -> Result<(Stored, Rules), StoreError> {
    let opened = FileStore::open(path, clock.now())?;
    if let Some(aside) = opened.moved_aside {
        let cause = format!("keys.store was damaged; it has been moved to {aside:?}");
        return Err(StoreError::Damaged(cause));
    }
    let rules = opened.store.load_rules().await?;
    Ok((Stored::Read(opened.store.load(server).await?), rules))
}
