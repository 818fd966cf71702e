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

    /// Prints a value as JSON over several lines. In texts that strangers wrote, whatever could mean
    /// something to a terminal is escaped.
    pub(super) fn json(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        self.line(&in_ascii(&serde_json::to_string_pretty(value)?))
    }

    /// Prints a line before the program ends. There is no one left to tell if that fails.
    pub(super) fn print_last(&mut self, text: &str) {
        let _printed = self.line(text);
    }
}

/// The same JSON in printable ASCII: characters outside of it can only be within strings.
fn in_ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for char in json.chars() {
        if char.is_ascii() && char != '\u{7f}' {
            ascii.push(char);
        } else {
            let mut units = [0; 2];
            for unit in char.encode_utf16(&mut units) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_the_same_in_ascii() {
        let text = "a\u{9b}31m\u{202e}é\u{1f600}\u{7f}\n\"";
        let json = in_ascii(&serde_json::to_string(text).expect("JSON"));
        assert!(json.bytes().all(|byte| byte.is_ascii_graphic()), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
    }
}
