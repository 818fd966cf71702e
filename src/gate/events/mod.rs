//! What a verified request says: its events, its EDUs, the membership it asks for (R79 to R93).
//!
//! An [`Examiner`] looks at a request between its verdict and its way to the homeserver. What breaks the
//! rules of its endpoint is refused; of bad events it tells, and in [`EventsMode::Enforce`] it refuses
//! them where that harms no good one.

mod answer;
mod asking;
mod judging;
mod keys;
mod lesson;
pub mod metrics;
mod rooms;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

pub use self::asking::RoomAsker;
use self::judging::{Finding, Outcome, Received, judge_received};
use self::keys::{FoundKeys, WantedKeys};
pub use self::lesson::Lesson;
use self::metrics::{Check, CheckOutcome, EventMetrics, version_label};
use self::rooms::{Authority, RoomVersions, Standing};
use super::admission::shown;
use super::quiet::Quiet;
use super::rejection::{Refusal, Rejection};
use super::route::Endpoint;
use crate::config::{Events, EventsMode};
use crate::keys::Keyring;
use crate::keys::keyring::Allowance;
use crate::proto::ServerName;
use crate::proto::event::{
    EduVerdict, Event, InviteBody, MembershipContext, MembershipRequest, RoomVersion, Transaction,
    edu_claims, user_is_on,
};
use crate::proto::json::Object;
use crate::proto::signed_request::RequestTarget;

/// Segments before the parameters in the path of an operation: `_matrix`, `federation`, the version,
/// the operation.
const FIXED_SEGMENTS: usize = 4;

/// Looks at what verified requests say.
pub struct Examiner {
    settings: Events,
    server_names: Vec<ServerName>,
    keyring: Keyring,
    rooms: Arc<RoomVersions>,
    asker: Option<RoomAsker>,
    metrics: EventMetrics,
    quiet: Option<Arc<Quiet<Check>>>,
}

/// A verified request.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a> {
    /// The operation.
    pub endpoint: Endpoint,
    /// The target.
    pub target: &'a RequestTarget,
    /// Who has signed it.
    pub origin: &'a ServerName,
    /// Where it came from.
    pub client: IpAddr,
    /// The text of the body.
    pub body: &'a [u8],
    /// The same, read, where there is one.
    pub content: Option<&'a Object<'a>>,
}

/// What came of looking at it.
#[derive(Debug, PartialEq, Eq)]
pub enum Examined {
    /// The homeserver is to have it.
    Passed,
    /// Nothing of it is good. This answers it in the homeserver's place.
    Answered(Bytes),
}

impl Examiner {
    /// One for the server of these names; none where events are not looked at.
    pub fn new(
        settings: Events,
        server_names: Vec<ServerName>,
        keyring: Keyring,
        asker: Option<RoomAsker>,
        metrics: EventMetrics,
    ) -> Option<Self> {
        let rooms = Arc::new(RoomVersions::new(settings.rooms_max));
        let is_on = settings.mode != EventsMode::Off;
        let quiet = None;
        let examiner = Self { settings, server_names, keyring, rooms, asker, metrics, quiet };
        is_on.then_some(examiner)
    }

    /// The same, with a line for each bad event only as long as they are few.
    #[must_use]
    pub fn with_limited_lines(mut self) -> Self {
        self.quiet = Some(Quiet::new(|check: Check, lines| {
            let check = check.label();
            tracing::warn!(target: "fedgate::events", check, lines, "more of these, left out");
        }));
        self
    }

    fn has_line(&self, check: Check) -> bool {
        self.quiet.as_ref().is_none_or(|quiet| quiet.lets_through(check))
    }

    /// Knows of rooms what `previous` knows.
    #[must_use]
    pub fn remembering(mut self, previous: &Self) -> Self {
        if self.settings.rooms_max == previous.settings.rooms_max {
            self.rooms = Arc::clone(&previous.rooms);
        }
        self
    }

