//! Key documents: `GET /_matrix/key/v2/server` and the entries of notary answers.

mod read;

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use super::ed25519::{BannedKeys, Signature, VerifyKey};
use super::json::JsonError;
use super::limits::{KEYS_PER_DOCUMENT_MAX, SERVER_KEYS_BYTES_MAX};
use super::server_name::ServerNameError;
use super::validity::{Provenance, TrustedKey, effective_until};
use super::{KeyId, KeyMap, ServerName, Timestamp};

/// Why an entry of a banned key is dropped.
pub const BANNED: &str = "the key is banned";

/// What [`Bytes`] allocates beside the text: a pointer, a length and a counter.
const RAW_SHARED_BYTES: usize = 3 * size_of::<usize>();

/// A key document as received: well-formed, nothing about it believed yet.
#[derive(Clone, Debug)]
pub struct UnverifiedServerKeys {
    keys: ServerKeys,
    /// The canonical form without `signatures` and `unsigned`.
    signed: Vec<u8>,
    /// Every signature that can be read.
    signatures: BTreeMap<ServerName, BTreeMap<KeyId, Signature>>,
}

/// Why a key document is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerKeysError {
    /// `server_name` is no server name.
    InvalidServerName(ServerNameError),
    /// `valid_until_ts` is not an integer from 0 to 2^53 - 1 (R57).
    InvalidValidUntil,
    /// The document is not exactly one unambiguous JSON object.
    Json(JsonError),
    /// A required field is missing (R57).
    MissingField(&'static str),
    /// None of the keys it lists, banned ones aside, validly signs the document as its server (R52).
    NotSelfSigned,
    /// The document has this many bytes, more than `SERVER_KEYS_BYTES_MAX`.
    TooLarge(usize),
    /// The field has more than `KEYS_PER_DOCUMENT_MAX` entries.
    TooManyKeys(&'static str),
    /// The document is another server's (R51).
    WrongServer {
        /// Whose document was asked for.
        expected: ServerName,
        /// Whose it claims to be.
        found: ServerName,
    },
    /// A field is not of the JSON type it must have.
    WrongType {
        /// The field.
        field: &'static str,
        /// The type it must have.
        expected: &'static str,
    },
}

impl fmt::Display for ServerKeysError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidServerName(error) => {
                write!(f, "the key document's server_name is not a server name: {error}")
            }
            Self::InvalidValidUntil => f.write_str(
                "the key document's valid_until_ts is not an integer from 0 to 9007199254740991",
            ),
            Self::Json(error) => write!(f, "the key document is not acceptable JSON: {error}"),
            Self::MissingField(field) => write!(f, "the key document has no {field}"),
            Self::NotSelfSigned => f.write_str(
                "the key document carries no valid signature of its server by a key in its \
                 verify_keys",
            ),
            Self::TooLarge(bytes) => write!(
                f,
                "the key document has {bytes} bytes, the limit is {SERVER_KEYS_BYTES_MAX}"
            ),
            Self::TooManyKeys(field) => write!(
                f,
                "the key document's {field} has more than {KEYS_PER_DOCUMENT_MAX} entries"
            ),
            Self::WrongServer { expected, found } => {
                write!(f, "the key document is {found}'s, {expected}'s was asked for")
            }
            Self::WrongType { field, expected } => {
                write!(f, "the key document's {field} is not {expected}")
            }
        }
    }
}

impl std::error::Error for ServerKeysError {}

/// A key document whose name and self-signature have been checked; the raw text is kept.
#[derive(Clone, Debug)]
pub struct ServerKeys {
    raw: Bytes,
    server_name: ServerName,
    valid_until_ts: Timestamp,
    verify_keys: KeyMap<VerifyKey>,
    old_verify_keys: KeyMap<OldVerifyKey>,
    dropped: Vec<(String, &'static str)>,
}

/// A retired key: it may verify events, never requests (R40).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldVerifyKey {
    /// The key.
    pub key: VerifyKey,
    /// When it was retired.
    pub expired_ts: Timestamp,
}

impl UnverifiedServerKeys {
    /// Reads a document. Malformed keys are dropped one by one (R56); a document that lacks a
    /// required field, repeats a member or is no JSON object is refused.
    pub fn parse(raw: Bytes) -> Result<Self, ServerKeysError> {
        read::document(raw)
    }

    /// The name the document claims.
    pub fn server_name(&self) -> &ServerName {
        &self.keys.server_name
    }

