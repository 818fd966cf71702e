//! The rules in force, ready to be asked: what decides a request takes a few look-ups in hash maps,
//! however many rules there are.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::config::{IpLiterals, PolicyRule};
use crate::proto::server_glob::{GlobShape, policy_identity};
use crate::proto::server_name::Host;
use crate::proto::{ServerGlob, ServerName};

/// A rule and where it stands.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The servers it is about.
    pub glob: ServerGlob,
    /// Whether it is only tried out.
    pub dry_run: bool,
    /// Where it stands.
    pub place: RulePlace,
}

/// Where a rule stands.
#[derive(Clone, Debug)]
pub enum RulePlace {
    /// In the settings.
    Settings(Arc<str>),
    /// In a file with a rule a line.
    Line {
        /// The file.
        file: Arc<str>,
        /// The line, from 1.
        line: usize,
    },
    /// In an export of a policy room, which may be one long line.
    Event {
        /// The file.
        file: Arc<str>,
        /// The line where the event begins, from 1.
        line: usize,
        /// The column in bytes, from 1.
        column: usize,
    },
}

impl fmt::Display for RulePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(place) => f.write_str(place),
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::Event { file, line, column } => write!(f, "{file}:{line}:{column}"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" ({})", self.glob, self.place)
    }
}

impl Rule {
    /// A rule at a place; tried out if it says so, or all of its file is.
    pub(super) fn new(rule: PolicyRule, all_dry_run: bool, place: RulePlace) -> Arc<Self> {
        let dry_run = rule.dry_run || all_dry_run;
        Arc::new(Self { glob: rule.glob, dry_run, place })
    }
}

/// Why a server may not federate.
#[derive(Clone, Debug)]
pub enum Cause {
    /// Its name is an address.
    IpLiteral,
    /// There are servers that may, and it is none of them.
    NotAllowed,
    /// A rule says so.
    Rule(Arc<Rule>),
}

impl Cause {
    /// The metric label.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::IpLiteral => "ip_literal",
            Self::NotAllowed => "not_allowed",
            Self::Rule(_) => "rule",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IpLiteral => f.write_str("its name is an address (policy.ip_literals)"),
            Self::NotAllowed => {
                f.write_str("no rule of policy.allow or policy.allow_files is for it")
            }
            Self::Rule(rule) => write!(f, "by {rule}"),
        }
    }
}

/// What the rules say of a server.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Why it may not federate; none if it may.
    pub denied: Option<Cause>,
    /// Why it may, where somebody has to be allowed to.
    pub allowed_by: Option<Arc<Rule>>,
    /// Why it might not, if what is only tried out were in force. None where it may not anyway.
    pub dry_run: Option<Cause>,
}

/// Rules of one kind, by what they cost to look at.
#[derive(Debug, Default)]
struct Matcher {
    names: HashMap<Box<str>, Arc<Rule>>,
    /// `*.example.org`, by the part from the dot on.
    below: HashMap<Box<str>, Arc<Rule>>,
    others: Vec<Arc<Rule>>,
}

impl Matcher {
    /// Of several rules for the same, the first is named.
    fn add(&mut self, rule: &Arc<Rule>) {
        let rule = Arc::clone(rule);
        match rule.glob.shape() {
            GlobShape::Name(name) => {
                self.names.entry(name.into()).or_insert_with(|| Arc::clone(&rule));
            }
            GlobShape::Below(suffix) => {
                self.below.entry(suffix.into()).or_insert_with(|| Arc::clone(&rule));
            }
            GlobShape::Other => self.others.push(rule),
        }
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.below.is_empty() && self.others.is_empty()
    }

    fn find(&self, identity: &str) -> Option<&Arc<Rule>> {
        let below = || {
            // Most operators have no such rule.
            let parts = if self.below.is_empty() { "" } else { identity };
            let dots = parts.match_indices('.');
            dots.filter_map(|(at, _)| parts.get(at..)).find_map(|end| self.below.get(end))
        };
        let other = || self.others.iter().find(|rule| rule.glob.matches(identity));
        self.names.get(identity).or_else(below).or_else(other)
    }
}

/// Rules that count, and those that are tried out.
#[derive(Debug, Default)]
struct Rules {
    in_force: Matcher,
    dry_run: Matcher,
}

impl Rules {
    fn add(&mut self, rule: &Arc<Rule>) {
        if rule.dry_run { self.dry_run.add(rule) } else { self.in_force.add(rule) }
    }
}

/// All rules.
#[derive(Debug)]
pub struct Table {
    allow: Rules,
    deny: Rules,
    ip_literals: IpLiterals,
    /// Whom no rule is about.
    own: Vec<Box<str>>,
}

impl Table {
    /// A table without rules.
    pub(super) fn new(ip_literals: IpLiterals, own: &[ServerName]) -> Self {
        let own = own.iter().map(|name| policy_identity(name).into()).collect();
        Self { allow: Rules::default(), deny: Rules::default(), ip_literals, own }
    }

    pub(super) fn allow(&mut self, rule: &Arc<Rule>) {
        self.allow.add(rule);
    }

    pub(super) fn deny(&mut self, rule: &Arc<Rule>) {
        self.deny.add(rule);
    }

    /// What the rules say of a server: a rule against it counts over one for it.
    pub fn judge(&self, server: &ServerName) -> Judgement {
        let identity = policy_identity(server);
        if self.own.iter().any(|own| **own == *identity) {
            return Judgement::default();
        }
        let is_address = !matches!(server.host(), Host::Dns(_));
        let rule = |rule: &Arc<Rule>| Cause::Rule(Arc::clone(rule));
        let mut judgement = Judgement::default();
        if is_address && self.ip_literals == IpLiterals::Refuse {
            judgement.denied = Some(Cause::IpLiteral);
        } else if let Some(found) = self.deny.in_force.find(&identity) {
            judgement.denied = Some(rule(found));
        } else if !self.allow.in_force.is_empty() {
            judgement.allowed_by = self.allow.in_force.find(&identity).cloned();
            judgement.denied = judgement.allowed_by.is_none().then_some(Cause::NotAllowed);
        }
        if judgement.denied.is_some() {
            return judgement;
        }
        let tried = &self.allow.dry_run;
        if is_address && self.ip_literals == IpLiterals::DryRun {
            judgement.dry_run = Some(Cause::IpLiteral);
        } else if let Some(found) = self.deny.dry_run.find(&identity) {
            judgement.dry_run = Some(rule(found));
        } else if self.allow.in_force.is_empty() && !tried.is_empty() {
            let is_allowed = tried.find(&identity).is_some();
            judgement.dry_run = (!is_allowed).then_some(Cause::NotAllowed);
        }
        judgement
    }
}
