//! The verdict on a captured request, in the gate's order: target, headers, destination, keys, body,
//! signatures.

use bytes::Bytes;

use super::capture::Capture;
use super::{Report, Signed, Step, Verdict, signed_text, times};
use crate::gate::Rejection;
use crate::gate::route::{Access, route};
use crate::proto::ed25519::{BannedKeys, Signature};
use crate::proto::json::{JsonErrorKind, Object};
use crate::proto::limits::{KEY_VALIDITY_MS_MAX, X_MATRIX_HEADERS_MAX};
use crate::proto::server_keys::{ServerKeys, UnverifiedServerKeys};
use crate::proto::signed_request::{RequestTarget, SignedRequest};
use crate::proto::validity::{Provenance, TrustedKey};
use crate::proto::verify::{KeyedSignature, VerifyError, verify_request};
use crate::proto::x_matrix::XMatrix;
use crate::proto::{KeyId, ServerName, Timestamp};

/// What a verdict is made from.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
    pub(super) capture: &'a Capture<'a>,
    pub(super) keys: Vec<u8>,
    /// Our names; when empty, whatever name the request is for.
    pub(super) own_names: &'a [ServerName],
    pub(super) now: Timestamp,
    pub(super) fetched_at: Timestamp,
}

/// What the headers claim.
struct Claim {
    origin: ServerName,
    destination: Option<String>,
    signatures: Vec<(KeyId, Signature)>,
}

/// A refusal and its cause.
struct Refused(Rejection, String);

/// Collects the steps on the way to a verdict.
struct Judge<'a> {
    inputs: Inputs<'a>,
    steps: Vec<Step>,
    origin: Option<String>,
    signed: Option<Signed>,
}

/// Judges a request.
pub(super) fn judge(inputs: Inputs<'_>) -> Report {
    let mut judge = Judge { inputs, steps: Vec::new(), origin: None, signed: None };
    let result = judge.verdict();
    let Judge { steps, origin, signed, .. } = judge;
    let mut report = Report {
        verdict: Verdict::Refused,
        reason: None,
        detail: String::new(),
        origin,
        destination: None,
        keys: Vec::new(),
        steps,
        signed,
    };
    match result {
        Ok((destination, keys)) => {
            report.verdict = Verdict::Accepted;
            let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
            let origin = report.origin.as_deref().unwrap_or_default();
            report.detail =
                format!("signed by {origin} with {} for {destination}", keys.join(", "));
            report.destination = Some(destination.to_string());
            report.keys = keys;
        }
        Err(Refused(reason, detail)) => {
            report.reason = Some(reason.code());
            report.detail = detail;
        }
    }
    report
}

