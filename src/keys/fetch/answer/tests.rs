use super::*;
use crate::keys::fetch::testing::answer;
use crate::keys::testing::{TestServer, at, key_id, no_bans, request};

const ID: &str = "ed25519:1";

fn origin() -> TestServer {
    let mut server = TestServer::new("a.example");
    server.add_key(ID);
    server
}

fn notary() -> TestServer {
    let mut notary = TestServer::new("notary.example");
    notary.add_key("ed25519:auto");
    notary
}

fn judge(body: &[u8]) -> Result<Judged, FetchError> {
    let mut notary = notary();
    let pins = BTreeMap::from([(key_id("ed25519:auto"), notary.add_key("ed25519:auto"))]);
    let judge = Judge { notary: Some((&notary.name, &pins)), banned: &no_bans() };
    judge.judge(&origin().name, body)
}

/// An honest answer with one document.
fn honest() -> Vec<u8> {
    notary().sign(&origin().document(), "ed25519:auto")
}

#[test]
fn r60_bad_entries_do_not_void_the_good_one() {
    let mut other = TestServer::new("b.example");
    other.add_key(ID);
    let foreign = notary().sign(&other.document(), "ed25519:auto");
    let bad = [b"{}".to_vec(), b"null".to_vec(), b"[1]".to_vec(), origin().document(), foreign];
    for at in 0..=bad.len() {
        let mut documents = bad.to_vec();
        documents.insert(at, honest());
        let judged = judge(&answer(&documents)).unwrap();
        assert_eq!(judged.accepted.len(), 1, "{at}");
        assert_eq!(judged.accepted[0].server_name(), &origin().name);
        assert_eq!(judged.refused.len(), REASONS_MAX);
    }
}

#[test]
fn r48_a_banned_key_is_refused_from_a_notary_too() {
    let banned = *origin().checked().verify_keys().values().next().unwrap().as_bytes();
    let judge = Judge { notary: None, banned: &BannedKeys::new([banned]) };
    let judged = judge.judge(&origin().name, &answer(&[origin().document()]));
    assert!(matches!(judged, Err(FetchError::BadAnswer(_))), "{judged:?}");
}

#[test]
fn r61_a_query_names_keys_and_time() {
    let request = request(&origin(), &["ed25519:1", "ed25519:a+b"]);
    let query: serde_json::Value = serde_json::from_slice(&query(&request)).unwrap();
    let criteria = serde_json::json!({ "minimum_valid_until_ts": at(0).as_ms() });
    let expected = serde_json::json!({ "server_keys": { "a.example": {
        "ed25519:1": criteria,
        "ed25519:a+b": criteria,
    }}});
    assert_eq!(query, expected);
}
