//! The command line.
//!
//! Every command ends with one of three exit codes: 0 fine, 1 a negative verdict or a failed check,
//! 2 a mistake in the command or the settings.

mod check;
mod config;
mod demo;
mod generate;
mod healthcheck;
mod http;
mod inquiry;
mod keys;
mod log;
mod notary;
mod out;
mod policy;
mod run;
mod sign;
mod times;
mod verify;
mod verify_event;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::config::{Config, ConfigErrors, Sources};
use out::Out;

/// A gate for Matrix federation: every signed request is verified before it reaches the homeserver.
#[derive(Debug, Parser)]
#[command(name = "fedgate", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether everything the settings name is there: files, ports, homeserver, clock
    Check(check::Arguments),
    /// Print settings
    #[command(subcommand)]
    Config(config::Command),
    /// Print a completion script for a shell
    Completions(generate::Completions),
    /// Show a gate at work on this machine: honest and forged requests, and what comes of them
    Demo(demo::Arguments),
    /// Ask a running fedgate whether it is healthy (for container health checks)
    Healthcheck(healthcheck::Arguments),
    /// Find out how a server's keys are got and whether its requests would pass; list and flush keys
    Keys(keys::Arguments),
    /// Print the manual page of fedgate or of one of its commands
    Man(generate::Man),
    /// Make the signing key of a notary, or print what others need to trust it
    #[command(subcommand)]
    Notary(notary::Command),
    /// Say what the rules of the section [policy] mean for a server
    #[command(subcommand)]
    Policy(policy::Command),
    /// Stand in front of the homeserver until SIGTERM
    Run(SettingsArguments),
    /// Sign a request with a homeserver's signing key
    Sign(sign::Arguments),
    /// Judge a captured request, step by step, without a network
    Verify(verify::Arguments),
    /// Judge one event (PDU), step by step, without a network
    VerifyEvent(verify_event::Arguments),
}

/// Where the settings come from.
#[derive(Args, Clone, Debug)]
struct SettingsArguments {
    /// The settings file [default: /etc/fedgate/fedgate.toml, if there is one; or FEDGATE_CONFIG]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The homeserver's server name, instead of the setting server_name
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Where verified requests go, instead of the setting homeserver
    #[arg(long, value_name = "URL")]
    homeserver: Option<String>,
    /// The address to listen on, instead of the setting listen.address
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// All is well.
    Fine,
    /// The verdict is negative, or a check failed.
    Negative,
    /// The command or the settings are wrong.
    Usage,
}

/// Why a command could not do its work, for people.
#[derive(Debug)]
struct Failure {
    message: String,
    exit: Exit,
}

impl Failure {
    /// The command was asked for something it cannot do.
    fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), exit: Exit::Usage }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self::usage(errors.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let message = format!("error: the output cannot be written: {error}");
        Self { message, exit: Exit::Negative }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::Negative => 1,
            Exit::Usage => 2,
        })
    }
}

impl SettingsArguments {
    fn sources(&self) -> Sources {
        Sources::default()
            .with_file(self.config.clone())
            .with_env(std::env::vars_os())
            .with_flag("--server-name", "server_name", self.server_name.clone())
            .with_flag("--homeserver", "homeserver", self.homeserver.clone())
            .with_flag("--listen", "listen.address", self.listen.clone())
    }

    fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(&self.sources())
    }
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A broken pipe on the way to `less` is no failure of ours.
            let _printed = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Fine.into() };
        }
    };
    match run(cli.command, &mut Out::stdout()) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            Out::stderr().print_last(&failure.message);
            failure.exit.into()
        }
    }
}

fn run(command: Command, out: &mut Out) -> Result<Exit, Failure> {
    match command {
        Command::Check(arguments) => check::run(&arguments, out),
        Command::Config(command) => config::run(&command, out),
        Command::Completions(arguments) => generate::completions(&arguments, Cli::command(), out),
        Command::Demo(arguments) => demo::run(&arguments, out),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments, out),
        Command::Keys(arguments) => keys::run(&arguments, out),
        Command::Man(arguments) => generate::man(&arguments, Cli::command(), out),
        Command::Notary(command) => notary::run(&command, out),
        Command::Policy(command) => policy::run(&command, out),
        Command::Run(arguments) => run::run(&arguments),
        Command::Sign(arguments) => sign::run(&arguments, out),
        Command::Verify(arguments) => verify::run(&arguments, out),
        Command::VerifyEvent(arguments) => verify_event::run(&arguments, out),
    }
}
