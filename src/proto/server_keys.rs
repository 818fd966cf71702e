//! Key documents: `GET /_matrix/key/v2/server` and the entries of notary answers.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::ed25519::{BannedKeys, VerifyKey};
use super::validity::{Provenance, TrustedKey};
use super::{KeyId, ServerName, Timestamp};

/// A key document as received: well-formed, nothing about it believed yet.
#[derive(Clone, Debug)]
pub struct UnverifiedServerKeys {
    // to be filled
    _raw: Bytes,
}

/// Why a key document is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerKeysError {
    // to be filled
    /// Placeholder.
    TooLarge,
}

/// A key document whose name and self-signature have been checked; the raw text is kept.
#[derive(Clone, Debug)]
pub struct ServerKeys {
    // to be filled: private fields with accessors
    _raw: Bytes,
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
    /// Reads a document. Malformed keys are dropped one by one; a document that lacks a required
    /// field, repeats a member or is no JSON object is refused.
    pub fn parse(_raw: Bytes) -> Result<Self, ServerKeysError> {
        todo!()
    }

    /// The name the document claims.
    pub fn server_name(&self) -> &ServerName {
        todo!()
    }

    /// Checks name and self-signature (R51, R52) and lets go of banned keys (R48).
    pub fn verify(
        self,
        _expected: &ServerName,
        _banned: &BannedKeys,
    ) -> Result<ServerKeys, ServerKeysError> {
        todo!()
    }

    /// Whether `server` has validly signed the document with the given key (for notaries, R58).
    pub fn is_signed_by(&self, _server: &ServerName, _id: &KeyId, _key: &VerifyKey) -> bool {
        todo!()
    }
}

impl ServerKeys {
    /// Whose keys these are.
    pub fn server_name(&self) -> &ServerName {
        todo!()
    }

    /// "When the list of valid keys should be refreshed", as the document says.
    pub fn valid_until_ts(&self) -> Timestamp {
        todo!()
    }

    /// The current keys.
    pub fn verify_keys(&self) -> &BTreeMap<KeyId, VerifyKey> {
        todo!()
    }

    /// The retired keys.
    pub fn old_verify_keys(&self) -> &BTreeMap<KeyId, OldVerifyKey> {
        todo!()
    }

    /// The document as received, with every unknown field.
    pub fn raw(&self) -> &Bytes {
        todo!()
    }

    /// Entries that were dropped as malformed or banned: key ID as written and why. For logs.
    pub fn dropped(&self) -> &[(String, &'static str)] {
        todo!()
    }

    /// The current key `id`, trusted until `valid_until_ts` or 7 days from `fetched_at`.
    pub fn trusted_key(
        &self,
        _id: &KeyId,
        _fetched_at: Timestamp,
        _provenance: Provenance,
    ) -> Option<TrustedKey> {
        todo!()
    }
}
