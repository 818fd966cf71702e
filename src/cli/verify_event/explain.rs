//! The verdict on an event, for one room version or for all.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::verify::canonical_text;
use super::{Report, Signed, Step, Verdict, VersionReport, times, versions};
use crate::proto::ed25519::BannedKeys;
use crate::proto::event::{
    self, CheckedSignature, CheckedSigner, Event, EventKey, IdForm, Judgement, KeyUnfit, Refusal,
    Role, RoomVersion, SignatureState, SignerState, Skipped,
};
use crate::proto::limits::{EVENT_BYTES_MAX, EVENT_FIELD_BYTES_MAX};
use crate::proto::server_keys::{ServerKeys, UnverifiedServerKeys};
use crate::proto::{KeyId, ServerName, Timestamp};

/// What a verdict is made from.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
    pub(super) text: &'a [u8],
    /// Key documents, one for each server.
    pub(super) documents: Vec<Vec<u8>>,
    /// The room version; when none is given, all are tried.
    pub(super) room_version: Option<&'a str>,
    pub(super) fetched_at: Timestamp,
}

/// The documents that hold, by server.
type Documents = BTreeMap<ServerName, ServerKeys>;

/// Judges an event.
///
/// # Errors
/// Two key documents are of one server.
pub(super) fn explain(inputs: Inputs<'_>) -> Result<Report, String> {
    let Inputs { text, documents, room_version, fetched_at } = inputs;
    let mut steps = Vec::new();
    let event = Event::scan(text);
    steps.push(match &event {
        Ok(event) => Step { name: "event".to_owned(), ok: true, detail: describe(event, text) },
        Err(error) => failed("event", error.to_string()),
    });
    let documents = read_documents(documents, &mut steps)?;
    let event = match event {
        Ok(event) => event,
        Err(error) => {
            let detail = format!("the text is no event: {error}");
            return Ok(Report { verdict: Verdict::Refused, detail, steps, room_versions: vec![] });
        }
    };
    let asked = match room_version.map(RoomVersion::parse).transpose() {
        Ok(asked) => asked,
        Err(error) => {
            steps.push(failed("room version", error.to_string()));
            let detail = error.to_string();
            return Ok(Report { verdict: Verdict::Unjudged, detail, steps, room_versions: vec![] });
        }
    };
    let room_versions: Vec<_> = versions(asked)
        .into_iter()
        .map(|version| explain_version(&event, version, &documents, fetched_at))
        .collect();
    let verdict = room_versions.iter().map(|it| it.verdict).min().unwrap_or(Verdict::Refused);
    let detail = match (asked, room_versions.as_slice()) {
        (Some(_), [only]) => only.detail.clone(),
        _ => in_versions(verdict, &room_versions),
    };
    Ok(Report { verdict, detail, steps, room_versions })
}

/// In which room versions the best verdict holds.
fn in_versions(verdict: Verdict, versions: &[VersionReport]) -> String {
    if verdict == Verdict::Refused {
        return "in every room version; --room-version shows each step".to_owned();
    }
    let best = versions.iter().filter(|version| version.verdict == verdict);
    let names: Vec<_> = best.map(|version| version.room_version).collect();
    format!("as of room version {}; --room-version shows each step", names.join(", "))
}

fn failed(name: impl Into<String>, why: impl Into<String>) -> Step {
    Step { name: name.into(), ok: false, detail: vec![why.into()] }
}

/// What the event says of itself.
fn describe(event: &Event<'_>, text: &[u8]) -> Vec<String> {
    let mut detail = vec![format!("one JSON object of {} bytes", text.len())];
    let mut say = |name: &str, value: Option<String>| {
        detail.push(format!("{name:<16} {}", value.unwrap_or_else(|| "none".to_owned())));
    };
    let quoted = |text: &str| {
        let cut: String = text.chars().take(EVENT_FIELD_BYTES_MAX).collect();
        format!("{cut:?}")
    };
    say("type", event.event_type().as_deref().map(quoted));
    say("sender", event.sender().as_deref().map(quoted));
    say("origin_server_ts", event.origin_server_ts().map(times::show));
    detail
}

