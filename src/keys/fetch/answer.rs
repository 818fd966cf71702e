//! `POST /_matrix/key/v2/query`: the question, and judging what comes back. The same for a notary
//! and for the homeserver behind us, save that only a notary must sign.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{FetchError, KeyRequest};
use crate::config::Notary;
use crate::proto::ed25519::{BannedKeys, VerifyKey};
use crate::proto::json::Object;
use crate::proto::limits::SERVER_KEYS_BYTES_MAX;
use crate::proto::server_keys::{ServerKeys, UnverifiedServerKeys};
use crate::proto::{KeyId, ServerName};

/// Where the question goes.
pub(super) const QUERY_TARGET: &str = "/_matrix/key/v2/query";

/// Largest answer that is read for one name, in bytes: 16 key documents of the largest size. Documents
/// are below 4 KiB in practice. Each further name adds one document of the largest size.
pub(super) const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Largest answer that is read, however many names it is for, in bytes: 32 KiB for each of 64.
const BATCH_BYTES_MAX: usize = 2 << 20;

/// Most documents for one name in an answer. Synapse sends one per stored document of the server that
/// holds a requested key, and a request names at most 8 keys.
const ANSWER_ENTRIES_MAX: usize = 64;

/// Refused entries whose reasons are told.
const REASONS_MAX: usize = 4;

/// An answer, split by the servers that were asked for. Nothing in it is believed yet.
#[derive(Debug)]
pub(super) struct Answer {
    /// The documents by the name they claim.
    documents: BTreeMap<ServerName, Vec<UnverifiedServerKeys>>,
    /// Why the others are nobody's, the first few.
    pub(super) strays: Vec<String>,
}

/// How answers are judged.
pub(super) struct Judge<'a> {
    /// The notary and the keys it must have signed each document with one of (R58, R59); `None` for
    /// the homeserver behind us.
    pub(super) notary: Option<&'a Notary>,
    /// Keys that are refused wherever they turn up.
    pub(super) banned: &'a BannedKeys,
}

/// The acceptable documents of one server, and why the others are not.
#[derive(Debug)]
pub(super) struct Judged {
    /// Name, self-signature and, where demanded, the notary's signature are right.
    pub(super) accepted: Vec<ServerKeys>,
    /// One reason per refused document, the first few.
    pub(super) refused: Vec<String>,
}

/// The body that asks for the keys of all servers in `requests`: key IDs and the time are always given,
/// because Synapse answers neither without them (R61).
pub(super) fn query(requests: &[KeyRequest]) -> Bytes {
    #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
    struct Criteria {
        minimum_valid_until_ts: u64,
    }
    let mut servers: BTreeMap<&str, BTreeMap<&str, Criteria>> = BTreeMap::new();
    for request in requests {
        let minimum_valid_until_ts = request.minimum_valid_until.as_ms();
        let key_ids = servers.entry(request.server.as_str()).or_default();
        for id in &request.key_ids {
            // Who is asked for twice is asked for what serves both.
            let criteria = key_ids.entry(id.as_str()).or_default();
            *criteria = (*criteria).max(Criteria { minimum_valid_until_ts });
        }
    }
    let body = serde_json::json!({ "server_keys": servers });
    Bytes::from(body.to_string())
}

/// Largest answer that is read to a query for `names` names, in bytes.
pub(super) fn answer_bytes_max(names: usize) -> usize {
    let further = names.saturating_sub(1).saturating_mul(SERVER_KEYS_BYTES_MAX);
    ANSWER_BYTES_MAX.saturating_add(further).min(BATCH_BYTES_MAX)
}

impl Answer {
    /// Splits the answer to a query for `requests`: a bad document does not take the others with it
    /// (R60).
    ///
    /// # Errors
    /// When the whole is no unambiguous JSON object with a list `server_keys`, or has too many entries.
    pub(super) fn split(body: &[u8], requests: &[KeyRequest]) -> Result<Self, FetchError> {
        let mut documents: BTreeMap<ServerName, Vec<UnverifiedServerKeys>> =
            requests.iter().map(|request| (request.server.clone(), Vec::new())).collect();
        let mut strays = Vec::new();
        for entry in entries(body, ANSWER_ENTRIES_MAX.saturating_mul(documents.len()))? {
            // Copied, so that a small document does not keep the whole answer in memory.
            let raw = Bytes::copy_from_slice(entry.get().as_bytes());
            let reason = match UnverifiedServerKeys::parse(raw) {
                Ok(document) => match documents.get_mut(document.server_name()) {
                    Some(own) => {
                        own.push(document);
                        continue;
                    }
                    None => format!("a document of {}, not asked for", document.server_name()),
                },
                Err(error) => error.to_string(),
            };
            if strays.len() < REASONS_MAX {
                strays.push(reason);
            }
        }
        Ok(Self { documents, strays })
    }
}

