//! The one table of refusals: what a peer is told, and the stable code an operator finds in logs and
//! metrics. The same table stands in the README; a test compares them.

mod meaning;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::route::Endpoint;
use crate::proto::ServerName;

/// Why a request is not forwarded. One refusal is one status, one errcode, one reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    /// A signature by a known and valid key does not verify.
    BadSignature,
    /// The body is JSON that two parsers could read differently.
    BodyAmbiguous,
    /// A body came with a method that has none.
    BodyForbidden,
    /// The body is not JSON.
    BodyNotJson,
    /// The body is JSON but not an object.
    BodyNotObject,
    /// The body did not arrive in time.
    BodyTimeout,
    /// The body is over the cap.
    BodyTooLarge,
    /// The client went away before its request was answered.
    ClientGone,
    /// The body is compressed or otherwise encoded.
    ContentEncoding,
    /// The request is for another server.
    DestinationMismatch,
    /// The one event that a request brings is bad.
    EventRefused,
    /// An `Expect` other than `100-continue`.
    ExpectationUnsupported,
    /// The length of the body can be read in two ways.
    FramingAmbiguous,
    /// The head did not arrive in time.
    HeadTimeout,
    /// The head is over the caps.
    HeadTooLarge,
    /// The X-Matrix header is malformed.
    HeaderMalformed,
    /// There is no X-Matrix header.
    HeaderMissing,
    /// Several X-Matrix headers contradict each other.
    HeadersDisagree,
    /// The homeserver did not answer in time.
    HomeserverTimeout,
    /// The homeserver cannot be reached, or broke off.
    HomeserverUnavailable,
    /// Something in the gate is broken; it stays shut.
    InternalError,
    /// The key, its ID or its server is banned.
    KeyBanned,
    /// The key is past its validity, and no newer copy exists.
    KeyExpired,
    /// A question for keys breaks its form.
    KeyQueryMalformed,
    /// The server has retired the key: it may not sign requests.
    KeyRetired,
    /// No source of keys could be asked just now.
    KeyUnavailable,
    /// The server does not publish the key.
    KeyUnknown,
    /// The key is of an algorithm Matrix does not define, or its ID is malformed.
    KeyUnsupported,
    /// The event is none that this request may bring.
    MembershipRefused,
    /// The method is not one that the path has.
    MethodNotAllowed,
    /// The path is not one that the gate forwards.
    OtherPath,
    /// The gate is at its bounds.
    Overloaded,
    /// The policy has no place for the origin.
    PolicyDenied,
    /// The origin or the client asks for more than its share.
    RateLimited,
    /// The request breaks HTTP.
    RequestMalformed,
    /// The target can be read in two ways.
    TargetRefused,
    /// The transaction is over its limits, or is none.
    TransactionRefused,
    /// The user who is to join, knock or leave is not one of the origin's.
    UserNotOnOrigin,
}

impl Rejection {
    /// Every refusal, in alphabetical order.
    pub const ALL: [Self; 38] = [
        Self::BadSignature,
        Self::BodyAmbiguous,
        Self::BodyForbidden,
        Self::BodyNotJson,
        Self::BodyNotObject,
        Self::BodyTimeout,
        Self::BodyTooLarge,
        Self::ClientGone,
        Self::ContentEncoding,
        Self::DestinationMismatch,
        Self::EventRefused,
        Self::ExpectationUnsupported,
        Self::FramingAmbiguous,
        Self::HeadTimeout,
        Self::HeadTooLarge,
        Self::HeaderMalformed,
        Self::HeaderMissing,
        Self::HeadersDisagree,
        Self::HomeserverTimeout,
        Self::HomeserverUnavailable,
        Self::InternalError,
        Self::KeyBanned,
        Self::KeyExpired,
        Self::KeyQueryMalformed,
        Self::KeyRetired,
        Self::KeyUnavailable,
        Self::KeyUnknown,
        Self::KeyUnsupported,
        Self::MembershipRefused,
        Self::MethodNotAllowed,
        Self::OtherPath,
        Self::Overloaded,
        Self::PolicyDenied,
        Self::RateLimited,
        Self::RequestMalformed,
        Self::TargetRefused,
        Self::TransactionRefused,
        Self::UserNotOnOrigin,
    ];

