//! Entries of a history as bytes. Each is sealed under its server and number and names the hash of
//! the one before it. Documents are kept beside them, under the hash of their bytes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::verify_key;
use super::{SourceForm, in_range, key_id, seal, source_form, source_of, text, timestamp, unseal};
use crate::keys::history::{Entry, Event, What};
use crate::keys::record::KeptDocument;
use crate::proto::base64;

/// A SHA-256.
pub(in super::super) type Hash = [u8; 32];

/// What the first entry names as the hash of the one before it.
pub(in super::super) const BEGINNING: Hash = [0; 32];

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryForm {
    after: String,
    bytes: u64,
    at: u64,
    what: WhatForm,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum WhatForm {
    Shown { source: SourceForm, document: String, events: Vec<EventForm> },
    Flushed,
    Full,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventForm {
    id: String,
    key: String,
    news: NewsForm,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum NewsForm {
    FirstSeen,
    Changed { known: String, replaced: bool },
    Disagreement { known: String },
    Retired { expired_ts: u64 },
    TakenBack,
}

/// An entry that is ready to be put at the end of a history.
#[derive(Clone)]
pub(in super::super) struct Draft {
    at: u64,
    what: WhatForm,
    /// The document and its hash.
    pub(in super::super) document: Option<(Hash, Bytes)>,
}

/// What an entry says of its place.
#[derive(Clone, Copy)]
pub(in super::super) struct Link {
    /// The hash of the entry before it.
    pub(in super::super) after: Hash,
    /// Bytes of the entries before it and of all documents up to it.
    pub(in super::super) bytes: u64,
}

/// An entry as it was written.
pub(in super::super) struct Read {
    form: EntryForm,
    /// What it says of its place.
    pub(in super::super) link: Link,
    /// The hash of its document, if it has one.
    pub(in super::super) document: Option<Hash>,
}

/// The hash of bytes as they are kept.
pub(in super::super) fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

impl Draft {
    /// Of an entry; an error if it is none that could be read again.
    pub(in super::super) fn of(entry: &Entry) -> Result<Self, String> {
        let at = in_range(entry.at().as_ms())?;
        Ok(match entry {
            Entry::Shown { document, events } => {
                str::from_utf8(&document.raw).map_err(text)?;
                let hash = hash(&document.raw);
                let events = events.iter().map(event_form).collect::<Result<_, _>>()?;
                let source = source_form(&document.source);
                let what = WhatForm::Shown { source, document: base64::encode(&hash), events };
                Self { at, what, document: Some((hash, document.raw.clone())) }
            }
            Entry::Flushed { .. } => Self { at, what: WhatForm::Flushed, document: None },
            Entry::Full { .. } => Self { at, what: WhatForm::Full, document: None },
        })
    }

    /// The same without what it says: that there is no room for it.
    pub(in super::super) fn full(&self) -> Self {
        Self { at: self.at, what: WhatForm::Full, document: None }
    }

    /// The bytes of the entry as the one with this number of `server`.
    pub(in super::super) fn seal(
        self,
        server: &str,
        number: u64,
        link: Link,
    ) -> Result<Vec<u8>, String> {
        let form = EntryForm {
            after: base64::encode(&link.after),
            bytes: link.bytes,
            at: self.at,
            what: self.what,
        };
        let json = serde_json::to_vec(&form).map_err(text)?;
        Ok(seal(&name(server, number), &json))
    }
}

impl Read {
    /// The entry with this number of `server` from its bytes; an error if it is damaged.
    pub(in super::super) fn of(server: &str, number: u64, bytes: &[u8]) -> Result<Self, String> {
        let form: EntryForm =
            serde_json::from_slice(unseal(&name(server, number), bytes)?).map_err(text)?;
        let link = Link { after: hash_of(&form.after)?, bytes: form.bytes };
        let document = match &form.what {
            WhatForm::Shown { document, .. } => Some(hash_of(document)?),
            WhatForm::Flushed | WhatForm::Full => None,
        };
        Ok(Self { form, link, document })
    }

    /// Whether it tells the same as `draft`, of the same time.
    pub(in super::super) fn is(&self, draft: &Draft) -> bool {
        self.form.at == draft.at && self.form.what == draft.what
    }

    /// Whether nothing may follow it.
    pub(in super::super) const fn is_full(&self) -> bool {
        matches!(self.form.what, WhatForm::Full)
    }

    /// The entry with its document, of the bytes that are kept under the document's hash; an error
    /// if anything about it is damaged.
    pub(in super::super) fn with(self, document: Option<Vec<u8>>) -> Result<Entry, String> {
        let at = timestamp(self.form.at)?;
        Ok(match self.form.what {
            WhatForm::Shown { source, events, .. } => {
                let raw = document.ok_or("its document is missing")?;
                if self.document != Some(hash(&raw)) {
                    return Err("its document is damaged".to_owned());
                }
                let raw = Bytes::from(String::from_utf8(raw).map_err(text)?);
                let source = source_of(source)?;
                let document = KeptDocument { raw, fetched_at: at, source };
                let events = events.into_iter().map(event_of).collect::<Result<_, _>>()?;
                Entry::Shown { document, events }
            }
            WhatForm::Flushed => Entry::Flushed { at },
            WhatForm::Full => Entry::Full { at },
        })
    }
}

/// What an entry is sealed under: no server name has a space, so that it is no record's.
fn name(server: &str, number: u64) -> String {
    format!("history {server} {number}")
}

fn hash_of(encoded: &str) -> Result<Hash, String> {
    base64::decode_array(encoded.as_bytes()).map_err(|_error| "a hash in it is none".to_owned())
}

fn event_form(event: &Event) -> Result<EventForm, String> {
    Ok(EventForm {
        id: event.id.as_str().to_owned(),
        key: event.key.to_base64(),
        news: match &event.what {
            What::FirstSeen => NewsForm::FirstSeen,
            What::Changed { known, replaced } => {
                NewsForm::Changed { known: known.to_base64(), replaced: *replaced }
            }
            What::Disagreement { known } => NewsForm::Disagreement { known: known.to_base64() },
            What::Retired { expired_ts } => {
                NewsForm::Retired { expired_ts: in_range(expired_ts.as_ms())? }
            }
            What::TakenBack => NewsForm::TakenBack,
        },
    })
}

fn event_of(form: EventForm) -> Result<Event, String> {
    let what = match form.news {
        NewsForm::FirstSeen => What::FirstSeen,
        NewsForm::Changed { known, replaced } => {
            What::Changed { known: verify_key(&known)?, replaced }
        }
        NewsForm::Disagreement { known } => What::Disagreement { known: verify_key(&known)? },
        NewsForm::Retired { expired_ts } => What::Retired { expired_ts: timestamp(expired_ts)? },
        NewsForm::TakenBack => What::TakenBack,
    };
    Ok(Event { id: key_id(&form.id)?, key: verify_key(&form.key)?, what })
}

#[cfg(test)]
mod tests;
