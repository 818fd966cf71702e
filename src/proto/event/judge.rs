//! Judging events, one or those of a whole transaction together.

use super::hash::Hasher;
use super::verdict::{CheckedSignature, CheckedSigner, Judgement, SignatureState, Skipped};
use super::{Event, EventKey, FormatError, RequiredSigner, RoomVersion};
use crate::proto::ed25519::{HotKeys, Signature, Verifier, verify_all};
use crate::proto::json::{object_members, string_value};
use crate::proto::limits::{EVENT_SIGNATURES_PER_SERVER_MAX, KEY_ID_BYTES_MAX};
use crate::proto::{KeyId, ServerName};

/// The key ID of a policy server's signature, which says nothing of who sent an event.
const POLICY_SERVER: &str = "ed25519:policy_server";

/// Knows keys by server and ID, retired ones too.
pub type FindKey<'a> = dyn Fn(&ServerName, &KeyId) -> Option<EventKey> + 'a;

/// An event, and by what rules it is judged.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The event.
    pub event: &'a Event<'a>,
    /// The version of its room, or one that it may be of.
    pub version: RoomVersion,
    /// Whether keys are held against its time.
    pub key_times: KeyTimes,
}

/// Whether a key may be too old or too new for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTimes {
    /// As the room version has it (R85, R86).
    Observed,
    /// No: the room version is a guess, and another would have other rules. Every known key counts,
    /// a retired one for later events too.
    Ignored,
}

/// A signature that waits for its check: whose event, signer and place it has.
#[derive(Clone, Copy)]
struct Place {
    case: usize,
    signer: usize,
    signature: usize,
}

/// Signature checks that wait to be made together.
type Checks = Vec<(Place, Verifier)>;

/// Judges an event by itself: format, hash, and the signatures of the servers that must have signed.
/// The signed bytes are walked through once for the reference hash and all signatures. Only
/// signatures by known keys cost a verification.
///
/// # Errors
/// The event has not the form of the room version, and is to be dropped.
pub fn judge(case: Case<'_>, find_key: &FindKey<'_>) -> Result<Judgement, FormatError> {
    let mut checks = Checks::new();
    let mut judgement = open(0, case, find_key, &mut checks)?;
    for (place, check) in checks {
        if check.finish().is_ok() {
            judgement.set_valid(place);
        }
    }
    Ok(judgement)
}

