//! Making signatures: for `fedgate sign`, the demo and the tests.

use super::ed25519::{Signature, SigningKey};
use super::json::JsonError;
use super::signed_request::SignedRequest;
use super::{KeyId, ServerName};

/// Signs a request.
pub fn sign_request(_request: &SignedRequest<'_>, _key: &SigningKey) -> Signature {
    todo!()
}

/// Signs a JSON object and returns its canonical form with the signature added under
/// `signatures[server][id]`, other signatures kept (appendices, signing JSON).
pub fn sign_json(
    _object: &[u8],
    _server: &ServerName,
    _id: &KeyId,
    _key: &SigningKey,
) -> Result<Vec<u8>, JsonError> {
    todo!()
}
