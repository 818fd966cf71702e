//! The verdict on one event in a room of a known version, and what it is made of.

use super::{EventHash, EventKey, KeyUnfit, Role};
use crate::proto::{ServerName, Timestamp};

/// What was found about an event whose form is right.
#[derive(Debug)]
pub struct Judgement {
    /// The event's ID.
    pub event_id: String,
    /// The ID of its room.
    pub room_id: String,
    /// The content hash as it is.
    pub content_hash: EventHash,
    /// The content hash as the event claims it.
    pub claimed_content_hash: Option<EventHash>,
    /// The reference hash.
    pub reference_hash: EventHash,
    /// The event's time, which keys are held against.
    pub origin_server_ts: Timestamp,
    /// Every server that must have signed.
    pub signers: Vec<CheckedSigner>,
}

/// A server that must have signed, and each signature under its name.
#[derive(Debug)]
pub struct CheckedSigner {
    /// The server.
    pub server: ServerName,
    /// Why it must have signed.
    pub role: Role,
    /// Its signatures, in the order of the text.
    pub signatures: Vec<CheckedSignature>,
}

/// One signature.
#[derive(Debug)]
pub struct CheckedSignature {
    /// The key ID as written, cut at `KEY_ID_BYTES_MAX` characters. A stranger's text: to be escaped.
    pub key_id: String,
    /// The key, if it is known.
    pub key: Option<EventKey>,
    /// What it is worth.
    pub state: SignatureState,
}

/// What a signature is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureState {
    /// It verifies.
    Valid,
    /// It does not.
    Invalid,
    /// It counts neither way (R84).
    Skipped(Skipped),
}

/// Why a signature counts neither way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skipped {
    /// The key ID is not that of an Ed25519 key.
    Algorithm,
    /// It is the policy server's.
    PolicyServer,
    /// The key is not known.
    UnknownKey,
    /// The key may not verify an event of this time.
    Unfit(KeyUnfit),
}

/// How it stands with one required server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignerState {
    /// At least one signature is valid, none is invalid.
    Signed,
    /// A signature by a usable key is invalid.
    Invalid,
    /// There are signatures, none by a key that is known and usable.
    NoUsableKey,
    /// There is no signature of the server.
    Unsigned,
}

/// What to do with an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it.
    Good,
    /// Take its redacted form: the content hash does not match (R87).
    Redacted,
    /// Drop it.
    Refused(Refusal),
}

/// Why an event is dropped: how it stands with a server that must have signed, and with which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The server.
    pub server: ServerName,
    /// Anything but [`SignerState::Signed`].
    pub state: SignerState,
}

impl CheckedSigner {
    /// How it stands with the server: of the signatures that are not skipped all must be valid, and
    /// there must be one.
    pub fn state(&self) -> SignerState {
        let any = |wanted| self.signatures.iter().any(|signature| signature.state == wanted);
        if any(SignatureState::Invalid) {
            SignerState::Invalid
        } else if any(SignatureState::Valid) {
            SignerState::Signed
        } else if self.signatures.is_empty() {
            SignerState::Unsigned
        } else {
            SignerState::NoUsableKey
        }
    }
}

impl Judgement {
    /// Whether the content is what was hashed.
    pub fn is_content_intact(&self) -> bool {
        self.claimed_content_hash == Some(self.content_hash)
    }

    /// What to do with the event.
    pub fn verdict(&self) -> Verdict {
        for signer in &self.signers {
            let state = signer.state();
            if state != SignerState::Signed {
                return Verdict::Refused(Refusal { server: signer.server.clone(), state });
            }
        }
        if self.is_content_intact() { Verdict::Good } else { Verdict::Redacted }
    }
}