/// Judges many events, each by itself and as [`judge`] does, at less cost: their signatures are
/// checked together, those by `hot_keys` cheaper still. The verdicts are in the order of the cases.
/// To try other room versions, those that were refused are judged again: what does not depend on the
/// version is kept in the [`Event`].
pub fn judge_all(
    cases: &[Case<'_>],
    find_key: &FindKey<'_>,
    hot_keys: Option<&HotKeys>,
) -> Vec<Result<Judgement, FormatError>> {
    let mut checks = Checks::new();
    let each = cases.iter().enumerate();
    let mut judgements: Vec<_> =
        each.map(|(at, case)| open(at, *case, find_key, &mut checks)).collect();
    let (places, checks): (Vec<Place>, Vec<Verifier>) = checks.into_iter().unzip();
    for (place, verdict) in places.into_iter().zip(verify_all(&checks, hot_keys)) {
        if verdict.is_ok()
            && let Some(Ok(judgement)) = judgements.get_mut(place.case)
        {
            judgement.set_valid(place);
        }
    }
    judgements
}

/// All of a judgement but the checks of signatures, which are left in `checks`; until they are made
/// their signatures are held to be invalid.
fn open(
    at: usize,
    case: Case<'_>,
    find_key: &FindKey<'_>,
    checks: &mut Checks,
) -> Result<Judgement, FormatError> {
    let Case { event, version, .. } = case;
    event.check_format(version)?;
    let origin_server_ts =
        event.origin_server_ts().ok_or(FormatError::Missing("origin_server_ts"))?;
    let first = checks.len();
    let mut signers = Vec::new();
    for RequiredSigner { server, role } in event.required_signers(version)? {
        let mut signatures = Vec::new();
        for (key_id, signature) in event.signatures_of(&server) {
            let found = find(&server, &key_id, find_key);
            let key = found.as_ref().ok().cloned();
            let state = match found.and_then(|key| case.usable(key)) {
                Err(skipped) => SignatureState::Skipped(skipped),
                Ok(key) => {
                    let check = signature.and_then(|it| key.key().verifier(&it).ok());
                    let (signer, signature) = (signers.len(), signatures.len());
                    let place = Place { case: at, signer, signature };
                    checks.extend(check.map(|check| (place, check)));
                    SignatureState::Invalid
                }
            };
            signatures.push(CheckedSignature { key_id: cut(key_id), key, state });
        }
        signers.push(CheckedSigner { server, role, signatures });
    }
    let mut hasher = Hasher::default();
    let of_event = checks.get_mut(first..).unwrap_or_default();
    event.write_signed(version, &mut |piece: &[u8]| {
        hasher.update(piece);
        of_event.iter_mut().for_each(|(_, check)| check.update(piece));
    });
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

/// The key ID, or its first `KEY_ID_BYTES_MAX` characters.
fn cut(key_id: String) -> String {
    if key_id.len() <= KEY_ID_BYTES_MAX {
        return key_id;
    }
    key_id.chars().take(KEY_ID_BYTES_MAX).collect()
}

/// The key of a signature, or why there is none to look at.
fn find(server: &ServerName, key_id: &str, find_key: &FindKey<'_>) -> Result<EventKey, Skipped> {
    if key_id == POLICY_SERVER {
        return Err(Skipped::PolicyServer);
    }
    let id = KeyId::parse(key_id).ok().filter(KeyId::is_ed25519).ok_or(Skipped::Algorithm)?;
    find_key(server, &id).ok_or(Skipped::UnknownKey)
}

impl Case<'_> {
    /// The key, if it may verify this event.
    fn usable(&self, key: EventKey) -> Result<EventKey, Skipped> {
        let sent_at = self.event.origin_server_ts().unwrap_or_default();
        match self.key_times {
            KeyTimes::Ignored => Ok(key),
            KeyTimes::Observed => {
                key.check(self.version, sent_at).map(|()| key).map_err(Skipped::Unfit)
            }
        }
    }
}

impl Judgement {
    /// Notes that a signature verifies.
    fn set_valid(&mut self, place: Place) {
        let signer = self.signers.get_mut(place.signer);
        if let Some(signature) = signer.and_then(|it| it.signatures.get_mut(place.signature)) {
            signature.state = SignatureState::Valid;
        }
    }
}

impl Event<'_> {
    /// The servers under whose names there are signatures, as written.
    pub fn signing_servers(&self) -> Vec<String> {
        let signatures = self.fields.signatures.and_then(object_members).into_iter().flatten();
        signatures.map(|(server, _)| server.into_owned()).collect()
    }

    /// The signatures under a server's name, `EVENT_SIGNATURES_PER_SERVER_MAX` at most: key ID as
    /// written, and the signature unless it is not 64 bytes in base64.
    pub(super) fn signatures_of(&self, server: &ServerName) -> Vec<(String, Option<Signature>)> {
        let mut signatures = self.fields.signatures.and_then(object_members).into_iter().flatten();
        let by_server = signatures.find(|(name, _)| name == server.as_str());
        let by_id = by_server.and_then(|(_, value)| object_members(value)).into_iter().flatten();
        let read = |value| string_value(value).and_then(|text| Signature::from_base64(&text));
        let by_id = by_id.take(EVENT_SIGNATURES_PER_SERVER_MAX);
        by_id.map(|(id, value)| (id.into_owned(), read(value))).collect()
    }
}