    /// The HTTP status. A 401 makes the peer back off for ten minutes and more, a 503 makes it try
    /// again soon: what cannot be told just now is never a 401.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BadSignature
            | Self::DestinationMismatch
            | Self::HeaderMissing
            | Self::KeyBanned
            | Self::KeyExpired
            | Self::KeyRetired
            | Self::KeyUnknown
            | Self::KeyUnsupported => StatusCode::UNAUTHORIZED,
            Self::BodyAmbiguous
            | Self::BodyForbidden
            | Self::BodyNotJson
            | Self::BodyNotObject
            | Self::EventRefused
            | Self::FramingAmbiguous
            | Self::HeaderMalformed
            | Self::HeadersDisagree
            | Self::KeyQueryMalformed
            | Self::MembershipRefused
            | Self::RequestMalformed
            | Self::TargetRefused
            | Self::TransactionRefused => StatusCode::BAD_REQUEST,
            Self::BodyTimeout | Self::ClientGone | Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::ExpectationUnsupported => StatusCode::EXPECTATION_FAILED,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::HomeserverTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::HomeserverUnavailable => StatusCode::BAD_GATEWAY,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
            Self::KeyUnavailable | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::OtherPath => StatusCode::NOT_FOUND,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::PolicyDenied | Self::UserNotOnOrigin => StatusCode::FORBIDDEN,
        }
    }

    /// The Matrix error code. Never `M_UNRECOGNIZED` where a sender would take it for "no such
    /// endpoint" and try another form of the request.
    pub const fn errcode(self) -> &'static str {
        match self {
            Self::BadSignature
            | Self::DestinationMismatch
            | Self::HeaderMalformed
            | Self::HeaderMissing
            | Self::HeadersDisagree
            | Self::KeyBanned
            | Self::KeyExpired
            | Self::KeyRetired
            | Self::KeyUnknown
            | Self::KeyUnsupported => "M_UNAUTHORIZED",
            Self::BodyAmbiguous | Self::BodyNotObject => "M_BAD_JSON",
            Self::BodyNotJson => "M_NOT_JSON",
            Self::EventRefused
            | Self::KeyQueryMalformed
            | Self::MembershipRefused
            | Self::TransactionRefused => "M_INVALID_PARAM",
            Self::RateLimited => "M_LIMIT_EXCEEDED",
            Self::PolicyDenied | Self::UserNotOnOrigin => "M_FORBIDDEN",
            Self::BodyTooLarge | Self::HeadTooLarge => "M_TOO_LARGE",
            Self::MethodNotAllowed | Self::OtherPath => "M_UNRECOGNIZED",
            Self::BodyForbidden
            | Self::BodyTimeout
            | Self::ClientGone
            | Self::ContentEncoding
            | Self::ExpectationUnsupported
            | Self::FramingAmbiguous
            | Self::HeadTimeout
            | Self::HomeserverTimeout
            | Self::HomeserverUnavailable
            | Self::InternalError
            | Self::KeyUnavailable
            | Self::Overloaded
            | Self::RequestMalformed
            | Self::TargetRefused => "M_UNKNOWN",
        }
    }

    /// The stable reason code: the `reason` of log lines and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadSignature => "bad_signature",
            Self::BodyAmbiguous => "body_ambiguous",
            Self::BodyForbidden => "body_forbidden",
            Self::BodyNotJson => "body_not_json",
            Self::BodyNotObject => "body_not_object",
            Self::BodyTimeout => "body_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::ClientGone => "client_gone",
            Self::ContentEncoding => "content_encoding",
            Self::DestinationMismatch => "destination_mismatch",
            Self::EventRefused => "event_refused",
            Self::ExpectationUnsupported => "expectation_unsupported",
            Self::FramingAmbiguous => "framing_ambiguous",
            Self::HeadTimeout => "head_timeout",
            Self::HeadTooLarge => "head_too_large",
            Self::HeaderMalformed => "header_malformed",
            Self::HeaderMissing => "header_missing",
            Self::HeadersDisagree => "headers_disagree",
            Self::HomeserverTimeout => "homeserver_timeout",
            Self::HomeserverUnavailable => "homeserver_unavailable",
            Self::InternalError => "internal_error",
            Self::KeyBanned => "key_banned",
            Self::KeyExpired => "key_expired",
            Self::KeyQueryMalformed => "key_query_malformed",
            Self::KeyRetired => "key_retired",
            Self::KeyUnavailable => "key_unavailable",
            Self::KeyUnknown => "key_unknown",
            Self::KeyUnsupported => "key_unsupported",
            Self::MembershipRefused => "membership_refused",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::OtherPath => "other_path",
            Self::Overloaded => "overloaded",
            Self::PolicyDenied => "policy_denied",
            Self::RateLimited => "rate_limited",
            Self::RequestMalformed => "request_malformed",
            Self::TargetRefused => "target_refused",
            Self::TransactionRefused => "transaction_refused",
            Self::UserNotOnOrigin => "user_not_on_origin",
        }
    }

    /// What the peer is told. The details (which key, which times, which sources) go to the log
    /// only: they would tell a stranger what the gate knows.
    pub const fn public_text(self) -> &'static str {
        match self {
            Self::BadSignature => "Signature does not verify",
            Self::BodyAmbiguous => "Body is not unambiguous JSON",
            Self::BodyForbidden => "This method takes no body",
            Self::BodyNotJson => "Body is not JSON",
            Self::BodyNotObject => "Body must be a JSON object",
            Self::BodyTimeout => "Body did not arrive in time",
            Self::BodyTooLarge => "Body is too large",
            Self::ClientGone => "Client went away",
            Self::ContentEncoding => "Body must not be encoded",
            Self::DestinationMismatch => "Destination mismatch in auth header",
            Self::EventRefused => "Event is not validly signed",
            Self::ExpectationUnsupported => "Only Expect: 100-continue is supported",
            Self::FramingAmbiguous => "Length of the body is ambiguous",
            Self::HeadTimeout => "Request did not arrive in time",
            Self::HeadTooLarge => "Request head is too large",
            Self::HeaderMalformed => "Malformed Authorization header",
            Self::HeaderMissing => "Missing Authorization headers",
            Self::HeadersDisagree => "Authorization headers disagree",
            Self::HomeserverTimeout => "The homeserver did not answer in time",
            Self::HomeserverUnavailable => "The homeserver cannot be reached",
            Self::InternalError => "Internal error",
            Self::KeyBanned => "Signing key is not accepted here",
            Self::KeyExpired => "Signing key has expired",
            Self::KeyQueryMalformed => "Malformed question for keys",
            Self::KeyRetired => "Signing key is retired",
            Self::KeyUnavailable => "Signing key cannot be fetched now",
            Self::KeyUnknown => "Signing key is not published by the origin",
            Self::KeyUnsupported => "Signing key ID is not supported",
            Self::MembershipRefused => "Event does not belong in this request",
            Self::MethodNotAllowed => "Method not allowed",
            Self::OtherPath => "Unrecognized request",
            Self::Overloaded => "Too many requests at one time",
            Self::PolicyDenied => "Federation denied",
            Self::RateLimited => "Too many requests",
            Self::RequestMalformed => "Malformed request",
            Self::TargetRefused => "Request target is ambiguous",
            Self::TransactionRefused => "Malformed transaction",
            Self::UserNotOnOrigin => "User is not from the origin server",
        }
    }

    /// Whether the peer is told the details too: they are about what it sent, and nothing else.
    pub const fn tells_detail(self) -> bool {
        matches!(self, Self::KeyQueryMalformed | Self::MembershipRefused | Self::TransactionRefused)
    }
}

