//! What an inquiry tells, as data: one JSON object whose names stay. Times are milliseconds since
//! 1970 (`..._ts`) and the same as RFC 3339. What others wrote is in it as they wrote it, bounded:
//! whoever prints it escapes it.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::keys::cache::StoredKeys;
use crate::keys::keyring::KeyAnswer;
use crate::keys::known::{self, KnownKeys};
use crate::keys::record::{Binding, Conflict};
use crate::net::trace::Step;
use crate::proto::ed25519::VerifyKey;
use crate::proto::server_keys::{ServerKeys, UnverifiedServerKeys};
use crate::proto::validity::effective_until;
use crate::proto::{KeyId, ServerName, Timestamp};

/// Most signatures of one document that are told of. An honest one has two: its server's and a
/// notary's.
const SIGNATURES_MAX: usize = 16;

/// The last millisecond of the year 9999, the last RFC 3339 can name.
const RFC3339_MS_MAX: u64 = 253_402_300_799_999;

/// All that is to be said of one server's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry {
    /// The server.
    pub server: String,
    /// When the inquiry began.
    pub at_ts: u64,
    /// The same.
    pub at: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What a running gate has in memory; none when there is nothing, or no gate was asked.
    pub memory: Option<Kept>,
    /// What is kept on disk.
    pub store: StoreReport,
    /// Whether a running gate would not ask the server now.
    pub back_off: Option<BackOff>,
    /// What each source says, in the order of the settings; empty when none was to be asked.
    pub sources: Vec<SourceReport>,
    /// What follows for a request received now.
    pub verdict: Verdict,
}

/// What is kept of a server in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its keys.
    pub keys: Vec<KeyReport>,
    /// The documents that decide on their windows.
    pub documents: Vec<DocumentReport>,
}

/// What is to be said of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReport {
    /// Whether it could be looked into.
    pub state: StoreState,
    /// The file, or why it was not looked into.
    pub detail: Option<String>,
    /// What is in it of the server.
    pub kept: Option<Kept>,
}

/// Whether the store could be looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreState {
    /// There is no file yet.
    Absent,
    /// A running gate holds it.
    Locked,
    /// It was read.
    Read,
    /// It could not be read.
    Unreadable,
    /// Keys are kept in memory only.
    Unused,
}

/// A time in which a running gate does not ask a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackOff {
    /// Why.
    pub reason: BackOffReason,
    /// How much longer, in seconds.
    pub remaining_s: u64,
    /// What went wrong last time.
    pub causes: Option<String>,
}

/// Why a server is not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackOffReason {
    /// It has just shown all its keys, and a requested one was not among them.
    Absent,
    /// Asking has just failed.
    Failed,
}

/// What one source says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// The source: `homeserver`, `origin`, `notary <name>`.
    pub source: String,
    /// The key IDs it was asked for; none asks for all.
    pub asked_for: Vec<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What was done to ask it.
    pub steps: Vec<Step>,
    /// How many steps beyond those there were.
    pub steps_left_out: usize,
    /// The acceptable documents it gave.
    pub documents: Vec<DocumentReport>,
    /// Why it gave none, when it failed.
    pub error: Option<SourceError>,
}

/// Why a source gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceError {
    /// The kind, as in the metric `fedgate_key_fetch_errors_total`; or `not_served`.
    pub kind: String,
    /// The cause.
    pub text: String,
}

/// A key document whose name and own signature are right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentReport {
    /// Who has shown it.
    pub source: String,
    /// When it was fetched.
    pub fetched_at_ts: u64,
    /// The same.
    pub fetched_at: String,
    /// Until when it says to be valid.
    pub valid_until_ts: u64,
    /// The same.
    pub valid_until: String,
    /// Until when its keys may be used for requests: 7 days from the fetch at most.
    pub effective_until_ts: u64,
    /// The same.
    pub effective_until: String,
    /// Its current keys.
    pub verify_keys: Vec<ListedKey>,
    /// Its retired keys.
    pub old_verify_keys: Vec<ListedKey>,
    /// Who has signed it, the first few.
    pub signatures: Vec<SignatureReport>,
    /// The keys in it that are not used.
    pub dropped: Vec<DroppedKey>,
}

