use super::*;
use crate::keys::testing::{DAY, TestServer, at, key_id, no_bans, source_of};
use Provenance::{Homeserver, Notary, Origin};

const ID: &str = "ed25519:1";

fn server() -> TestServer {
    let mut server = TestServer::new("a.example");
    server.add_key(ID);
    server
}

/// The same server with another key under the same ID.
fn server_with_other_body() -> TestServer {
    let mut server = TestServer::new("a.example");
    server.add_seed(ID, [99; 32]);
    server
}

fn retired_server() -> TestServer {
    let mut server = server();
    server.add_key("ed25519:2");
    server.retire(ID, at(5));
    server
}

fn valid_key(known: &KnownKeys, now: Timestamp) -> VerifyKey {
    let KeyAnswer::Valid(key) = known.answer(&key_id(ID), now) else { panic!("not valid") };
    key.key
}

fn valid_until(known: &KnownKeys) -> Timestamp {
    let KeyAnswer::Valid(key) = known.answer(&key_id(ID), at(0)) else { panic!("not valid") };
    key.effective_until
}

#[test]
fn r41_the_window_ends_after_its_last_millisecond() {
    let mut server = server();
    server.valid_until = at(5_000);
    let mut known = KnownKeys::default();
    known.add(server.stored(at(0), Origin), BindingMode::Enforce);
    let expired = KeyAnswer::Expired { effective_until: at(5_000) };
    assert!(matches!(known.answer(&key_id(ID), at(4_999)), KeyAnswer::Valid(_)));
    assert!(matches!(known.answer(&key_id(ID), at(5_000)), KeyAnswer::Valid(_)));
    assert_eq!(known.answer(&key_id(ID), at(5_001)), expired);
}

#[test]
fn r42_the_window_is_at_most_7_days_from_the_fetch() {
    let mut server = server();
    server.valid_until = at(3_650 * DAY);
    let mut known = KnownKeys::default();
    known.add(server.stored(at(1_000), Origin), BindingMode::Enforce);
    let end = 1_000 + 7 * DAY;
    assert!(matches!(known.answer(&key_id(ID), at(end - 1)), KeyAnswer::Valid(_)));
    assert!(matches!(known.answer(&key_id(ID), at(end)), KeyAnswer::Valid(_)));
    let expired = KeyAnswer::Expired { effective_until: at(end) };
    assert_eq!(known.answer(&key_id(ID), at(end + 1)), expired);
}

#[test]
fn r40_a_key_that_is_current_and_old_in_one_document_is_retired() {
    let mut server = server();
    server.add_key("ed25519:2");
    server.old_keys.insert(ID.to_owned(), (server.keys[ID], at(DAY)));
    let mut known = KnownKeys::default();
    known.add(server.stored(at(0), Origin), BindingMode::Enforce);
    assert_eq!(known.answer(&key_id(ID), at(1)), KeyAnswer::Retired { expired_ts: at(DAY) });
}

#[test]
fn a_document_that_no_longer_lists_a_key_does_not_take_it_away() {
    let mut other = TestServer::new("a.example");
    other.add_key("ed25519:2");
    for provenance in [Homeserver, Notary, Origin] {
        let mut known = KnownKeys::default();
        known.add(server().stored(at(0), Origin), BindingMode::Enforce);
        known.add(other.stored(at(1), provenance), BindingMode::Enforce);
        valid_key(&known, at(2));
        assert!(matches!(known.answer(&key_id("ed25519:2"), at(2)), KeyAnswer::Valid(_)));
    }
}

#[test]
fn only_the_origin_retires_a_valid_key() {
    let retired = KeyAnswer::Retired { expired_ts: at(5) };
    for learnt_from in [Homeserver, Notary, Origin] {
        for provenance in [Homeserver, Notary, Origin] {
            let mut known = KnownKeys::default();
            known.add(server().stored(at(0), learnt_from), BindingMode::Enforce);
            known.add(retired_server().stored(at(10), provenance), BindingMode::Enforce);
            let answer = known.answer(&key_id(ID), at(11));
            if provenance == Origin {
                assert_eq!(answer, retired);
            } else {
                assert!(matches!(answer, KeyAnswer::Valid(_)), "{provenance:?}: {answer:?}");
            }
        }
    }
}

