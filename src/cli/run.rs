//! `fedgate run`: the gate itself.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::JsonFields;

use super::log::{JsonLines, LogWriter};
use super::{Exit, Failure, SettingsArguments};
use crate::config::{Log, LogFormat};

pub(super) fn run(arguments: &SettingsArguments) -> Result<Exit, Failure> {
    let config = arguments.load()?;
    let log = start_logging(&config.log)?;
    let ended = crate::app::run(config);
    // What was logged comes before what is said last.
    drop(log);
    ended.map_err(|error| Failure { message: format!("error: {error}"), exit: Exit::Negative })?;
    Ok(Exit::Fine)
}

/// Sends log lines to the standard error output, for as long as the result is kept.
fn start_logging(log: &Log) -> Result<LogWriter, Failure> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|error| Failure::usage(format!("error: log.filter: {error}")))?;
    let terminal = std::io::stderr().is_terminal();
    let human = match log.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    let failure = |error: &dyn std::fmt::Display| Failure {
        message: format!("error: the log cannot be started: {error}"),
        exit: Exit::Negative,
    };
    let writer = LogWriter::start(std::io::stderr()).map_err(|error| failure(&error))?;
    // A complaint about a line that cannot be formatted would end the request it belongs to, when the
    // standard error output is gone.
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer.lines())
        .log_internal_errors(false);
    let started = if human {
        lines.with_ansi(terminal).try_init()
    } else {
        lines.event_format(JsonLines::new()).fmt_fields(JsonFields::new()).try_init()
    };
    started.map_err(|error| failure(&error))?;
    Ok(writer)
}
