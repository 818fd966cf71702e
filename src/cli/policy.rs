//! `fedgate policy`: what the rules say of a server, without a network.

use serde::Serialize;

use super::keys::parse;
use super::out::Out;
use super::{Exit, Failure, SettingsArguments};
use crate::gate::policy::{Cause, Judgement, Lists, Table};
use crate::proto::ServerName;

/// The verbs.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Say whether servers may federate, and which rule says so; exits 1 if one of them may not
    Check(Check),
}

/// `fedgate policy check`.
#[derive(clap::Args, Debug)]
pub(super) struct Check {
    /// The servers' names
    #[arg(required = true, value_name = "NAME")]
    servers: Vec<String>,
    #[command(flatten)]
    settings: SettingsArguments,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// What is said of one server.
#[derive(Debug, Serialize)]
struct Answer {
    server_name: String,
    verdict: &'static str,
    /// Why: a rule with the place where it stands, unless no rule is needed.
    because: Option<String>,
    /// What a rule that is only tried out would refuse it for.
    dry_run: Option<String>,
}

pub(super) fn run(command: &Command, out: &mut Out) -> Result<Exit, Failure> {
    let Command::Check(arguments) = command;
    let servers: Result<Vec<_>, _> = arguments.servers.iter().map(|name| parse(name)).collect();
    let servers = servers?;
    let config = arguments.settings.load()?;
    let mut lists = Lists::new(&config.policy, &config.server_names);
    for reading in lists.read_changed() {
        reading.outcome.map_err(|error| Failure::usage(format!("error: {error}")))?;
    }
    let table = lists.table();
    let answers: Vec<Answer> = servers.iter().map(|server| answer(&table, server)).collect();
    if arguments.json {
        out.json(&answers)?;
    } else {
        for answer in &answers {
            out.line(&answer.line())?;
        }
    }
    let is_denied = answers.iter().any(|answer| answer.verdict == DENIED);
    Ok(if is_denied { Exit::Negative } else { Exit::Fine })
}

const ALLOWED: &str = "allowed";
const DENIED: &str = "denied";

fn answer(table: &Table, server: &ServerName) -> Answer {
    let Judgement { denied, allowed_by, dry_run } = table.judge(server);
    let verdict = if denied.is_some() { DENIED } else { ALLOWED };
    let allowed_by = allowed_by.map(Cause::Rule);
    Answer {
        server_name: server.to_string(),
        verdict,
        because: denied.or(allowed_by).map(|cause| cause.to_string()),
        dry_run: dry_run.map(|cause| cause.to_string()),
    }
}

impl Answer {
    fn line(&self) -> String {
        let mut line = format!("{}: {}", self.server_name, self.verdict);
        if let Some(because) = &self.because {
            let joint = if because.starts_with("by ") { " " } else { ": " };
            line.push_str(&format!("{joint}{because}"));
        }
        if let Some(dry_run) = &self.dry_run {
            line.push_str(&format!("; dry-run would deny it: {dry_run}"));
        }
        line
    }
}