#[test]
fn a_notary_retires_a_key_past_its_window() {
    let mut known = KnownKeys::default();
    known.add(server().stored(at(0), Origin), BindingMode::Enforce);
    let mut later = retired_server();
    later.valid_until = at(9 * DAY);
    known.add(later.stored(at(8 * DAY), Notary), BindingMode::Enforce);
    let retired = KeyAnswer::Retired { expired_ts: at(5) };
    assert_eq!(known.answer(&key_id(ID), at(8 * DAY)), retired);
}

#[test]
fn a_retired_key_comes_back_by_the_origin_only() {
    for provenance in [Homeserver, Notary, Origin] {
        let mut known = KnownKeys::default();
        known.add(retired_server().stored(at(0), Origin), BindingMode::Enforce);
        known.add(server().stored(at(10), provenance), BindingMode::Enforce);
        let answer = known.answer(&key_id(ID), at(11));
        if provenance == Origin {
            assert!(matches!(answer, KeyAnswer::Valid(_)), "{answer:?}");
        } else {
            assert_eq!(answer, KeyAnswer::Retired { expired_ts: at(5) }, "{provenance:?}");
        }
    }
}

#[test]
fn retirement_is_sure_while_the_origins_document_is_current() {
    let id = key_id(ID);
    let mut known = KnownKeys::default();
    known.add(retired_server().stored(at(10), Origin), BindingMode::Enforce);
    assert!(known.is_surely_retired(&id, at(DAY)));
    assert!(!known.is_surely_retired(&id, at(DAY + 1)));
    assert!(!known.is_surely_retired(&key_id("ed25519:2"), at(11)), "a current key");
    assert!(!known.is_surely_retired(&key_id("ed25519:3"), at(11)), "an unknown key");
    let mut known = KnownKeys::default();
    known.add(retired_server().stored(at(10), Notary), BindingMode::Enforce);
    assert!(!known.is_surely_retired(&id, at(11)));
}

#[test]
fn the_origins_newest_document_decides_on_the_window() {
    let mut known = KnownKeys::default();
    known.add(server().stored(at(0), Origin), BindingMode::Enforce);
    let mut shorter = server();
    shorter.valid_until = at(500);
    known.add(shorter.stored(at(1), Origin), BindingMode::Enforce);
    assert_eq!(valid_until(&known), at(500));
}

#[test]
fn others_can_only_prolong_a_window() {
    for provenance in [Homeserver, Notary] {
        let mut known = KnownKeys::default();
        known.add(server().stored(at(0), Origin), BindingMode::Enforce);
        let mut shorter = server();
        shorter.valid_until = at(500);
        known.add(shorter.stored(at(1), provenance), BindingMode::Enforce);
        assert_eq!(valid_until(&known), at(DAY));
        let mut longer = server();
        longer.valid_until = at(2 * DAY);
        known.add(longer.stored(at(2), provenance), BindingMode::Enforce);
        assert_eq!(valid_until(&known), at(2 * DAY));
        let KeyAnswer::Valid(key) = known.answer(&key_id(ID), at(3)) else { panic!() };
        assert_eq!(key.provenance, Some(provenance), "the source that vouches for the window");
    }
}

#[test]
fn r62_a_changed_body_does_not_replace_an_origin_learnt_one() {
    for provenance in [Homeserver, Notary, Origin] {
        let mut known = KnownKeys::default();
        let first = server().stored(at(0), Origin);
        let key = first.keys.verify_keys()[&key_id(ID)].clone();
        assert_eq!(known.add(first, BindingMode::Enforce).collisions, []);
        let other = server_with_other_body().stored(at(1), provenance);
        let offered = other.keys.verify_keys()[&key_id(ID)].clone();
        let collisions = known.add(other, BindingMode::Enforce).collisions;
        let expected = Collision {
            server: server().name,
            id: key_id(ID),
            known: (key.clone(), Origin),
            offered: (offered, source_of(provenance)),
            replaced: false,
        };
        assert_eq!(collisions, [expected]);
        assert!(collisions[0].to_string().ends_with("; the known one is kept"));
        assert_eq!(valid_key(&known, at(2)), key);
    }
}

