//! `fedgate run`: the gate itself.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use super::{Exit, Failure, SettingsArguments};
use crate::config::{Log, LogFormat};

pub(super) fn run(arguments: &SettingsArguments) -> Result<Exit, Failure> {
    let config = arguments.load()?;
    start_logging(&config.log)?;
    crate::app::run(config)
        .map_err(|error| Failure { message: format!("error: {error}"), exit: Exit::Negative })?;
    Ok(Exit::Fine)
}

/// Sends log lines to the standard error output.
fn start_logging(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|error| Failure::usage(format!("error: log.filter: {error}")))?;
    let terminal = std::io::stderr().is_terminal();
    let human = match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    // A line that cannot be written is lost. Complaining of it on the same standard error would end
    // the request it belongs to.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    let started = if human {
        lines.with_ansi(terminal).try_init()
    } else {
        lines.json().flatten_event(true).try_init()
    };
    started.map_err(|error| Failure {
        message: format!("error: the log cannot be started: {error}"),
        exit: Exit::Negative,
    })
}
