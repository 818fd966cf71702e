//! `POST /_matrix/key/v2/query`: the question, and judging what comes back. The same for a notary
//! and for the homeserver behind us, save that only a notary must sign.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{FetchError, KeyRequest};
use crate::config::Notary;
use crate::net::NetError;
use crate::proto::ed25519::{BannedKeys, VerifyKey};
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
    /// The raw documents by the name they claim, byte for byte: signatures cover what was sent, and
    /// it must be possible to serve it again as it was.
    documents: BTreeMap<ServerName, Vec<Bytes>>,
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
    /// Splits the answer to a query for `requests`. Documents are not looked into further than for the
    /// name they claim, so that whatever is wrong with one is wrong with that one alone (R60).
    ///
    /// # Errors
    /// When the whole is no JSON object with one list `server_keys`, or has too many entries.
    pub(super) fn split(body: &[u8], requests: &[KeyRequest]) -> Result<Self, FetchError> {
        #[derive(Deserialize)]
        struct Claim<'a> {
            #[serde(borrow)]
            server_name: Cow<'a, str>,
        }
        let mut documents: BTreeMap<ServerName, Vec<Bytes>> =
            requests.iter().map(|request| (request.server.clone(), Vec::new())).collect();
        let entries = entries(body)?;
        let entries_max = ANSWER_ENTRIES_MAX.saturating_mul(documents.len());
        if entries.len() > entries_max {
            let text = format!("{} documents in one answer; {entries_max} at most", entries.len());
            return Err(FetchError::Net(NetError::TooLarge(text)));
        }
        let mut strays = Vec::new();
        for entry in entries {
            let raw = entry.get();
            let name = serde_json::from_str(raw)
                .ok()
                .and_then(|claim: Claim<'_>| ServerName::parse(&claim.server_name).ok());
            let reason = match name {
                Some(name) => match documents.get_mut(&name) {
                    // Copied, so that a small document does not keep the whole answer in memory.
                    Some(own) => {
                        own.push(Bytes::copy_from_slice(raw.as_bytes()));
                        continue;
                    }
                    None => format!("a document of {name}, not asked for"),
                },
                None => "a document without a server's name".to_owned(),
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
        for raw in documents {
            match self.document(server, raw.clone()) {
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
            let reasons: Vec<&str> =
                refused.iter().chain(&answer.strays).map(String::as_str).collect();
            if !reasons.is_empty() {
                return Err(FetchError::BadAnswer(reasons.join("; ")));
            }
        }
        Ok(Judged { accepted, refused })
    }

    fn document(&self, server: &ServerName, raw: Bytes) -> Result<ServerKeys, String> {
        let document = UnverifiedServerKeys::parse(raw).map_err(|error| error.to_string())?;
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

/// The raw texts of the entries in an answer.
fn entries(body: &[u8]) -> Result<Vec<&RawValue>, FetchError> {
    #[derive(Deserialize)]
    struct Entries<'a> {
        #[serde(borrow)]
        server_keys: Vec<&'a RawValue>,
    }
    // serde would take a list of the members, too.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(FetchError::BadAnswer("the answer is no JSON object".to_owned()));
    }
    let entries: Entries<'_> = serde_json::from_slice(body).map_err(|error| {
        FetchError::BadAnswer(format!("no JSON object with a list server_keys: {error}"))
    })?;
    Ok(entries.server_keys)
}

/// A key ID that two documents of the same answer show with different keys.
fn contradiction(documents: &[ServerKeys]) -> Option<KeyId> {
    let mut bodies: BTreeMap<&KeyId, &VerifyKey> = BTreeMap::new();
    let current = documents.iter().flat_map(|document| document.verify_keys());
    let old = documents.iter().flat_map(|document| document.old_verify_keys());
    current
        .chain(old.map(|(id, old)| (id, &old.key)))
        .find(|(id, key)| bodies.insert(id, key).is_some_and(|other| other != *key))
        .map(|(id, _)| id.clone())
}

#[cfg(test)]
mod tests;