#[test]
fn r62_the_origin_replaces_what_only_others_said() {
    for (learnt_from, provenance, replaced) in [
        (Notary, Origin, true),
        (Homeserver, Origin, true),
        (Notary, Notary, false),
        (Notary, Homeserver, false),
        (Homeserver, Notary, false),
    ] {
        let mut known = KnownKeys::default();
        known.add(server_with_other_body().stored(at(0), learnt_from), BindingMode::Enforce);
        let before = valid_key(&known, at(0));
        let honest = server().stored(at(1), provenance);
        let key = honest.keys.verify_keys()[&key_id(ID)].clone();
        let collisions = known.add(honest, BindingMode::Enforce).collisions;
        assert_eq!(collisions.len(), 1);
        assert_eq!(collisions[0].replaced, replaced, "{learnt_from:?} {provenance:?}");
        assert_eq!(valid_key(&known, at(2)), if replaced { key } else { before });
    }
}

#[test]
fn r62_a_key_the_origin_has_confirmed_stays_confirmed() {
    let mut known = KnownKeys::default();
    let key = server().checked().verify_keys()[&key_id(ID)].clone();
    known.add(server().stored(at(0), Notary), BindingMode::Enforce);
    known.add(server().stored(at(1), Origin), BindingMode::Enforce);
    let mut longer = server();
    longer.valid_until = at(3 * DAY);
    known.add(longer.stored(at(2), Notary), BindingMode::Enforce);
    let news = known.add(server_with_other_body().stored(at(3), Origin), BindingMode::Enforce);
    assert!(!news.collisions[0].replaced);
    assert_eq!(valid_key(&known, at(4)), key);
}

#[test]
fn r62_an_old_key_with_another_body_is_a_collision_too() {
    let mut known = KnownKeys::default();
    known.add(server().stored(at(0), Origin), BindingMode::Enforce);
    let mut other = server_with_other_body();
    other.add_key("ed25519:2");
    other.retire(ID, at(1));
    let news = known.add(other.stored(at(2), Origin), BindingMode::Enforce);
    assert_eq!(news.collisions.len(), 1);
    valid_key(&known, at(3));
}

#[test]
fn documents_per_server_are_bounded_and_the_newest_stays() {
    let mut known = KnownKeys::default();
    let count = 3 * DOCUMENTS_PER_SERVER_MAX;
    let id = |n| format!("ed25519:{n}");
    for n in 0..count {
        let mut server = TestServer::new("a.example");
        server.add_key(&id(n));
        known.add(server.stored(at(n as u64), Origin), BindingMode::Enforce);
    }
    assert_eq!(known.documents().len(), DOCUMENTS_PER_SERVER_MAX);
    for n in 0..count {
        let valid = matches!(known.answer(&key_id(&id(n)), at(100)), KeyAnswer::Valid(_));
        assert_eq!(valid, n >= count - DOCUMENTS_PER_SERVER_MAX, "{n}");
    }
}

#[test]
fn documents_without_a_valid_key_make_room_first() {
    let mut known = KnownKeys::default();
    known.add(server().stored(at(0), Origin), BindingMode::Enforce);
    for n in 2..=DOCUMENTS_PER_SERVER_MAX + 4 {
        let mut expired = TestServer::new("a.example");
        expired.add_key(&format!("ed25519:{n}"));
        expired.valid_until = at(1);
        known.add(expired.stored(at(n as u64), Origin), BindingMode::Enforce);
    }
    assert_eq!(known.documents().len(), DOCUMENTS_PER_SERVER_MAX);
    valid_key(&known, at(100));
}

#[test]
fn a_document_nobody_needs_is_let_go() {
    let mut known = KnownKeys::default();
    known.add(server().stored(at(0), Origin), BindingMode::Enforce);
    let size = known.size_bytes();
    for n in 1..100 {
        known.add(server().stored(at(n), Origin), BindingMode::Enforce);
    }
    assert_eq!((known.documents().len(), known.size_bytes()), (1, size));
}

/// MSC4499, the freeze: a new owner of an old name cannot rewrite its past.
#[test]
fn r62_the_origin_does_not_replace_a_provisional_key_past_its_window() {
    let mut known = KnownKeys::default();
    known.add(server().stored(at(0), Notary), BindingMode::Enforce);
    let mut later = server_with_other_body();
    later.valid_until = at(99 * DAY);
    let news = known.add(later.stored(at(8 * DAY), Origin), BindingMode::Enforce);
    assert!(!news.collisions[0].replaced);
    let mut known = KnownKeys::default();
    known.add(retired_server().stored(at(0), Notary), BindingMode::Enforce);
    let news = known.add(server_with_other_body().stored(at(1), Origin), BindingMode::Enforce);
    assert!(!news.collisions[0].replaced, "nor a retired one");
}

