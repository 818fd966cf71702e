//! The section `policy`: which servers may federate at all.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::proto::ServerGlob;
use crate::proto::server_glob::ServerGlobError;

/// The word behind a rule that is only tried out.
const DRY_RUN: &str = "dry-run";

/// Which servers may federate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Rules for those that may. If there are any that are not only tried out, nobody else may.
    pub allow: Vec<PlacedRule>,
    /// Rules for those that may not, whatever `allow` says.
    pub deny: Vec<PlacedRule>,
    /// Files with more of both.
    pub files: Vec<PolicyFile>,
    /// What becomes of servers named by an address.
    pub ip_literals: IpLiterals,
    /// What a refused server is told.
    pub text: String,
    /// How often the files are looked at.
    pub files_interval: Duration,
}

/// A rule about servers, as one writes it: a glob, and `dry-run` behind it where it only counts and
/// logs what it would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRule {
    /// The servers.
    pub glob: ServerGlob,
    /// Whether it is only tried out.
    pub dry_run: bool,
}

/// A rule of the settings and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedRule {
    /// The rule.
    pub rule: PolicyRule,
    /// As in `/etc/fedgate/fedgate.toml:12:9`.
    pub place: String,
}

/// A file with rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub kind: PolicyFileKind,
    /// Whether all of it is only tried out.
    pub dry_run: bool,
}

/// What is in a file with rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyFileKind {
    /// A rule a line, for servers that may federate.
    Allow,
    /// A rule a line, for servers that may not.
    Deny,
    /// The state of a moderation policy room, in JSON: its bans of servers.
    Room,
}

/// What becomes of servers named by an address (`m.server_acl`'s `allow_ip_literals`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpLiterals {
    /// Nothing more than of others.
    Allow,
    /// They are counted and logged.
    DryRun,
    /// They are refused.
    Refuse,
}

/// Why a text is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyRuleError {
    /// The glob is wrong.
    Glob(ServerGlobError),
    /// Something else than `dry-run` stands behind it.
    Word,
}

impl PolicyRule {
    /// Reads a rule.
    ///
    /// # Errors
    /// When no server name could match it, or there is more than a rule.
    pub fn parse(text: &str) -> Result<Self, PolicyRuleError> {
        let mut words = text.split_ascii_whitespace();
        let glob = ServerGlob::parse(words.next().unwrap_or_default());
        let glob = glob.map_err(PolicyRuleError::Glob)?;
        let dry_run = match (words.next(), words.next()) {
            (None, _) => false,
            (Some(DRY_RUN), None) => true,
            (Some(_), _) => return Err(PolicyRuleError::Word),
        };
        Ok(Self { glob, dry_run })
    }
}

impl PolicyRuleError {
    /// What to write instead.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Glob(error) => error.help(),
            Self::Word => {
                "write one rule alone, or \"dry-run\" behind it to count and log what it would refuse"
            }
        }
    }
}

impl fmt::Display for PolicyRuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Glob(error) => error.fmt(f),
            Self::Word => f.write_str("there is more than one rule"),
        }
    }
}

impl std::error::Error for PolicyRuleError {}
