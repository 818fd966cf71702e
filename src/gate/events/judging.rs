//! The verdicts on events of rooms whose versions may not be known (R82, R93).

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::keys::{FoundKeys, WantedKeys};
use super::metrics::{Check, Unjudged};
use super::rooms::{RoomVersions, Standing};
use crate::gate::admission::shown;
use crate::proto::ed25519::HotKeys;
use crate::proto::event::{
    Case, CheckedSigner, Event, EventHash, FormatError, Judgement, KeyTimes, Role, RoomVersion,
    SignatureState, SignerState, Skipped, judge_all,
};
use crate::proto::json::JsonError;
use crate::proto::{KeyId, ServerName};

/// An event as it was received.
pub(super) struct Received<'a> {
    event: Result<Event<'a>, JsonError>,
    /// The ID of its room, as far as it says.
    room_id: Option<String>,
    /// What is known of its room's version.
    standing: Standing,
    /// Servers that only sign the event once they have it.
    still_to_sign: &'a [ServerName],
}

/// What was found about an event.
#[derive(Debug)]
pub(super) struct Finding {
    /// Its ID, if it has the form of an event.
    pub(super) event_id: Option<String>,
    /// The ID of its room, if it says.
    pub(super) room_id: Option<String>,
    /// What is known of its room's version.
    pub(super) standing: Standing,
    /// What to make of it.
    pub(super) outcome: Outcome,
}

/// What to make of an event.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All is well.
    Good,
    /// It is a redacted copy, signed as it must be: of its content nothing is left to be checked (R87).
    Redacted,
    /// A check has failed; how, for the log.
    Bad(Check, String),
    /// Nothing can be said.
    Unjudged(Unjudged),
}

/// An event on its way to a finding.
struct Trial<'a> {
    received: &'a Received<'a>,
    event: &'a Event<'a>,
    /// The versions it may yet be judged under, the next one last.
    versions: Vec<RoomVersion>,
    /// What the signatures cover, and whose are asked for, where they have failed.
    failed: BTreeSet<(EventHash, Vec<ServerName>)>,
    finding: Option<Finding>,
}

impl<'a> Received<'a> {
    /// An event; its room's version is `said`, unless that is to be looked up.
    pub(super) fn new(
        event: Result<Event<'a>, JsonError>,
        said: Option<Standing>,
        rooms: &RoomVersions,
    ) -> Self {
        let room_id = event.as_ref().ok().and_then(Event::claimed_room_id);
        // The event that makes a room says of which version it is.
        let created = || {
            let version = event.as_ref().ok()?.created_room_version()?;
            Some(RoomVersion::parse(&version).map_or(Standing::Unrecognised, Standing::Known))
        };
        let known = || room_id.as_deref().map_or(Standing::Open(None), |id| rooms.standing(id));
        let standing = said.or_else(created).unwrap_or_else(known);
        Self { event, room_id, standing, still_to_sign: &[] }
    }

    /// The same for an event that these servers sign once they have it: the authorising server of a
    /// restricted join (server-server API, restricted rooms).
    pub(super) const fn still_to_be_signed_by(mut self, servers: &'a [ServerName]) -> Self {
        self.still_to_sign = servers;
        self
    }