impl Judge<'_> {
    /// Judges each document of `server` alone: a bad one does not take the others with it (R60).
    /// Refused as a whole are documents that contradict each other, and an answer that has nothing
    /// acceptable for `server` and is not empty.
    pub(super) fn judge(&self, server: &ServerName, answer: &Answer) -> Result<Judged, FetchError> {
        let documents = answer.documents.get(server).map_or(&[][..], Vec::as_slice);
        if documents.len() > ANSWER_ENTRIES_MAX {
            let count = documents.len();
            let text = format!("{count} documents of {server}; {ANSWER_ENTRIES_MAX} at most");
            return Err(FetchError::BadAnswer(text));
        }
        let mut accepted: Vec<ServerKeys> = Vec::new();
        let mut refused = Vec::new();
        for document in documents {
            match self.document(server, document.clone()) {
                Ok(keys) => accepted.push(keys),
                Err(reason) if refused.len() < REASONS_MAX => refused.push(reason),
                Err(_) => {}
            }
        }
        if let Some(id) = contradiction(&accepted) {
            let text = format!("shows two different keys as {id} in one answer");
            return Err(FetchError::BadAnswer(text));
        }
        if accepted.is_empty() {
            let reasons = refused.iter().chain(&answer.strays).take(REASONS_MAX);
            let reasons: Vec<&str> = reasons.map(String::as_str).collect();
            if !reasons.is_empty() {
                return Err(FetchError::BadAnswer(reasons.join("; ")));
            }
        }
        Ok(Judged { accepted, refused })
    }

    fn document(
        &self,
        server: &ServerName,
        document: UnverifiedServerKeys,
    ) -> Result<ServerKeys, String> {
        if let Some(Notary { server_name, verify_keys }) = self.notary
            && !verify_keys.iter().any(|(id, key)| document.is_signed_by(server_name, id, key))
        {
            let ids: Vec<&str> = verify_keys.keys().map(KeyId::as_str).collect();
            let ids = ids.join(", ");
            return Err(format!(
                "no valid signature of {server_name} by its configured keys ({ids})"
            ));
        }
        document.verify(server, self.banned).map_err(|error| error.to_string())
    }
}

/// The raw texts of the documents in an answer, byte for byte: signatures cover what was sent, and
/// it must be possible to serve it again as it was.
fn entries(body: &[u8], entries_max: usize) -> Result<Vec<&RawValue>, FetchError> {
    let bad = |text: String| FetchError::BadAnswer(text);
    let answer = Object::scan(body).map_err(|error| bad(error.to_string()))?;
    let (_, list) = answer
        .members()
        .find(|(name, _)| name == "server_keys")
        .ok_or_else(|| bad("the member server_keys is missing".to_owned()))?;
    let entries: Vec<&RawValue> = serde_json::from_slice(list)
        .map_err(|error| bad(format!("server_keys is no list: {error}")))?;
    if entries.len() > entries_max {
        let count = entries.len();
        return Err(bad(format!("{count} documents in one answer; {entries_max} at most")));
    }
    Ok(entries)
}

/// A key ID that two documents of the same answer show with different keys.
fn contradiction(documents: &[ServerKeys]) -> Option<KeyId> {
    let mut bodies: BTreeMap<&KeyId, &VerifyKey> = BTreeMap::new();
    let current = documents.iter().flat_map(|document| document.verify_keys().iter());
    let old = documents.iter().flat_map(|document| document.old_verify_keys().iter());
    current
        .chain(old.map(|(id, old)| (id, &old.key)))
        .find(|(id, key)| bodies.insert(id, key).is_some_and(|other| other != *key))
        .map(|(id, _)| id.clone())
}

#[cfg(test)]
mod tests;
