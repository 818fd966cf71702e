//! The verdict on one event in a room of a known version.

use super::hash::Hasher;
use super::{Event, EventHash, EventKey, FormatError, KeyUnfit, RequiredSigner, Role, RoomVersion};
use crate::proto::ed25519::{Signature, Verifier};
use crate::proto::json::{Object, string_value};
use crate::proto::limits::KEY_ID_BYTES_MAX;
use crate::proto::{KeyId, ServerName, Timestamp};

/// The key ID of a policy server's signature, which says nothing of who sent an event.
const POLICY_SERVER: &str = "ed25519:policy_server";

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

/// A signature that waits for the signed bytes: where it is listed, and the check.
struct Pending {
    signer: usize,
    signature: usize,
    verifier: Verifier,
}

/// Judges an event by itself: format, hash, and the signatures of the servers that must have signed.
/// `find_key` knows keys by server and ID, retired ones too. The signed bytes are walked through once
/// for the reference hash and all signatures. Only signatures by known keys cost a verification.
///
/// # Errors
/// The event has not the form of the room version, and is to be dropped.
pub fn judge(
    event: &Event<'_>,
    version: RoomVersion,
    find_key: &dyn Fn(&ServerName, &KeyId) -> Option<EventKey>,
) -> Result<Judgement, FormatError> {
    event.check_format(version)?;
    let origin_server_ts =
        event.origin_server_ts().ok_or(FormatError::Missing("origin_server_ts"))?;
    let mut signers = Vec::new();
    let mut pending = Vec::new();
    for RequiredSigner { server, role } in event.required_signers(version)? {
        let mut signatures = Vec::new();
        for (key_id, signature) in event.signatures_of(&server) {
            let found = find(&server, &key_id, find_key);
            let key = found.as_ref().ok().cloned();
            let state = match found.and_then(|key| {
                key.check(version, origin_server_ts).map_err(Skipped::Unfit).map(|()| key)
            }) {
                Err(skipped) => SignatureState::Skipped(skipped),
                Ok(key) => {
                    let verifier = signature.and_then(|it| key.key().verifier(&it).ok());
                    let (signer, signature) = (signers.len(), signatures.len());
                    pending.extend(verifier.map(|verifier| Pending {
                        signer,
                        signature,
                        verifier,
                    }));
                    SignatureState::Invalid
                }
            };
            let key_id = key_id.chars().take(KEY_ID_BYTES_MAX).collect();
            signatures.push(CheckedSignature { key_id, key, state });
        }
        signers.push(CheckedSigner { server, role, signatures });
    }
    let mut hasher = Hasher::default();
    event.write_signed(version, &mut |piece: &[u8]| {
        hasher.update(piece);
        pending.iter_mut().for_each(|pending| pending.verifier.update(piece));
    });
    for Pending { signer, signature, verifier } in pending {
        let signer = signers.get_mut(signer).map(|signer| &mut signer.signatures);
        if verifier.finish().is_ok()
            && let Some(signature) = signer.and_then(|signatures| signatures.get_mut(signature))
        {
            signature.state = SignatureState::Valid;
        }
    }
    let reference_hash = hasher.finish();
    let id = |id: Option<String>, field| id.ok_or(FormatError::Missing(field));
    Ok(Judgement {
        event_id: id(event.event_id(version, reference_hash), "event_id")?,
        room_id: id(event.room_id(version, reference_hash), "room_id")?,
        content_hash: event.content_hash(),
        claimed_content_hash: event.claimed_content_hash(),
        reference_hash,
        origin_server_ts,
        signers,
    })
}

/// The key of a signature, or why there is none to look at.
fn find(
    server: &ServerName,
    key_id: &str,
    find_key: &dyn Fn(&ServerName, &KeyId) -> Option<EventKey>,
) -> Result<EventKey, Skipped> {
    if key_id == POLICY_SERVER {
        return Err(Skipped::PolicyServer);
    }
    let id = KeyId::parse(key_id).ok().filter(KeyId::is_ed25519).ok_or(Skipped::Algorithm)?;
    find_key(server, &id).ok_or(Skipped::UnknownKey)
}

impl Event<'_> {
    /// The servers under whose names there are signatures, as written.
    pub fn signing_servers(&self) -> Vec<String> {
        let signatures = self.fields.signatures.map(Object::scan);
        let Some(Ok(signatures)) = signatures else { return Vec::new() };
        signatures.members().map(|(server, _)| server.into_owned()).collect()
    }

    /// The signatures under a server's name: key ID as written, and the signature unless it is not
    /// 64 bytes in base64.
    fn signatures_of(&self, server: &ServerName) -> Vec<(String, Option<Signature>)> {
        let Some(Ok(signatures)) = self.fields.signatures.map(Object::scan) else {
            return Vec::new();
        };
        let by_server = signatures.members().find(|(name, _)| name == server.as_str());
        let Some(Ok(by_id)) = by_server.map(|(_, value)| Object::scan(value)) else {
            return Vec::new();
        };
        let read = |value| string_value(value).and_then(|text| Signature::from_base64(&text));
        by_id.members().map(|(id, value)| (id.into_owned(), read(value))).collect()
    }
}
