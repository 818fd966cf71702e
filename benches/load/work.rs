//! What is asked: signed requests that must pass, and others that must be refused.

use std::hint::black_box;

use ed25519_dalek::Verifier as _;
use fedgate::proto::sign::sign_request;
use rustix::time::{ClockId, clock_gettime};

use crate::client::Request;
use crate::contender::{DENIED, GONE};
use crate::known::{KNOWN, OWN_NAME, forged_head, head, signed, signing_key, with_request};
use crate::transaction::transaction;

const EVENT: &str = "/_matrix/federation/v1/event/%241GUjj2khN_v_tQtw3Ps39sUA_NqtlVl9QqeLG6ElXFw";
const SEND: &str = "/_matrix/federation/v1/send/1795298006332";

/// How many signature checks their time is taken of.
const VERIFICATIONS: u32 = 1_000;

/// A signed request.
pub struct Work {
    pub name: &'static str,
    pub request: Request,
    message: Vec<u8>,
    signature: ed25519_dalek::Signature,
    key: ed25519_dalek::VerifyingKey,
}

impl Work {
    fn new(name: &'static str, body_bytes: usize) -> Self {
        let (method, path, body) = match body_bytes {
            0 => ("GET", EVENT, String::new()),
            bytes => ("PUT", SEND, transaction(bytes).to_string()),
        };
        let mut message = Vec::new();
        let signature = with_request(method, path, &body, |request| {
            request.write_signed_bytes(&mut |piece: &[u8]| message.extend_from_slice(piece));
            sign_request(request, &signing_key())
        });
        let key = *signing_key().verify_key().as_bytes();
        Self {
            name,
            request: Request { bytes: signed(method, path, &body), status: 200 },
            message,
            signature: ed25519_dalek::Signature::from_bytes(signature.as_bytes()),
            key: ed25519_dalek::VerifyingKey::from_bytes(&key).unwrap(),
        }
    }

    /// What the bare signature check takes, in microseconds of processor time.
    pub fn verify_us(&self) -> f64 {
        let now = || {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
        };
        let started = now();
        for _ in 0..VERIFICATIONS {
            self.key.verify(black_box(&self.message), black_box(&self.signature)).unwrap();
        }
        (now() - started) / f64::from(VERIFICATIONS)
    }
}

/// Signed requests as Synapse writes them, from none to many events in them.
pub fn works() -> [Work; 4] {
    [("GET", 0), ("2 KB", 2_000), ("20 KB", 20_000), ("200 KB", 200_000)]
        .map(|(name, bytes)| Work::new(name, bytes))
}

/// One with a body of so many bytes, about.
pub fn with_body(bytes: usize) -> Request {
    Work::new("", bytes).request
}

/// A request of the known server whose signature is made up.
pub fn forged() -> Request {
    Request { bytes: forged_head("GET", EVENT, KNOWN, 0).into_bytes(), status: 401 }
}

/// By a server whose keys nobody has.
pub fn without_keys() -> Request {
    Request { bytes: forged_head("GET", EVENT, GONE, 0).into_bytes(), status: 503 }
}

/// Requests that are refused, and why; only the last of them for its signature.
pub fn refused() -> [(&'static str, Request); 5] {
    let without = format!("GET {EVENT} HTTP/1.1\r\nHost: {OWN_NAME}\r\n\r\n");
    let malformed = head("GET", EVENT, &format!("X-Matrix origin=\"{KNOWN}"), 0);
    let denied = forged_head("GET", EVENT, DENIED, 0);
    let request = |text: String, status| Request { bytes: text.into_bytes(), status };
    [
        ("no signature", request(without, 401)),
        ("malformed", request(malformed, 400)),
        ("denied origin", request(denied, 403)),
        ("origin whose keys nobody has", without_keys()),
        ("bad signature", forged()),
    ]
}
