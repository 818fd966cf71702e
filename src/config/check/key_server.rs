//! The section `key_server`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::values::{self, Problem};
use super::super::{KeyServer, Publish, Queries};
use super::reader::Reader;
use crate::proto::ed25519::VerifyKey;
use crate::proto::{KeyId, Timestamp};

const PUBLISH: &[(&str, Publish)] =
    &[("forward", Publish::Forward), ("cached", Publish::Cached), ("own", Publish::Own)];

const QUERIES: &[(&str, Queries)] = &[("forward", Queries::Forward), ("answer", Queries::Answer)];

/// Shortest validity: an answer is made anew at half of it, and must be valid for an hour at all
/// times (server-server API, publishing keys).
const VALID_FOR_MIN: Duration = Duration::from_secs(2 * 60 * 60);

/// More fetches for one question than any room has servers.
const FETCHES_MAX: u64 = 100_000;

pub(super) fn read(reader: &mut Reader<'_>) -> Option<KeyServer> {
    let publish = reader.text("key_server.publish", |text| values::choice(text, PUBLISH));
    let queries = reader.text("key_server.queries", |text| values::choice(text, QUERIES));
    let signing = reader.optional("key_server.signing_key_file", values::absolute_path);
    let notary = reader.optional("key_server.notary_key_file", values::absolute_path);
    let old_verify_keys = old_verify_keys(reader);
    let valid_for = reader.text("key_server.valid_for", |text| {
        let time = values::duration(text)?;
        if time < VALID_FOR_MIN {
            let message = "others would have to ask too often";
            return Err(Problem::new(message, "write a time from \"2h\" to \"24h\""));
        }
        Ok(time)
    });
    let own_clients = reader.list("key_server.own_clients", values::range);
    let fetches_per_query_max = reader.count("key_server.fetches_per_query_max", 0, FETCHES_MAX);
    let read = KeyServer {
        publish: publish?,
        queries: queries?,
        signing_key_file: signing?,
        notary_key_file: notary?,
        old_verify_keys: old_verify_keys?,
        valid_for: valid_for?,
        own_clients: own_clients?,
        fetches_per_query_max: fetches_per_query_max?,
    };
    keys_are_named(&read, reader);
    Some(read)
}

/// Whoever signs needs keys.
fn keys_are_named(read: &KeyServer, reader: &mut Reader<'_>) {
    if read.publish == Publish::Own && read.signing_key_file.is_none() {
        reader.error_at(
            "key_server.publish",
            "key_server.publish = \"own\" needs the homeserver's signing keys".to_owned(),
            "set key_server.signing_key_file, or use \"cached\"".to_owned(),
        );
    }
    let has_keys = read.signing_key_file.is_some() || read.notary_key_file.is_some();
    if read.queries == Queries::Answer && !has_keys {
        reader.error_at(
            "key_server.queries",
            "key_server.queries = \"answer\" needs a key to sign with".to_owned(),
            "make one with `fedgate notary keygen` and set key_server.notary_key_file".to_owned(),
        );
    }
}

fn old_verify_keys(reader: &mut Reader<'_>) -> Option<BTreeMap<KeyId, (VerifyKey, Timestamp)>> {
    const NAME: &str = "key_server.old_verify_keys";
    let mut keys = BTreeMap::new();
    let entries = reader.table(NAME)?;
    let count = entries.len();
    for (id, place, text) in entries {
        let id = reader.checked(NAME, place, values::key_id(id));
        let key = reader.checked(NAME, place, values::old_verify_key(text));
        if let (Some(id), Some(key)) = (id, key) {
            keys.insert(id, key);
        }
    }
    (keys.len() == count).then_some(keys)
}
