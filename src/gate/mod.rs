//! What may pass: the order of checks, in one file.
//!
//! The steps of [`Gate`] are called in turn by the proxy: [`Gate::admit`] on the head,
//! [`Gate::find_keys`] (which waits), [`Gate::hear`] for the [`Body`] while it comes, [`Gate::judge`] on
//! the whole of it, and [`Gate::examine`] (which may wait) on what it says. Each refuses with a [`Refusal`]; [`Gate::judge`] mints the [`Permit`].

pub mod admission;
pub mod body;
pub mod events;
pub mod limits;
pub mod metrics;
pub mod permit;
pub mod policy;
pub mod quiet;
pub mod rejection;
pub mod route;
#[cfg(test)]
pub(crate) mod testing;

use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use self::events::{Examined, Examiner, Lesson, Verified};
use self::limits::{Limits, Place};
use self::policy::Policy;
use admission::{Admitted, BodyRule, Claim, Credentials, RequestHead, admit};
pub use body::Body;
pub use permit::{Authorization, Permit};
pub use rejection::{Refusal, Rejection};

use crate::clock::Clock;
use crate::config::{Mode, OtherPaths};
use crate::keys::{KeyAnswer, Keyring};
use crate::proto::ed25519::Signature;
use crate::proto::json::{JsonError, JsonErrorKind, Object};
use crate::proto::signed_request::SignedRequest;
use crate::proto::validity::TrustedKey;
use crate::proto::verify::{
    KeyedSignature, VerifiedOrigin, VerifyError, verify_heard, verify_request,
};
use crate::proto::{KeyId, ServerName, Timestamp};

/// The gate's settings.
#[derive(Clone, Debug)]
pub struct GateSettings {
    /// Our own server names. Never empty.
    pub server_names: Vec<ServerName>,
    /// Whether refusals are carried out.
    pub mode: Mode,
    /// What happens to paths outside federation.
    pub other_paths: OtherPaths,
    /// Cap on signed bodies, in bytes.
    pub body_bytes_max: usize,
}

/// Decides what may pass.
pub struct Gate {
    settings: GateSettings,
    keyring: Keyring,
    examiner: Option<Examiner>,
    policy: Option<Arc<Policy>>,
    limits: Option<Arc<Limits>>,
    clock: Arc<dyn Clock>,
}

/// What [`Gate::judge`] lets pass.
#[derive(Debug)]
pub struct Judged<'a> {
    /// Permission to forward it.
    pub permit: Permit,
    /// The body, read, where it is one JSON object.
    content: Option<Object<'a>>,
}

/// The keys found for a request's signatures: each valid at the time of the lookup.
#[derive(Debug, Default)]
pub struct FoundKeys(SmallVec<[(TrustedKey, Signature); 1]>);

impl FoundKeys {
    fn signatures(&self) -> impl Iterator<Item = KeyedSignature<'_>> + Clone {
        self.0.iter().map(|(key, signature)| KeyedSignature { key, signature })
    }
}

impl Gate {
    /// A gate that asks `keyring` for keys, and looks at events with `examiner`.
    pub fn new(
        settings: GateSettings,
        keyring: Keyring,
        examiner: Option<Examiner>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { settings, keyring, examiner, policy: None, limits: None, clock }
    }

    /// The same, with rules about which servers may federate.
    #[must_use]
    pub fn with_policy(mut self, policy: Arc<Policy>) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The same, with limits on how much anybody may ask for.
    #[must_use]
    pub fn with_limits(mut self, limits: Arc<Limits>) -> Self {
        self.limits = Some(limits);
        self
    }

    /// The limits on how much anybody may ask for.
    pub const fn limits(&self) -> Option<&Arc<Limits>> {
        self.limits.as_ref()
    }

    /// The rules about which servers may federate.
    pub const fn policy(&self) -> Option<&Arc<Policy>> {
        self.policy.as_ref()
    }

