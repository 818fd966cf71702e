//! What judging the events of a transaction costs, beside ruma-signatures and beside the bare
//! signature checks.
//!
//! All contenders run in turns within one process, on the same 50 events with 55 signatures, whose
//! keys are known. Only ratios mean anything: the machine's speed cancels out. fedgate reads the text
//! of the whole transaction and judges form, limits, content hashes and signatures; ruma's
//! `verify_event` does content hash and signatures, once of texts and once of objects that somebody
//! else has parsed; bare is ed25519-dalek's `verify` over prepared bytes with prepared keys.
//!
//! `cargo bench --bench events` prints the table, `cargo bench --bench events -- 5` takes five times
//! as many rounds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark: it reads the clock, prints, and may stop at the first mistake"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use ed25519_dalek::Verifier as _;
use fedgate::proto::ed25519::{HotKeys, SigningKey};
use fedgate::proto::event::{
    Case, Event, EventKey, KeyTimes, RoomVersion, Verdict, judge, judge_all,
};
use fedgate::proto::json::{Object, array_values};
use fedgate::proto::{KeyId, ServerName, Timestamp};
use ruma_common::CanonicalJsonObject;
use ruma_common::room_version_rules::RoomVersionRules;
use ruma_common::serde::Base64;
use ruma_signatures::{PublicKeyMap, Verified, verify_event};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Servers with a key ID each, and the seeds of their keys: the sender's, and one that authorised
/// joins.
const SERVERS: [(&str, &str, [u8; 32]); 2] =
    [("matrix.example.com", "ed25519:a_c2e256", [42; 32]), ("example.org", "ed25519:1", [43; 32])];

const VERSION: RoomVersion = RoomVersion::V11;
const SENT_MS: u64 = 1_795_298_014_459;

/// Events of a transaction: the most there may be.
const EVENTS: usize = 50;
/// Every tenth is a join that another server authorised, and has signed too.
const JOIN_EVERY: usize = 10;
const SIGNATURES: usize = EVENTS + EVENTS / JOIN_EVERY;

/// Each contender judges all events once per round, which takes a millisecond or two.
const ROUNDS: usize = 1_000;

/// The part of ruma's time that is asked for, with keys and their tables known.
const GOAL: f64 = 0.5;

/// What each contender needs.
struct Work {
    body: Vec<u8>,
    texts: Vec<String>,
    objects: Vec<CanonicalJsonObject>,
    keys: BTreeMap<(ServerName, KeyId), EventKey>,
    ruma_keys: PublicKeyMap,
    bare: Vec<(ed25519_dalek::VerifyingKey, Vec<u8>, ed25519_dalek::Signature)>,
}

/// An event of one of the kinds that rooms are full of, not yet hashed and signed.
fn event(number: usize) -> Value {
    let hash = |of: &str| format!("${:0>43}", format!("{of}{number}"));
    let mut event = json!({
        "auth_events": [hash("create"), hash("power"), hash("member")],
        "content": {},
        "depth": 9_000 + number,
        "hashes": {},
        "origin_server_ts": SENT_MS + number as u64,
        "prev_events": [hash("previous")],
        "room_id": "!NwYilDRAwVoKCyKNRG:matrix.example.com",
        "sender": format!("@user{}:matrix.example.com", number % 7),
        "signatures": {},
        "type": "m.room.message",
        "unsigned": { "age_ts": SENT_MS },
    });
    if number.is_multiple_of(JOIN_EVERY) {
        event["type"] = json!("m.room.member");
        event["state_key"] = event["sender"].clone();
        event["content"] = json!({
            "avatar_url": "mxc://matrix.example.com/yZpXOuLEcaiZXAtGNwEMNsvS",
            "displayname": format!("User {number}"),
            "join_authorised_via_users_server": "@admin:example.org",
            "membership": "join",
        });
        return event;
    }
    event["content"] = match number % 5 {
        0 | 1 => json!({
            "body": format!("Message {number}: grüße, \"quoted\", and a line\nbreak"),
            "m.mentions": {}, "msgtype": "m.text",
        }),
        2 => json!({
            "body": "> <@user1:matrix.example.com> what was said\n\nand the answer to it, longer",
            "format": "org.matrix.custom.html",
            "formatted_body": "<mx-reply><blockquote>what was said</blockquote></mx-reply>and the \
                answer to it, longer",
            "m.mentions": { "user_ids": ["@user1:matrix.example.com"] },
            "m.relates_to": { "m.in_reply_to": { "event_id": hash("replied") } },
            "msgtype": "m.text",
        }),
        3 => {
            json!({ "m.relates_to": { "event_id": hash("liked"), "key": "👍", "rel_type": "m.annotation" } })
        }
        _ => json!({
            "algorithm": "m.megolm.v1.aes-sha2",
            "ciphertext": "AwgAEnACgAkLmt6qF84IK".repeat(20),
            "device_id": "RJYKSTBOIE",
            "sender_key": "IlRMeOPX2e0MurIyfWEucYBRVOEEUMrOHqn/8mLqMjA",
            "session_id": "X3lUlvLELLYxeTx4yOVu6UDpasGEVO0Jbu+QFnm0cKQ",
        }),
    };
    match number % 5 {
        3 => event["type"] = json!("m.reaction"),
        4 => event["type"] = json!("m.room.encrypted"),
        _ => {}
    }
    event
}