impl<'a> Judge<'a> {
    fn verdict(&mut self) -> Result<(ServerName, Vec<KeyId>), Refused> {
        let capture = self.inputs.capture;
        let target = RequestTarget::parse(capture.target);
        let target = self.step("target", target, Rejection::TargetRefused, |target| {
            vec![format!("{} {target}", capture.method)]
        })?;
        self.route(&target)?;
        let claim = self.claim()?;
        self.origin = Some(claim.origin.to_string());
        let destinations = self.destinations(&claim)?;
        let document = self.document(&claim.origin)?;
        let keys = self.keys(&document, &claim)?;
        let content = self.content()?;
        let mut refused =
            Refused(Rejection::DestinationMismatch, "no name to verify for".to_owned());
        for destination in destinations {
            let request = SignedRequest {
                method: capture.method,
                target: &target,
                origin: &claim.origin,
                destination: &destination,
                content: content.as_ref(),
            };
            self.signed = Some(Signed::new(signed_text(&request)));
            match self.signatures(&request, &keys) {
                Ok(keys) => return Ok((destination, keys)),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    /// Notes whether the gate asks for a signature at all. The signature is judged all the same.
    fn route(&mut self, target: &RequestTarget) -> Result<(), Refused> {
        let method = http::Method::from_bytes(self.inputs.capture.method.as_bytes());
        let method = self.quiet_step("method", method, Rejection::MethodNotAllowed)?;
        let (ok, detail, result) = match route(&method, target) {
            Ok(route) => {
                let detail = match route.access {
                    Access::Signed => "must be signed",
                    Access::Open => "open to all: the gate asks for no signature here",
                    Access::Other => "outside federation: the setting other_paths decides",
                };
                (true, detail.to_owned(), Ok(()))
            }
            Err(refusal) => {
                let refused = Refused(refusal.rejection, refusal.detail.clone());
                (false, refusal.detail, Err(refused))
            }
        };
        self.steps.push(Step { name: "route".to_owned(), ok, detail: vec![detail] });
        result
    }

    /// Notes how a step went.
    fn step<T, E: ToString>(
        &mut self,
        name: impl Into<String>,
        result: Result<T, E>,
        reason: Rejection,
        detail: impl FnOnce(&T) -> Vec<String>,
    ) -> Result<T, Refused> {
        let (ok, detail) = match &result {
            Ok(value) => (true, detail(value)),
            Err(error) => (false, vec![error.to_string()]),
        };
        self.steps.push(Step { name: name.into(), ok, detail });
        result.map_err(|error| Refused(reason, error.to_string()))
    }

    /// Reads the X-Matrix headers, which must agree with each other.
    fn claim(&mut self) -> Result<Claim, Refused> {
        let mut claim: Option<Claim> = None;
        let capture = self.inputs.capture;
        let mut count = 0;
        for value in &capture.authorization {
            let parsed = XMatrix::parse(value);
            if matches!(parsed, Ok(None)) {
                continue;
            }
            count += 1;
            let name = format!("X-Matrix header {count}");
            let detail =
                |header: &Option<XMatrix<'_>>| header.as_ref().map_or(Vec::new(), describe);
            let Some(header) = self.step(name, parsed, Rejection::HeaderMalformed, detail)? else {
                continue;
            };
            let claim = claim.get_or_insert_with(|| Claim {
                origin: header.origin.clone(),
                destination: header.destination.as_deref().map(str::to_owned),
                signatures: Vec::new(),
            });
            let agreed = agree(claim, &header, count);
            self.quiet_step("headers agree", agreed, Rejection::HeadersDisagree)?;
            self.add_signature(claim, &header)?;
        }
        let Some(claim) = claim else {
            let cause = Err("no Authorization header with the scheme X-Matrix");
            return self.quiet_step("X-Matrix header", cause, Rejection::HeaderMissing);
        };
        let none = claim.signatures.is_empty().then_some("no header has an Ed25519 key ID");
        self.quiet_step("key IDs", none.map_or(Ok(()), Err), Rejection::KeyUnsupported)?;
        Ok(claim)
    }

    fn add_signature(&mut self, claim: &mut Claim, header: &XMatrix<'_>) -> Result<(), Refused> {
        let Some(id) = KeyId::parse(&header.key).ok().filter(KeyId::is_ed25519) else {
            // It authenticates nothing, but another header may (R43).
            let detail = vec![format!("{:?} is not the ID of an Ed25519 key", header.key)];
            self.steps.push(Step { name: "key ID".to_owned(), ok: false, detail });
            return Ok(());
        };
        let repeated = claim.signatures.iter().any(|(other, _)| *other == id);
        let repeated = if repeated { Err(format!("two have the key {id}")) } else { Ok(()) };
        self.quiet_step("headers agree", repeated, Rejection::HeadersDisagree)?;
        let signature = Signature::from_base64(&header.sig)
            .ok_or_else(|| format!("{:?} is not 64 bytes in base64", header.sig));
        claim
            .signatures
            .push((id, self.quiet_step("signature", signature, Rejection::BadSignature)?));
        Ok(())
    }

    /// Notes a step only when it fails.
    fn quiet_step<T, E: ToString>(
        &mut self,
        name: &str,
        result: Result<T, E>,
        reason: Rejection,
    ) -> Result<T, Refused> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => self.step(name, Err(error), reason, |_| Vec::new()),
        }
    }

    /// The names the request may have been signed for.
    fn destinations(&mut self, claim: &Claim) -> Result<Vec<ServerName>, Refused> {
        let own = self.inputs.own_names;
        let names = match (&claim.destination, own) {
            (None, []) => Err("the header names none: say --destination, our own name".to_owned()),
            (None, own) => Ok(own.to_vec()),
            (Some(name), []) => ServerName::parse(name)
                .map(|name| vec![name])
                .map_err(|error| format!("{name:?} is not a server name: {error}")),
            (Some(name), own) => own
                .iter()
                .find(|own| own.as_str() == name)
                .map(|own| vec![own.clone()])
                .ok_or_else(|| format!("the request is for {name:?}, which is not our name")),
        };
        self.step("destination", names, Rejection::DestinationMismatch, |names| {
            names.iter().map(ToString::to_string).collect()
        })
    }

    fn document(&mut self, origin: &ServerName) -> Result<ServerKeys, Refused> {
        let raw = Bytes::from(std::mem::take(&mut self.inputs.keys));
        let document = UnverifiedServerKeys::parse(raw)
            .and_then(|document| document.verify(origin, &BannedKeys::new([])));
        self.step("key document", document, Rejection::KeyUnavailable, |document| {
            let mut detail = vec![format!("signed by {origin} with a key it lists")];
            detail.extend(document.verify_keys().keys().map(|id| format!("lists {id}")));
            let old = document.old_verify_keys().iter();
            detail.extend(old.map(|(id, old)| {
                format!("lists {id} as retired since {}", times::show(old.expired_ts))
            }));
            let dropped = document.dropped().iter();
            detail.extend(dropped.map(|(id, why)| format!("{id:?} is left out: {why}")));
            detail
        })
    }

    /// The keys that may be used now. One of several that may not is passed over.
    fn keys(
        &mut self,
        document: &ServerKeys,
        claim: &Claim,
    ) -> Result<Vec<(TrustedKey, Signature)>, Refused> {
        let Inputs { now, fetched_at, .. } = self.inputs;
        let mut usable = Vec::new();
        let mut refused = None;
        for (id, signature) in &claim.signatures {
            let found = find_key(document, id, fetched_at, now);
            let ok = found.is_ok();
            let mut detail = window(document, id, fetched_at, now);
            match found {
                Ok(key) => usable.push((key, *signature)),
                Err(refusal) => {
                    detail.push(refusal.1.clone());
                    refused.get_or_insert(refusal);
                }
            }
            self.steps.push(Step { name: format!("key {id}"), ok, detail });
        }
        match refused {
            Some(refused) if usable.is_empty() => Err(refused),
            Some(_) | None => Ok(usable),
        }
    }

    /// PUT and POST carry one JSON object, other methods nothing (R31, R32).
    fn content(&mut self) -> Result<Option<Object<'a>>, Refused> {
        let Capture { method, body, .. } = self.inputs.capture;
        if !matches!(*method, "PUT" | "POST") {
            let empty = if body.is_empty() { Ok(None) } else { Err("this method has no body") };
            return self.step("body", empty, Rejection::BodyForbidden, |_| vec!["none".to_owned()]);
        }
        let object = Object::scan(body);
        let reason = object
            .as_ref()
            .map_or_else(|error| body_reason(error.kind), |_| Rejection::BodyNotJson);
        let detail = |object: &Object<'_>| {
            let form = if object.is_canonical() { "canonical already" } else { "not canonical" };
            vec![format!("one JSON object of {} bytes, {form}", body.len())]
        };
        self.step("body", object, reason, detail).map(Some)
    }

    /// Every signature by a usable key must verify.
    fn signatures(
        &mut self,
        request: &SignedRequest<'_>,
        keys: &[(TrustedKey, Signature)],
    ) -> Result<Vec<KeyId>, Refused> {
        let now = self.inputs.now;
        let all = keys.iter().map(|(key, signature)| KeyedSignature { key, signature });
        for one in all.clone() {
            let name = format!("signature by {} for {}", one.key.id, request.destination);
            let verified = verify_request(request, std::iter::once(one), None, now);
            let (ok, detail) = match &verified {
                Ok(_) => (true, "verifies".to_owned()),
                Err(error) => (false, error.to_string()),
            };
            self.steps.push(Step { name, ok, detail: vec![detail] });
        }
        match verify_request(request, all, None, now) {
            Ok(verified) => Ok(verified.keys().cloned().collect()),
            Err(error) => Err(Refused(signature_reason(&error), error.to_string())),
        }
    }
}

