//! What a notary serves: another server's key document with the notary's signatures added.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::ServerName;
use super::json::{JsonError, Object, write_string};
use super::server_keys::ServerKeys;
use super::signing_keys::SigningKeys;

/// What one signature adds to a document at most, a long key ID aside: quotes, colon, comma, 86
/// characters. An estimate, to make room once.
const SIGNATURE_BYTES: usize = 160;

/// The document with a signature by each of `keys` under `signatures[notary]` (server-server API,
/// querying keys through another server: the notary "must sign the keys").
///
/// Every member but `signatures` and `unsigned` is the origin's text, byte for byte and in its order;
/// white space between members is not kept. Of the signatures those of the origin stay as they are
/// and those of all others go: which notaries a document came through is nobody's business, and the
/// next notary's word is worth nothing here (K13, synapse #8441). `unsigned` goes too, since no
/// signature covers it (appendices, signing JSON): anybody on the way may have put it there, and we
/// put our name only to what the origin has signed. A document of the notary's own keeps its
/// signatures beside those of `keys`.
///
/// Only a [`ServerKeys`] can be countersigned: there is none whose name and self-signature have not
/// been checked. The answer is worth keeping, since it is the same each time. It is longer than the
/// document, so that one just below `SERVER_KEYS_BYTES_MAX` may end above it.
///
/// # Errors
/// None for a document that has been verified: its text has been scanned before.
pub fn countersign(
    document: &ServerKeys,
    notary: &ServerName,
    keys: &SigningKeys,
) -> Result<Bytes, JsonError> {
    let object = Object::scan(document.raw())?;
    let mut message = Vec::with_capacity(document.raw().len());
    object.write_canonical_without(&["signatures", "unsigned"], &mut |piece: &[u8]| {
        message.extend_from_slice(piece);
    });

    let mut countersigned =
        Vec::with_capacity(document.raw().len() + SIGNATURE_BYTES * keys.iter().count());
    let mut separator = b'{';
    for member in object.raw_members().filter(|member| member.name != "unsigned") {
        countersigned.push(separator);
        separator = b',';
        if member.name == "signatures" {
            let origin = document.server_name();
            let origins = Object::scan(member.value)?
                .members()
                .find_map(|(server, text)| (server == origin.as_str()).then_some(text));
            write_text("signatures", &mut countersigned);
            countersigned.push(b':');
            let all = signatures(origins.map(|text| (origin, text)), notary, keys, &message)?;
            write_object(&all, &mut countersigned);
        } else {
            countersigned.extend_from_slice(member.text);
        }
    }
    countersigned.push(b'}');
    Ok(countersigned.into())
}

/// The signatures of the origin and of the notary, which may be the same server.
fn signatures<'a>(
    origins: Option<(&'a ServerName, &'a [u8])>,
    notary: &'a ServerName,
    keys: &SigningKeys,
    message: &[u8],
) -> Result<BTreeMap<&'a str, Cow<'a, [u8]>>, JsonError> {
    let mut own: BTreeMap<Cow<'_, str>, Cow<'_, [u8]>> = BTreeMap::new();
    if let Some((_, text)) = origins.filter(|(origin, _)| *origin == notary) {
        own.extend(Object::scan(text)?.members().map(|(id, text)| (id, Cow::Borrowed(text))));
    }
    for (id, key) in keys.iter() {
        let mut signature = Vec::new();
        write_text(&key.sign(message).to_base64(), &mut signature);
        own.insert(Cow::Borrowed(id.as_str()), Cow::Owned(signature));
    }
    let mut text = Vec::with_capacity(SIGNATURE_BYTES * own.len());
    write_object(&own, &mut text);

    let origins = origins.map(|(origin, text)| (origin.as_str(), Cow::Borrowed(text)));
    let mut all: BTreeMap<_, _> = origins.into_iter().collect();
    all.insert(notary.as_str(), Cow::Owned(text));
    Ok(all)
}

/// Writes an object of these names and texts of values, in canonical order.
fn write_object(members: &BTreeMap<impl AsRef<str>, Cow<'_, [u8]>>, out: &mut Vec<u8>) {
    let mut separator = b'{';
    for (name, value) in members {
        out.push(separator);
        separator = b',';
        write_text(name.as_ref(), out);
        out.push(b':');
        out.extend_from_slice(value);
    }
    if members.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    write_string(text, &mut |piece: &[u8]| out.extend_from_slice(piece));
}

#[cfg(test)]
mod tests;