    /// Judges a head: no IO, no memory spent.
    pub fn admit(&self, head: RequestHead<'_>) -> Result<Admitted, Refusal> {
        let admitted = admit(head, &self.settings.server_names, self.settings.body_bytes_max)?;
        if matches!(admitted.claim, Claim::Other) && self.settings.other_paths == OtherPaths::Refuse
        {
            return Err(Refusal::new(
                Rejection::OtherPath,
                admission::shown(admitted.target.path().as_bytes()),
            ));
        }
        if let (Claim::Signed(credentials), Some(policy)) = (&admitted.claim, &self.policy) {
            policy.check(&credentials.origin, admitted.endpoint)?;
        }
        Ok(admitted)
    }

    /// Finds the keys for the claimed signatures, before the body is read: a stranger without a key
    /// costs no memory.
    pub async fn find_keys(&self, claim: &Claim, client: IpAddr) -> Result<FoundKeys, Refusal> {
        if let Some(limits) = &self.limits {
            limits.check(claim, client)?;
        }
        let Claim::Signed(credentials) = claim else { return Ok(FoundKeys::default()) };
        let ids: SmallVec<[_; 1]> =
            credentials.signatures.iter().map(|(id, _)| id.clone()).collect();
        let answers = self.keyring.request_keys(&credentials.origin, &ids, client).await;
        let answers = answers.map_err(|unavailable| {
            Refusal::new(Rejection::KeyUnavailable, unavailable.causes)
                .retry_after(unavailable.retry_after)
        })?;
        let mut found = SmallVec::new();
        let mut missing = None;
        for ((id, signature), answer) in credentials.signatures.iter().zip(answers) {
            if let KeyAnswer::Valid(key) = answer {
                found.push((key, *signature));
            } else if missing.is_none() {
                missing = refuse_key(&answer, id, &credentials.origin, self.clock.now());
            }
        }
        // A signature by a key that is unknown or past its time is skipped when another one counts
        // (interop 5, row 16).
        match (found.is_empty(), missing) {
            (true, Some(refusal)) => Err(refusal),
            (true, None) => Err(Refusal::new(Rejection::HeaderMissing, "no usable signature")),
            (false, _) => Ok(FoundKeys(found)),
        }
    }

