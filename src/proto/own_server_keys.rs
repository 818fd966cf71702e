//! Our own key document, for `GET /_matrix/key/v2/server`.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::json;

use super::ed25519::BannedKeys;
use super::json::JsonError;
use super::server_keys::{OldVerifyKey, ServerKeys, ServerKeysError, UnverifiedServerKeys};
use super::sign::sign_json;
use super::signing_keys::SigningKeys;
use super::{KeyId, ServerName, Timestamp};

/// What a server says of its own keys (server-server API, publishing keys).
#[derive(Clone, Copy, Debug)]
pub struct OwnServerKeys<'a> {
    /// Whose keys they are.
    pub server_name: &'a ServerName,
    /// The current keys: all are published, and all sign.
    pub signing_keys: &'a SigningKeys,
    /// The keys that were in use once.
    pub old_verify_keys: &'a BTreeMap<KeyId, OldVerifyKey>,
    /// Until when others need not ask again.
    pub valid_until_ts: Timestamp,
}

/// Why there can be no such document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnServerKeysError {
    /// The key is current and old at once.
    CurrentAndOld(KeyId),
    /// The old key's algorithm is none that Matrix has.
    NotEd25519(KeyId),
    /// The text that was to be signed is no JSON object. Never the case.
    Json(JsonError),
    /// Our own verifier refuses the document: a key is banned, a time beyond what JSON can carry, or
    /// there are too many old keys.
    Refused(ServerKeysError),
    /// The old key would be passed over by our own verifier: its time is beyond what JSON can carry,
    /// or it is banned.
    Dropped(String, &'static str),
}

impl fmt::Display for OwnServerKeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CurrentAndOld(id) => write!(
                f,
                "{id} is both a current and an old key: a key that has expired does not come back; \
                 make a new one, or take it out of the old ones if it has never been retired"
            ),
            Self::NotEd25519(id) => write!(f, "the old key {id} is not an ed25519 key"),
            Self::Json(error) => write!(f, "our own key document is not JSON: {error}"),
            Self::Refused(error) => write!(f, "our own key document does not hold: {error}"),
            Self::Dropped(id, why) => write!(f, "the key {id} cannot be published: {why}"),
        }
    }
}

impl std::error::Error for OwnServerKeysError {}

impl OwnServerKeys<'_> {
    /// The document in canonical JSON, as Synapse writes its own: `old_verify_keys` is there even
    /// when there are none (R71), and every current key has signed, since gomatrixserverlib demands
    /// the signature of each.
    ///
    /// It has passed our own verifier: nothing is published that we would not believe.
    ///
    /// # Errors
    /// When that refuses the document or part of it.
    pub fn sign(&self) -> Result<ServerKeys, OwnServerKeysError> {
        let current: BTreeMap<_, _> = self.signing_keys.verify_keys().collect();
        if let Some(id) = self.old_verify_keys.keys().find(|id| current.contains_key(id)) {
            return Err(OwnServerKeysError::CurrentAndOld(id.clone()));
        }
        if let Some(id) = self.old_verify_keys.keys().find(|id| !id.is_ed25519()) {
            return Err(OwnServerKeysError::NotEd25519(id.clone()));
        }
        let current: BTreeMap<_, _> = current
            .iter()
            .map(|(id, key)| (id.as_str(), json!({ "key": key.to_base64() })))
            .collect();
        let old: BTreeMap<_, _> = self
            .old_verify_keys
            .iter()
            .map(|(id, old)| {
                let expired_ts = old.expired_ts.as_ms();
                (id.as_str(), json!({ "key": old.key.to_base64(), "expired_ts": expired_ts }))
            })
            .collect();
        let document = json!({
            "old_verify_keys": old,
            "server_name": self.server_name.as_str(),
            "valid_until_ts": self.valid_until_ts.as_ms(),
            "verify_keys": current,
        });
        let mut document = document.to_string().into_bytes();
        for (id, key) in self.signing_keys.iter() {
            document = sign_json(&document, self.server_name, id, key)
                .map_err(OwnServerKeysError::Json)?;
        }
        let document = UnverifiedServerKeys::parse(document.into())
            .and_then(|document| document.verify(self.server_name, &BannedKeys::new([])))
            .map_err(OwnServerKeysError::Refused)?;
        match document.dropped() {
            [] => Ok(document),
            [(id, why), ..] => Err(OwnServerKeysError::Dropped(id.clone(), why)),
        }
    }
}

#[cfg(test)]
mod tests;