#[test]
fn the_first_expired_ts_wins() {
    for (first, again) in [(5, 9), (9, 5)] {
        let mut known = KnownKeys::default();
        for (time, expired_ts) in [(10, first), (11, again)] {
            let mut server = server();
            server.add_key("ed25519:2");
            server.retire(ID, at(expired_ts));
            known.add(server.stored(at(time), Origin), BindingMode::Enforce);
        }
        let answer = KeyAnswer::Retired { expired_ts: at(first) };
        assert_eq!(known.answer(&key_id(ID), at(20)), answer);
    }
}

/// A document fetched at a time that has yet to come says nothing about now (threat K7).
#[test]
fn k7_a_document_from_the_future_is_not_current() {
    let mut eternal = server();
    eternal.valid_until = Timestamp::MAX;
    let mut known = KnownKeys::default();
    known.add(eternal.stored(at(DAY), Origin), BindingMode::Enforce);
    let edge = DAY - CLOCK_SET_BACK_MS_MAX;
    assert!(matches!(known.answer(&key_id(ID), at(edge)), KeyAnswer::Valid(_)));
    assert!(matches!(known.answer(&key_id(ID), at(edge - 1)), KeyAnswer::Expired { .. }));
    // And gives way to one of now, from anybody.
    known.add(server().stored(at(0), Notary), BindingMode::Enforce);
    assert_eq!(valid_until(&known), at(DAY));
}

#[test]
fn key_ids_are_bounded_and_the_origin_has_the_first_right_to_them() {
    let mut known = KnownKeys::default();
    let fill = |known: &mut KnownKeys, name: &str, count: usize, provenance| {
        for chunk in 0..count.div_ceil(100) {
            let mut server = TestServer::new("a.example");
            for n in 0..100.min(count) {
                server.add_key(&format!("ed25519:{name}{chunk}_{n}"));
            }
            known.add(server.stored(at(0), provenance), BindingMode::Enforce);
        }
    };
    fill(&mut known, "notary", 1_200, Notary);
    assert_eq!(known.to_record().bindings.len(), KEY_IDS_PER_SERVER_MAX);
    fill(&mut known, "origin", 1, Origin);
    let record = known.to_record();
    assert_eq!(record.bindings.len(), KEY_IDS_PER_SERVER_MAX);
    assert!(record.bindings.iter().any(|binding| binding.learnt_from == Origin));
}

#[test]
fn a_record_says_all_that_was_known() {
    let mut known = KnownKeys::default();
    known.add(retired_server().stored(at(0), Notary), BindingMode::Enforce);
    known.add(server_with_other_body().stored(at(1), Origin), BindingMode::Enforce);
    let record = known.to_record();
    let (again, refused) = KnownKeys::from_record(record.clone(), &server().name, &no_bans());
    assert_eq!((again.to_record(), refused), (record, vec![]));
    for id in ["ed25519:1", "ed25519:2", "ed25519:3"] {
        assert_eq!(again.answer(&key_id(id), at(2)), known.answer(&key_id(id), at(2)));
    }
}

#[test]
fn a_record_of_another_server_or_with_a_changed_document_gives_no_key() {
    let mut known = KnownKeys::default();
    known.add(server().stored(at(0), Origin), BindingMode::Enforce);
    let record = known.to_record();
    let other = TestServer::new("b.example").name;
    let (read, refused) = KnownKeys::from_record(record.clone(), &other, &no_bans());
    assert_eq!((read.answer(&key_id(ID), at(1)), refused.len()), (KeyAnswer::Unknown, 1));
    let mut changed = record;
    let raw = String::from_utf8(changed.documents[0].raw.to_vec()).unwrap();
    let later = at(DAY).as_ms().to_string();
    assert!(raw.contains(&later));
    changed.documents[0].raw = raw.replace(&later, &at(2 * DAY).as_ms().to_string()).into();
    let (read, refused) = KnownKeys::from_record(changed, &server().name, &no_bans());
    assert_eq!((read.answer(&key_id(ID), at(1)), refused.len()), (KeyAnswer::Unknown, 1));
}

/// However a record came to say so: the key that is used is the one that is bound.
#[test]
fn a_stored_document_does_not_speak_for_another_body() {
    let mut known = KnownKeys::default();
    known.add(server().stored(at(0), Origin), BindingMode::Enforce);
    let mut record = known.to_record();
    record.bindings[0].key = server_with_other_body().checked().verify_keys()[&key_id(ID)].clone();
    let (read, refused) = KnownKeys::from_record(record, &server().name, &no_bans());
    assert_eq!((read.answer(&key_id(ID), at(1)), refused.len()), (KeyAnswer::Unknown, 0));
}

