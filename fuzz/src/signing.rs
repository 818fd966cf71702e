//! Keys made from small numbers, what requests sign, and strict verification of a whole message by
//! ed25519-dalek itself.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::json::{self, Value};
use crate::names;

/// The signing key of a number.
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

/// The public half of the same in base64.
pub fn public(number: u8) -> String {
    names::to_base64(key(number).verifying_key().as_bytes(), false)
}

/// The signature in base64 that a number's key makes.
pub fn sign(number: u8, message: &[u8]) -> String {
    names::to_base64(&key(number).sign(message).to_bytes(), false)
}

/// A public key that may be used: the one encoding of a point that is not of small order.
pub fn usable(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    let key = VerifyingKey::from_bytes(bytes).ok()?;
    let is_canonical = key.to_edwards().compress().to_bytes() == *bytes;
    (is_canonical && !key.is_weak()).then_some(key)
}

/// Whether a signature verifies.
pub fn verifies(key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool {
    key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}

/// The same for texts in base64.
pub fn verifies_base64(key: &VerifyingKey, message: &[u8], signature: &str) -> bool {
    names::base64(signature).is_some_and(|signature| verifies(key, message, &signature))
}

/// What the signature of a request covers.
pub fn request(
    method: &str,
    uri: &str,
    origin: &str,
    destination: &str,
    content: Option<&Value>,
) -> Vec<u8> {
    let mut request = json::object([
        ("method", json::string(method)),
        ("uri", json::string(uri)),
        ("origin", json::string(origin)),
        ("destination", json::string(destination)),
    ]);
    if let Some(content) = content {
        request.set("content", content.clone());
    }
    request.canonical()
}

/// What the signatures in an object cover.
pub fn signed_json(object: &Value) -> Vec<u8> {
    object.without(&["signatures", "unsigned"]).canonical()
}

/// Signs an object as a server, with the key of a number.
pub fn sign_json(object: &mut Value, server: &str, id: &str, number: u8) {
    let signature = sign(number, &signed_json(object));
    object.object_in("signatures").object_in(server).set(id, json::string(&signature));
}

/// Whether a server has signed an object with a key under that ID.
pub fn is_signed_by(object: &Value, server: &str, id: &str, key: &VerifyingKey) -> bool {
    let signature =
        object.member("signatures").and_then(|all| all.member(server)?.member(id)?.text());
    signature.is_some_and(|signature| verifies_base64(key, &signed_json(object), signature))
}