/// The bytes that an event's signatures cover.
fn signed_bytes(event: &Value) -> Vec<u8> {
    let text = event.to_string();
    let mut signed = Vec::new();
    let event = Event::scan(text.as_bytes()).unwrap();
    event.write_signed(VERSION, &mut |piece: &[u8]| signed.extend_from_slice(piece));
    signed
}

fn work() -> Work {
    let mut texts = Vec::new();
    let mut bare = Vec::new();
    let signing = SERVERS.map(|(server, id, seed)| (server, id, SigningKey::from_seed(&seed)));
    for number in 0..EVENTS {
        let mut event = event(number);
        let text = event.to_string();
        let hash = Event::scan(text.as_bytes()).unwrap().content_hash();
        event["hashes"]["sha256"] = json!(hash.to_base64());
        let signed = signed_bytes(&event);
        let signers = 1 + usize::from(number.is_multiple_of(JOIN_EVERY));
        for (server, id, key) in &signing[..signers] {
            let signature = key.sign(&signed);
            event["signatures"][server][id] = json!(signature.to_base64());
            let key = ed25519_dalek::VerifyingKey::from_bytes(key.verify_key().as_bytes()).unwrap();
            let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
            bare.push((key, signed.clone(), signature));
        }
        texts.push(event.to_string());
    }
    assert_eq!(bare.len(), SIGNATURES);
    let pdus: Vec<Value> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let body =
        json!({ "edus": [], "origin": SERVERS[0].0, "origin_server_ts": SENT_MS, "pdus": pdus });
    let known = |(server, id, key): &(&str, &str, SigningKey)| {
        let key = key.verify_key();
        let key = EventKey::Current { key, effective_until: Timestamp::MAX };
        ((ServerName::parse(server).unwrap(), KeyId::parse(id).unwrap()), key)
    };
    let for_ruma = |(server, id, key): &(&str, &str, SigningKey)| {
        let key = Base64::new(key.verify_key().as_bytes().to_vec());
        ((*server).to_owned(), BTreeMap::from([((*id).to_owned(), key)]))
    };
    Work {
        body: body.to_string().into_bytes(),
        objects: texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect(),
        texts,
        keys: signing.iter().map(known).collect(),
        ruma_keys: signing.iter().map(for_ruma).collect(),
        bare,
    }
}

/// The events of a body.
fn events(body: &[u8]) -> Vec<Event<'_>> {
    let body = Object::scan(body).unwrap();
    let (_, pdus) = body.members().find(|(name, _)| name == "pdus").unwrap();
    array_values(pdus).unwrap().map(|text| Event::scan_in(&body, text).unwrap()).collect()
}

fn case<'a>(event: &'a Event<'a>) -> Case<'a> {
    Case { event, version: VERSION, key_times: KeyTimes::Observed }
}

/// Judges all events of the body together.
fn together(work: &Work, hot_keys: Option<&HotKeys>) {
    let events = events(&work.body);
    let cases: Vec<_> = events.iter().map(case).collect();
    let find =
        |server: &ServerName, id: &KeyId| work.keys.get(&(server.clone(), id.clone())).cloned();
    for judgement in judge_all(&cases, &find, hot_keys) {
        assert_eq!(judgement.unwrap().verdict(), Verdict::Good);
    }
}