/// What a document brings, as pairs of key ID and word; empty when there is no entry.
fn news(known: &mut KnownKeys, stored: StoredKeys, mode: BindingMode) -> Vec<(String, String)> {
    let (raw, at, source) = (stored.keys.raw().clone(), stored.fetched_at, stored.source.clone());
    let name = stored.keys.server_name().clone();
    let Some(entry) = known.add(stored, mode).entry else { return Vec::new() };
    assert_eq!(entry.verify(&name, &no_bans()), Ok(()));
    let Entry::Shown { document, events } = entry else { panic!("{entry:?}") };
    assert_eq!(document, KeptDocument { raw, fetched_at: at, source });
    let told = |event: &Event| (event.id.to_string(), event.what.kind().label().to_owned());
    events.iter().map(told).collect()
}

fn told(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(id, word)| ((*id).to_owned(), (*word).to_owned())).collect()
}

#[test]
fn a_history_tells_of_first_sights_retirements_and_their_end_and_of_no_renewal() {
    const MODE: BindingMode = BindingMode::Enforce;
    let mut known = KnownKeys::default();
    let first = news(&mut known, server().stored(at(0), Origin), MODE);
    assert_eq!(first, told(&[(ID, "first_seen")]));
    let mut longer = server();
    longer.valid_until = at(2 * DAY);
    for provenance in [Origin, Notary, Homeserver] {
        let renewed = news(&mut known, longer.stored(at(1), provenance), MODE);
        assert_eq!(renewed, told(&[]));
    }
    let by_notary = news(&mut known, retired_server().stored(at(2), Notary), MODE);
    assert_eq!(by_notary, told(&[("ed25519:2", "first_seen")]), "a notary retires no valid key");
    let retired = news(&mut known, retired_server().stored(at(3), Origin), MODE);
    assert_eq!(retired, told(&[(ID, "retired")]));
    assert_eq!(news(&mut known, retired_server().stored(at(4), Origin), MODE), told(&[]));
    let back = news(&mut known, server().stored(at(5), Origin), MODE);
    assert_eq!(back, told(&[(ID, "taken_back")]));
    let mut known = KnownKeys::default();
    let both = news(&mut known, retired_server().stored(at(0), Notary), MODE);
    let both_told = [(ID, "first_seen"), (ID, "retired"), ("ed25519:2", "first_seen")];
    assert_eq!(both, told(&both_told), "in one entry");
}

#[test]
fn a_history_tells_of_another_body_once() {
    for (mode, sources, word) in [
        (BindingMode::Enforce, [Origin, Origin], "changed"),
        (BindingMode::Observe, [Origin, Origin], "changed"),
        (BindingMode::Enforce, [Notary, Origin], "changed"),
        (BindingMode::Enforce, [Notary, Notary], "changed"),
        (BindingMode::Enforce, [Origin, Notary], "disagreement"),
        (BindingMode::Enforce, [Notary, Homeserver], "disagreement"),
    ] {
        let mut known = KnownKeys::default();
        known.add(server().stored(at(0), sources[0]), mode);
        let other = server_with_other_body().stored(at(1), sources[1]);
        let replaces = known.clone().add(other.clone(), mode).collisions[0].replaced;
        let what = news(&mut known, other, mode);
        assert_eq!(what, told(&[(ID, word)]), "{mode:?} {sources:?}");
        let mut later = server_with_other_body();
        later.valid_until = at(2 * DAY);
        assert_eq!(news(&mut known, later.stored(at(2), sources[1]), mode), told(&[]));
        let first = news(&mut known, server().stored(at(3), Homeserver), mode);
        assert_eq!(first, told(&[]), "who was right is known: {replaces}");
    }
    let mut known = KnownKeys::default();
    known.add(server().stored(at(0), Notary), BindingMode::Enforce);
    let mut other = server_with_other_body();
    other.add_key("ed25519:2");
    other.retire(ID, at(1));
    let both = news(&mut known, other.stored(at(2), Origin), BindingMode::Enforce);
    let both_told = [(ID, "changed"), (ID, "retired"), ("ed25519:2", "first_seen")];
    assert_eq!(both, told(&both_told), "retired under its new body");
}
