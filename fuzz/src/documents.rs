//! Key documents.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::VerifyingKey;

use crate::json::{self, Value};
use crate::{names, signing};

/// Most bytes of a document.
const BYTES_MAX: usize = 65_536;
/// Most entries in each of its lists of keys.
const KEYS_MAX: usize = 128;
/// The largest time, 2^53 - 1.
const TIME_MAX: u64 = 9_007_199_254_740_991;

/// What a document says that has the form of one.
#[derive(Debug)]
pub struct Document {
    pub value: Value,
    pub server_name: String,
    pub valid_until_ts: u64,
    /// Current keys that can be used.
    pub current: BTreeMap<String, [u8; 32]>,
    /// Retired keys that can be used, and since when they are.
    pub old: BTreeMap<String, ([u8; 32], u64)>,
}

/// Reads a document.
pub fn read(text: &[u8]) -> Option<Document> {
    if text.len() > BYTES_MAX {
        return None;
    }
    of_value(json::parse_object(text)?)
}

/// The same for what has been read already.
pub fn of_value(value: Value) -> Option<Document> {
    let server_name = value.member("server_name")?.text()?.to_owned();
    names::server_name(&server_name)?;
    let valid_until_ts = time(value.member("valid_until_ts")?)?;
    let none = json::object([]);
    let current = value.member("verify_keys")?.members()?;
    let old = value.member("old_verify_keys").unwrap_or(&none).members()?;
    value.member("signatures")?.members()?;
    if current.len() > KEYS_MAX || old.len() > KEYS_MAX {
        return None;
    }
    let retired: BTreeSet<String> = old.keys().map(|id| id.iter().collect()).collect();
    let named = |(id, entry): (&Vec<char>, &Value)| {
        let id: String = id.iter().collect();
        let key = names::base64(entry.member("key")?.text()?)?;
        signing::usable(&key).filter(|_| names::is_ed25519_key_id(&id))?;
        Some((id, key))
    };
    let current =
        current.iter().filter_map(named).filter(|(id, _)| !retired.contains(id)).collect();
    let old = old.iter().filter_map(|(id, entry)| {
        let (id, key) = named((id, entry))?;
        Some((id, (key, time(entry.member("expired_ts")?)?)))
    });
    let old = old.collect();
    Some(Document { value, server_name, valid_until_ts, current, old })
}

fn time(value: &Value) -> Option<u64> {
    let Value::Number(text) = value else { return None };
    let digits = text.chars().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|ms| digits && *ms <= TIME_MAX)
}

impl Document {
    /// Whether a listed key has signed it, as its server.
    pub fn is_self_signed(&self) -> bool {
        self.current.iter().any(|(id, key)| {
            let key = VerifyingKey::from_bytes(key).unwrap();
            signing::is_signed_by(&self.value, &self.server_name, id, &key)
        })
    }
}
