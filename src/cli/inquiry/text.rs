//! An inquiry as text. It is made from the same data as the JSON, whoever gathered it.

mod steps;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use crate::cli::times;
use crate::keys::inquiry::{
    BackOff, BackOffReason, DocumentReport, Inquiry, Kept, KeyReport, KeyState, ListedKey,
    SignatureReport, SourceReport, StoreReport, StoreState,
};
use crate::proto::Timestamp;

/// Longest text of others that is printed, in characters: what fetch errors are cut to.
const CHARS_MAX: usize = 300;

/// Most entries of one list that are printed: honest servers have one to four keys.
const ENTRIES_MAX: usize = 16;

/// The whole text, with the end of its last line.
pub(super) fn text(inquiry: &Inquiry) -> String {
    let mut page = Page { text: String::new(), now: Timestamp::from_ms(inquiry.at_ts) };
    let (server, at) = (plain(&inquiry.server), times::minute(page.now));
    let asked = match inquiry.sources.len() {
        0 => "nobody was asked".to_owned(),
        _ => format!("asked in {} ms", inquiry.took_ms),
    };
    page.line(0, &format!("{server}, {at}, {asked}"));
    if let Some(kept) = &inquiry.memory {
        page.line(0, "");
        page.line(0, "in memory of the running fedgate:");
        page.kept(kept);
    }
    page.line(0, "");
    page.store(&inquiry.store);
    if let Some(back_off) = &inquiry.back_off {
        page.back_off(back_off);
    }
    for source in &inquiry.sources {
        page.line(0, "");
        page.source(source);
    }
    page.line(0, "");
    page.line(0, "verdict:");
    page.list(1, &inquiry.verdict.keys, Page::key);
    let word = if inquiry.verdict.accepted { "ACCEPTED" } else { "REFUSED" };
    page.line(1, &format!("{word}: {}", plain(&inquiry.verdict.summary)));
    if let Some(advice) = &inquiry.verdict.advice {
        page.line(1, &format!("to do: {}", plain(advice)));
    }
    page.text
}

struct Page {
    text: String,
    now: Timestamp,
}

impl Page {
    fn line(&mut self, indent: usize, text: &str) {
        let indent = if text.is_empty() { 0 } else { 2 * indent };
        // Writing to a text cannot fail.
        let _written = writeln!(self.text, "{:indent$}{text}", "");
    }

    /// The first few of `entries`.
    fn list<T>(&mut self, indent: usize, entries: &[T], print: impl Fn(&mut Self, usize, &T)) {
        for entry in entries.iter().take(ENTRIES_MAX) {
            print(self, indent, entry);
        }
        if entries.len() > ENTRIES_MAX {
            let more = entries.len() - ENTRIES_MAX;
            self.line(indent, &format!("and {more} more, which --json shows"));
        }
    }

    fn when(&self, ts: u64) -> String {
        times::around(Timestamp::from_ms(ts), self.now)
    }

    fn store(&mut self, store: &StoreReport) {
        let detail = store.detail.as_deref().map(plain).unwrap_or_default();
        match (store.state, &store.kept) {
            (StoreState::Read, Some(kept)) => {
                self.line(0, "kept on disk:");
                self.kept(kept);
                if !detail.is_empty() {
                    self.line(1, &detail);
                }
            }
            (StoreState::Read, None) => self.line(0, "kept on disk: nothing"),
            (StoreState::Absent, _) => {
                self.line(0, &format!("kept on disk: no file yet ({detail})"))
            }
            (StoreState::Locked, _) => {
                self.line(0, "kept on disk: not shown, because a running fedgate holds the file");
                self.line(
                    1,
                    "what that one knows, and whether it asks this server now, is not shown either",
                );
                self.line(1, &detail);
            }
            (StoreState::Unreadable, _) => {
                self.line(0, &format!("kept on disk: cannot be read: {detail}"))
            }
            (StoreState::Unused, _) => {
                self.line(0, "kept on disk: nothing, keys are in memory only")
            }
        }
    }

    fn kept(&mut self, kept: &Kept) {
        self.list(1, &kept.keys, Self::key);
        self.list(1, &kept.documents, Self::document);
    }

    fn back_off(&mut self, back_off: &BackOff) {
        let reason = match back_off.reason {
            BackOffReason::Absent => "it has just shown all its keys",
            BackOffReason::Failed => "asking has just failed",
        };
        let remaining = back_off.remaining_s;
        self.line(
            0,
            &format!("not asked again by the running fedgate for {remaining} s: {reason}"),
        );
        if let Some(causes) = &back_off.causes {
            self.line(1, &plain(causes));
        }
    }