fn describe(header: &XMatrix<'_>) -> Vec<String> {
    let destination = header.destination.as_deref().unwrap_or("(none)");
    vec![
        format!("origin      {}", header.origin),
        format!("destination {destination}"),
        format!("key         {}", header.key),
        format!("sig         {}", header.sig),
    ]
}

fn agree(claim: &Claim, header: &XMatrix<'_>, count: usize) -> Result<(), String> {
    if count > X_MATRIX_HEADERS_MAX {
        return Err(format!("there are more than {X_MATRIX_HEADERS_MAX}"));
    }
    if claim.origin != header.origin {
        return Err(format!("one says origin {}, another {}", claim.origin, header.origin));
    }
    if claim.destination.as_deref() != header.destination.as_deref() {
        let (one, another) = (&claim.destination, &header.destination);
        return Err(format!("one says destination {one:?}, another {another:?}"));
    }
    Ok(())
}

fn find_key(
    document: &ServerKeys,
    id: &KeyId,
    fetched_at: Timestamp,
    now: Timestamp,
) -> Result<TrustedKey, Refused> {
    if let Some(key) = document.trusted_key(id, fetched_at, Provenance::Origin) {
        return match key.check(now) {
            Ok(()) => Ok(key),
            Err(_) => Err(Refused(Rejection::KeyExpired, format!("{id} is past its window"))),
        };
    }
    let server = document.server_name();
    Err(match document.old_verify_keys().get(id) {
        Some(old) => Refused(
            Rejection::KeyRetired,
            format!("{server} has retired {id} at {}", times::show(old.expired_ts)),
        ),
        None => Refused(Rejection::KeyUnknown, format!("{server} does not list {id}")),
    })
}

