//! The section `policy`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::super::values::{self, Checked, Problem};
use super::super::{
    Config, IpLiterals, PlacedRule, Policy, PolicyFile, PolicyFileKind, PolicyRule,
};
use super::reader::Reader;
use crate::proto::server_glob::policy_identity;

const IP_LITERALS: &[(&str, IpLiterals)] = &[
    ("allow", IpLiterals::Allow),
    ("dry-run", IpLiterals::DryRun),
    ("refuse", IpLiterals::Refuse),
];

const FILES: [(&str, PolicyFileKind); 3] = [
    ("policy.allow_files", PolicyFileKind::Allow),
    ("policy.deny_files", PolicyFileKind::Deny),
    ("policy.room_files", PolicyFileKind::Room),
];

/// Most files: more lists than anybody follows.
const FILES_MAX: usize = 64;

/// Longest text for a refused server, in characters.
const TEXT_CHARS_MAX: usize = 256;

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Policy> {
    let allow = rules(reader, "policy.allow");
    let deny = rules(reader, "policy.deny");
    let files = files(reader);
    let ip_literals = reader.text("policy.ip_literals", |text| values::choice(text, IP_LITERALS));
    let text = reader.text("policy.text", text);
    let files_interval = reader.text("policy.files_interval", values::duration);
    Some(Policy {
        allow: allow?,
        deny: deny?,
        files: files?,
        ip_literals: ip_literals?,
        text: text?,
        files_interval: files_interval?,
    })
}

fn rules(reader: &mut Reader<'_>, name: &str) -> Option<Vec<PlacedRule>> {
    let parse = |text: &str| {
        PolicyRule::parse(text).map_err(|error| Problem::new(error.to_string(), error.help()))
    };
    let placed = reader.placed_list(name, parse)?;
    let rule = |(place, rule): (&super::super::diagnostic::Place, _)| PlacedRule {
        rule,
        place: place.to_string(),
    };
    Some(placed.into_iter().map(rule).collect())
}

fn files(reader: &mut Reader<'_>) -> Option<Vec<PolicyFile>> {
    let dry_run = reader.list("policy.dry_run_files", values::absolute_path);
    let mut files = Vec::new();
    let mut complete = true;
    for (name, kind) in FILES {
        match reader.list(name, values::absolute_path) {
            Some(paths) => files.extend(paths.into_iter().map(|path| (name, kind, path))),
            None => complete = false,
        }
    }
    let dry_run = dry_run?;
    let mut seen = BTreeSet::new();
    for (name, _, path) in &files {
        if !seen.insert(path) {
            let help = "leave all but one out";
            reader.problem(name, Problem::new(format!("{path:?} is listed twice"), help));
            complete = false;
        }
    }
    if let Some(stray) = dry_run.iter().find(|path| !seen.contains(path)) {
        let message = format!("{stray:?} is in none of the lists of files");
        let help = "name it in policy.allow_files, policy.deny_files or policy.room_files too";
        reader.problem("policy.dry_run_files", Problem::new(message, help));
        complete = false;
    }
    if files.len() > FILES_MAX {
        let message = format!("{} files are too many", files.len());
        let help = format!("put some together: up to {FILES_MAX} are read");
        reader.error_at("policy.deny_files", message, help);
        complete = false;
    }
    let file = |(_, kind, path): (_, _, PathBuf)| {
        let dry_run = dry_run.contains(&path);
        PolicyFile { path, kind, dry_run }
    };
    complete.then(|| files.into_iter().map(file).collect())
}

fn text(text: &str) -> Checked<String> {
    if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX {
        let help = format!("write 1 to {TEXT_CHARS_MAX} characters");
        return Err(Problem::new("the text is too short or too long", help));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::new("it has control characters", "write one line of plain text"));
    }
    Ok(text.to_owned())
}

/// A rule of one's own against oneself is a slip, and hints at others it hits: `*`, `*.org`.
pub(super) fn own_names(config: &Config, reader: &mut Reader<'_>) {
    for placed in config.policy.deny.iter().filter(|placed| !placed.rule.dry_run) {
        let glob = &placed.rule.glob;
        let own = config.server_names.iter().find(|name| glob.matches(&policy_identity(name)));
        if let Some(own) = own {
            reader.error_at(
                "policy.deny",
                format!("policy.deny has \"{glob}\", which is the own server {own} too"),
                "deny less; to federate with some servers only, list them in policy.allow"
                    .to_owned(),
            );
        }
    }
}
