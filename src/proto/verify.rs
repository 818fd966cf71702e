//! The verdict on a request. [`VerifiedOrigin`] is minted here and nowhere else.

use std::fmt;

use super::ed25519::{BadSignature, Signature, Verifier};
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

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSignature(id) => write!(f, "the signature by {id} does not verify"),
            Self::Expired(id, KeyExpired { effective_until, now }) => {
                write!(f, "the key {id} was valid until {effective_until} ms, it is {now} ms")
            }
            Self::ForeignKey(id) => write!(f, "the key {id} belongs to another server"),
            Self::Unsigned => f.write_str("the request carries no signature by a known key"),
        }
    }
}

impl std::error::Error for VerifyError {}

/// Checks every given signature over the request; all must verify and at least one must be given.
/// The signed bytes are walked through once, whatever the number of signatures.
pub fn verify_request(
    request: &SignedRequest<'_>,
    signatures: &[KeyedSignature<'_>],
    now: Timestamp,
) -> Result<VerifiedOrigin, VerifyError> {
    if signatures.is_empty() {
        return Err(VerifyError::Unsigned);
    }
    for KeyedSignature { key, .. } in signatures {
        if key.server != *request.origin {
            return Err(VerifyError::ForeignKey(key.id.clone()));
        }
    }
    for KeyedSignature { key, .. } in signatures {
        key.check(now).map_err(|expired| VerifyError::Expired(key.id.clone(), expired))?;
    }
    let mut checks: Vec<(&KeyId, Verifier)> = Vec::with_capacity(signatures.len());
    for KeyedSignature { key, signature } in signatures {
        let verifier = key.key.verifier(signature).map_err(|error| bad(&key.id, error))?;
        checks.push((&key.id, verifier));
    }
    request.write_signed_bytes(&mut |piece: &[u8]| {
        for (_, verifier) in &mut checks {
            verifier.update(piece);
        }
    });
    for (id, verifier) in checks {
        verifier.finish().map_err(|error| bad(id, error))?;
    }
    Ok(VerifiedOrigin {
        origin: request.origin.clone(),
        destination: request.destination.clone(),
        keys: signatures.iter().map(|signed| signed.key.id.clone()).collect(),
    })
}

fn bad(id: &KeyId, BadSignature: BadSignature) -> VerifyError {
    VerifyError::BadSignature(id.clone())
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

#[cfg(test)]
mod tests;