    fn key(&mut self, indent: usize, key: &KeyReport) {
        self.line(indent, &format!("{} {}", plain(&key.key_id), plain(&key.key)));
        let until = key.effective_until_ts.map(|ts| self.when(ts)).unwrap_or_default();
        let state = match key.state {
            KeyState::Pinned => "PINNED: used whatever anybody says".to_owned(),
            KeyState::Valid => format!("valid until {until}"),
            KeyState::Unagreed => {
                "NOT AGREED ON: keys.agreement asks for more witnesses, or they differ".to_owned()
            }
            KeyState::Conflict => {
                "CONFLICT: the server now shows another key by this ID".to_owned()
            }
            KeyState::Expired => format!("EXPIRED {until}"),
            KeyState::Retired => {
                let since = key.expired_ts.map(|ts| self.when(ts)).unwrap_or_default();
                format!("retired {since}")
            }
            KeyState::Overruled => "OVERRULED: another key is pinned under this ID".to_owned(),
            KeyState::Banned => "BANNED".to_owned(),
            KeyState::Unknown => "bound; no current document shows it".to_owned(),
        };
        self.line(indent + 1, &state);
        let mut witnesses: Vec<String> =
            key.witnesses.iter().take(ENTRIES_MAX).map(|witness| plain(witness)).collect();
        if key.witnesses.len() > ENTRIES_MAX {
            witnesses.push("others".to_owned());
        }
        if let Some(first_seen) = key.first_seen_ts {
            let first_seen = self.when(first_seen);
            let shown = format!("shown by {}; first seen {first_seen}", witnesses.join(", "));
            self.line(indent + 1, &shown);
        }
        if let Some(other) = &key.other {
            let (source, at) = (plain(&other.source), self.when(other.at_ts));
            let other = plain(&other.key);
            self.line(indent + 1, &format!("another key was shown by {source}: {other}, {at}"));
        }
    }

    fn source(&mut self, source: &SourceReport) {
        let said = match &source.error {
            Some(error) => format!("FAILED: {}", plain(&error.text)),
            None => match source.documents.len() {
                0 => "has no keys of this server".to_owned(),
                1 => "1 key document".to_owned(),
                many => format!("{many} key documents"),
            },
        };
        let asked_for: Vec<String> = source.asked_for.iter().map(|id| plain(id)).collect();
        let asked_for = match asked_for.as_slice() {
            [] => String::new(),
            ids => format!(", asked for {}", ids.join(" ")),
        };
        let name = plain(&source.source);
        self.line(0, &format!("{name}{asked_for}: {said} ({} ms)", source.took_ms));
        for step in &source.steps {
            self.step(step);
        }
        if source.steps_left_out > 0 {
            self.line(1, &format!("and {} steps more", source.steps_left_out));
        }
        self.list(1, &source.documents, Self::document);
    }

    fn document(&mut self, indent: usize, document: &DocumentReport) {
        let (source, fetched) = (plain(&document.source), self.when(document.fetched_at_ts));
        self.line(indent, &format!("document of {source}, fetched {fetched}"));
        let until = self.when(document.effective_until_ts);
        if document.effective_until_ts == document.valid_until_ts {
            self.line(indent + 1, &format!("valid until {until}"));
        } else {
            let says = self.when(document.valid_until_ts);
            self.line(indent + 1, &format!("says it is valid until {says}"));
            self.line(indent + 1, &format!("used until {until}: 7 days from the fetch at most"));
        }
        self.list(indent + 1, &document.verify_keys, Self::listed);
        self.list(indent + 1, &document.old_verify_keys, Self::listed);
        self.list(indent + 1, &document.signatures, Self::signature);
        self.list(indent + 1, &document.dropped, |page, indent, dropped| {
            let (id, reason) = (plain(&dropped.key_id), plain(&dropped.reason));
            page.line(indent, &format!("{id} is left out: {reason}"));
        });
    }

    fn listed(&mut self, indent: usize, key: &ListedKey) {
        let (id, body) = (plain(&key.key_id), plain(&key.key));
        match key.expired_ts {
            None => self.line(indent, &format!("lists {id} {body}")),
            Some(ts) => {
                let retired = self.when(ts);
                self.line(indent, &format!("lists {id} {body} as retired {retired}"));
            }
        }
    }

    fn signature(&mut self, indent: usize, signature: &SignatureReport) {
        let (server, id) = (plain(&signature.server), plain(&signature.key_id));
        let verifies = match signature.valid {
            Some(true) => ", which verifies",
            Some(false) => ", which does NOT verify",
            None => "",
        };
        self.line(indent, &format!("signed by {server} with {id}{verifies}"));
    }
}

/// `text`, which others may have written, fit for a terminal: printable ASCII, and not too long.
pub(in crate::cli) fn plain(text: &str) -> String {
    let mut plain = String::new();
    for char in text.chars().take(CHARS_MAX) {
        if char == ' ' || char.is_ascii_graphic() {
            plain.push(char);
        } else {
            plain.extend(char.escape_default());
        }
    }
    if text.chars().nth(CHARS_MAX).is_some() {
        plain.push_str("...");
    }
    plain
}
