//! Many events judged together, and under other room versions again.

use super::vectors::{files, keys};
use super::*;
use crate::proto::ed25519::HotKeys;

/// A judgement in all it says.
fn told(judgement: &Result<Judgement, FormatError>) -> String {
    format!("{judgement:?}")
}

#[test]
fn what_synapse_says_of_each_event_is_said_of_all_together() {
    let files = files();
    let keys = keys(&files[0].1);
    let find =
        |server: &ServerName, id: &KeyId| keys.get(&(server.to_string(), id.to_string())).cloned();
    let vectors: Vec<&Value> =
        files.iter().flat_map(|(_, file)| file["events"].as_array().unwrap()).collect();
    assert!(vectors.len() >= 250, "{}", vectors.len());
    let texts = vectors.iter().map(|vector| vector["text"].as_str().unwrap());
    let events: Vec<_> = texts.map(|text| Event::scan(text.as_bytes()).unwrap()).collect();
    let cases: Vec<_> = events
        .iter()
        .zip(&vectors)
        .map(|(event, vector)| {
            let version = RoomVersion::parse(vector["room_version"].as_str().unwrap()).unwrap();
            in_known_room(event, version)
        })
        .collect();
    let hot_keys = HotKeys::new(HotKeys::BYTES_MAX);
    for hot_keys in [None, Some(&hot_keys), Some(&hot_keys)] {
        let judgements = judge_all(&cases, &find, hot_keys);
        assert_eq!(judgements.len(), cases.len());
        for ((judgement, case), vector) in judgements.iter().zip(&cases).zip(&vectors) {
            assert_eq!(told(judgement), told(&judge(*case, &find)));
            let verdict = match judgement.as_ref().unwrap().verdict() {
                Verdict::Good => "good",
                Verdict::Redacted => "redacted",
                Verdict::Refused(_) => "refused",
            };
            assert_eq!(verdict, vector["verdict"], "{}", vector["what"]);
        }
    }
    assert!(hot_keys.bytes() > 0);
}

#[test]
fn an_event_is_the_same_within_a_body_and_by_itself() {
    for (_, file) in files() {
        let texts: Vec<_> = file["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["text"].as_str().unwrap())
            .collect();
        // As the senders wrote them, and canonical.
        let written = format!("{{\"pdus\":[{}]}}", texts.join(", "));
        let mut canonical = Vec::new();
        let body = Object::scan(written.as_bytes()).unwrap();
        body.write_canonical(&mut |piece: &[u8]| canonical.extend_from_slice(piece));
        for body in [written.as_bytes(), &canonical] {
            let body = Object::scan(body).unwrap();
            let (_, pdus) = body.members().next().unwrap();
            let pdus: Vec<_> = crate::proto::json::array_values(pdus).unwrap().collect();
            assert_eq!(pdus.len(), texts.len());
            for (pdu, text) in pdus.iter().zip(&texts) {
                let inner = Event::scan_in(&body, pdu).unwrap();
                let event = Event::scan(text.as_bytes()).unwrap();
                assert_eq!(inner.content_hash(), event.content_hash());
                assert_eq!(inner.canonical_bytes(), event.canonical_bytes());
                for version in RoomVersion::ALL {
                    assert_eq!(inner.reference_hash(version), event.reference_hash(version));
                }
            }
        }
    }
}

#[test]
fn an_event_of_the_wrong_form_is_told_at_its_place() {
    let version = RoomVersion::V11;
    let mut good = hashed(message(version));
    sign(&mut good, version, "one.example", "ed25519:1");
    let mut bad = good.clone();
    bad["depth"] = json!(-1);
    let texts = [&bad, &good, &bad, &good, &good].map(|event| event.to_string());
    let events: Vec<_> = texts.iter().map(|text| Event::scan(text.as_bytes()).unwrap()).collect();
    let cases: Vec<_> = events.iter().map(|event| in_known_room(event, version)).collect();
    let find = |server: &ServerName, id: &KeyId| Some(known_key(server, id));
    let judgements = judge_all(&cases, &find, None);
    let good = |judgement: &Result<Judgement, FormatError>| match judgement {
        Ok(judgement) => judgement.verdict() == Verdict::Good,
        Err(error) => {
            assert_eq!(*error, FormatError::Depth);
            false
        }
    };
    let good: Vec<_> = judgements.iter().map(good).collect();
    assert_eq!(good, [false, true, false, true, true]);
    assert!(judge_all(&[], &find, None).is_empty());
}

#[test]
fn r93_the_refused_are_judged_again_under_other_versions() {
    // Redaction leaves `redacts` to 11 and 12, and `origin` to those before.
    let mut old = hashed(message(RoomVersion::V10));
    old["origin"] = json!("one.example");
    let mut old = hashed(old);
    sign(&mut old, RoomVersion::V10, "one.example", "ed25519:1");
    let mut new = hashed(old.clone());
    sign(&mut new, RoomVersion::V11, "one.example", "ed25519:1");
    let texts = [&old, &new, &old].map(|event| event.to_string());
    let events: Vec<_> = texts.iter().map(|text| Event::scan(text.as_bytes()).unwrap()).collect();
    let find = |server: &ServerName, id: &KeyId| Some(known_key(server, id));
    let mut open: Vec<usize> = (0..events.len()).collect();
    let mut left = Vec::new();
    for version in [RoomVersion::V11, RoomVersion::V10] {
        let cases: Vec<_> = open.iter().map(|at| in_known_room(&events[*at], version)).collect();
        let judgements = judge_all(&cases, &find, None);
        let bad = |judgement: &Result<Judgement, FormatError>| {
            judgement.as_ref().unwrap().verdict() != Verdict::Good
        };
        open = open.iter().zip(&judgements).filter(|(_, it)| bad(it)).map(|(at, _)| *at).collect();
        left.push(open.clone());
    }
    assert_eq!(left, [vec![0, 2], vec![]]);
}