    /// Looks at a request.
    ///
    /// # Errors
    /// It breaks the rules of its endpoint, or the one event it brings is bad.
    pub async fn examine(&self, request: Verified<'_>) -> Result<Examined, Refusal> {
        if is_make(request.endpoint) {
            return user_of_origin(&request).map(|()| Examined::Passed);
        }
        let Some(content) = request.content else { return Ok(Examined::Passed) };
        if request.endpoint == Endpoint::Send {
            return self.transaction(&request, content).await;
        }
        if request.endpoint == Endpoint::PolicySign {
            let event = Received::new(Event::scan(request.body), None, &self.rooms);
            return self.single(&request, event).await.map(|_is_bad| Examined::Passed);
        }
        match membership_request(request.endpoint) {
            Some(membership) => self.membership(&request, content, membership).await,
            None => Ok(Examined::Passed),
        }
    }

    /// Asks for the versions of rooms, for as long as it is waited for.
    pub async fn prepare(&self) {
        if let Some(asker) = &self.asker {
            asker.run(&self.rooms, &self.metrics).await;
        }
    }

    /// What is to be learnt from the homeserver's answer to a request; none where there is nothing.
    pub fn lesson(&self, endpoint: Endpoint, target: &RequestTarget) -> Option<Lesson> {
        let is_told = matches!(endpoint, Endpoint::MakeJoin | Endpoint::MakeKnock);
        let room_id = parameter(target, 0).filter(|_| is_told)?;
        Some(Lesson::new(Arc::clone(&self.rooms), room_id.into_owned(), self.metrics.clone()))
    }

    /// A transaction: within its limits, and each of its entries by itself.
    async fn transaction(
        &self,
        request: &Verified<'_>,
        content: &Object<'_>,
    ) -> Result<Examined, Refusal> {
        let transaction = Transaction::read(content)
            .map_err(|error| Refusal::new(Rejection::TransactionRefused, error))?;
        let mut is_any_good = false;
        for edu in transaction.edus() {
            is_any_good |= self.edu(request.origin, edu);
        }
        let texts = transaction.pdus();
        let events: Vec<_> = texts
            .iter()
            .map(|text| Received::new(Event::scan_in(content, text), None, &self.rooms))
            .collect();
        let findings = self.judge(request, &events).await;
        for (event, finding) in events.iter().zip(&findings) {
            is_any_good |= !finding.is_refusable();
            if matches!(finding.outcome, Outcome::Good) {
                self.learn_from_create(event, finding);
            }
        }
        let is_empty = texts.is_empty() && transaction.edus().is_empty();
        if self.settings.mode != EventsMode::Enforce || is_any_good || is_empty {
            return Ok(Examined::Passed);
        }
        Ok(Examined::Answered(answer::refusing(&findings)))
    }

    /// An EDU: whom it speaks for (R92). Whether anything of it is good.
    fn edu(&self, origin: &ServerName, text: &[u8]) -> bool {
        let (outcome, detail, is_any_good) = match edu_claims(text, origin) {
            EduVerdict::Good => (CheckOutcome::Good, None, true),
            EduVerdict::NotJudged => (CheckOutcome::Unjudged, None, true),
            EduVerdict::Foreign { user, is_mixed } => {
                let detail = format!("it speaks for {}", shown(user.as_bytes()));
                (CheckOutcome::Bad, Some(detail), is_mixed)
            }
            EduVerdict::Malformed => (CheckOutcome::Bad, Some("it is malformed".to_owned()), false),
        };
        self.metrics.checked(Check::EduOrigin, outcome, "");
        if let Some(detail) = detail.filter(|_| self.has_line(Check::EduOrigin)) {
            let check = Check::EduOrigin.label();
            tracing::warn!(target: "fedgate::events", %origin, check, detail, "bad EDU");
        }
        is_any_good
    }

