//! `fedgate verify-event`: judges one event (PDU) by itself and says what it looked at on the way.

mod explain;

use std::path::PathBuf;

use serde::Serialize;

use super::out::Out;
use super::sign::read;
use super::verify::{Signed, Step, printable, steps_for_people};
use super::{Exit, Failure, times};
use crate::clock::{Clock as _, SystemClock};
use crate::proto::Timestamp;
use crate::proto::event::RoomVersion;
use crate::proto::limits::{EVENT_BYTES_MAX, SERVER_KEYS_BYTES_MAX};
use explain::{Inputs, explain};

/// Largest file with an event, in bytes: the limit holds for the canonical form, to which white space
/// and escapes may add many times as much.
const FILE_BYTES_MAX: usize = 16 * EVENT_BYTES_MAX;

/// `fedgate verify-event`.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// The event as servers send it to each other, one JSON object; - reads standard input
    #[arg(value_name = "EVENT.json")]
    event: PathBuf,
    /// The version of the event's room [default: whatever the event's shape allows]
    #[arg(long, value_name = "VERSION")]
    room_version: Option<String>,
    /// The key document of a server that signed it, as served at /_matrix/key/v2/server; may be
    /// repeated, one for each server
    #[arg(long, value_name = "KEYS.json")]
    keys: Vec<PathBuf>,
    /// The time at which the key documents were fetched, RFC 3339 or milliseconds since 1970
    /// [default: now]
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    fetched_at: Option<Timestamp>,
    /// Print all of the redacted event, however long
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
    detail: String,
    /// What was looked at whatever the room version.
    steps: Vec<Step>,
    /// The version that was asked for, or all of them.
    room_versions: Vec<VersionReport>,
}

/// What was found for one room version.
#[derive(Debug, Serialize)]
struct VersionReport {
    room_version: &'static str,
    verdict: Verdict,
    detail: String,
    event_id: Option<String>,
    room_id: Option<String>,
    content_hash: Option<String>,
    reference_hash: Option<String>,
    steps: Vec<Step>,
    redacted: Option<Signed>,
}

/// From the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// A homeserver takes it as it is, if the room allows it.
    Good,
    /// A homeserver takes its redacted form: the content is not what was hashed.
    Redacted,
    /// A homeserver drops it.
    Refused,
    /// The rules of the room version are not known.
    Unjudged,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "GOOD",
            Self::Redacted => "REDACTED",
            Self::Refused => "REFUSED",
            Self::Unjudged => "NOT JUDGED",
        }
    }
}

pub(super) fn run(arguments: &Arguments, out: &mut Out) -> Result<Exit, Failure> {
    let limit = |bytes_max: usize| u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let text = read(&arguments.event, limit(FILE_BYTES_MAX))?;
    let documents = arguments.keys.iter().map(|path| read(path, limit(SERVER_KEYS_BYTES_MAX)));
    let documents = documents.collect::<Result<Vec<_>, _>>()?;
    let mut report = explain(Inputs {
        text: &text,
        documents,
        room_version: arguments.room_version.as_deref(),
        fetched_at: arguments.fetched_at.unwrap_or_else(|| SystemClock.now()),
    })
    .map_err(|cause| Failure::usage(format!("error: {cause}")))?;
    if !arguments.full {
        let redacted = report.room_versions.iter_mut().filter_map(|it| it.redacted.as_mut());
        redacted.for_each(Signed::shorten);
    }
    if arguments.json {
        out.json(&report)?;
    } else {
        out.print(&for_people(&report, arguments.room_version.is_some()))?;
    }
    Ok(match report.verdict {
        Verdict::Good => Exit::Fine,
        Verdict::Redacted | Verdict::Refused => Exit::Negative,
        Verdict::Unjudged => Exit::Usage,
    })
}

/// Every step for one room version; for all of them what comes of it, those alike together.
fn for_people(report: &Report, is_one: bool) -> String {
    let mut out = steps_for_people(&report.steps);
    if is_one {
        for version in &report.room_versions {
            out.push_str(&steps_for_people(&version.steps));
            if let Some(Signed { bytes, text }) = &version.redacted {
                let text = printable(text);
                out.push_str(&format!("\nredacted event, {bytes} bytes:\n{text}\n"));
            }
        }
    } else {
        let is_alike = |a: &VersionReport, b: &VersionReport| {
            (a.verdict, &a.detail, &a.event_id) == (b.verdict, &b.detail, &b.event_id)
        };
        for alike in report.room_versions.chunk_by(is_alike) {
            out.push_str(&steps_for_people(summary(alike).as_slice()));
        }
    }
    out.push_str(&format!("\n{}: {}\n", report.verdict.as_str(), printable(&report.detail)));
    out
}

/// What comes of several room versions in which the same does.
fn summary(alike: &[VersionReport]) -> Option<Step> {
    let first = alike.first()?;
    let names: Vec<_> = alike.iter().map(|version| version.room_version).collect();
    let mut detail = vec![format!("{}: {}", first.verdict.as_str(), first.detail)];
    detail.extend(first.event_id.iter().map(|id| format!("event ID {id}")));
    let name = format!("as of room version {}", names.join(", "));
    Some(Step { name, ok: first.verdict == Verdict::Good, detail })
}

/// The versions to judge for.
fn versions(asked: Option<RoomVersion>) -> Vec<RoomVersion> {
    asked.map_or_else(|| RoomVersion::ALL.to_vec(), |version| vec![version])
}
