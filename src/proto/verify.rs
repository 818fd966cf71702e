//! The verdict on a request. [`VerifiedOrigin`] is minted here and nowhere else.

use super::ed25519::Signature;
use super::signed_request::SignedRequest;
use super::validity::{KeyExpired, TrustedKey};
use super::{KeyId, ServerName, Timestamp};

/// One signature of a request and the key that should have made it.
#[derive(Clone, Copy, Debug)]
pub struct KeyedSignature<'a> {
    /// The origin's key.
    pub key: &'a TrustedKey,
    /// The signature.
    pub signature: &'a Signature,
}

/// Proof that a request was signed by its origin with keys valid at the time of receipt.
#[derive(Debug, PartialEq, Eq)]
pub struct VerifiedOrigin {
    origin: ServerName,
    destination: ServerName,
    keys: Vec<KeyId>,
}

/// Why a request is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyError {
    /// A signature does not verify.
    BadSignature(KeyId),
    /// A key is past its window.
    Expired(KeyId, KeyExpired),
    /// A key belongs to another server.
    ForeignKey(KeyId),
    /// No signature was given.
    Unsigned,
}

/// Checks every given signature over the request; all must verify and at least one must be given.
pub fn verify_request(
    _request: &SignedRequest<'_>,
    _signatures: &[KeyedSignature<'_>],
    _now: Timestamp,
) -> Result<VerifiedOrigin, VerifyError> {
    todo!()
}

impl VerifiedOrigin {
    /// The server that signed the request.
    pub fn origin(&self) -> &ServerName {
        &self.origin
    }

    /// The own name the request was signed for.
    pub fn destination(&self) -> &ServerName {
        &self.destination
    }

    /// The keys whose signatures verified.
    pub fn keys(&self) -> &[KeyId] {
        &self.keys
    }
}
