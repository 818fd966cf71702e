//! A server whose key the gate knows, and the requests it signs.

use fedgate::proto::ed25519::SigningKey;
use fedgate::proto::json::Object;
use fedgate::proto::sign::sign_request;
use fedgate::proto::signed_request::{RequestTarget, SignedRequest};
use fedgate::proto::x_matrix::header_value;
use fedgate::proto::{KeyId, ServerName};

/// The gate's own name.
pub const OWN_NAME: &str = "gate.example";
/// The known server, whose key is pinned.
pub const KNOWN: &str = "known.example";
const KEY_ID: &str = "ed25519:1";

pub fn signing_key() -> SigningKey {
    SigningKey::from_seed(&[42; 32])
}

/// The setting that makes the known server's key known.
pub fn pin() -> String {
    let key = signing_key().verify_key().to_base64();
    format!("[[pins]]\nserver_name = \"{KNOWN}\"\nverify_keys = {{ \"{KEY_ID}\" = \"{key}\" }}\n")
}

/// A whole request that the known server has signed.
pub fn signed(method: &str, path: &str, body: &str) -> Vec<u8> {
    let signature =
        with_request(method, path, body, |request| sign_request(request, &signing_key()));
    let (origin, own) = (ServerName::parse(KNOWN).unwrap(), ServerName::parse(OWN_NAME).unwrap());
    let authorization = header_value(&origin, &own, &KeyId::parse(KEY_ID).unwrap(), &signature);
    [head(method, path, &authorization, body.len()), body.to_owned()].concat().into_bytes()
}

/// What is signed of such a request.
pub fn with_request<R>(
    method: &str,
    path: &str,
    body: &str,
    use_it: impl FnOnce(&SignedRequest<'_>) -> R,
) -> R {
    let (origin, own) = (ServerName::parse(KNOWN).unwrap(), ServerName::parse(OWN_NAME).unwrap());
    let target = RequestTarget::parse(path.as_bytes()).unwrap();
    let content = (!body.is_empty()).then(|| Object::scan(body.as_bytes()).unwrap());
    use_it(&SignedRequest {
        method,
        target: &target,
        origin: &origin,
        destination: &own,
        content: content.as_ref(),
    })
}

/// The head of a request by `origin` whose signature is one, but of something else: only the whole check
/// shows that.
pub fn forged_head(method: &str, path: &str, origin: &str, length: usize) -> String {
    let signature = signing_key().sign(b"something else").to_base64();
    let authorization = format!(
        "X-Matrix origin=\"{origin}\",destination=\"{OWN_NAME}\",key=\"{KEY_ID}\",sig=\"{signature}\""
    );
    head(method, path, &authorization, length)
}

/// The head of a request with any such header, or an empty one.
pub fn head(method: &str, path: &str, authorization: &str, length: usize) -> String {
    let length =
        if method == "PUT" { format!("Content-Length: {length}\r\n") } else { String::new() };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {OWN_NAME}\r\nAuthorization: {authorization}\r\n{length}\r\n"
    )
}
