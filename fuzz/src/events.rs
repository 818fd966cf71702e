//! The verdict on one event in a room of a known version.

use std::collections::BTreeSet;

use ed25519_dalek::VerifyingKey;
use sha2::{Digest as _, Sha256};

use crate::json::Value;
use crate::redaction::redacted;
use crate::{names, signing};

/// What to do with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Malformed,
    Refused,
    Redacted,
    Good,
}

/// A key and until when it counts for events.
#[derive(Clone, Debug)]
pub struct Key {
    pub key: VerifyingKey,
    /// The end of its validity, for a current key, or when it was retired.
    pub until: u64,
    pub is_retired: bool,
}

/// Knows keys by server and ID.
pub type FindKey<'a> = dyn Fn(&str, &str) -> Option<Key> + 'a;

/// What the signatures of an event cover.
pub fn signed(event: &Value, version: u8) -> Vec<u8> {
    redacted(event, version).without(&["signatures", "unsigned"]).canonical()
}

/// The hash that events are named after.
pub fn reference_hash(event: &Value, version: u8) -> [u8; 32] {
    Sha256::digest(signed(event, version)).into()
}

/// The hash of the content.
pub fn content_hash(event: &Value) -> [u8; 32] {
    Sha256::digest(event.without(&["unsigned", "signatures", "hashes"]).canonical()).into()
}

/// What is claimed to be that.
pub fn claimed_hash(event: &Value) -> Option<[u8; 32]> {
    names::base64(event.member("hashes")?.member("sha256")?.text()?)
}

/// Judges an event. None where the order of its many signatures decides, which is not known here.
pub fn verdict(event: &Value, version: u8, find_key: &FindKey<'_>) -> Option<Verdict> {
    let Some(signers) = form(event, version).and_then(|()| signers(event, version)) else {
        return Some(Verdict::Malformed);
    };
    let message = signed(event, version);
    for server in signers {
        if !has_signed(event, version, &server, &message, find_key)? {
            return Some(Verdict::Refused);
        }
    }
    let is_intact = claimed_hash(event) == Some(content_hash(event));
    Some(if is_intact { Verdict::Good } else { Verdict::Redacted })
}

fn has_signed(
    event: &Value,
    version: u8,
    server: &str,
    message: &[u8],
    find_key: &FindKey<'_>,
) -> Option<bool> {
    let by_server = event.member("signatures").and_then(|all| all.member(server)?.members());
    let Some(by_server) = by_server else { return Some(false) };
    if by_server.len() > 8 {
        return None;
    }
    let sent_at = time(event).unwrap_or(0);
    let mut is_signed = false;
    for (id, signature) in by_server {
        let id: String = id.iter().collect();
        if id == "ed25519:policy_server" || !names::is_ed25519_key_id(&id) {
            continue;
        }
        let Some(Key { key, until, is_retired }) = find_key(server, &id) else { continue };
        let is_timed = is_retired || version >= 5;
        if is_timed && until < sent_at {
            continue;
        }
        if !signature.text().is_some_and(|text| signing::verifies_base64(&key, message, text)) {
            return Some(false);
        }
        is_signed = true;
    }
    Some(is_signed)
}

/// The servers that must have signed.
fn signers(event: &Value, version: u8) -> Option<BTreeSet<String>> {
    let mut signers = BTreeSet::new();
    let is_member = text(event, "type") == Some("m.room.member");
    let content = event.member("content").filter(|_| is_member);
    let membership = content.and_then(|content| text(content, "membership"));
    let third_party = content.and_then(|content| content.member("third_party_invite"));
    if !(membership == Some("invite") && third_party.is_some()) {
        signers.insert(server_of(text(event, "sender")?, '@')?);
    }
    if version <= 2 {
        signers.insert(server_of(text(event, "event_id")?, '$')?);
    }
    let authorising =
        content.and_then(|content| content.member("join_authorised_via_users_server"));
    if version >= 8
        && membership == Some("join")
        && let Some(user) = authorising
    {
        signers.insert(server_of(user.text()?, '@')?);
    }
    Some(signers)
}

/// Whether the event has the form of its version.
fn form(event: &Value, version: u8) -> Option<()> {
    let holds = |condition: bool| condition.then_some(());
    holds(event.canonical().len() <= 65_536)?;
    holds(version < 6 || !event.has_foreign_number())?;
    short_text(event, "type")?;
    if event.member("state_key").is_some() {
        short_text(event, "state_key")?;
    }
    server_of(short_text(event, "sender")?, '@')?;
    if version <= 2 {
        server_of(short_text(event, "event_id")?, '$')?;
    }
    room_id(event, version)?;
    event.member("content")?.members()?;
    event.member("signatures")?.members()?;
    event.member("hashes")?.member("sha256")?.text()?;
    time(event)?;
    let Value::Number(depth) = event.member("depth")? else { return None };
    holds(depth.parse::<i64>().is_ok_and(|depth| depth >= 0))?;
    let auth_events = references(event.member("auth_events")?, 10, version)?;
    references(event.member("prev_events")?, 20, version)?;
    let create = text(event, "room_id").and_then(|id| Some(format!("${}", id.strip_prefix('!')?)));
    holds(version < 12 || !create.is_some_and(|create| auth_events.contains(&create.as_str())))
}

fn room_id(event: &Value, version: u8) -> Option<()> {
    let is_create =
        text(event, "type") == Some("m.room.create") && text(event, "state_key") == Some("");
    if version < 12 {
        return server_of(short_text(event, "room_id")?, '!').map(drop);
    }
    if is_create {
        return event.member("room_id").is_none().then_some(());
    }
    is_hash(short_text(event, "room_id")?.strip_prefix('!')?, "-_").then_some(())
}

/// The event IDs in a list.
fn references(list: &Value, max: usize, version: u8) -> Option<Vec<&str>> {
    let entries = list.array()?;
    let id = |entry| {
        let id = event_id(entry, version)?.text()?;
        let fits = match version {
            ..=2 => server_of(id, '$').is_some(),
            3 => is_hash(id.strip_prefix('$')?, "+/"),
            _ => is_hash(id.strip_prefix('$')?, "-_"),
        };
        fits.then_some(id)
    };
    entries.iter().map(id).collect::<Option<Vec<_>>>().filter(|ids| ids.len() <= max)
}

fn event_id(entry: &Value, version: u8) -> Option<&Value> {
    if version > 2 {
        return Some(entry);
    }
    let [id, Value::Object(_)] = entry.array()? else { return None };
    Some(id)
}

fn is_hash(text: &str, more: &str) -> bool {
    text.chars().count() == 43
        && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.member(name)?.text()
}

fn short_text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    text(object, name).filter(|text| text.len() <= 255)
}

fn server_of(id: &str, sigil: char) -> Option<String> {
    let (_, server) = id.strip_prefix(sigil)?.split_once(':')?;
    names::server_name(server)?;
    Some(server.to_owned())
}

/// The time of an event: negative ones are 0, those beyond 64 bits the latest there is.
pub fn time(event: &Value) -> Option<u64> {
    let Value::Number(text) = event.member("origin_server_ts")? else { return None };
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_integer = digits.chars().all(|c| c.is_ascii_digit());
    let ms = if text.starts_with('-') { 0 } else { text.parse().unwrap_or(u64::MAX) };
    is_integer.then_some(ms)
}
