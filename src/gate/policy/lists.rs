//! All rules there are: those of the settings, and those of files, which may change.

use std::sync::Arc;

use super::file::{Contents, PolicyFileError, read};
use super::table::{Rule, RulePlace, Table};
use crate::config::{IpLiterals, PlacedRule, Policy, PolicyFile, PolicyFileKind};
use crate::proto::ServerName;
use crate::proto::server_glob::{GlobShape, policy_identity};
use crate::stamp::Stamp;

/// Most rules in all files together: some hundred megabytes.
const RULES_MAX: usize = 1_000_000;

/// Most rules in all files together that are neither names nor of the form `*.example.org`: each is
/// looked at for each request, and takes a microsecond at worst.
const GLOBS_MAX: usize = 1_000;

/// Rules by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// For servers that may federate.
    pub allow: usize,
    /// The same, only tried out.
    pub allow_dry_run: usize,
    /// For servers that may not.
    pub deny: usize,
    /// The same, only tried out.
    pub deny_dry_run: usize,
}

impl Counts {
    fn add(&mut self, kind: PolicyFileKind, rule: &Rule) {
        let count = match (kind, rule.dry_run) {
            (PolicyFileKind::Allow, false) => &mut self.allow,
            (PolicyFileKind::Allow, true) => &mut self.allow_dry_run,
            (PolicyFileKind::Deny | PolicyFileKind::Room, false) => &mut self.deny,
            (PolicyFileKind::Deny | PolicyFileKind::Room, true) => &mut self.deny_dry_run,
        };
        *count += 1;
    }
}

/// What came of reading a file.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The file.
    pub file: PolicyFile,
    /// Its rules and how many bans were passed over, or why it cannot be used.
    pub outcome: Result<(Counts, usize), PolicyFileError>,
    /// A rule against one of our own names, which has no effect.
    pub against_us: Option<Arc<Rule>>,
}

/// A file, and what it said when it was last in order.
#[derive(Debug)]
struct List {
    file: PolicyFile,
    /// The file's state when it was last read; none if it was not.
    seen: Option<Option<Stamp>>,
    contents: Contents,
    is_broken: bool,
}

/// The rules of the settings and of all files.
#[derive(Debug)]
pub struct Lists {
    allow: Vec<Arc<Rule>>,
    deny: Vec<Arc<Rule>>,
    files: Vec<List>,
    ip_literals: IpLiterals,
    own: Vec<ServerName>,
}

impl Lists {
    /// The rules of the settings; no file has been read yet. `own` are our own names.
    pub fn new(policy: &Policy, own: &[ServerName]) -> Self {
        let placed = |rules: &[PlacedRule]| {
            let rule = |placed: &PlacedRule| {
                let place = RulePlace::Settings(placed.place.as_str().into());
                Rule::new(placed.rule.clone(), false, place)
            };
            rules.iter().map(rule).collect()
        };
        let list = |file: &PolicyFile| List {
            file: file.clone(),
            seen: None,
            contents: Contents::default(),
            is_broken: false,
        };
        Self {
            allow: placed(&policy.allow),
            deny: placed(&policy.deny),
            files: policy.files.iter().map(list).collect(),
            ip_literals: policy.ip_literals,
            own: own.to_vec(),
        }
    }

    /// Reads the files that have changed since they were read last: at first, all of them. What a file
    /// said before stays where it cannot be used. Blocks on the disk.
    pub fn read_changed(&mut self) -> Vec<Reading> {
        let mut readings = Vec::new();
        for index in 0..self.files.len() {
            let Some(file) = self.changed(index) else { continue };
            let room = Room::beside(self.others(index));
            let outcome = read(&file).and_then(|contents| room.take(&file, contents));
            if let Some(list) = self.files.get_mut(index) {
                readings.push(list.note(outcome, &self.own));
            }
        }
        readings
    }

    /// The file of this index, if it is not as it was when this was asked last.
    fn changed(&mut self, index: usize) -> Option<PolicyFile> {
        let list = self.files.get_mut(index)?;
        let now = Stamp::of(&list.file.path);
        let is_changed = list.seen != Some(now);
        list.seen = Some(now);
        is_changed.then(|| list.file.clone())
    }

    /// The rules of all other files.
    fn others(&self, index: usize) -> impl Iterator<Item = &Arc<Rule>> {
        let others = self.files.iter().enumerate().filter(move |(at, _)| *at != index);
        others.flat_map(|(_, list)| &list.contents.rules)
    }

    /// How many files cannot be used as they are now.
    pub fn broken(&self) -> usize {
        self.files.iter().filter(|list| list.is_broken).count()
    }