/// Reads the key documents. One that does not hold is passed over.
fn read_documents(texts: Vec<Vec<u8>>, steps: &mut Vec<Step>) -> Result<Documents, String> {
    let mut documents = Documents::new();
    for text in texts {
        let document = UnverifiedServerKeys::parse(Bytes::from(text)).and_then(|document| {
            let server = document.server_name().clone();
            document.verify(&server, &BannedKeys::new([]))
        });
        let document = match document {
            Ok(document) => document,
            Err(error) => {
                steps.push(failed("key document", error.to_string()));
                continue;
            }
        };
        let server = document.server_name().clone();
        let mut detail = vec!["signed with a key it lists".to_owned()];
        detail.push(format!("valid_until_ts   {}", times::show(document.valid_until_ts())));
        detail.extend(document.verify_keys().keys().map(|id| format!("lists {id}")));
        let old = document.old_verify_keys().iter();
        detail.extend(old.map(|(id, old)| {
            format!("lists {id} as retired since {}", times::show(old.expired_ts))
        }));
        let dropped = document.dropped().iter();
        detail.extend(dropped.map(|(id, why)| format!("{id:?} is left out: {why}")));
        steps.push(Step { name: format!("key document of {server}"), ok: true, detail });
        if documents.insert(server.clone(), document).is_some() {
            return Err(format!(
                "two of the key documents are {server}'s; give one for each server"
            ));
        }
    }
    Ok(documents)
}

fn explain_version(
    event: &Event<'_>,
    version: RoomVersion,
    documents: &Documents,
    fetched_at: Timestamp,
) -> VersionReport {
    let find = |server: &ServerName, id: &KeyId| {
        documents.get(server).and_then(|document| EventKey::of(document, id, fetched_at))
    };
    let mut report = VersionReport {
        room_version: version.as_str(),
        verdict: Verdict::Refused,
        detail: String::new(),
        event_id: None,
        room_id: None,
        content_hash: None,
        reference_hash: None,
        steps: vec![rules(version)],
        redacted: None,
    };
    let case = event::Case { event, version, key_times: event::KeyTimes::Observed };
    let judgement = match event::judge(case, &find) {
        Ok(judgement) => judgement,
        Err(error) => {
            report.steps.push(failed("format and limits", error.to_string()));
            report.detail = error.to_string();
            return report;
        }
    };
    let size =
        format!("{} bytes of canonical JSON, at most {EVENT_BYTES_MAX}", event.canonical_bytes());
    let name = "format and limits".to_owned();
    report.steps.push(Step { name, ok: true, detail: vec![size] });
    report.steps.push(content_hash(&judgement));
    let detail = vec![
        format!("reference hash {}", judgement.reference_hash.to_base64()),
        format!("event ID       {}", judgement.event_id),
        format!("room ID        {}", judgement.room_id),
    ];
    report.steps.push(Step { name: "identity".to_owned(), ok: true, detail });
    if judgement.signers.is_empty() {
        let detail = vec!["none: an invite by a third party may be sent by any server".to_owned()];
        report.steps.push(Step { name: "required signatures".to_owned(), ok: true, detail });
    }
    for signer in &judgement.signers {
        signatures(signer, version, judgement.origin_server_ts, &mut report.steps);
    }
    report.steps.extend(others(event, &judgement));
    (report.verdict, report.detail) = conclude(&judgement, documents);
    let mut redacted = Vec::new();
    event.write_redacted(version, &mut |piece: &[u8]| redacted.extend_from_slice(piece));
    report.redacted = Some(Signed::new(canonical_text(&redacted)));
    report.content_hash = Some(judgement.content_hash.to_base64());
    report.reference_hash = Some(judgement.reference_hash.to_base64());
    report.event_id = Some(judgement.event_id);
    report.room_id = Some(judgement.room_id);
    report
}

/// What the room version asks for.
fn rules(version: RoomVersion) -> Step {
    let ids = match version.id_form() {
        IdForm::Given => "given by a server, which must sign",
        IdForm::Base64 => "the reference hash in base64",
        IdForm::UrlSafe => "the reference hash in URL-safe base64",
    };
    let numbers = if version.has_strict_numbers() {
        "integers from -(2^53 - 1) to 2^53 - 1 only"
    } else {
        "any"
    };
    let keys = if version.has_key_validity() {
        "must have been valid at the event's time"
    } else {
        "valid_until_ts is ignored"
    };
    let redaction = version.redaction();
    let detail = vec![
        format!("event ID   {ids}"),
        format!("redaction  as introduced in room version {}", redaction.since()),
        format!("numbers    {numbers}"),
        format!("keys       {keys}"),
    ];
    Step { name: format!("rules of room version {version}"), ok: true, detail }
}

