use super::*;
use crate::keys::record::Source;
use crate::keys::testing::{TestServer, at, key_id, no_bans};

const ID: &str = "ed25519:1";
const OLD: &str = "ed25519:0";

/// A server with a key in use and a retired one.
fn server() -> TestServer {
    let mut server = TestServer::new("a.example");
    server.add_key(ID);
    server.add_key(OLD);
    server.retire(OLD, at(5));
    server
}

fn document(raw: Vec<u8>) -> KeptDocument {
    KeptDocument { raw: raw.into(), fetched_at: at(7), source: Source::Origin }
}

/// The verdict on an entry that says `what` of a key.
fn verdict(id: &str, key: &VerifyKey, what: What) -> Result<(), String> {
    let event = Event { id: key_id(id), key: key.clone(), what };
    let document = document(server().document());
    Entry::Shown { document, events: vec![event] }.verify(&server().name, &no_bans())
}

#[test]
fn an_entry_is_right_when_its_document_shows_what_it_says() {
    let keys = server().checked();
    let key = &keys.verify_keys()[&key_id(ID)];
    let old = &keys.old_verify_keys()[&key_id(OLD)].key;
    for known in [key, old] {
        let known = known.clone();
        for what in [
            What::FirstSeen,
            What::Changed { known: known.clone(), replaced: true },
            What::Disagreement { known },
        ] {
            assert_eq!(verdict(ID, key, what.clone()), Ok(()));
            assert_eq!(verdict(OLD, old, what.clone()), Ok(()));
            assert!(verdict(ID, old, what.clone()).is_err(), "another body");
            assert!(verdict("ed25519:2", key, what).is_err(), "another ID");
        }
    }
    assert_eq!(verdict(OLD, old, What::Retired { expired_ts: at(5) }), Ok(()));
    assert!(verdict(OLD, old, What::Retired { expired_ts: at(6) }).is_err(), "another time");
    assert!(verdict(ID, key, What::Retired { expired_ts: at(5) }).is_err(), "in use");
    assert_eq!(verdict(ID, key, What::TakenBack), Ok(()));
    let told = verdict(OLD, old, What::TakenBack).unwrap_err();
    assert_eq!(told, "the document does not show it: taken_back ed25519:0");
}

#[test]
fn a_document_that_does_not_verify_is_wrong() {
    let mut raw = server().document();
    let place = raw.windows(4).position(|part| part == b"sign").unwrap();
    raw[place + 40] ^= 1;
    let changed = Entry::Shown { document: document(raw), events: Vec::new() };
    assert!(changed.verify(&server().name, &no_bans()).is_err());
    let right = Entry::Shown { document: document(server().document()), events: Vec::new() };
    let other = ServerName::parse("b.example").unwrap();
    assert!(right.verify(&other, &no_bans()).unwrap_err().contains("b.example"));
    let key = *server().checked().verify_keys()[&key_id(ID)].as_bytes();
    let told = right.verify(&server().name, &BannedKeys::new([key])).unwrap_err();
    assert!(told.contains("no valid signature"), "{told}");
}

#[test]
fn an_entry_that_is_damaged_or_out_of_place_is_wrong() {
    let (name, nobody) = (server().name, no_bans());
    let entry = Ok(Entry::Flushed { at: at(1) });
    let good = KeptEntry { number: 3, entry, follows: true, hash: [0; 32] };
    assert_eq!(good.verify(&name, &nobody), Ok(()));
    let torn = KeptEntry { follows: false, ..good.clone() };
    assert!(torn.verify(&name, &nobody).unwrap_err().contains("does not follow"));
    let damaged = KeptEntry { entry: Err("a hole".to_owned()), ..good };
    assert_eq!(damaged.verify(&name, &nobody), Err("a hole".to_owned()));
}