/// Judges each event of the body by itself.
fn one_by_one(work: &Work) {
    let find =
        |server: &ServerName, id: &KeyId| work.keys.get(&(server.clone(), id.clone())).cloned();
    for event in events(&work.body) {
        assert_eq!(judge(case(&event), &find).unwrap().verdict(), Verdict::Good);
    }
}

/// All that judging takes but the signatures: there is no key.
fn all_but_signatures(work: &Work) {
    let events = events(&work.body);
    let cases: Vec<_> = events.iter().map(case).collect();
    assert_eq!(judge_all(&cases, &|_, _| None, None).len(), EVENTS);
}

fn ruma_objects(work: &Work) {
    for object in &work.objects {
        let verified = verify_event(&work.ruma_keys, object, &RoomVersionRules::V11).unwrap();
        assert_eq!(verified, Verified::All);
    }
}

fn ruma_texts(work: &Work) {
    for text in &work.texts {
        let object: CanonicalJsonObject = serde_json::from_str(text).unwrap();
        let verified = verify_event(&work.ruma_keys, &object, &RoomVersionRules::V11).unwrap();
        assert_eq!(verified, Verified::All);
    }
}

fn bare(work: &Work) {
    for (key, signed, signature) in &work.bare {
        key.verify(signed, signature).unwrap();
    }
}

/// The time this thread has been running: what others do on the machine is left out.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// Microseconds of one call.
fn time(call: &dyn Fn()) -> f64 {
    let started = cpu_time();
    call();
    (cpu_time() - started).as_nanos() as f64 / 1_000.0
}

fn quantile(values: &mut [f64], per_cent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * per_cent / 100]
}

fn main() {
    let times = std::env::args().filter_map(|arg| arg.parse::<usize>().ok()).next().unwrap_or(1);
    let work = black_box(work());
    let hot_keys = HotKeys::new(HotKeys::BYTES_MAX);
    // As they are once the keys have been used for a while.
    for _ in 0..20 {
        together(&work, Some(&hot_keys));
        hot_keys.make_one();
    }
    let cold = || together(&work, Some(&HotKeys::new(HotKeys::BYTES_MAX)));
    // Ruma with parsed objects is first: the others are held against it.
    let contenders: [(&str, &dyn Fn()); 7] = [
        ("ruma verify_event, parsed before", &|| ruma_objects(&work)),
        ("ruma verify_event, from texts", &|| ruma_texts(&work)),
        ("bare ed25519-dalek verify", &|| bare(&work)),
        ("fedgate, tables kept", &|| together(&work, Some(&hot_keys))),
        ("fedgate, first transaction of a key", &cold),
        ("fedgate, one by one", &|| one_by_one(&work)),
        ("fedgate, all but signatures", &|| all_but_signatures(&work)),
    ];
    let mut figures = vec![Vec::new(); contenders.len()];
    for round in 0..ROUNDS * times {
        // Turns are shifted so that none always runs behind the same other.
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            figures[at].push(time(contenders[at].1));
        }
    }
    let fast: Vec<f64> = figures.iter_mut().map(|micros| quantile(micros, 10)).collect();
    let median: Vec<f64> = figures.iter_mut().map(|micros| quantile(micros, 50)).collect();
    println!(
        "{EVENTS} events, {SIGNATURES} signatures, {} bytes, room version {VERSION}, {} tables kept; \
         processor time, and its ratio to that of ruma with objects and of bare verify",
        work.body.len(),
        hot_keys.tables()
    );
    println!(
        "{:<36} {:>8} {:>8} {:>8} {:>10} {:>8} {:>8}",
        "", "p10 us", "of ruma", "of bare", "median us", "of ruma", "of bare"
    );
    for (at, (name, _)) in contenders.iter().enumerate() {
        let ratio = |of: &[f64], to: usize| of[at] / of[to];
        println!(
            "{name:<36} {:>8.0} {:>8.3} {:>8.3} {:>10.0} {:>8.3} {:>8.3}",
            fast[at],
            ratio(&fast, 0),
            ratio(&fast, 2),
            median[at],
            ratio(&median, 0),
            ratio(&median, 2)
        );
    }
    let verdict = |at: usize| if fast[at] <= GOAL * fast[0] { "holds" } else { "is MISSED" };
    println!("at most {GOAL} of ruma, tables kept: {}", verdict(3));
    println!("at most {GOAL} of ruma, first transaction: {}", verdict(4));
}