/// A refusal with what the log needs to explain it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which refusal.
    pub rejection: Rejection,
    /// What was seen, for the operator: bounded, printable, no secrets.
    pub detail: String,
    /// When trying again makes sense, for the peer.
    pub retry_after: Option<Duration>,
    /// The operation that was asked for, where the refusal came after finding it.
    pub endpoint: Option<Endpoint>,
    /// Who the request claims to be from, where the refusal came after reading that.
    pub origin: Option<ServerName>,
    /// What the peer is told instead of the refusal's own text.
    pub text: Option<Arc<str>>,
}

impl Refusal {
    /// A refusal and what was seen.
    #[cold]
    pub fn new(rejection: Rejection, detail: impl fmt::Display) -> Self {
        let detail = detail.to_string();
        Self { rejection, detail, retry_after: None, endpoint: None, origin: None, text: None }
    }

    /// The same, with the operation that was asked for.
    #[must_use]
    pub fn of_endpoint(mut self, endpoint: Endpoint) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// The same, with the claimed origin.
    #[must_use]
    pub fn of_origin(mut self, origin: &ServerName) -> Self {
        self.origin = Some(origin.clone());
        self
    }

    /// The same, with a text of the operator's for the peer.
    #[must_use]
    pub fn saying(mut self, text: &Arc<str>) -> Self {
        self.text = Some(Arc::clone(text));
        self
    }

    /// The same, with the time after which trying again makes sense.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_stands_in_the_list_once_and_has_its_own_code() {
        let mut codes: Vec<_> = Rejection::ALL.iter().map(|r| r.code()).collect();
        assert!(codes.is_sorted(), "the list is alphabetical by code: {codes:?}");
        codes.dedup();
        assert_eq!(codes.len(), Rejection::ALL.len());
    }

    #[test]
    fn r7_only_client_and_server_errors() {
        for rejection in Rejection::ALL {
            assert!(rejection.status().as_u16() >= 400, "{rejection:?}");
            assert!(rejection.errcode().starts_with("M_"), "{rejection:?}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_had_now_is_not_the_peers_fault() {
        assert_eq!(Rejection::KeyUnavailable.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(Rejection::KeyUnknown.status(), StatusCode::UNAUTHORIZED);
    }
}
