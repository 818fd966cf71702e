//! The vectors below `tests/vectors` and the specification's test key, for the tests of this module.

use serde_json::Value;

use super::ed25519::SigningKey;
use super::{KeyId, ServerName};

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The spec's published vectors, and some derived from them.
pub(super) fn spec() -> Value {
    parse(include_str!("../../tests/vectors/spec_vectors.json"))
}

/// What deployed receivers make of header values.
pub(super) fn x_matrix_headers() -> Value {
    parse(include_str!("../../tests/vectors/xmatrix_headers.json"))
}

/// Twelve edge cases of Ed25519.
pub(super) fn speccheck() -> Value {
    parse(include_str!("../../tests/vectors/speccheck/cases.json"))
}

/// Ed25519 verification, 151 cases.
pub(super) fn wycheproof() -> Value {
    parse(include_str!("../../tests/vectors/wycheproof/ed25519_test.json"))
}

/// A request of a live Synapse as it was sent.
pub(super) struct Capture {
    pub(super) method: &'static str,
    pub(super) target: &'static str,
    pub(super) authorization: &'static str,
    pub(super) body: &'static str,
}

/// Requests of a live Synapse, every kind it sends.
pub(super) fn captures() -> Vec<Capture> {
    [
        include_str!("../../tests/vectors/captures/GET-v1-make_join.http"),
        include_str!("../../tests/vectors/captures/GET-v1-make_leave.http"),
        include_str!("../../tests/vectors/captures/GET-v1-media-download.http"),
        include_str!("../../tests/vectors/captures/GET-v1-query-directory.http"),
        include_str!("../../tests/vectors/captures/GET-v1-query-profile.http"),
        include_str!("../../tests/vectors/captures/GET-v1-state_ids.http"),
        include_str!("../../tests/vectors/captures/GET-v2-server.http"),
        include_str!("../../tests/vectors/captures/POST-v1-public.http"),
        include_str!("../../tests/vectors/captures/POST-v1-user-keys-claim.http"),
        include_str!("../../tests/vectors/captures/POST-v1-user-keys-query.http"),
        include_str!("../../tests/vectors/captures/PUT-v1-send-with-floats.http"),
        include_str!("../../tests/vectors/captures/PUT-v1-send.http"),
        include_str!("../../tests/vectors/captures/PUT-v2-invite.http"),
        include_str!("../../tests/vectors/captures/PUT-v2-send_join.http"),
        include_str!("../../tests/vectors/captures/PUT-v2-send_leave.http"),
    ]
    .map(capture)
    .into()
}

fn capture(text: &'static str) -> Capture {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let mut request_line = lines.next().unwrap().split(' ');
    Capture {
        method: request_line.next().unwrap(),
        target: request_line.next().unwrap(),
        authorization: lines.find_map(|line| line.strip_prefix("Authorization: ")).unwrap(),
        body,
    }
}

/// The bytes that a hexadecimal text stands for.
pub(super) fn hex(text: &Value) -> Vec<u8> {
    let digits = text.as_str().unwrap().as_bytes();
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The key of the specification's signing vectors.
pub(super) fn spec_key() -> SigningKey {
    let seed = super::base64::decode_array(b"YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1");
    SigningKey::from_seed(&seed.unwrap())
}

pub(super) fn name(text: &str) -> ServerName {
    ServerName::parse(text).unwrap()
}

pub(super) fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}
