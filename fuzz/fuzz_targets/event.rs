//! One event: what it is made of, its hashes, and the verdict in rooms of every version.

#![no_main]

use fedgate::proto::ed25519::{HotKeys, VerifyKey};
use fedgate::proto::event::{
    Case, Event, EventKey, FormatError, Judgement, KeyTimes, RoomVersion, Transaction, Verdict,
    edu_claims, judge, judge_all,
};
use fedgate::proto::json::Object;
use fedgate::proto::{KeyId, ServerName, Timestamp};
use fedgate_fuzz::events::{self, Key};
use fedgate_fuzz::input::{Input, tamper};
use fedgate_fuzz::json::Value;
use fedgate_fuzz::json_spelling::spell;
use fedgate_fuzz::{json, names, redaction, signing};
use libfuzzer_sys::fuzz_target;

/// Server, key ID, number of the key, the end of its time, whether it is retired.
const KEYS: [(&str, &str, u8, u64, bool); 4] = [
    ("one.example", "ed25519:1", 1, 1_800_000_000_000, false),
    ("one.example", "ed25519:old", 2, 1_600_000_000_000, true),
    ("two.example:8448", "ed25519:1", 3, 1_800_000_000_000, false),
    ("two.example:8448", "ed25519:2", 4, 1_600_000_000_000, false),
];

fuzz_target!(|data: &[u8]| {
    let text = event(data);
    let (read, tree) = (Event::scan(&text), json::parse_object(&text));
    assert_eq!(read.is_ok(), tree.is_some());
    let (Ok(event), Some(tree)) = (read, tree) else { return };
    as_transaction(&text);
    assert_eq!(
        event.content_hash().to_base64(),
        names::to_base64(&events::content_hash(&tree), false)
    );
    let claimed = event.claimed_content_hash().map(|hash| hash.to_base64());
    assert_eq!(claimed, events::claimed_hash(&tree).map(|hash| names::to_base64(&hash, false)));
    assert_eq!(event.origin_server_ts().map(Timestamp::as_ms), events::time(&tree));
    assert_eq!(written(|sink| event.write_canonical(sink)), tree.canonical());
    let _shapes = (event.possible_versions().count(), event.created_room_version());

    let case = |version| Case { event: &event, version, key_times: KeyTimes::Observed };
    let cases: Vec<_> = RoomVersion::ALL.into_iter().map(case).collect();
    let together = judge_all(&cases, &known_key, Some(&HotKeys::new(HotKeys::BYTES_MAX)));
    for (case, judged) in cases.into_iter().zip(together) {
        in_version(case, &tree, judged);
    }
});

/// The event is judged as slowly as it can be, by itself and together with others.
fn in_version(case: Case<'_>, tree: &Value, together: Result<Judgement, FormatError>) {
    let Case { event, version, .. } = case;
    let number: u8 = version.as_str().parse().unwrap();
    let redacted = redaction::redacted(tree, number);
    assert_eq!(written(|sink| event.write_redacted(version, sink)), redacted.canonical());
    assert_eq!(written(|sink| event.write_signed(version, sink)), events::signed(tree, number));
    let hash = names::to_base64(&events::reference_hash(tree, number), false);
    assert_eq!(event.reference_hash(version).to_base64(), hash);
    let is_redacted =
        tree.without(&["signatures", "unsigned"]).canonical() == events::signed(tree, number);
    assert_eq!(event.is_redacted(event.reference_hash(version)), is_redacted);

    let alone = judge(case, &known_key);
    assert_eq!(format!("{alone:?}"), format!("{together:?}"));
    let slow = events::verdict(tree, number, &|server, id| slow_key(server, id));
    let fast = match &alone {
        Ok(judgement) => match judgement.verdict() {
            Verdict::Good => events::Verdict::Good,
            Verdict::Redacted => events::Verdict::Redacted,
            Verdict::Refused(_) => events::Verdict::Refused,
        },
        Err(_) => events::Verdict::Malformed,
    };
    assert!(slow.is_none_or(|slow| slow == fast), "version {version}: {slow:?}, {alone:?}");
    let _wanted = event.wanted_keys(version);
    // Of a version that its shape rules out no event is good.
    let alike = |other: RoomVersion| {
        (other.redaction(), other.id_form(), other.has_hashed_room_ids())
            == (version.redaction(), version.id_form(), version.has_hashed_room_ids())
    };
    let is_possible = event.fits_version(version) && event.possible_versions().any(alike);
    assert!(is_possible || fast == events::Verdict::Malformed, "version {version}: {fast:?}");
}

/// The event of the input: as it is, or hashed and signed for a room of a version, spelt anew, and
/// perhaps changed in one byte.
fn event(data: &[u8]) -> Vec<u8> {
    let mut input = Input(data);
    let version = input.byte() % 16;
    let signers = input.byte();
    let mut tampering = Input(input.bytes(3));
    let mut spelling = Input(input.bytes(24));
    let tree = json::parse_object(input.0).filter(|_| (1..=12).contains(&version));
    let Some(mut tree) = tree else { return input.0.to_vec() };
    let hash = names::to_base64(&events::content_hash(&tree), false);
    tree.object_in("hashes").set("sha256", json::string(&hash));
    for (at, (server, id, number, ..)) in KEYS.into_iter().enumerate() {
        if signers >> at & 1 != 0 {
            let signature = signing::sign(number, &events::signed(&tree, version));
            tree.object_in("signatures").object_in(server).set(id, json::string(&signature));
        }
    }
    let mut text = String::new();
    spell(&tree, &mut spelling, &mut text);
    let mut text = text.into_bytes();
    tamper(&mut text, &mut tampering);
    text
}

/// The same text as a transaction, and each of its members as an EDU: nothing breaks.
fn as_transaction(text: &[u8]) {
    let object = Object::scan(text).unwrap();
    let origin = ServerName::parse("one.example").unwrap();
    let _claims = edu_claims(text, &origin);
    if let Ok(transaction) = Transaction::read(&object) {
        assert!(transaction.pdus().len() <= 50 && transaction.edus().len() <= 100);
        let _events =
            transaction.pdus().iter().filter(|pdu| Event::scan_in(&object, pdu).is_ok()).count();
        transaction.edus().iter().for_each(|edu| drop(edu_claims(edu, &origin)));
    }
}

fn known_key(server: &ServerName, id: &KeyId) -> Option<EventKey> {
    let found = KEYS.into_iter().find(|key| (key.0, key.1) == (server.as_str(), id.as_str()));
    let (.., number, until, is_retired) = found?;
    let key = VerifyKey::from_base64(&signing::public(number)).unwrap();
    let until = Timestamp::from_ms(until);
    Some(if is_retired {
        EventKey::Retired { key, expired_ts: until }
    } else {
        EventKey::Current { key, effective_until: until }
    })
}

fn slow_key(server: &str, id: &str) -> Option<Key> {
    let (.., number, until, is_retired) =
        KEYS.into_iter().find(|key| (key.0, key.1) == (server, id))?;
    Some(Key { key: signing::key(number).verifying_key(), until, is_retired })
}

fn written(write: impl FnOnce(&mut Box<dyn FnMut(&[u8]) + '_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut sink: Box<dyn FnMut(&[u8]) + '_> = Box::new(|piece| bytes.extend_from_slice(piece));
    write(&mut sink);
    drop(sink);
    bytes
}
