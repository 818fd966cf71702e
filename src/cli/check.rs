//! `fedgate check`: is everything there that the settings name?

mod policy;
mod probes;
mod secrets;
mod store;
mod tls;

use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use super::out::Out;
use super::{Exit, Failure, SettingsArguments};
use crate::clock::SystemClock;
use crate::config::Config;

/// Width of the table in columns.
const TABLE_WIDTH: u16 = 100;

/// `fedgate check`.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// How one check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warn,
    Fail,
}

/// One thing that was checked.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    name: &'static str,
    result: Level,
    detail: String,
    /// What to do about it, unless all is well.
    fix: Option<String>,
}

#[derive(Serialize)]
struct Report<'a> {
    result: Level,
    checks: &'a [Finding],
}

impl Finding {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, result: Level::Ok, detail: detail.into(), fix: None }
    }

    fn warn(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, result: Level::Warn, detail: detail.into(), fix: Some(fix.into()) }
    }

    fn fail(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { name, result: Level::Fail, detail: detail.into(), fix: Some(fix.into()) }
    }
}

pub(super) fn run(arguments: &Arguments, out: &mut Out) -> Result<Exit, Failure> {
    let config = match arguments.settings.load() {
        Ok(config) => config,
        Err(errors) if arguments.json => {
            let detail = errors.to_string();
            let fix = "put the settings right; nothing else was checked";
            report(&[Finding::fail("settings", detail, fix)], true, out)?;
            return Ok(Exit::Usage);
        }
        Err(errors) => return Err(errors.into()),
    };
    let findings = findings(&config);
    report(&findings, arguments.json, out)?;
    let failed = findings.iter().any(|finding| finding.result == Level::Fail);
    Ok(if failed { Exit::Negative } else { Exit::Fine })
}

fn findings(config: &Config) -> Vec<Finding> {
    let names: Vec<&str> = config.server_names.iter().map(|name| name.as_str()).collect();
    let mut findings = vec![Finding::ok("settings", format!("for {}", names.join(", ")))];
    findings.extend(probes::mode(config));
    findings.extend(tls::listener(config, &SystemClock));
    findings.extend(tls::authorities(config));
    findings.extend(probes::ports(config));
    findings.extend(probes::homeserver(config, &SystemClock));
    findings.extend(probes::admin_exposed(config));
    findings.push(store::store(config));
    findings.extend(secrets::secrets(config));
    findings.extend(policy::policy(config));
    findings.push(probes::resolver(config));
    findings.extend(probes::open_files(config));
    findings
}

fn report(findings: &[Finding], json: bool, out: &mut Out) -> Result<(), Failure> {
    let result = findings.iter().map(|finding| finding.result).max().unwrap_or(Level::Ok);
    if json {
        return Ok(out.json(&Report { result, checks: findings })?);
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(TABLE_WIDTH);
    for finding in findings {
        let mark = match finding.result {
            Level::Ok => "ok",
            Level::Warn => "WARN",
            Level::Fail => "FAIL",
        };
        let fix = finding.fix.iter().map(|fix| format!("\nfix: {fix}")).collect::<String>();
        table.add_row([mark, finding.name, &format!("{}{fix}", finding.detail)]);
    }
    let summary = match result {
        Level::Ok => "All is well.",
        Level::Warn => "Nothing failed, but see the warnings.",
        Level::Fail => "Something failed: see FAIL above.",
    };
    Ok(out.print(&format!("{}\n\n{summary}\n", table.trim_fmt()))?)
}