/// The window of a key, bound by bound.
fn window(document: &ServerKeys, id: &KeyId, fetched_at: Timestamp, now: Timestamp) -> Vec<String> {
    let Some(key) = document.trusted_key(id, fetched_at, Provenance::Origin) else {
        return Vec::new();
    };
    let cap = fetched_at.plus_ms(KEY_VALIDITY_MS_MAX);
    let left = if now <= key.effective_until {
        format!("{} left", times::span(key.effective_until.since(now)))
    } else {
        format!("{} too late", times::span(now.since(key.effective_until)))
    };
    vec![
        format!("verify key       {}", key.key.to_base64()),
        format!("valid_until_ts   {}", times::show(document.valid_until_ts())),
        format!("fetched + 7 days {}", times::show(cap)),
        format!("effective until  {} (the earlier of the two)", times::show(key.effective_until)),
        format!("now              {}: {left}", times::show(now)),
    ]
}

const fn body_reason(kind: JsonErrorKind) -> Rejection {
    match kind {
        JsonErrorKind::NotAnObject => Rejection::BodyNotObject,
        JsonErrorKind::ByteOrderMark
        | JsonErrorKind::NotUtf8
        | JsonErrorKind::Syntax
        | JsonErrorKind::TrailingData => Rejection::BodyNotJson,
        JsonErrorKind::TooLong => Rejection::BodyTooLarge,
        JsonErrorKind::DuplicateKey
        | JsonErrorKind::IntegerTooLong
        | JsonErrorKind::LoneSurrogate
        | JsonErrorKind::NumberNotFinite
        | JsonErrorKind::TooDeep => Rejection::BodyAmbiguous,
    }
}

const fn signature_reason(error: &VerifyError) -> Rejection {
    match error {
        VerifyError::BadSignature(_) => Rejection::BadSignature,
        VerifyError::Expired(..) => Rejection::KeyExpired,
        VerifyError::ForeignKey(_) => Rejection::KeyUnknown,
        VerifyError::Unsigned => Rejection::HeaderMissing,
    }
}