    /// Whether it lists `key` under `id`, among the current or the retired keys.
    pub fn lists(&self, id: &KeyId, key: &VerifyKey) -> bool {
        let old = self.keys.old_verify_keys.get(id).map(|old| &old.key);
        self.keys.verify_keys.get(id) == Some(key) || old == Some(key)
    }

    /// Checks name and self-signature (R51, R52) and lets go of banned keys (R48).
    pub fn verify(
        self,
        expected: &ServerName,
        banned: &BannedKeys,
    ) -> Result<ServerKeys, ServerKeysError> {
        if self.server_name() != expected {
            let found = self.keys.server_name;
            return Err(ServerKeysError::WrongServer { expected: expected.clone(), found });
        }
        let Self { mut keys, signed, signatures } = self;
        keys.drop_banned(banned);
        let own = signatures.get(&keys.server_name).into_iter().flatten();
        let mut listed =
            own.filter_map(|(id, signature)| keys.verify_keys.get(id).map(|key| (key, signature)));
        if listed.any(|(key, signature)| key.verify(&signed, signature).is_ok()) {
            Ok(keys)
        } else {
            Err(ServerKeysError::NotSelfSigned)
        }
    }

    /// Who has signed the document with which keys, as far as that can be read; whether validly is for
    /// [`Self::is_signed_by`] to say.
    pub fn signatures(&self) -> impl Iterator<Item = (&ServerName, &KeyId)> {
        let by = |(server, ids)| std::iter::repeat(server).zip(BTreeMap::keys(ids));
        self.signatures.iter().flat_map(by)
    }

    /// Whether `server` has validly signed the document with the given key (for notaries, R58).
    pub fn is_signed_by(&self, server: &ServerName, id: &KeyId, key: &VerifyKey) -> bool {
        let signature = self.signatures.get(server).and_then(|by_id| by_id.get(id));
        signature.is_some_and(|signature| key.verify(&self.signed, signature).is_ok())
    }
}

impl ServerKeys {
    /// Whose keys these are.
    pub fn server_name(&self) -> &ServerName {
        &self.server_name
    }

    /// "When the list of valid keys should be refreshed", as the document says.
    pub fn valid_until_ts(&self) -> Timestamp {
        self.valid_until_ts
    }

    /// The current keys.
    pub fn verify_keys(&self) -> &KeyMap<VerifyKey> {
        &self.verify_keys
    }

    /// The retired keys.
    pub fn old_verify_keys(&self) -> &KeyMap<OldVerifyKey> {
        &self.old_verify_keys
    }

    /// The document as received, with every unknown field.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Entries that were dropped as malformed or banned: key ID as written, cut at
    /// `KEY_ID_BYTES_MAX` characters, and why. For logs, which must escape the ID.
    pub fn dropped(&self) -> &[(String, &'static str)] {
        &self.dropped
    }

    /// The current key `id`, trusted until `valid_until_ts` or 7 days from `fetched_at`.
    pub fn trusted_key(
        &self,
        id: &KeyId,
        fetched_at: Timestamp,
        provenance: Provenance,
    ) -> Option<TrustedKey> {
        let key = self.verify_keys.get(id)?.clone();
        Some(TrustedKey {
            server: self.server_name.clone(),
            id: id.clone(),
            key,
            effective_until: effective_until(self.valid_until_ts, fetched_at),
            provenance: Some(provenance),
        })
    }

    /// About how much memory it takes, in bytes, itself included.
    pub fn size_bytes(&self) -> usize {
        let current = self.verify_keys.keys().map(key_bytes::<VerifyKey>);
        let old = self.old_verify_keys.keys().map(key_bytes::<OldVerifyKey>);
        let dropped = self.dropped.iter().map(|entry| size_of_val(entry) + entry.0.len());
        let lists = current.chain(old).chain(dropped).sum::<usize>();
        size_of::<Self>() + self.raw.len() + RAW_SHARED_BYTES + lists
    }

    fn drop_banned(&mut self, banned: &BannedKeys) {
        let Self { verify_keys, old_verify_keys, dropped, .. } = self;
        let mut keep = |id: &KeyId, key: &VerifyKey| {
            let allowed = !banned.contains(key);
            if !allowed {
                dropped.push((id.as_str().to_owned(), BANNED));
            }
            allowed
        };
        verify_keys.retain(|id, key| keep(id, key));
        old_verify_keys.retain(|id, old| keep(id, &old.key));
    }
}

/// What an entry of a map takes, with the ID and the key that it shares with others.
fn key_bytes<V>(id: &KeyId) -> usize {
    size_of::<(KeyId, V)>() + id.shared_bytes() + VerifyKey::SHARED_BYTES
}

#[cfg(test)]
mod tests;