fn content_hash(judgement: &Judgement) -> Step {
    let claimed = judgement
        .claimed_content_hash
        .map_or_else(|| "not 32 bytes in base64".to_owned(), |hash| hash.to_base64());
    let ok = judgement.is_content_intact();
    let mut detail = vec![
        format!("claimed  {claimed}"),
        format!("computed {}", judgement.content_hash.to_base64()),
    ];
    if !ok {
        detail.push("they differ: homeservers use the redacted form of the event".to_owned());
    }
    Step { name: "content hash".to_owned(), ok, detail }
}

/// A required signer and each of its signatures.
fn signatures(
    signer: &CheckedSigner,
    version: RoomVersion,
    origin_server_ts: Timestamp,
    steps: &mut Vec<Step>,
) {
    let state = signer.state();
    let role = match signer.role {
        Role::Sender => "the sender's server",
        Role::EventId => "the event ID's server",
        Role::Authorising => "the server that authorised the join",
    };
    let name = format!("signed by {}, {role}", signer.server);
    let detail = vec![in_words(state).to_owned()];
    steps.push(Step { name, ok: state == SignerState::Signed, detail });
    for CheckedSignature { key_id, key, state } in &signer.signatures {
        let mut detail: Vec<String> = Vec::new();
        if let Some(key) = key {
            detail.push(format!("verify key       {}", key.key().to_base64()));
            detail.push(match key {
                EventKey::Current { effective_until, .. } => {
                    format!("effective until  {}", times::show(*effective_until))
                }
                EventKey::Retired { expired_ts, .. } => {
                    format!("expired_ts       {}", times::show(*expired_ts))
                }
            });
            let ignored = matches!(key, EventKey::Current { .. }) && !version.has_key_validity();
            let note = if ignored { ", not compared in this room version" } else { "" };
            detail.push(format!("origin_server_ts {}{note}", times::show(origin_server_ts)));
        }
        detail.push(worth(*state).to_owned());
        let ok = *state != SignatureState::Invalid;
        steps.push(Step { name: format!("signature {key_id:?} of {}", signer.server), ok, detail });
    }
}

const fn in_words(state: SignerState) -> &'static str {
    match state {
        SignerState::Signed => "at least one signature is valid, none is not",
        SignerState::Invalid => "a signature does not verify",
        SignerState::NoUsableKey => "there is no signature by a key that is known and usable",
        SignerState::Unsigned => "it has not signed",
    }
}

const fn worth(state: SignatureState) -> &'static str {
    match state {
        SignatureState::Valid => "valid",
        SignatureState::Invalid => "does not verify",
        SignatureState::Skipped(Skipped::Algorithm) => "skipped: not the ID of an Ed25519 key",
        SignatureState::Skipped(Skipped::PolicyServer) => {
            "skipped: a policy server's, which says nothing of who sent the event"
        }
        SignatureState::Skipped(Skipped::UnknownKey) => {
            "skipped: the key is in none of the key documents"
        }
        SignatureState::Skipped(Skipped::Unfit(KeyUnfit::CopyTooOld { .. })) => {
            "skipped: the event is later than this copy of the key is good for; ask for a newer one"
        }
        SignatureState::Skipped(Skipped::Unfit(KeyUnfit::Retired { .. })) => {
            "skipped: the event is later than the end of the key"
        }
    }
}

/// Servers that have signed and need not have.
fn others(event: &Event<'_>, judgement: &Judgement) -> Option<Step> {
    let is_required =
        |server: &String| judgement.signers.iter().any(|signer| signer.server.as_str() == server);
    let mut others = event.signing_servers();
    others.retain(|server| !is_required(server));
    let detail: Vec<_> = others.iter().map(|server| format!("{server:?}: not looked at")).collect();
    let name = "other signatures".to_owned();
    (!detail.is_empty()).then_some(Step { name, ok: true, detail })
}

fn conclude(judgement: &Judgement, documents: &Documents) -> (Verdict, String) {
    match judgement.verdict() {
        event::Verdict::Good => {
            (Verdict::Good, format!("{} is as its servers signed it", judgement.event_id))
        }
        event::Verdict::Redacted => (
            Verdict::Redacted,
            format!(
                "{} is signed, but its content is not what was hashed: homeservers use its redacted \
                 form",
                judgement.event_id
            ),
        ),
        event::Verdict::Refused(Refusal { server, state }) => {
            let has_keys = documents.contains_key(&server);
            let hint = if state == SignerState::NoUsableKey && !has_keys {
                "; no --keys document of it was given"
            } else {
                ""
            };
            (Verdict::Refused, format!("{server} must have signed: {}{hint}", in_words(state)))
        }
    }
}