    /// A request that brings one membership event (R90).
    async fn membership(
        &self,
        request: &Verified<'_>,
        content: &Object<'_>,
        membership: MembershipRequest,
    ) -> Result<Examined, Refusal> {
        let is_wrapped = membership == MembershipRequest::Invite && is_version_2(request.target);
        let invite = is_wrapped.then(|| InviteBody::read(content)).transpose().map_err(refuse)?;
        let read = match &invite {
            Some(invite) => Event::scan_in(content, invite.event),
            None => Event::scan(request.body),
        };
        // With an invite comes the room's version, as its sender says; the homeserver takes his word.
        let said = invite.as_ref().map(|invite| {
            let version = RoomVersion::parse(&invite.room_version);
            version.map_or(Standing::Unrecognised, Standing::Known)
        });
        let mut event = Received::new(read, said, &self.rooms);
        if membership == MembershipRequest::SendJoin {
            event = event.still_to_be_signed_by(&self.server_names);
        }
        let room_id = parameter(request.target, 0).unwrap_or_default();
        let context = MembershipContext {
            request: membership,
            origin: request.origin,
            receivers: &self.server_names,
            room_id: &room_id,
        };
        let read = event.event().ok_or_else(|| refuse("the event is not a JSON object"))?;
        read.check_membership(&context).map_err(refuse)?;
        if membership == MembershipRequest::ExchangeThirdPartyInvite {
            // Not an event yet: the homeserver makes one of it.
            return Ok(Examined::Passed);
        }
        let is_bad = self.single(request, event).await?;
        if let Some(invite) = invite
            && !is_bad
        {
            self.learn_from_invite(&room_id, &invite.room_version, request.origin);
        }
        Ok(Examined::Passed)
    }

    /// Judges the one event that a request brings; whether it is bad.
    ///
    /// # Errors
    /// It is, and bad events are refused.
    async fn single(&self, request: &Verified<'_>, event: Received<'_>) -> Result<bool, Refusal> {
        let findings = self.judge(request, &[event]).await;
        let Some(finding) = findings.first() else { return Ok(false) };
        match &finding.outcome {
            Outcome::Bad(check, detail)
                if finding.is_refusable() && self.settings.mode == EventsMode::Enforce =>
            {
                let detail = format_args!("{}: {detail}", check.label());
                Err(Refusal::new(Rejection::EventRefused, detail))
            }
            Outcome::Bad(..) => Ok(true),
            Outcome::Good | Outcome::Redacted | Outcome::Unjudged(_) => Ok(false),
        }
    }

    /// Judges events, counts them and tells of the bad ones.
    async fn judge(&self, request: &Verified<'_>, events: &[Received<'_>]) -> Vec<Finding> {
        let started = Instant::now();
        let keys = self.find_keys(request, events).await;
        // However long the keys have taken: one slow server must not leave the others' events unjudged.
        let until = Instant::now() + self.settings.time_budget;
        for room_id in events.iter().filter_map(Received::room_in_question) {
            self.ask_for(room_id);
        }
        let findings = judge_received(events, &keys, self.keyring.hot_keys(), until);
        for finding in &findings {
            self.record(request.origin, finding);
        }
        if !findings.is_empty() {
            self.metrics.took(started.elapsed());
        }
        findings
    }

    fn ask_for(&self, room_id: &str) {
        if let Some(asker) = &self.asker {
            asker.want(room_id);
        }
    }

    async fn find_keys(&self, request: &Verified<'_>, events: &[Received<'_>]) -> FoundKeys {
        let mut wanted = WantedKeys::default();
        for event in events {
            event.want_keys(&mut wanted);
        }
        let allowance = Allowance {
            client: Some(request.client),
            fetches: AtomicUsize::new(self.settings.fetches_per_request_max),
            until: Instant::now() + self.settings.time_budget,
        };
        wanted.find(&self.keyring, &allowance).await
    }

    fn record(&self, origin: &ServerName, finding: &Finding) {
        let version = version_label(finding.standing);
        let (good, last): (&[Check], _) = match &finding.outcome {
            Outcome::Good => (&[Check::Format, Check::Signatures, Check::ContentHash], None),
            Outcome::Redacted => {
                self.metrics.checked(Check::ContentHash, CheckOutcome::Unjudged, version);
                (&[Check::Format, Check::Signatures], None)
            }
            Outcome::Bad(Check::Signatures, _) => (&[Check::Format], Some(Check::Signatures)),
            Outcome::Bad(Check::ContentHash, _) => {
                (&[Check::Format, Check::Signatures], Some(Check::ContentHash))
            }
            Outcome::Bad(check @ (Check::Format | Check::EduOrigin), _) => (&[], Some(*check)),
            Outcome::Unjudged(reason) => {
                self.metrics.unjudged(*reason);
                self.metrics.checked(Check::Signatures, CheckOutcome::Unjudged, version);
                return;
            }
        };
        for check in good {
            self.metrics.checked(*check, CheckOutcome::Good, version);
        }
        let Some(check) = last else { return };
        self.metrics.checked(check, CheckOutcome::Bad, version);
        if let Outcome::Bad(_, detail) = &finding.outcome
            && self.has_line(check)
        {
            let id = |id: &Option<String>| id.as_deref().map(|id| shown(id.as_bytes()));
            tracing::warn!(
                target: "fedgate::events",
                event_id = id(&finding.event_id),
                room_id = id(&finding.room_id),
                room_version = version,
                %origin,
                check = check.label(),
                detail,
                "bad event"
            );
        }
    }

    /// Learns from a good create event: the server that made the room has signed it, or in later
    /// versions the room's ID is its hash.
    fn learn_from_create(&self, event: &Received<'_>, finding: &Finding) {
        let version = event.event().and_then(Event::created_room_version);
        let (Some(version), Some(room_id)) = (version, &finding.room_id) else { return };
        let named_by = room_id.split_once(':').map(|(_, server)| server);
        let sender = event.event().and_then(Event::sender);
        let sent_by = sender.as_deref().and_then(|sender| Some(sender.split_once(':')?.1));
        if named_by.is_none() || named_by == sent_by {
            self.rooms.learn(room_id, &version, Authority::RoomServer);
            self.metrics.rooms(self.rooms.count());
        }
    }

    /// Learns what `origin` says of a room in an invite.
    fn learn_from_invite(&self, room_id: &str, identifier: &str, origin: &ServerName) {
        let named_by = room_id.split_once(':').map(|(_, server)| server);
        let is_its_own = named_by == Some(origin.as_str());
        let authority = if is_its_own { Authority::RoomServer } else { Authority::Claimed };
        self.rooms.learn(room_id, identifier, authority);
        self.metrics.rooms(self.rooms.count());
    }
}

