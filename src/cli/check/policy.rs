//! The files with rules about servers.

use super::Finding;
use crate::config::{Config, PolicyFile, PolicyFileKind};
use crate::gate::policy::{Counts, Lists};

const NAME: &str = "policy";

/// The sizes of all lists, and what is wrong with each.
pub(super) fn policy(config: &Config) -> Vec<Finding> {
    let mut lists = Lists::new(&config.policy, &config.server_names);
    let mut findings = Vec::new();
    let inline = lists.counts();
    if inline != Counts::default() {
        findings.push(Finding::ok(NAME, format!("the settings: {}", shown(inline))));
    }
    for reading in lists.read_changed() {
        let file = reading.file.path.display();
        findings.push(match reading.outcome {
            Err(error) => {
                let line = error.line.map(|line| format!(":{line}")).unwrap_or_default();
                Finding::fail(NAME, format!("{file}{line}: {}", error.message), error.help)
            }
            Ok((counts, skipped)) => {
                let detail = format!("{file}: {}", of_file(&reading.file, counts, skipped));
                match reading.against_us {
                    None => Finding::ok(NAME, detail),
                    Some(rule) => Finding::warn(
                        NAME,
                        format!("{detail}; the rule {rule} is against the own server"),
                        "it has no effect; look whether it should be there",
                    ),
                }
            }
        });
    }
    findings
}

fn of_file(file: &PolicyFile, counts: Counts, skipped: usize) -> String {
    let mut text = shown(counts);
    if file.kind == PolicyFileKind::Room && skipped > 0 {
        text.push_str(&format!(", {skipped} that no server name can match passed over"));
    }
    text
}

fn shown(counts: Counts) -> String {
    let Counts { allow, allow_dry_run, deny, deny_dry_run } = counts;
    let parts = [
        (allow, "allowed"),
        (allow_dry_run, "allowed (dry-run)"),
        (deny, "denied"),
        (deny_dry_run, "denied (dry-run)"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
    if parts.is_empty() { "no rules".to_owned() } else { format!("rules: {}", parts.join(", ")) }
}
