//! Ed25519 with libsodium's verdicts, which are Synapse's. The only module that touches ed25519-dalek
//! and curve25519-dalek.

mod comb;
mod hot;
mod verifier;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use ed25519_dalek::Signer;

pub use self::hot::HotKeys;
pub use self::verifier::{Verifier, verify_all};
use super::base64::{self, Base64Error};

/// The key that one distribution shipped to everybody (CVE-2026-24044, ELEMENTSEC-2025-1670):
/// `l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og`. Synapse bans it too.
const SHIPPED_BANNED_KEY: [u8; 32] = [
    0x97, 0xf3, 0xbd, 0x87, 0x13, 0x15, 0x28, 0x1e, 0x8b, 0x83, 0xed, 0xc7, 0xa9, 0xfd, 0x05, 0x41,
    0x06, 0x61, 0x54, 0x44, 0x90, 0x70, 0xcc, 0xdb, 0x3c, 0xdd, 0x42, 0xcf, 0x69, 0xcc, 0xde, 0x88,
];

/// A public signing key that is safe to verify with: a canonical encoding of a point that is not of
/// small order.
///
/// Clones share it: with its point unpacked, so that no verification has to, it is 192 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyKey(Arc<ed25519_dalek::VerifyingKey>);

/// Why 32 bytes are not a usable public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyKeyError {
    /// Not unpadded base64 of 32 bytes.
    Encoding,
    /// Not the canonical encoding of a curve point.
    NotAPoint,
    /// A point of small order: it would verify signatures nobody made.
    Weak,
}

impl VerifyKeyError {
    /// The reason in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encoding => "the key is not base64 of 32 bytes",
            Self::NotAPoint => "the key is not the encoding of a curve point",
            Self::Weak => "the key is a point of small order",
        }
    }
}

impl fmt::Display for VerifyKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for VerifyKeyError {}

/// A signature of 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature([u8; 64]);

/// A signature does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

impl fmt::Display for BadSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the signature does not verify")
    }
}

impl std::error::Error for BadSignature {}

impl VerifyKey {
    /// What a key takes in memory beside the handle, in bytes: the counters of the [`Arc`] and what
    /// is in it. Clones take none of it.
    pub const SHARED_BYTES: usize =
        2 * size_of::<usize>() + size_of::<ed25519_dalek::VerifyingKey>();

    /// A key from its 32 bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, VerifyKeyError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes)
            .map_err(|_error| VerifyKeyError::NotAPoint)?;
        if key.is_weak() {
            return Err(VerifyKeyError::Weak);
        }
        // dalek also takes y-coordinates of p and above; libsodium does not.
        if key.to_edwards().compress().as_bytes() != bytes {
            return Err(VerifyKeyError::NotAPoint);
        }
        Ok(Self(Arc::new(key)))
    }

    /// A key from its base64 text.
    pub fn from_base64(text: &str) -> Result<Self, VerifyKeyError> {
        let bytes = base64::decode_array(text.as_bytes())
            .map_err(|Base64Error| VerifyKeyError::Encoding)?;
        Self::from_bytes(&bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Unpadded base64 of the key.
    pub fn to_base64(&self) -> String {
        base64::encode(self.as_bytes())
    }

    /// Checks a signature over `message`.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let mut verifier = self.verifier(signature)?;
        verifier.update(message);
        verifier.finish()
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyKey({})", self.to_base64())
    }
}

impl Signature {
    /// A signature from its 64 bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// A signature from its base64 text; `None` if it is not 64 bytes.
    pub fn from_base64(text: &str) -> Option<Self> {
        base64::decode_array(text.as_bytes()).ok().map(Self)
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// Unpadded base64 of the signature.
    pub fn to_base64(&self) -> String {
        base64::encode(&self.0)
    }
}

/// A private signing key. Never printed.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A key from its 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn verify_key(&self) -> VerifyKey {
        VerifyKey(Arc::new(self.0.verifying_key()))
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// Public keys that are refused wherever they turn up.
#[derive(Clone, Debug)]
pub struct BannedKeys(BTreeSet<[u8; 32]>);

impl BannedKeys {
    /// The shipped list (the key of CVE-2026-24044) and `more`.
    pub fn new(more: impl IntoIterator<Item = [u8; 32]>) -> Self {
        Self(more.into_iter().chain([SHIPPED_BANNED_KEY]).collect())
    }

    /// Whether `key` is on the list.
    pub fn contains(&self, key: &VerifyKey) -> bool {
        self.0.contains(key.as_bytes())
    }
}

#[cfg(test)]
mod tests;