/// A key in a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedKey {
    /// Its ID.
    pub key_id: String,
    /// Its body, in base64.
    pub key: String,
    /// When it was retired.
    pub expired_ts: Option<u64>,
    /// The same.
    pub expired: Option<String>,
}

/// A signature on a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureReport {
    /// Whose.
    pub server: String,
    /// By which key.
    pub key_id: String,
    /// Whether it verifies; none where the key is not in the document itself.
    pub valid: Option<bool>,
}

/// A key that is listed and not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedKey {
    /// Its ID as written.
    pub key_id: String,
    /// Why it is not used.
    pub reason: String,
}

/// One key of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReport {
    /// Its ID.
    pub key_id: String,
    /// Its body, in base64.
    pub key: String,
    /// Whether a request that it has signed would pass now.
    pub state: KeyState,
    /// The last millisecond in which it may be used for requests, of valid and expired keys.
    pub effective_until_ts: Option<u64>,
    /// The same.
    pub effective_until: Option<String>,
    /// When it was retired, of retired keys.
    pub expired_ts: Option<u64>,
    /// The same.
    pub expired: Option<String>,
    /// The best kind of source that has shown it: `origin`, `notary`, `homeserver`; none when only the
    /// operator has, by pinning it.
    pub learnt_from: Option<String>,
    /// When it was first shown.
    pub first_seen_ts: Option<u64>,
    /// The same.
    pub first_seen: Option<String>,
    /// Everybody who has shown it.
    pub witnesses: Vec<String>,
    /// Another body that was shown under the same ID and is not believed.
    pub other: Option<OtherKey>,
}

/// Another body under a bound key ID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherKey {
    /// The body, in base64.
    pub key: String,
    /// Who has shown it last.
    pub source: String,
    /// When.
    pub at_ts: u64,
    /// The same.
    pub at: String,
}

/// Whether a request that a key has signed would pass now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It would: the operator has pinned the key.
    Pinned,
    /// It would.
    Valid,
    /// Fewer witnesses have shown the key than `keys.agreement` asks for, or they disagree.
    Unagreed,
    /// The server shows another key under this ID than the one it is bound to.
    Conflict,
    /// The window is over.
    Expired,
    /// The server has retired it.
    Retired,
    /// The operator has pinned another key under this ID.
    Overruled,
    /// The operator, or fedgate itself, refuses it.
    Banned,
    /// Its ID is bound, and no document that is kept shows it.
    Unknown,
}

/// What follows for a request received now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether a request that the server has signed with a key of its own would pass.
    pub accepted: bool,
    /// The same with the reason, in one line.
    pub summary: String,
    /// What the operator can do, when it would not.
    pub advice: Option<String>,
    /// Each key, the usable ones first.
    pub keys: Vec<KeyReport>,
}

impl Kept {
    /// What `known` holds, at `now`.
    pub(crate) fn of(
        known: &KnownKeys,
        state: impl Fn(&Binding) -> KeyState,
        now: Timestamp,
    ) -> Self {
        let bindings = known.to_record().bindings;
        let documents = known.documents();
        let keys = bindings.iter().map(|binding| key(binding, known, state(binding), now));
        let documents = documents.iter().map(|document| self::document(document));
        Self { keys: keys.collect(), documents: documents.collect() }
    }
}

impl KeyState {
    /// Whether a request that such a key has signed would pass.
    pub(crate) const fn passes(self) -> bool {
        matches!(self, Self::Pinned | Self::Valid)
    }
}

impl KeyReport {
    /// A pinned key that nobody has shown.
    pub(super) fn pinned(id: &KeyId, key: &VerifyKey) -> Self {
        Self {
            key_id: id.to_string(),
            key: key.to_base64(),
            state: KeyState::Pinned,
            effective_until_ts: None,
            effective_until: None,
            expired_ts: None,
            expired: None,
            learnt_from: None,
            first_seen_ts: None,
            first_seen: None,
            witnesses: Vec::new(),
            other: None,
        }
    }
}

