//! What each refusal means to an operator: whose doing it is and what helps. The README has the same
//! texts.

use super::Rejection;

const BAD_SIGNATURE: &str = "Forged or altered. When a server you trust meets it: a proxy in front of fedgate \
    rewrites the URI or the body, or the sender's clock or key is mixed up.";
const BODY_AMBIGUOUS: &str = "Repeated members, lone surrogates, numbers without a finite value, or nesting \
    beyond the bound: parsers disagree on such a body. The sender's doing.";
const CLIENT_GONE: &str =
    "The peer hung up while its request was being worked on; nobody got an answer.";
const DESTINATION_MISMATCH: &str = "The sender wants another server: check `server_name`, and that delegation points \
    the right name here.";
const EVENT_REFUSED: &str = "A join, leave, knock or invite that its server has not validly signed, while \
    `events.mode` is \"enforce\"; the log line says what is wrong with it.";
const FRAMING_AMBIGUOUS: &str = "Content-Length and Transfer-Encoding contradict or repeat: the start of request \
    smuggling.";
const HEADERS_DISAGREE: &str = "Several X-Matrix headers with different origins, different destinations or the \
    same key twice.";
const HOMESERVER_TIMEOUT: &str = "Your homeserver took longer than `limits.homeserver_io_timeout`.";
const HOMESERVER_UNAVAILABLE: &str =
    "Your homeserver is down or `homeserver` points elsewhere: `fedgate check` tells.";
const KEY_BANNED: &str = "By the settings, `fedgate keys ban` or fedgate itself: see the log.";
const KEY_UNAVAILABLE: &str = "No source could say anything of the key just now, witnesses disagree on it, or there \
    is no budget left for servers never seen before; the log line says which. The peer \
    tries again by itself.";
const MEMBERSHIP_REFUSED: &str = "The event is of another room, type, membership or server than the request is for; \
    the answer says what is wrong. The sender's doing.";
const OTHER_PATH: &str =
    "Not a federation path; `listen.other_paths = \"forward\"` lets such pass.";
const OVERLOADED: &str = "All of `limits.buffered_bytes_max` is in use by bodies that are arriving, or all memory \
    for a notary's answers by those being read; the log line says which.";
const POLICY_DENIED: &str =
    "By the rules of `[policy]`; the log line names the rule, its file and line.";
const RATE_LIMITED: &str = "One client fails too often or asks too much, forges signatures in this origin's name, or \
    the origin sends more than it has places for, all as `limits` says; or one network asks the \
    notary for more than 100 servers a second. The log line says which.";
const TARGET_REFUSED: &str = "Dot segments, empty segments, raw or broken escapes: routers disagree on such a \
    path, and a proxy that rewrites it breaks the signature.";
const TRANSACTION_REFUSED: &str = "More than 50 PDUs or 100 EDUs, or no arrays of them; the answer says which. The \
    sender's doing.";
const USER_NOT_ON_ORIGIN: &str =
    "Servers may ask to join, knock or leave for their own users only.";

impl Rejection {
    /// For the operator: whose doing it is and what helps.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::BadSignature => BAD_SIGNATURE,
            Self::BodyAmbiguous => BODY_AMBIGUOUS,
            Self::BodyForbidden => "GET, HEAD, DELETE and OPTIONS carry no body in federation.",
            Self::BodyNotJson => "Empty or broken body, or not UTF-8. The sender's doing.",
            Self::BodyNotObject => "Matrix bodies are JSON objects. The sender's doing.",
            Self::BodyTimeout => "Slow or stuck sender; `limits.body_timeout` sets the bound.",
            Self::BodyTooLarge => "Over `limits.body_bytes_max`. No homeserver takes more.",
            Self::ClientGone => CLIENT_GONE,
            Self::ContentEncoding => {
                "Signatures cover plain JSON; nobody compresses requests, and a form or another charset would be read as something else."
            }
            Self::DestinationMismatch => DESTINATION_MISMATCH,
            Self::EventRefused => EVENT_REFUSED,
            Self::ExpectationUnsupported => "Only `100-continue` has a meaning in HTTP.",
            Self::FramingAmbiguous => FRAMING_AMBIGUOUS,
            Self::HeadTimeout => "Slow or stuck client; `limits.head_timeout` sets the bound.",
            Self::HeadTooLarge => "Target or headers beyond any honest size.",
            Self::HeaderMalformed => "The Authorization header breaks the grammar.",
            Self::HeaderMissing => "Not a homeserver, or a proxy in front drops Authorization.",
            Self::HeadersDisagree => HEADERS_DISAGREE,
            Self::HomeserverTimeout => HOMESERVER_TIMEOUT,
            Self::HomeserverUnavailable => HOMESERVER_UNAVAILABLE,
            Self::InternalError => "A bug: please report it with the log line.",
            Self::KeyBanned => KEY_BANNED,
            Self::KeyExpired => "The origin publishes its key with a `valid_until_ts` in the past.",
            Self::KeyQueryMalformed => "Asked of the notary; the answer says what is wrong.",
            Self::KeyRetired => "Signed with a key from `old_verify_keys`: stolen, or mixed up.",
            Self::KeyUnavailable => KEY_UNAVAILABLE,
            Self::KeyUnknown => "Forged, or signed with a key its server does not publish.",
            Self::KeyUnsupported => "Only `ed25519:` keys exist in Matrix.",
            Self::MembershipRefused => MEMBERSHIP_REFUSED,
            Self::MethodNotAllowed => "The path exists, with another method.",
            Self::OtherPath => OTHER_PATH,
            Self::Overloaded => OVERLOADED,
            Self::PolicyDenied => POLICY_DENIED,
            Self::RateLimited => RATE_LIMITED,
            Self::RequestMalformed => "Broken HTTP: a scanner, or a broken proxy in front.",
            Self::TargetRefused => TARGET_REFUSED,
            Self::TransactionRefused => TRANSACTION_REFUSED,
            Self::UserNotOnOrigin => USER_NOT_ON_ORIGIN,
        }
    }
}