    /// The event, if it is one JSON object.
    pub(super) const fn event(&self) -> Option<&Event<'a>> {
        match &self.event {
            Ok(event) => Some(event),
            Err(_) => None,
        }
    }

    /// The room whose version would have to be known.
    pub(super) fn room_in_question(&self) -> Option<&str> {
        self.room_id.as_deref().filter(|_| matches!(self.standing, Standing::Open(_)))
    }

    /// The versions it is judged under, in turn until one will do; the first one last.
    fn versions(&self, event: &Event<'_>) -> Vec<RoomVersion> {
        match self.standing {
            Standing::Known(version) => vec![version],
            Standing::Unrecognised => Vec::new(),
            Standing::Open(claimed) => {
                let mut versions: Vec<_> = event.possible_versions().collect();
                versions.reverse();
                // Whoever claims a version may be wrong: it only comes first.
                let alike = |version: &RoomVersion| {
                    claimed.is_some_and(|claimed| claimed.redaction() == version.redaction())
                };
                if let Some(at) = versions.iter().position(alike) {
                    let version = versions.remove(at);
                    versions.push(version);
                }
                versions
            }
        }
    }

    /// Adds the keys that its verdict may depend on.
    pub(super) fn want_keys(&self, wanted: &mut WantedKeys) {
        let Some(event) = self.event() else { return };
        for version in self.versions(event) {
            let is_timed =
                matches!(self.standing, Standing::Known(_)) && version.has_key_validity();
            let minimum = event.origin_server_ts().filter(|_| is_timed);
            for (server, id) in event.wanted_keys(version) {
                wanted.add(server, id, minimum);
            }
        }
    }

    /// What follows from its form and signatures in a room of that version.
    fn conclude(
        &self,
        version: RoomVersion,
        judged: Result<Judgement, FormatError>,
        keys: &FoundKeys,
    ) -> Finding {
        let judgement = match judged {
            Ok(judgement) => judgement,
            Err(error) => {
                let id = self.event().and_then(|event| event.any_id(version));
                return self.finding(id, Outcome::Bad(Check::Format, told(&error)));
            }
        };
        let refused = judgement
            .signers
            .iter()
            .find(|signer| signer.state() != SignerState::Signed && !self.is_still_to_sign(signer));
        let is_redacted = |judgement: &Judgement| {
            self.event().is_some_and(|event| event.is_redacted(judgement.reference_hash))
        };
        let outcome = match refused {
            Some(signer)
                if signer.state() == SignerState::NoUsableKey
                    && !keys.is_settled(&signer.server) =>
            {
                Outcome::Unjudged(Unjudged::KeyUnavailable)
            }
            Some(signer) => Outcome::Bad(Check::Signatures, signatures(signer)),
            None if judgement.is_content_intact() => Outcome::Good,
            None if is_redacted(&judgement) => Outcome::Redacted,
            None => Outcome::Bad(Check::ContentHash, hashes(&judgement)),
        };
        let mut finding = self.finding(Some(judgement.event_id), outcome);
        finding.room_id = Some(judgement.room_id);
        finding
    }

    fn is_still_to_sign(&self, signer: &CheckedSigner) -> bool {
        signer.role == Role::Authorising
            && signer.state() == SignerState::Unsigned
            && self.still_to_sign.contains(&signer.server)
    }

    fn finding(&self, event_id: Option<String>, outcome: Outcome) -> Finding {
        Finding { event_id, room_id: self.room_id.clone(), standing: self.standing, outcome }
    }
}

