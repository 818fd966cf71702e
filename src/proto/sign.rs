//! Making signatures: for `fedgate sign`, the demo and the tests.

use super::ed25519::{Signature, SigningKey};
use super::json::{self, JsonError, Object};
use super::signed_request::SignedRequest;
use super::{KeyId, ServerName};

/// Signs a request.
pub fn sign_request(request: &SignedRequest<'_>, key: &SigningKey) -> Signature {
    let mut message = Vec::new();
    request.write_signed_bytes(&mut |piece: &[u8]| message.extend_from_slice(piece));
    key.sign(&message)
}

/// Signs a JSON object and returns its canonical form with the signature added under
/// `signatures[server][id]`, other signatures kept (appendices, signing JSON). Refuses a text that is
/// no unambiguous object, and one whose `signatures` or `signatures[server]` is not an object.
pub fn sign_json(
    object: &[u8],
    server: &ServerName,
    id: &KeyId,
    key: &SigningKey,
) -> Result<Vec<u8>, JsonError> {
    let object = Object::scan(object)?;
    let mut message = Vec::new();
    object.write_canonical_without(&["signatures", "unsigned"], &mut |piece: &[u8]| {
        message.extend_from_slice(piece);
    });
    let signature = string(&key.sign(&message).to_base64());

    let all = nested(Some(&object), "signatures")?;
    let own = nested(all.as_ref(), server.as_str())?;
    let own = with_member(own.as_ref(), id.as_str(), &signature);
    let all = with_member(all.as_ref(), server.as_str(), &own);
    let signed = with_member(Some(&object), "signatures", &all);

    let mut canonical = Vec::with_capacity(signed.len());
    Object::scan(&signed)?.write_canonical(&mut |piece: &[u8]| canonical.extend_from_slice(piece));
    Ok(canonical)
}

/// The object in the member `name`, if there is such a member.
fn nested<'a>(object: Option<&Object<'a>>, name: &str) -> Result<Option<Object<'a>>, JsonError> {
    let member = object.and_then(|object| object.members().find(|(found, _)| found == name));
    member.map(|(_, text)| Object::scan(text)).transpose()
}

/// The text of `object` (or of an empty one) with the member `name` set to `value`.
fn with_member(object: Option<&Object<'_>>, name: &str, value: &[u8]) -> Vec<u8> {
    let mut text = vec![b'{'];
    let others = object.into_iter().flat_map(Object::members);
    for (other, other_value) in others.filter(|(other, _)| other != name) {
        text.extend_from_slice(&string(&other));
        text.push(b':');
        text.extend_from_slice(other_value);
        text.push(b',');
    }
    text.extend_from_slice(&string(name));
    text.push(b':');
    text.extend_from_slice(value);
    text.push(b'}');
    text
}

/// `text` as a JSON string.
fn string(text: &str) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    json::write_string(text, &mut |piece: &[u8]| quoted.extend_from_slice(piece));
    quoted
}

#[cfg(test)]
mod tests;
