//! Reading a key document.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::{OldVerifyKey, ServerKeys, ServerKeysError, UnverifiedServerKeys};
use crate::proto::ed25519::{Signature, VerifyKey, VerifyKeyError};
use crate::proto::json::Object;
use crate::proto::limits::{KEY_ID_BYTES_MAX, KEYS_PER_DOCUMENT_MAX, SERVER_KEYS_BYTES_MAX};
use crate::proto::{KeyId, KeyMap, ServerName, Timestamp};

const ALGORITHM: &str = "the algorithm is not ed25519";
const EXPIRED_TS: &str = "expired_ts is missing or not an integer from 0 to 9007199254740991";
const KEY_ID: &str = "the key ID is malformed";
const NO_KEY: &str = "the entry is not an object with a string \"key\"";
const RETIRED: &str = "the key ID is also in old_verify_keys, which decides";

/// The members of an object: decoded name and the text of the value.
type Entries<'a> = Vec<(Cow<'a, str>, &'a [u8])>;

/// Entries that were dropped: key ID as written and why.
type Dropped = Vec<(String, &'static str)>;

/// Reads a whole document.
pub(super) fn document(raw: Bytes) -> Result<UnverifiedServerKeys, ServerKeysError> {
    if raw.len() > SERVER_KEYS_BYTES_MAX {
        return Err(ServerKeysError::TooLarge(raw.len()));
    }
    let object = Object::scan(&raw).map_err(ServerKeysError::Json)?;
    let server_name = string(required(&object, "server_name")?)
        .ok_or(ServerKeysError::WrongType { field: "server_name", expected: "a string" })?;
    let server_name =
        ServerName::parse(&server_name).map_err(ServerKeysError::InvalidServerName)?;
    let valid_until_ts = timestamp(required(&object, "valid_until_ts")?)
        .ok_or(ServerKeysError::InvalidValidUntil)?;
    let listed = entries("verify_keys", required(&object, "verify_keys")?)?;
    let retired = match member(&object, "old_verify_keys") {
        Some(text) => entries("old_verify_keys", text)?,
        None => Vec::new(),
    };
    let signatures = signatures(required(&object, "signatures")?)?;

    let mut dropped = Dropped::new();
    let mut verify_keys = current_keys(&listed, &mut dropped);
    let mut old_verify_keys = old_keys(&retired, &mut dropped);
    verify_keys.retain(|id, _| {
        let is_retired = retired.iter().any(|(name, _)| name == id.as_str());
        if is_retired {
            drop_entry(&mut dropped, id.as_str(), RETIRED);
        }
        !is_retired
    });
    verify_keys.shrink_to_fit();
    old_verify_keys.shrink_to_fit();
    dropped.shrink_to_fit();

    let mut signed = Vec::with_capacity(raw.len());
    object.write_canonical_without(&["signatures", "unsigned"], &mut |piece: &[u8]| {
        signed.extend_from_slice(piece);
    });
    let keys = ServerKeys {
        raw: raw.clone(),
        server_name,
        valid_until_ts,
        verify_keys,
        old_verify_keys,
        dropped,
    };
    Ok(UnverifiedServerKeys { keys, signed, signatures })
}

fn member<'a>(object: &Object<'a>, name: &str) -> Option<&'a [u8]> {
    object.members().find(|(found, _)| found == name).map(|(_, value)| value)
}

fn required<'a>(object: &Object<'a>, name: &'static str) -> Result<&'a [u8], ServerKeysError> {
    member(object, name).ok_or(ServerKeysError::MissingField(name))
}

/// The string that `text`, the text of a JSON value, stands for.
fn string(text: &[u8]) -> Option<String> {
    serde_json::from_slice(text).ok()
}

/// The timestamp that `text`, the text of a JSON value, stands for: an integer literal, so neither
/// `1.0` nor `1e3`, within the range of canonical JSON.
fn timestamp(text: &[u8]) -> Option<Timestamp> {
    let ms = serde_json::from_slice(text).ok().map(Timestamp::from_ms)?;
    let is_integer = text.iter().all(u8::is_ascii_digit);
    (is_integer && ms <= Timestamp::MAX).then_some(ms)
}

/// The members of the object in a field, at most `KEYS_PER_DOCUMENT_MAX`.
fn entries<'a>(field: &'static str, text: &'a [u8]) -> Result<Entries<'a>, ServerKeysError> {
    let object = Object::scan(text)
        .map_err(|_error| ServerKeysError::WrongType { field, expected: "an object" })?;
    let entries: Entries<'a> = object.members().take(KEYS_PER_DOCUMENT_MAX + 1).collect();
    if entries.len() > KEYS_PER_DOCUMENT_MAX {
        return Err(ServerKeysError::TooManyKeys(field));
    }
    Ok(entries)
}

fn drop_entry(dropped: &mut Dropped, name: &str, reason: &'static str) {
    let mut id: String = name.chars().take(KEY_ID_BYTES_MAX).collect();
    id.shrink_to_fit();
    dropped.push((id, reason));
}

fn current_keys(entries: &Entries<'_>, dropped: &mut Dropped) -> KeyMap<VerifyKey> {
    let mut keys = KeyMap::default();
    for (name, text) in entries {
        match key_entry(name, text) {
            Ok((id, _, key)) => drop(keys.insert(id, key)),
            Err(reason) => drop_entry(dropped, name, reason),
        }
    }
    keys
}

fn old_keys(entries: &Entries<'_>, dropped: &mut Dropped) -> KeyMap<OldVerifyKey> {
    let mut keys = KeyMap::default();
    for (name, text) in entries {
        let entry = key_entry(name, text).and_then(|(id, entry, key)| {
            let expired_ts = member(&entry, "expired_ts").and_then(timestamp).ok_or(EXPIRED_TS)?;
            Ok((id, OldVerifyKey { key, expired_ts }))
        });
        match entry {
            Ok((id, key)) => drop(keys.insert(id, key)),
            Err(reason) => drop_entry(dropped, name, reason),
        }
    }
    keys
}

/// What both kinds of entry have: an ID, an object, and in it a key.
fn key_entry<'a>(
    name: &str,
    text: &'a [u8],
) -> Result<(KeyId, Object<'a>, VerifyKey), &'static str> {
    let id = KeyId::parse(name).map_err(|_error| KEY_ID)?;
    if !id.is_ed25519() {
        return Err(ALGORITHM);
    }
    let entry = Object::scan(text).map_err(|_error| NO_KEY)?;
    let key = member(&entry, "key").and_then(string).ok_or(NO_KEY)?;
    let key = VerifyKey::from_base64(&key).map_err(VerifyKeyError::as_str)?;
    Ok((id, entry, key))
}

/// Every signature that can be read; others cannot verify and are passed over (R53).
fn signatures(
    text: &[u8],
) -> Result<BTreeMap<ServerName, BTreeMap<KeyId, Signature>>, ServerKeysError> {
    let object = Object::scan(text).map_err(|_error| ServerKeysError::WrongType {
        field: "signatures",
        expected: "an object",
    })?;
    let by_server = object.members().filter_map(|(server, text)| {
        let server = ServerName::parse(&server).ok()?;
        let by_id = Object::scan(text).ok()?;
        let by_id = by_id.members().filter_map(|(id, text)| {
            let signature = Signature::from_base64(&string(text)?)?;
            Some((KeyId::parse(&id).ok()?, signature))
        });
        Some((server, by_id.collect()))
    });
    Ok(by_server.collect())
}
