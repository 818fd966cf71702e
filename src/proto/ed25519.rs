//! Ed25519 with libsodium's verdicts, which are Synapse's. The only file that touches ed25519-dalek.

use std::fmt;

/// A public signing key that is safe to verify with: a canonical encoding of a point that is not of
/// small order.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyKey(ed25519_dalek::VerifyingKey);

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

/// A signature of 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature([u8; 64]);

/// A signature does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

impl VerifyKey {
    /// A key from its 32 bytes.
    pub fn from_bytes(_bytes: &[u8; 32]) -> Result<Self, VerifyKeyError> {
        todo!()
    }

    /// A key from its base64 text.
    pub fn from_base64(_text: &str) -> Result<Self, VerifyKeyError> {
        todo!()
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Unpadded base64 of the key.
    pub fn to_base64(&self) -> String {
        todo!()
    }

    /// Checks a signature over a message that is handed over in pieces.
    pub fn verifier(&self, _signature: &Signature) -> Result<Verifier, BadSignature> {
        todo!()
    }

    /// Checks a signature over `message`.
    pub fn verify(&self, _message: &[u8], _signature: &Signature) -> Result<(), BadSignature> {
        todo!()
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyKey({})", self.to_base64())
    }
}

/// A signature check in progress.
pub struct Verifier(ed25519_dalek::StreamVerifier);

impl Verifier {
    /// The next piece of the message.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The verdict.
    pub fn finish(self) -> Result<(), BadSignature> {
        self.0.finalize_and_verify().map_err(|_| BadSignature)
    }
}

impl Signature {
    /// A signature from its 64 bytes.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// A signature from its base64 text; `None` if it is not 64 bytes.
    pub fn from_base64(_text: &str) -> Option<Self> {
        todo!()
    }

    /// The 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// Unpadded base64 of the signature.
    pub fn to_base64(&self) -> String {
        todo!()
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
        VerifyKey(self.0.verifying_key())
    }

    /// Signs `message`.
    pub fn sign(&self, _message: &[u8]) -> Signature {
        todo!()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// Public keys that are refused wherever they turn up.
#[derive(Clone, Debug)]
pub struct BannedKeys(std::collections::BTreeSet<[u8; 32]>);

impl BannedKeys {
    /// The shipped list (the key of CVE-2026-24044) and `more`.
    pub fn new(_more: impl IntoIterator<Item = [u8; 32]>) -> Self {
        todo!()
    }

    /// Whether `key` is on the list.
    pub fn contains(&self, key: &VerifyKey) -> bool {
        self.0.contains(key.as_bytes())
    }
}