/// Judges events together, round by round: in each, those that none of the versions so far will do
/// for. What is not judged by `until` is left.
pub(super) fn judge_received(
    received: &[Received<'_>],
    keys: &FoundKeys,
    hot_keys: &HotKeys,
    until: Instant,
) -> Vec<Finding> {
    let find = |server: &ServerName, id: &KeyId| keys.key(server, id);
    let mut trials: Vec<_> = received.iter().map(Trial::new).collect();
    loop {
        let is_over = Instant::now() >= until;
        let mut open: Vec<_> = trials
            .iter_mut()
            .filter_map(|trial| {
                let trial = trial.as_mut().ok()?;
                let version = if is_over { trial.give_up() } else { trial.next_version() };
                version.map(|version| (version, trial))
            })
            .collect();
        if open.is_empty() {
            break;
        }
        let cases: Vec<_> = open.iter().map(|(version, trial)| trial.case(*version)).collect();
        let judged = judge_all(&cases, &find, Some(hot_keys));
        for ((version, trial), judged) in open.iter_mut().zip(judged) {
            trial.take(*version, trial.received.conclude(*version, judged, keys));
        }
    }
    trials.into_iter().map(|trial| trial.map_or_else(|finding| finding, Trial::end)).collect()
}

impl<'a> Trial<'a> {
    /// A trial, or what there is to say without one.
    fn new(received: &'a Received<'a>) -> Result<Self, Finding> {
        let event = received.event.as_ref().map_err(|error| {
            received.finding(None, Outcome::Bad(Check::Format, error.to_string()))
        })?;
        let versions = received.versions(event);
        if versions.is_empty() {
            return Err(received.finding(None, Outcome::Unjudged(Unjudged::RoomVersion)));
        }
        Ok(Self { received, event, versions, failed: BTreeSet::new(), finding: None })
    }

    /// The next version to judge it under: one whose signatures have not failed already.
    fn next_version(&mut self) -> Option<RoomVersion> {
        while let Some(version) = self.versions.pop() {
            // Most events are good under the first.
            if self.failed.is_empty() || !self.failed.contains(&self.asked_for(version)) {
                return Some(version);
            }
        }
        None
    }

    /// What the signatures cover in a room of that version, and whose are asked for.
    fn asked_for(&self, version: RoomVersion) -> (EventHash, Vec<ServerName>) {
        let signers = self.event.required_signers(version).unwrap_or_default();
        let servers = signers.into_iter().map(|signer| signer.server).collect();
        (self.event.reference_hash(version), servers)
    }

    /// There is no time for it any more.
    fn give_up(&mut self) -> Option<RoomVersion> {
        if !self.versions.is_empty() {
            self.versions.clear();
            let outcome = Outcome::Unjudged(Unjudged::TimeBudget);
            self.finding = Some(self.received.finding(None, outcome));
        }
        None
    }

    fn case(&self, version: RoomVersion) -> Case<'a> {
        // Without the version nobody can tell whether the time counts.
        let key_times = match self.received.standing {
            Standing::Known(_) => KeyTimes::Observed,
            Standing::Open(_) | Standing::Unrecognised => KeyTimes::Ignored,
        };
        Case { event: self.event, version, key_times }
    }

    /// Takes what was found under one version. Of bad findings the first counts, as its version is the
    /// likeliest, unless a later one shows that at least the form is right.
    fn take(&mut self, version: RoomVersion, found: Finding) {
        let is_form = |finding: &Finding| matches!(finding.outcome, Outcome::Bad(Check::Format, _));
        let is_end = !matches!(found.outcome, Outcome::Bad(Check::Format | Check::Signatures, _));
        if is_end {
            self.versions.clear();
        } else if !is_form(&found) && !self.versions.is_empty() {
            self.failed.insert(self.asked_for(version));
        }
        let says_more = self.finding.as_ref().is_none_or(|it| is_form(it) && !is_form(&found));
        if is_end || says_more {
            self.finding = Some(found);
        }
    }

    fn end(self) -> Finding {
        let unjudged = || self.received.finding(None, Outcome::Unjudged(Unjudged::RoomVersion));
        self.finding.unwrap_or_else(unjudged)
    }
}

/// What is wrong with the form. What a stranger wrote in it is escaped.
fn told(error: &FormatError) -> String {
    shown(error.to_string().as_bytes())
}

fn hashes(judgement: &Judgement) -> String {
    let actual = judgement.content_hash.to_base64();
    match judgement.claimed_content_hash {
        Some(claimed) => {
            format!("hashes.sha256 is {}, the content has {actual}", claimed.to_base64())
        }
        None => format!("hashes.sha256 is no hash, the content has {actual}"),
    }
}

/// How it stands with a server's signatures: each with its key and, where they count, the times.
fn signatures(signer: &CheckedSigner) -> String {
    let server = &signer.server;
    if signer.signatures.is_empty() {
        return format!("{server} has not signed");
    }
    let told = signer.signatures.iter().take(SIGNATURES_TOLD_MAX).map(|signature| {
        let id = shown(signature.key_id.as_bytes());
        let state = match signature.state {
            SignatureState::Valid => "valid".to_owned(),
            SignatureState::Invalid => "does not verify".to_owned(),
            SignatureState::Skipped(Skipped::Algorithm) => "no Ed25519 key".to_owned(),
            SignatureState::Skipped(Skipped::PolicyServer) => "a policy server's".to_owned(),
            SignatureState::Skipped(Skipped::UnknownKey) => "not published".to_owned(),
            SignatureState::Skipped(Skipped::Unfit(unfit)) => unfit.to_string(),
        };
        format!("{id} of {server}: {state}")
    });
    told.collect::<Vec<_>>().join("; ")
}

/// Signatures told of in one line: servers have one or two.
const SIGNATURES_TOLD_MAX: usize = 4;