    /// The body of a request that is admitted, of which nothing has come yet.
    pub fn hear<'k>(&self, admitted: &Admitted, keys: &'k FoundKeys) -> Body<'k> {
        match (&admitted.claim, admitted.body) {
            (Claim::Signed(_), BodyRule::Object { .. }) => Body::heard_by(keys),
            _ => Body::kept(keys),
        }
    }

    /// The verdict on a whole request.
    pub fn judge<'a>(
        &self,
        admitted: &Admitted,
        body: &'a Body<'_>,
    ) -> Result<Judged<'a>, Refusal> {
        let unsigned = |permit| Ok(Judged { permit, content: None });
        let credentials = match &admitted.claim {
            Claim::Open => return unsigned(Permit::open()),
            Claim::Other => return unsigned(Permit::other()),
            Claim::Signed(credentials) => credentials,
        };
        let content = match admitted.body {
            BodyRule::Object { .. } => Some(body.object().map_err(refuse_json)?),
            BodyRule::Bounded { .. } | BodyRule::Empty | BodyRule::Unbounded => None,
        };
        let verified = self.verify(admitted, credentials, body, content.as_ref())?;
        Ok(Judged { permit: Permit::verified(verified), content })
    }

    /// Waits for a verified request's turn: its place at the homeserver, until it is dropped. The
    /// waiting can be given up at any time.
    ///
    /// # Errors
    /// Its origin has too many requests waiting, or there is no place in time.
    pub async fn turn(&self, permit: &Permit) -> Result<Option<Place>, Refusal> {
        match (&self.limits, permit.origin()) {
            (Some(limits), Some(origin)) => limits.turn(origin).await,
            (None, _) | (_, None) => Ok(None),
        }
    }

    /// Notes that a request from `client` was refused: who fails too often has to wait.
    pub fn note(&self, refusal: &Refusal, client: IpAddr) {
        if let Some(limits) = &self.limits {
            limits.note(refusal, client);
        }
    }

    /// Looks at what a verified request from `client` says (R79 to R93).
    ///
    /// # Errors
    /// It breaks the rules of its endpoint, or the one event it brings is bad.
    pub async fn examine(
        &self,
        admitted: &Admitted,
        judged: &Judged<'_>,
        body: &[u8],
        client: IpAddr,
    ) -> Result<Examined, Refusal> {
        let (Some(examiner), Some(origin)) = (&self.examiner, judged.permit.origin()) else {
            return Ok(Examined::Passed);
        };
        let (endpoint, target) = (admitted.endpoint, &admitted.target);
        let content = judged.content.as_ref();
        let verified = Verified { endpoint, target, origin, client, body, content };
        // In a box: most requests have no events, and it would be a third of what each takes.
        match Box::pin(examiner.examine(verified)).await? {
            Examined::Answered(answer) if !self.is_observing() => Ok(Examined::Answered(answer)),
            Examined::Answered(_) | Examined::Passed => Ok(Examined::Passed),
        }
    }

    /// Whether refusals are carried out.
    pub const fn mode(&self) -> Mode {
        self.settings.mode
    }

    /// What looks at events, if they are looked at.
    pub const fn examiner(&self) -> Option<&Examiner> {
        self.examiner.as_ref()
    }

    /// Prepares for what is to come, for as long as it is waited for.
    pub async fn prepare(&self) {
        let rooms = async {
            if let Some(examiner) = &self.examiner {
                examiner.prepare().await;
            }
        };
        let rules = async {
            if let Some(policy) = &self.policy {
                policy.watch().await;
            }
        };
        tokio::join!(rooms, rules, self.keyring.make_tables());
    }

    /// What is to be learnt from the homeserver's answer to a request that is forwarded.
    pub fn lesson(&self, admitted: &Admitted) -> Option<Lesson> {
        self.examiner.as_ref()?.lesson(admitted.endpoint, &admitted.target)
    }

    fn verify(
        &self,
        admitted: &Admitted,
        credentials: &Credentials,
        body: &Body<'_>,
        content: Option<&Object<'_>>,
    ) -> Result<VerifiedOrigin, Refusal> {
        let is_canonical = content.is_some_and(Object::is_canonical);
        let heard = body.heard().filter(|_| is_canonical);
        let (now, hot_keys) = (self.clock.now(), Some(self.keyring.hot_keys()));
        let mut refused = None;
        for destination in &credentials.destinations {
            let request = SignedRequest {
                method: admitted.method.as_str(),
                target: &admitted.target,
                origin: &credentials.origin,
                destination,
                content,
            };
            let verified = match heard {
                Some(heard) => verify_heard(&request, heard, hot_keys, now),
                None => verify_request(&request, body.keys().signatures(), hot_keys, now),
            };
            match verified {
                Ok(verified) => return Ok(verified),
                Err(error) => {
                    refused = Some(refuse_signature(&error).of_origin(&credentials.origin));
                }
            }
        }
        Err(refused.unwrap_or_else(|| {
            Refusal::new(Rejection::InternalError, "no destination to verify for")
        }))
    }

    /// In observe mode, the permit to forward what would have been refused. Requests that HTTP
    /// itself leaves unclear are refused in any mode: there is no one thing to forward.
    pub fn observe(&self, refusal: Refusal) -> Result<Permit, Refusal> {
        match self.settings.mode {
            Mode::Observe if is_observable(refusal.rejection) => Ok(Permit::observed(refusal)),
            Mode::Enforce | Mode::Observe => Err(refusal),
        }
    }

    /// Whether refusals are held back.
    pub fn is_observing(&self) -> bool {
        self.settings.mode == Mode::Observe
    }
}

