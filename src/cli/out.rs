//! Printing: a reader who has seen enough (`fedgate man | head`) is no error.

use std::io::{self, ErrorKind, Write};

/// Where a command prints.
pub(super) struct Out(Box<dyn Write>);

impl Out {
    pub(super) fn stdout() -> Self {
        Self(Box::new(io::stdout().lock()))
    }

    pub(super) fn stderr() -> Self {
        Self(Box::new(io::stderr().lock()))
    }

    /// Prints `text` as it is.
    pub(super) fn print(&mut self, text: &str) -> io::Result<()> {
        match self.0.write_all(text.as_bytes()).and_then(|()| self.0.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    /// Prints `text` and ends the line.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.print(&format!("{text}\n"))
    }

    /// Prints a value as JSON over several lines.
    pub(super) fn json(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        self.line(&serde_json::to_string_pretty(value)?)
    }

    /// Prints a line before the program ends. There is no one left to tell if that fails.
    pub(super) fn print_last(&mut self, text: &str) {
        let _printed = self.line(text);
    }
}
