//! `fedgate verify`: judges a captured request with the functions the gate judges with, and says
//! what it looked at on the way.

mod capture;
mod judge;

use std::path::PathBuf;

use serde::Serialize;

use super::out::Out;
use super::sign::{read, server_name};
use super::{Exit, Failure, times};
use crate::clock::{Clock as _, SystemClock};
use crate::proto::limits::{BODY_BYTES_MAX, SERVER_KEYS_BYTES_MAX, TARGET_BYTES_MAX};
use crate::proto::signed_request::SignedRequest;
use crate::proto::{ServerName, Timestamp};
use judge::{Inputs, judge};

/// How much of the signed text is printed without `--full`, in characters.
const SIGNED_CHARS_SHOWN: usize = 2_000;

/// Largest head of a captured request, in bytes, beside its target.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// `fedgate verify`.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// The request as captured: head and body, byte for byte; - reads standard input
    #[arg(value_name = "REQUEST.http")]
    request: PathBuf,
    /// The origin's key document, as it serves it at /_matrix/key/v2/server
    #[arg(long, value_name = "KEYS.json")]
    keys: PathBuf,
    /// The time of the verdict, RFC 3339 or milliseconds since 1970 [default: now]
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    at: Option<Timestamp>,
    /// The time at which the key document was fetched [default: the time of the verdict]
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    fetched_at: Option<Timestamp>,
    /// The own server name; may be repeated [default: whatever the request names]
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    destination: Vec<ServerName>,
    /// Print all of the signed text, however long
    #[arg(long)]
    full: bool,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    verdict: Verdict,
    /// The code of the refusal, as in the gate's logs and metrics.
    reason: Option<&'static str>,
    detail: String,
    origin: Option<String>,
    destination: Option<String>,
    keys: Vec<String>,
    steps: Vec<Step>,
    signed: Option<Signed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Accepted,
    Refused,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) ok: bool,
    pub(super) detail: Vec<String>,
}

/// A text that is hashed or signed.
#[derive(Debug, Serialize)]
pub(super) struct Signed {
    pub(super) bytes: usize,
    pub(super) text: String,
}

pub(super) fn run(arguments: &Arguments, out: &mut Out) -> Result<Exit, Failure> {
    let bytes_max = HEAD_BYTES_MAX + TARGET_BYTES_MAX + BODY_BYTES_MAX;
    let file = read(&arguments.request, u64::try_from(bytes_max).unwrap_or(u64::MAX))?;
    let keys_max = u64::try_from(SERVER_KEYS_BYTES_MAX).unwrap_or(u64::MAX);
    let keys = read(&arguments.keys, keys_max)?;
    let capture = capture::parse(&file).map_err(|cause| {
        Failure::usage(format!("error: {}: {cause}", arguments.request.display()))
    })?;
    let now = arguments.at.unwrap_or_else(|| SystemClock.now());
    let mut report = judge(Inputs {
        capture: &capture,
        keys,
        own_names: &arguments.destination,
        now,
        fetched_at: arguments.fetched_at.unwrap_or(now),
    });
    if !arguments.full
        && let Some(signed) = &mut report.signed
    {
        signed.shorten();
    }
    if arguments.json {
        out.json(&report)?;
    } else {
        out.print(&for_people(&report))?;
    }
    Ok(if report.verdict == Verdict::Accepted { Exit::Fine } else { Exit::Negative })
}

/// What a request's signatures cover, as text.
pub(super) fn signed_text(request: &SignedRequest<'_>) -> String {
    let mut bytes = Vec::new();
    request.write_signed_bytes(&mut |piece: &[u8]| bytes.extend_from_slice(piece));
    canonical_text(&bytes)
}

/// Canonical JSON as text: it is UTF-8, so that no chunk has an invalid part.
pub(super) fn canonical_text(bytes: &[u8]) -> String {
    bytes.utf8_chunks().map(|chunk| chunk.valid()).collect()
}

impl Signed {
    pub(super) fn new(text: String) -> Self {
        Self { bytes: text.len(), text }
    }

    /// Leaves what is printed without `--full`.
    pub(super) fn shorten(&mut self) {
        if let Some((at, _)) = self.text.char_indices().nth(SIGNED_CHARS_SHOWN) {
            self.text.truncate(at);
            self.text.push_str("...");
        }
    }
}

fn for_people(report: &Report) -> String {
    let mut out = steps_for_people(&report.steps);
    if let Some(signed) = &report.signed {
        let Signed { bytes, text } = signed;
        out.push_str(&format!("\nsigned text, {bytes} bytes:\n{}\n", printable(text)));
    }
    let detail = printable(&report.detail);
    out.push_str(&match report.reason {
        None => format!("\nACCEPTED: {detail}\n"),
        Some(reason) => format!("\nREFUSED ({reason}): {detail}\n"),
    });
    out
}

/// Steps, one below the other.
pub(super) fn steps_for_people(steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps {
        let mark = if step.ok { "  ok  " } else { " FAIL " };
        out.push_str(&format!("{mark} {}\n", printable(&step.name)));
        for line in &step.detail {
            out.push_str(&format!("         {}\n", printable(line)));
        }
    }
    out
}

/// `text` without characters that could take over a terminal, or turn around what stands beside
/// them: the sender chose it.
pub(super) fn printable(text: &str) -> String {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .map(|c| {
            if c.is_control() || turns(c) { c.escape_unicode().to_string() } else { c.to_string() }
        })
        .collect()
}