/// The refusal for a key that counts for nothing; none if it is valid.
fn refuse_key(
    answer: &KeyAnswer,
    id: &KeyId,
    origin: &ServerName,
    now: Timestamp,
) -> Option<Refusal> {
    let (rejection, detail) = match answer {
        KeyAnswer::Banned(banned) => {
            (Rejection::KeyBanned, format!("{id} of {origin}: {banned} is banned"))
        }
        KeyAnswer::Expired { effective_until } => {
            (Rejection::KeyExpired, format!("{id} was valid until {effective_until}, now {now}"))
        }
        KeyAnswer::Retired { expired_ts } => {
            (Rejection::KeyRetired, format!("{id} is retired since {expired_ts}"))
        }
        KeyAnswer::Unknown => (Rejection::KeyUnknown, format!("{id} of {origin}")),
        KeyAnswer::Valid(_) => return None,
    };
    Some(Refusal::new(rejection, detail))
}

fn refuse_json(error: JsonError) -> Refusal {
    let rejection = match error.kind {
        JsonErrorKind::DuplicateKey
        | JsonErrorKind::IntegerTooLong
        | JsonErrorKind::LoneSurrogate
        | JsonErrorKind::NumberNotFinite
        | JsonErrorKind::TooDeep => Rejection::BodyAmbiguous,
        JsonErrorKind::TooLong => Rejection::BodyTooLarge,
        JsonErrorKind::NotAnObject => Rejection::BodyNotObject,
        JsonErrorKind::ByteOrderMark
        | JsonErrorKind::NotUtf8
        | JsonErrorKind::Syntax
        | JsonErrorKind::TrailingData => Rejection::BodyNotJson,
    };
    Refusal::new(rejection, error)
}

fn refuse_signature(error: &VerifyError) -> Refusal {
    match error {
        VerifyError::BadSignature(id) => {
            Refusal::new(Rejection::BadSignature, format_args!("signature by {id}"))
        }
        VerifyError::Expired(id, expired) => Refusal::new(
            Rejection::KeyExpired,
            format_args!("{id} was valid until {}, now {}", expired.effective_until, expired.now),
        ),
        VerifyError::ForeignKey(id) => {
            Refusal::new(Rejection::InternalError, format_args!("key {id} of another server"))
        }
        VerifyError::Unsigned => Refusal::new(Rejection::HeaderMissing, "no usable signature"),
    }
}

/// Whether a refusal is a judgement about the request, not about HTTP or our own bounds.
const fn is_observable(rejection: Rejection) -> bool {
    match rejection {
        Rejection::BadSignature
        | Rejection::BodyAmbiguous
        | Rejection::BodyNotJson
        | Rejection::BodyNotObject
        | Rejection::DestinationMismatch
        | Rejection::EventRefused
        | Rejection::HeaderMalformed
        | Rejection::HeaderMissing
        | Rejection::HeadersDisagree
        | Rejection::KeyBanned
        | Rejection::KeyExpired
        | Rejection::KeyRetired
        | Rejection::KeyUnavailable
        | Rejection::KeyUnknown
        | Rejection::KeyUnsupported
        | Rejection::MembershipRefused
        | Rejection::PolicyDenied
        | Rejection::TransactionRefused
        | Rejection::UserNotOnOrigin => true,
        Rejection::BodyForbidden
        | Rejection::BodyTimeout
        | Rejection::BodyTooLarge
        | Rejection::ClientGone
        | Rejection::ContentEncoding
        | Rejection::ExpectationUnsupported
        | Rejection::FramingAmbiguous
        | Rejection::HeadTimeout
        | Rejection::HeadTooLarge
        | Rejection::HomeserverTimeout
        | Rejection::HomeserverUnavailable
        | Rejection::InternalError
        | Rejection::KeyQueryMalformed
        | Rejection::MethodNotAllowed
        | Rejection::OtherPath
        | Rejection::Overloaded
        | Rejection::RateLimited
        | Rejection::RequestMalformed
        | Rejection::TargetRefused => false,
    }
}

#[cfg(test)]
mod tests;
