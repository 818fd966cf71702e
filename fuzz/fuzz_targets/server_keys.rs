//! Key documents: as they are, or signed first with keys that are known here; and what a notary makes
//! of those that are good.

#![no_main]

use bytes::Bytes;
use fedgate::proto::countersign::countersign;
use fedgate::proto::ed25519::BannedKeys;
use fedgate::proto::server_keys::{ServerKeys, UnverifiedServerKeys};
use fedgate::proto::signing_keys::SigningKeys;
use fedgate::proto::{KeyId, ServerName};
use fedgate_fuzz::documents::{self, Document};
use fedgate_fuzz::input::{Input, tamper};
use fedgate_fuzz::json_spelling::spell;
use fedgate_fuzz::{json, names, signing};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = document(data);
    let read = UnverifiedServerKeys::parse(Bytes::from(text.clone()));
    let slow = documents::read(&text);
    assert_eq!(read.is_ok(), slow.is_some(), "{:?}", read.err());
    let (Ok(read), Some(slow)) = (read, slow) else { return };
    assert_eq!(read.server_name().as_str(), slow.server_name);
    let name = read.server_name().clone();
    let other = ServerName::parse("other.example").unwrap();
    assert_eq!(
        read.clone().verify(&other, &BannedKeys::new([])).is_ok(),
        name == other && slow.is_self_signed()
    );
    match read.verify(&name, &BannedKeys::new([])) {
        Ok(keys) => {
            assert!(slow.is_self_signed());
            same(&keys, &slow);
            countersigned(&keys, &slow);
        }
        Err(error) => assert!(!slow.is_self_signed(), "{error}"),
    }
});

/// The text of the input, or the same signed by its server with key 1 and spelt anew, and perhaps
/// changed in one byte.
fn document(data: &[u8]) -> Vec<u8> {
    let mut input = Input(data);
    let signs = input.byte() % 2 == 1;
    let mut tampering = Input(input.bytes(3));
    let mut spelling = Input(input.bytes(24));
    let tree = json::parse_object(input.0).filter(|_| signs);
    let Some(mut tree) = tree else { return input.0.to_vec() };
    let server =
        tree.member("server_name").and_then(json::Value::text).unwrap_or("one.example").to_owned();
    let entry = json::object([("key", json::string(&signing::public(1)))]);
    tree.object_in("verify_keys").set("ed25519:1", entry);
    signing::sign_json(&mut tree, &server, "ed25519:1", 1);
    let mut text = String::new();
    spell(&tree, &mut spelling, &mut text);
    let mut text = text.into_bytes();
    tamper(&mut text, &mut tampering);
    text
}

fn same(keys: &ServerKeys, slow: &Document) {
    assert_eq!(keys.valid_until_ts().as_ms(), slow.valid_until_ts);
    let current = keys.verify_keys().iter().map(|(id, key)| (id.to_string(), *key.as_bytes()));
    assert_eq!(current.collect::<Vec<_>>(), slow.current.clone().into_iter().collect::<Vec<_>>());
    let old = keys.old_verify_keys().iter();
    let old = old.map(|(id, old)| (id.to_string(), (*old.key.as_bytes(), old.expired_ts.as_ms())));
    assert_eq!(old.collect::<Vec<_>>(), slow.old.clone().into_iter().collect::<Vec<_>>());
}

/// A notary's copy is the same document, signed by its server still and by the notary.
fn countersigned(keys: &ServerKeys, slow: &Document) {
    let seed = names::to_base64(&[9; 32], false);
    let own = SigningKeys::parse(format!("ed25519 n {seed}").as_bytes()).unwrap();
    let notary = ServerName::parse("notary.example").unwrap();
    let copy = countersign(keys, &notary, &own).unwrap();
    let tree = json::parse_object(&copy).unwrap();
    assert_eq!(signing::signed_json(&tree), signing::signed_json(&slow.value));
    assert!(tree.member("unsigned").is_none());
    let signers = tree.member("signatures").unwrap().members().unwrap().len();
    assert_eq!(signers, if slow.server_name == "notary.example" { 1 } else { 2 });
    let public = signing::key(9).verifying_key();
    assert!(signing::is_signed_by(&tree, "notary.example", "ed25519:n", &public));
    if let Some(copied) = documents::read(&copy) {
        assert!(copied.is_self_signed() || copied.current.contains_key("ed25519:n"));
    }
    assert_eq!(KeyId::parse("ed25519:n").ok().as_ref(), Some(own.first().0));
}
