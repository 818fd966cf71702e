//! The steps to a source, one line each.

use std::time::Duration;

use super::{ENTRIES_MAX, Page, plain};
use crate::cli::times;
use crate::net::dns::{AnsweredBy, SrvTarget};
use crate::net::trace::{Action, Certificate, NameForm, Outcome, Step};

/// Columns of the time at the beginning of a line.
const TIME_WIDTH: usize = 6;

impl Page {
    pub(super) fn step(&mut self, step: &Step) {
        let within = 2 * usize::from(step.depth);
        let at = step.at_ms;
        let took = match step.took_ms {
            Some(0) => String::new(),
            Some(ms) => format!(" ({ms} ms)"),
            None => " (had not ended when time was up)".to_owned(),
        };
        let outcome = step.outcome.as_ref().map(outcome).unwrap_or_default();
        let did = format!("{}{outcome}{took}", action(&step.action));
        self.line(1, &format!("{at:>TIME_WIDTH$} ms  {:within$}{did}", ""));
        if let Some(Outcome::Secured { certificate, .. } | Outcome::NotSecured { certificate, .. }) =
            &step.outcome
            && let Some(certificate) = certificate
        {
            let told = self.certificate(certificate);
            self.line(1, &format!("{:TIME_WIDTH$}       {:within$}{told}", "", ""));
        }
    }

    fn certificate(&self, certificate: &Certificate) -> String {
        let mut names: Vec<String> = certificate.names.iter().map(|name| plain(name)).collect();
        if certificate.names_left_out > 0 {
            names.push(format!("{} more", certificate.names_left_out));
        }
        if names.is_empty() {
            names.push("no name".to_owned());
        }
        let when =
            |ts: Option<u64>| ts.map_or_else(|| "before 1970".to_owned(), |ts| self.when(ts));
        let (names, issuer) = (names.join(", "), plain(&certificate.issuer));
        let (from, until) = (when(certificate.not_before_ts), when(certificate.not_after_ts));
        format!("certificate for {names}; issued by {issuer}; valid from {from}, until {until}")
    }
}

fn action(action: &Action) -> String {
    match action {
        Action::ServerName { name } => format!("the name {}", plain(name)),
        Action::WellKnown { url } => format!("well-known {}", plain(url)),
        Action::Srv { name } => format!("SRV {}", plain(name)),
        Action::Addresses { host } => format!("addresses of {}", plain(host)),
        Action::Judge { address } => address.to_string(),
        Action::Dial { to, proxy } => {
            let through = proxy.as_ref().map(|proxy| format!(" through {}", plain(proxy)));
            format!("connection to {}{}", plain(to), through.unwrap_or_default())
        }
        Action::Tls { name, sni } => {
            let sni = if *sni { "" } else { ", without SNI" };
            format!("TLS for {}{sni}", plain(name))
        }
        Action::Http { method, host, target } => {
            format!("{} {}, Host: {}", plain(method), plain(target), plain(host))
        }
        Action::Document => "a document in the answer".to_owned(),
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Failed { text, .. } => format!(": FAILED: {}", plain(text)),
        Outcome::Name { form } => match form {
            NameForm::Address => " is an address and dialled as it is".to_owned(),
            NameForm::NameWithPort => " has a port: only its addresses are looked up".to_owned(),
            NameForm::NameAlone => " has no port: well-known and SRV records are asked".to_owned(),
        },
        Outcome::Delegated { server, remembered, remaining_s } => {
            format!(": delegates to {}, {}", plain(server), memory(*remembered, *remaining_s))
        }
        Outcome::NotDelegated { text, remembered, remaining_s } => {
            format!(": no delegation, {}: {}", memory(*remembered, *remaining_s), plain(text))
        }
        Outcome::Targets { targets, answered_by, no_such_name } => {
            let targets: Vec<String> = targets.iter().map(target).collect();
            format!(": {}", found(&targets, *answered_by, *no_such_name))
        }
        Outcome::Found { addresses, answered_by, no_such_name } => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!(": {}", found(&addresses, *answered_by, *no_such_name))
        }
        Outcome::Blocked { range, purpose, setting } => format!(
            ": BLOCKED: in {} ({}); {} would allow it",
            plain(range),
            plain(purpose),
            plain(setting)
        ),
        Outcome::Connected => ": connected".to_owned(),
        Outcome::Secured { version, .. } => format!(": {}", plain(version)),
        Outcome::NotSecured { text, meaning, .. } => {
            // The source's own line has the text.
            format!(": FAILED: {}", plain(meaning.as_ref().unwrap_or(text)))
        }
        Outcome::Answer { status, bytes, location } => {
            let location = location.as_ref().map(|location| format!(", to {}", plain(location)));
            format!(": status {status}, {bytes} bytes{}", location.unwrap_or_default())
        }
        Outcome::Refused { text } => format!(": REFUSED: {}", plain(text)),
    }
}

fn memory(remembered: bool, remaining_s: u64) -> String {
    let span = times::rough(Duration::from_secs(remaining_s));
    if remembered { format!("remembered, for {span} more") } else { format!("holds for {span}") }
}

fn target(target: &SrvTarget) -> String {
    let SrvTarget { priority, weight, host, port } = target;
    let host = if host.is_empty() { "(no such service)".to_owned() } else { plain(host) };
    format!("{host}:{port} (priority {priority}, weight {weight})")
}

fn found(records: &[String], answered_by: AnsweredBy, no_such_name: bool) -> String {
    let records = match records {
        [] if no_such_name => "there is no such name".to_owned(),
        [] => "none".to_owned(),
        some => some.iter().take(ENTRIES_MAX).cloned().collect::<Vec<_>>().join(", "),
    };
    match answered_by {
        AnsweredBy::HostsFile => format!("{records}, by the hosts file"),
        AnsweredBy::Memory => format!("{records}, remembered"),
        AnsweredBy::NameServer => records,
    }
}
