//! `POST /_matrix/key/v2/query`: the question, and judging what comes back. The same for a notary
//! and for the homeserver behind us, save that only a notary must sign.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::{FetchError, KeyRequest};
use crate::proto::ed25519::{BannedKeys, VerifyKey};
use crate::proto::json::Object;
use crate::proto::server_keys::{ServerKeys, UnverifiedServerKeys};
use crate::proto::{KeyId, ServerName};

/// Where the question goes.
pub(super) const QUERY_TARGET: &str = "/_matrix/key/v2/query";

/// Largest answer that is read, in bytes: 16 key documents of the largest size. We ask for the keys
/// of one server, and its documents are below 4 KiB in practice.
pub(super) const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Most documents in an answer. Synapse sends one per stored document of the server that holds a
/// requested key, and a request names at most 8 keys.
const ANSWER_ENTRIES_MAX: usize = 64;

/// Refused entries whose reasons are told.
const REASONS_MAX: usize = 4;

/// How answers are judged.
pub(super) struct Judge<'a> {
    /// The notary and the keys it must have signed each document with one of (R58, R59); `None` for
    /// the homeserver behind us.
    pub(super) notary: Option<(&'a ServerName, &'a BTreeMap<KeyId, VerifyKey>)>,
    /// Keys that are refused wherever they turn up.
    pub(super) banned: &'a BannedKeys,
}

/// The acceptable documents of an answer, and why the others are not.
#[derive(Debug)]
pub(super) struct Judged {
    /// Name, self-signature and, where demanded, the notary's signature are right.
    pub(super) accepted: Vec<ServerKeys>,
    /// One reason per refused document, the first few.
    pub(super) refused: Vec<String>,
}

/// The body that asks for the keys of one server: key IDs and the time are always given, because
/// Synapse answers neither without them (R61).
pub(super) fn query(request: &KeyRequest) -> Bytes {
    let until = request.minimum_valid_until.as_ms();
    let criteria = BTreeMap::from([("minimum_valid_until_ts", until)]);
    let key_ids: BTreeMap<&str, _> =
        request.key_ids.iter().map(|id| (id.as_str(), &criteria)).collect();
    let servers = BTreeMap::from([(request.server.as_str(), key_ids)]);
    let body = serde_json::json!({ "server_keys": servers });
    Bytes::from(body.to_string())
}

impl Judge<'_> {
    /// Judges each document of an answer alone: a bad one does not take the others with it (R60).
    /// Refused as a whole are answers that are no proper JSON or contradict themselves.
    pub(super) fn judge(&self, server: &ServerName, body: &[u8]) -> Result<Judged, FetchError> {
        let mut accepted: Vec<ServerKeys> = Vec::new();
        let mut refused = Vec::new();
        for entry in entries(body)? {
            match self.entry(server, entry.get()) {
                Ok(keys) => accepted.push(keys),
                Err(reason) if refused.len() < REASONS_MAX => refused.push(reason),
                Err(_) => {}
            }
        }
        if let Some(id) = contradiction(&accepted) {
            let text = format!("shows two different keys as {id} in one answer");
            return Err(FetchError::BadAnswer(text));
        }
        if accepted.is_empty() && !refused.is_empty() {
            return Err(FetchError::BadAnswer(refused.join("; ")));
        }
        Ok(Judged { accepted, refused })
    }

    fn entry(&self, server: &ServerName, raw: &str) -> Result<ServerKeys, String> {
        // Copied, so that a small document does not keep the whole answer in memory.
        let document = UnverifiedServerKeys::parse(Bytes::copy_from_slice(raw.as_bytes()))
            .map_err(|error| error.to_string())?;
        if document.server_name() != server {
            return Err(format!("a document of {}, not asked for", document.server_name()));
        }
        if let Some((notary, keys)) = self.notary
            && !keys.iter().any(|(id, key)| document.is_signed_by(notary, id, key))
        {
            let ids: Vec<&str> = keys.keys().map(KeyId::as_str).collect();
            let ids = ids.join(", ");
            return Err(format!("no valid signature of {notary} by its configured keys ({ids})"));
        }
        document.verify(server, self.banned).map_err(|error| error.to_string())
    }
}

/// The raw texts of the documents in an answer, byte for byte: signatures cover what was sent, and
/// it must be possible to serve it again as it was.
fn entries(body: &[u8]) -> Result<Vec<&RawValue>, FetchError> {
    let bad = |text: String| FetchError::BadAnswer(text);
    let answer = Object::scan(body).map_err(|error| bad(error.to_string()))?;
    let (_, list) = answer
        .members()
        .find(|(name, _)| name == "server_keys")
        .ok_or_else(|| bad("the member server_keys is missing".to_owned()))?;
    let entries: Vec<&RawValue> = serde_json::from_slice(list)
        .map_err(|error| bad(format!("server_keys is no list: {error}")))?;
    if entries.len() > ANSWER_ENTRIES_MAX {
        let count = entries.len();
        return Err(bad(format!("{count} documents in one answer; {ANSWER_ENTRIES_MAX} at most")));
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
