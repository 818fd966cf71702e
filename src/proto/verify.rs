//! The verdict on a request. [`VerifiedOrigin`] is minted here and nowhere else.

use std::fmt;

use smallvec::SmallVec;

use super::ed25519::{BadSignature, HotKeys, Signature, Verifier};
use super::signed_request::SignedRequest;
use super::validity::{KeyExpired, TrustedKey};
use super::x_matrix::header_value;
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
    /// Those that verified. Most servers have one key.
    signatures: SmallVec<[(KeyId, Signature); 1]>,
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

/// The checks of a request's signatures by these keys, which take the signed bytes piece by piece: the
/// content can be heard while it comes.
#[derive(Clone)]
pub struct SignatureChecks<'k>(SmallVec<[(KeyedSignature<'k>, Verifier); 1]>);

impl<'k> SignatureChecks<'k> {
    /// Begins the checks of signatures over a request with content, which is to follow in canonical form.
    ///
    /// # Errors
    /// A signature is bad whatever was signed.
    pub fn before_content(
        signatures: impl Iterator<Item = KeyedSignature<'k>>,
    ) -> Result<Self, VerifyError> {
        let mut checks = Self::begin(signatures)?;
        checks.hear(SignedRequest::BEFORE_CONTENT);
        Ok(checks)
    }

    fn begin(signatures: impl Iterator<Item = KeyedSignature<'k>>) -> Result<Self, VerifyError> {
        let mut checks = SmallVec::new();
        for signed in signatures {
            let check = signed.key.key.verifier(signed.signature);
            checks.push((signed, check.map_err(|error| bad(&signed.key.id, error))?));
        }
        Ok(Self(checks))
    }

    /// The next piece.
    pub fn hear(&mut self, piece: &[u8]) {
        for (_, check) in &mut self.0 {
            check.update(piece);
        }
    }

    fn keys(&self) -> impl Iterator<Item = &'k TrustedKey> + Clone {
        self.0.iter().map(|(signed, _)| signed.key)
    }

    /// The verdict, now that all signed bytes have been heard.
    fn verdict(
        &self,
        request: &SignedRequest<'_>,
        hot_keys: Option<&HotKeys>,
    ) -> Result<VerifiedOrigin, VerifyError> {
        let mut signatures = SmallVec::new();
        for (KeyedSignature { key, signature }, check) in &self.0 {
            let verdict = match hot_keys {
                Some(hot_keys) => check.finish_hot(hot_keys),
                None => check.finish(),
            };
            verdict.map_err(|error| bad(&key.id, error))?;
            signatures.push((key.id.clone(), **signature));
        }
        let (origin, destination) = (request.origin.clone(), request.destination.clone());
        Ok(VerifiedOrigin { origin, destination, signatures })
    }
}

impl fmt::Debug for SignatureChecks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys().map(|key| &key.id)).finish()
    }
}

/// Checks every given signature over the request; all must verify and at least one must be given.
/// The signed bytes are walked through once, whatever the number of signatures. `hot_keys` change no
/// verdict, only what it costs.
pub fn verify_request<'k>(
    request: &SignedRequest<'_>,
    signatures: impl Iterator<Item = KeyedSignature<'k>> + Clone,
    hot_keys: Option<&HotKeys>,
    now: Timestamp,
) -> Result<VerifiedOrigin, VerifyError> {
    check_keys(request.origin, signatures.clone().map(|signed| signed.key), now)?;
    let mut checks = SignatureChecks::begin(signatures)?;
    request.write_signed_bytes(&mut |piece: &[u8]| checks.hear(piece));
    checks.verdict(request, hot_keys)
}

/// The same with checks that were begun by [`SignatureChecks::before_content`], and have heard the whole
/// content since.
pub fn verify_heard(
    request: &SignedRequest<'_>,
    heard: &SignatureChecks<'_>,
    hot_keys: Option<&HotKeys>,
    now: Timestamp,
) -> Result<VerifiedOrigin, VerifyError> {
    check_keys(request.origin, heard.keys(), now)?;
    let mut checks = heard.clone();
    request.write_behind_content(&mut |piece: &[u8]| checks.hear(piece));
    checks.verdict(request, hot_keys)
}

/// Whether all keys are the origin's and may be used, and there is one.
fn check_keys<'k>(
    origin: &ServerName,
    keys: impl Iterator<Item = &'k TrustedKey> + Clone,
    now: Timestamp,
) -> Result<(), VerifyError> {
    if keys.clone().next().is_none() {
        return Err(VerifyError::Unsigned);
    }
    if let Some(key) = keys.clone().find(|key| key.server != *origin) {
        return Err(VerifyError::ForeignKey(key.id.clone()));
    }
    for key in keys {
        key.check(now).map_err(|expired| VerifyError::Expired(key.id.clone(), expired))?;
    }
    Ok(())
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
    pub fn keys(&self) -> impl Iterator<Item = &KeyId> {
        self.signatures.iter().map(|(key, _)| key)
    }

    /// The header values that say so, one for each signature (R25).
    pub fn authorization(&self) -> Vec<String> {
        let Self { origin, destination, signatures } = self;
        signatures.iter().map(|(key, sig)| header_value(origin, destination, key, sig)).collect()
    }
}

#[cfg(test)]
mod tests;