impl Finding {
    /// Whether a homeserver would not take the event in any form. Of one whose content is not what was
    /// hashed it takes the redacted form.
    const fn is_refusable(&self) -> bool {
        matches!(self.outcome, Outcome::Bad(Check::Format | Check::Signatures, _))
    }
}

fn refuse(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Rejection::MembershipRefused, error)
}

/// The operations that ask for the form of a membership event.
const fn is_make(endpoint: Endpoint) -> bool {
    matches!(endpoint, Endpoint::MakeJoin | Endpoint::MakeKnock | Endpoint::MakeLeave)
}

/// The operations that bring a membership event.
fn membership_request(endpoint: Endpoint) -> Option<MembershipRequest> {
    const REQUESTS: [(Endpoint, MembershipRequest); 5] = [
        (Endpoint::ExchangeThirdPartyInvite, MembershipRequest::ExchangeThirdPartyInvite),
        (Endpoint::Invite, MembershipRequest::Invite),
        (Endpoint::SendJoin, MembershipRequest::SendJoin),
        (Endpoint::SendKnock, MembershipRequest::SendKnock),
        (Endpoint::SendLeave, MembershipRequest::SendLeave),
    ];
    let found = REQUESTS.into_iter().find(|(found, _)| *found == endpoint);
    found.map(|(_, request)| request)
}

/// Whether the user who is to join, knock or leave is one of the origin's (R91).
fn user_of_origin(request: &Verified<'_>) -> Result<(), Refusal> {
    let user = parameter(request.target, 1);
    if user.as_deref().is_some_and(|user| user_is_on(user, request.origin)) {
        return Ok(());
    }
    let user = shown(user.unwrap_or_default().as_bytes());
    Err(Refusal::new(Rejection::UserNotOnOrigin, user))
}

/// A parameter in the path of an operation, the first one being 0, percent-decoded. None if there is no
/// such one, or it is no UTF-8.
fn parameter(target: &RequestTarget, index: usize) -> Option<Cow<'_, str>> {
    let segment = target.path().split('/').skip(1).nth(FIXED_SEGMENTS + index)?;
    percent_decode_str(segment).decode_utf8().ok()
}

/// Whether it is the second version of an operation.
fn is_version_2(target: &RequestTarget) -> bool {
    target.path().starts_with("/_matrix/federation/v2/")
}
