//! Files with rules: read whole, within bounds, or not at all.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use super::room;
use super::table::{Rule, RulePlace};
use crate::config::{PolicyFile, PolicyFileKind, PolicyRule};

/// Largest file in bytes: 100,000 events of a policy room, which take some 600 bytes each.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Why a file cannot be used; the text names the file, the line and the fix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {message}; {help}", line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct PolicyFileError {
    /// The file.
    pub file: Arc<str>,
    /// The line, where there is one.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// What is in a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// Its rules.
    pub(super) rules: Vec<Arc<Rule>>,
    /// Bans in a policy room that no server name can match, and that are passed over: what strangers
    /// write there must not stop the rest.
    pub(super) skipped: usize,
}

/// Reads a file.
///
/// # Errors
/// When it cannot be read, or anything in it that an operator writes is wrong.
pub(super) fn read(file: &PolicyFile) -> Result<Contents, PolicyFileError> {
    let source = Source { file: file.path.display().to_string().into(), dry_run: file.dry_run };
    let bytes = bytes(&file.path).map_err(|cause| {
        source.error(None, cause, "put the file right, or take it out of the section [policy]")
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = line_at(&bytes, error.valid_up_to());
        source.error(Some(line), "it is not UTF-8".to_owned(), "write the file as plain text")
    })?;
    let contents = match file.kind {
        PolicyFileKind::Allow | PolicyFileKind::Deny => lines(text, &source)?,
        PolicyFileKind::Room => room::read(text, &source)?,
    };
    // Half a file, caught while it was being written, must not open the gate to everybody.
    if file.kind == PolicyFileKind::Allow && contents.rules.is_empty() {
        let help = "list the servers that may federate, or take the file out of policy.allow_files \
                    to let all of them";
        return Err(source.error(None, "it has no rule".to_owned(), help));
    }
    Ok(contents)
}

/// Where rules come from.
pub(super) struct Source {
    pub(super) file: Arc<str>,
    pub(super) dry_run: bool,
}

impl Source {
    pub(super) fn error(
        &self,
        line: Option<usize>,
        message: String,
        help: &str,
    ) -> PolicyFileError {
        PolicyFileError { file: Arc::clone(&self.file), line, message, help: help.to_owned() }
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("it cannot be read: {error}");
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

/// The line, from 1, of a byte.
fn line_at(bytes: &[u8], at: usize) -> usize {
    bytes.iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// A rule a line; `#` begins a comment, which no name has.
fn lines(text: &str, source: &Source) -> Result<Contents, PolicyFileError> {
    let mut rules = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let rule = line.split('#').next().unwrap_or_default().trim();
        if rule.is_empty() {
            continue;
        }
        let line = index + 1;
        let rule = PolicyRule::parse(rule)
            .map_err(|error| source.error(Some(line), error.to_string(), error.help()))?;
        let place = RulePlace::Line { file: Arc::clone(&source.file), line };
        rules.push(Rule::new(rule, source.dry_run, place));
    }
    Ok(Contents { rules, skipped: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(FILE_BYTES_MAX).unwrap();
        assert_eq!(bytes(file.path()).unwrap().len() as u64, FILE_BYTES_MAX);
        file.as_file().set_len(FILE_BYTES_MAX + 1).unwrap();
        assert_eq!(bytes(file.path()).unwrap_err(), "it is larger than 67108864 bytes");
    }
}
