//! The one table of refusals: what a peer is told, and the stable code an operator finds in logs and
//! metrics. The same table stands in the README; a test compares them.

use std::fmt;
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
    /// The method is not one that the path has.
    MethodNotAllowed,
    /// The path is not one that the gate forwards.
    OtherPath,
    /// The gate is at its bounds.
    Overloaded,
    /// This client's network asks for more than its share.
    RateLimited,
    /// The request breaks HTTP.
    RequestMalformed,
    /// The target can be read in two ways.
    TargetRefused,
}

impl Rejection {
    /// Every refusal, in alphabetical order.
    pub const ALL: [Self; 33] = [
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
        Self::MethodNotAllowed,
        Self::OtherPath,
        Self::Overloaded,
        Self::RateLimited,
        Self::RequestMalformed,
        Self::TargetRefused,
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
            | Self::FramingAmbiguous
            | Self::HeaderMalformed
            | Self::HeadersDisagree
            | Self::KeyQueryMalformed
            | Self::RequestMalformed
            | Self::TargetRefused => StatusCode::BAD_REQUEST,
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
            Self::KeyQueryMalformed => "M_INVALID_PARAM",
            Self::RateLimited => "M_LIMIT_EXCEEDED",
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
            Self::MethodNotAllowed => "method_not_allowed",
            Self::OtherPath => "other_path",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "rate_limited",
            Self::RequestMalformed => "request_malformed",
            Self::TargetRefused => "target_refused",
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
            Self::MethodNotAllowed => "Method not allowed",
            Self::OtherPath => "Unrecognized request",
            Self::Overloaded => "Too many requests at one time",
            Self::RateLimited => "Too many questions for keys",
            Self::RequestMalformed => "Malformed request",
            Self::TargetRefused => "Request target is ambiguous",
        }
    }

    /// Whether the peer is told the details too: they are about what it sent, and nothing else.
    pub const fn tells_detail(self) -> bool {
        matches!(self, Self::KeyQueryMalformed)
    }

    /// For the operator: whose doing it is and what helps.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::BadSignature => {
                "Forged or altered. When a server you trust meets it: a proxy in front of fedgate \
                 rewrites the URI or the body, or the sender's clock or key is mixed up."
            }
            Self::BodyAmbiguous => {
                "Repeated members, lone surrogates, numbers without a finite value, or nesting \
                 beyond the bound: parsers disagree on such a body. The sender's doing."
            }
            Self::BodyForbidden => "GET, HEAD, DELETE and OPTIONS carry no body in federation.",
            Self::BodyNotJson => "Empty or broken body, or not UTF-8. The sender's doing.",
            Self::BodyNotObject => "Matrix bodies are JSON objects. The sender's doing.",
            Self::BodyTimeout => "Slow or stuck sender; `limits.body_timeout` sets the bound.",
            Self::BodyTooLarge => "Over `limits.body_bytes_max`. No homeserver takes more.",
            Self::ClientGone => {
                "The peer hung up while its request was being worked on; nobody got an answer."
            }
            Self::ContentEncoding => "Signatures cover plain JSON; nobody compresses requests.",
            Self::DestinationMismatch => {
                "The sender wants another server: check `server_name`, and that delegation points \
                 the right name here."
            }
            Self::ExpectationUnsupported => "Only `100-continue` has a meaning in HTTP.",
            Self::FramingAmbiguous => {
                "Content-Length and Transfer-Encoding contradict or repeat: the start of request \
                 smuggling."
            }
            Self::HeadTimeout => "Slow or stuck client; `limits.head_timeout` sets the bound.",
            Self::HeadTooLarge => "Target or headers beyond any honest size.",
            Self::HeaderMalformed => "The Authorization header breaks the grammar.",
            Self::HeaderMissing => "Not a homeserver, or a proxy in front drops Authorization.",
            Self::HeadersDisagree => {
                "Several X-Matrix headers with different origins, different destinations or the \
                 same key twice."
            }
            Self::HomeserverTimeout => {
                "Your homeserver took longer than `limits.homeserver_io_timeout`."
            }
            Self::HomeserverUnavailable => {
                "Your homeserver is down or `homeserver` points elsewhere: `fedgate check` tells."
            }
            Self::InternalError => "A bug: please report it with the log line.",
            Self::KeyBanned => {
                "By the settings, `fedgate keys ban` or fedgate itself: see the log."
            }
            Self::KeyExpired => "The origin publishes its key with a `valid_until_ts` in the past.",
            Self::KeyQueryMalformed => "Asked of the notary; the answer says what is wrong.",
            Self::KeyRetired => "Signed with a key from `old_verify_keys`: stolen, or mixed up.",
            Self::KeyUnavailable => {
                "No source could say anything of the key just now, witnesses disagree on it, or there \
                 is no budget left for servers never seen before; the log line says which. The peer \
                 tries again by itself."
            }
            Self::KeyUnknown => "Forged, or signed with a key its server does not publish.",
            Self::KeyUnsupported => "Only `ed25519:` keys exist in Matrix.",
            Self::MethodNotAllowed => "The path exists, with another method.",
            Self::OtherPath => {
                "Not a federation path; `listen.other_paths = \"forward\"` lets such pass."
            }
            Self::Overloaded => {
                "All of `limits.buffered_bytes_max` is in use by bodies that are arriving, or all memory \
                 for a notary's answers by those being read; the log line says which."
            }
            Self::RateLimited => "One network asks the notary for more than 100 servers a second.",
            Self::RequestMalformed => "Broken HTTP: a scanner, or a broken proxy in front.",
            Self::TargetRefused => {
                "Dot segments, empty segments, raw or broken escapes: routers disagree on such a \
                 path, and a proxy that rewrites it breaks the signature."
            }
        }
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
}

impl Refusal {
    /// A refusal and what was seen.
    pub fn new(rejection: Rejection, detail: impl fmt::Display) -> Self {
        let detail = detail.to_string();
        Self { rejection, detail, retry_after: None, endpoint: None, origin: None }
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
