//! `fedgate run`: the gate itself.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::JsonFields;

use super::log::{JsonLines, LogWriter};
use super::{Exit, Failure, SettingsArguments};
use crate::app::{SetLogFilter, Startup};
use crate::config::{Config, Log, LogFormat};

pub(super) fn run(arguments: &SettingsArguments) -> Result<Exit, Failure> {
    let sources = arguments.sources();
    let (config, settings) = Config::load_with_settings(&sources)?;
    let (log, set_log_filter) = start_logging(&config.log)?;
    let ended = crate::app::run(Startup { config, settings, sources, set_log_filter });
    // What was logged comes before what is said last.
    drop(log);
    ended.map_err(|error| Failure { message: format!("error: {error}"), exit: Exit::Negative })?;
    Ok(Exit::Fine)
}

/// Sends log lines to the standard error output, for as long as the first result is kept. The second
/// changes what is logged.
fn start_logging(log: &Log) -> Result<(LogWriter, SetLogFilter), Failure> {
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
    // The same steps on two types.
    macro_rules! start {
        ($lines:expr) => {{
            let lines = $lines.with_filter_reloading();
            let handle = lines.reload_handle();
            lines.try_init().map_err(|error| failure(&error))?;
            let set: SetLogFilter = Box::new(move |filter| {
                let filter = EnvFilter::try_new(filter).map_err(|error| error.to_string())?;
                handle.reload(filter).map_err(|error| error.to_string())
            });
            set
        }};
    }
    let set_filter = if human {
        start!(lines.with_ansi(terminal))
    } else {
        start!(lines.event_format(JsonLines::new()).fmt_fields(JsonFields::new()))
    };
    Ok((writer, set_filter))
}
