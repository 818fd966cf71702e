//! Texts made from the definition of the command line: completions and manual pages.

use super::out::Out;
use super::{Exit, Failure};

/// `fedgate completions`.
#[derive(clap::Args, Debug)]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// `fedgate man`.
#[derive(clap::Args, Debug)]
pub(super) struct Man {
    /// The command; without one, the page of fedgate itself
    #[arg(value_name = "COMMAND", num_args = 0..)]
    command: Vec<String>,
}

pub(super) fn completions(
    arguments: &Completions,
    mut command: clap::Command,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "fedgate", &mut script);
    print_bytes(script, out)
}

pub(super) fn man(
    arguments: &Man,
    mut command: clap::Command,
    out: &mut Out,
) -> Result<Exit, Failure> {
    // Lets each page know the whole name of its command.
    command.build();
    let mut page = &command;
    for name in &arguments.command {
        page = page
            .find_subcommand(name)
            .ok_or_else(|| Failure::usage(format!("error: there is no command {name:?}")))?;
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(page.clone()).render(&mut text)?;
    print_bytes(text, out)
}

fn print_bytes(text: Vec<u8>, out: &mut Out) -> Result<Exit, Failure> {
    let text = String::from_utf8(text).map_err(std::io::Error::other)?;
    out.print(&text)?;
    Ok(Exit::Fine)
}
