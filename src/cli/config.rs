//! `fedgate config`: the sample file, and the settings as they count.

use super::out::Out;
use super::{Exit, Failure, SettingsArguments};
use crate::config::{Config, dump, sample};

/// `fedgate config`.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Print a settings file with every setting, its default and its meaning
    Sample,
    /// Print the settings as they count, each with the place it comes from
    Dump(SettingsArguments),
}

pub(super) fn run(command: &Command, out: &mut Out) -> Result<Exit, Failure> {
    match command {
        Command::Sample => out.print(&sample())?,
        Command::Dump(arguments) => {
            let (config, settings) = Config::load_with_settings(&arguments.sources())?;
            out.print(&dump(&config, &settings))?;
        }
    }
    Ok(Exit::Fine)
}