    /// How many rules there are.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.each(|kind, rule| counts.add(kind, rule));
        counts
    }

    /// The rules, ready to be asked.
    pub fn table(&self) -> Table {
        let mut table = Table::new(self.ip_literals, &self.own);
        self.each(|kind, rule| match kind {
            PolicyFileKind::Allow => table.allow(rule),
            PolicyFileKind::Deny | PolicyFileKind::Room => table.deny(rule),
        });
        table
    }

    fn each(&self, mut f: impl FnMut(PolicyFileKind, &Arc<Rule>)) {
        self.allow.iter().for_each(|rule| f(PolicyFileKind::Allow, rule));
        self.deny.iter().for_each(|rule| f(PolicyFileKind::Deny, rule));
        for list in &self.files {
            list.contents.rules.iter().for_each(|rule| f(list.file.kind, rule));
        }
    }
}

impl List {
    /// Keeps what was read, if it can be used.
    fn note(&mut self, outcome: Result<Contents, PolicyFileError>, own: &[ServerName]) -> Reading {
        let file = self.file.clone();
        self.is_broken = outcome.is_err();
        let contents = match outcome {
            Ok(contents) => contents,
            Err(error) => return Reading { file, outcome: Err(error), against_us: None },
        };
        let mut counts = Counts::default();
        contents.rules.iter().for_each(|rule| counts.add(file.kind, rule));
        let is_ours =
            |rule: &&Arc<Rule>| own.iter().any(|n| rule.glob.matches(&policy_identity(n)));
        let against_us = match file.kind {
            PolicyFileKind::Allow => None,
            PolicyFileKind::Deny | PolicyFileKind::Room => {
                contents.rules.iter().find(is_ours).cloned()
            }
        };
        let skipped = contents.skipped;
        self.contents = contents;
        Reading { file, outcome: Ok((counts, skipped)), against_us }
    }
}

/// How many rules there is room for.
struct Room {
    rules: usize,
    globs: usize,
}

impl Room {
    fn beside<'r>(others: impl Iterator<Item = &'r Arc<Rule>>) -> Self {
        let mut room = Self { rules: RULES_MAX, globs: GLOBS_MAX };
        for rule in others {
            room.rules = room.rules.saturating_sub(1);
            room.globs = room.globs.saturating_sub(usize::from(is_other(rule)));
        }
        room
    }

    fn take(&self, file: &PolicyFile, contents: Contents) -> Result<Contents, PolicyFileError> {
        let refuse = |message: String, help: &str| {
            let (file, help) = (file.path.display().to_string().into(), help.to_owned());
            Err(PolicyFileError { file, line: None, message, help })
        };
        let rules = &contents.rules;
        if rules.len() > self.rules {
            return refuse(
                format!("with its {} rules there are more than {RULES_MAX}", rules.len()),
                "leave some out, or use globs",
            );
        }
        let globs = rules.iter().filter(|rule| is_other(rule)).count();
        if globs > self.globs {
            return refuse(
                format!("with its {globs} globs there are more than {GLOBS_MAX}"),
                "write names or globs like *.example.org, of which there may be many more",
            );
        }
        Ok(contents)
    }
}

fn is_other(rule: &Rule) -> bool {
    rule.glob.shape() == GlobShape::Other
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::server_glob::ServerGlob;

    #[test]
    fn more_rules_than_there_is_room_for_are_refused() {
        let file = PolicyFile { path: "list".into(), kind: PolicyFileKind::Deny, dry_run: false };
        let (glob, place) =
            (ServerGlob::parse("a.example").unwrap(), RulePlace::Settings("".into()));
        let rule = Arc::new(Rule { glob, dry_run: false, place });
        for (count, fits) in [(1, true), (2, true), (3, false), (4, false)] {
            let contents = Contents { rules: vec![Arc::clone(&rule); count], skipped: 0 };
            let room = Room { rules: 2, globs: GLOBS_MAX };
            assert_eq!(room.take(&file, contents).is_ok(), fits, "{count}");
        }
    }

    #[test]
    fn what_other_files_say_takes_of_the_room_there_is() {
        let rule = |glob: &str| {
            let (glob, place) = (ServerGlob::parse(glob).unwrap(), RulePlace::Settings("".into()));
            Arc::new(Rule { glob, dry_run: false, place })
        };
        let others = ["a.example", "*.b.example", "*c.example"].map(rule);
        let room = Room::beside(others.iter());
        assert_eq!((room.rules, room.globs), (999_997, 999));
    }
}