/// The report on one key.
pub(super) fn key(
    binding: &Binding,
    known: &KnownKeys,
    state: KeyState,
    now: Timestamp,
) -> KeyReport {
    let until = match known.answer(&binding.id, now) {
        KeyAnswer::Valid(key) => Some(key.effective_until),
        KeyAnswer::Expired { effective_until } => Some(effective_until),
        KeyAnswer::Banned(_) | KeyAnswer::Retired { .. } | KeyAnswer::Unknown => None,
    };
    KeyReport {
        key_id: binding.id.to_string(),
        key: binding.key.to_base64(),
        state,
        effective_until_ts: until.map(Timestamp::as_ms),
        effective_until: until.map(date),
        expired_ts: binding.expired_ts.map(Timestamp::as_ms),
        expired: binding.expired_ts.map(date),
        learnt_from: Some(known::label(binding.learnt_from).to_owned()),
        first_seen_ts: Some(binding.first_seen.as_ms()),
        first_seen: Some(date(binding.first_seen)),
        witnesses: binding.witnesses.iter().map(ToString::to_string).collect(),
        other: binding.conflict.as_ref().map(other),
    }
}

fn other(conflict: &Conflict) -> OtherKey {
    OtherKey {
        key: conflict.key.to_base64(),
        source: conflict.source.to_string(),
        at_ts: conflict.at.as_ms(),
        at: date(conflict.at),
    }
}

/// The report on one document.
pub(super) fn document(stored: &StoredKeys) -> DocumentReport {
    let keys = &stored.keys;
    let until = effective_until(keys.valid_until_ts(), stored.fetched_at);
    let old = keys.old_verify_keys().iter();
    DocumentReport {
        source: stored.source.to_string(),
        fetched_at_ts: stored.fetched_at.as_ms(),
        fetched_at: date(stored.fetched_at),
        valid_until_ts: keys.valid_until_ts().as_ms(),
        valid_until: date(keys.valid_until_ts()),
        effective_until_ts: until.as_ms(),
        effective_until: date(until),
        verify_keys: keys.verify_keys().iter().map(|(id, key)| listed(id, key, None)).collect(),
        old_verify_keys: old.map(|(id, old)| listed(id, &old.key, Some(old.expired_ts))).collect(),
        signatures: signatures(keys),
        dropped: keys.dropped().iter().map(dropped).collect(),
    }
}

fn listed(id: &KeyId, key: &VerifyKey, expired_ts: Option<Timestamp>) -> ListedKey {
    ListedKey {
        key_id: id.to_string(),
        key: key.to_base64(),
        expired_ts: expired_ts.map(Timestamp::as_ms),
        expired: expired_ts.map(date),
    }
}

fn dropped((id, reason): &(String, &'static str)) -> DroppedKey {
    DroppedKey { key_id: id.clone(), reason: (*reason).to_owned() }
}

fn signatures(keys: &ServerKeys) -> Vec<SignatureReport> {
    let Ok(document) = UnverifiedServerKeys::parse(keys.raw().clone()) else { return Vec::new() };
    let own = keys.server_name();
    let report = |(server, id): (&ServerName, &KeyId)| {
        let key = keys.verify_keys().get(id).filter(|_| server == own);
        SignatureReport {
            server: server.to_string(),
            key_id: id.to_string(),
            valid: key.map(|key| document.is_signed_by(server, id, key)),
        }
    };
    document.signatures().take(SIGNATURES_MAX).map(report).collect()
}

/// `2026-11-21T10:00:00.000Z`.
pub(super) fn date(time: Timestamp) -> String {
    if time.as_ms() > RFC3339_MS_MAX {
        return "after the year 9999".to_owned();
    }
    let since = Duration::from_millis(time.as_ms());
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}
