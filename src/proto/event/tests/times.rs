//! Times by room version (spec, signing key validity; R85, R86): each version has the whole matrix,
//! one test for each case.

use super::*;
use crate::proto::limits::KEY_VALIDITY_MS_MAX;
use crate::proto::validity::effective_until;

/// What comes of a message, sent at [`SENT`] and signed with one key of that kind.
fn verdict(version: RoomVersion, kind: impl Fn(&KeyId) -> EventKey) -> Option<SignatureState> {
    let mut event = hashed(message(version));
    sign(&mut event, version, "one.example", "ed25519:1");
    let text = event.to_string();
    let find = |_: &ServerName, id: &KeyId| Some(kind(id));
    let judgement =
        judge(in_known_room(&Event::scan(text.as_bytes()).unwrap(), version), &find).unwrap();
    let state = judgement.signers[0].signatures[0].state;
    assert_eq!(state == SignatureState::Valid, judgement.verdict() == Verdict::Good);
    (state != SignatureState::Valid).then_some(state)
}

fn current(version: RoomVersion, until: Timestamp) -> Option<SignatureState> {
    verdict(version, |id| EventKey::Current {
        key: signing_key("one.example", id.as_str()).verify_key(),
        effective_until: until,
    })
}

fn retired(version: RoomVersion, at: u64) -> Option<SignatureState> {
    verdict(version, |id| EventKey::Retired {
        key: signing_key("one.example", id.as_str()).verify_key(),
        expired_ts: Timestamp::from_ms(at),
    })
}

/// What is said of a copy that ends too early, where the room version looks at that.
fn too_old(looks: bool, until: Timestamp) -> Option<SignatureState> {
    looks.then_some(SignatureState::Skipped(Skipped::Unfit(KeyUnfit::CopyTooOld {
        effective_until: until,
        origin_server_ts: Timestamp::from_ms(SENT),
    })))
}

fn ms(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

macro_rules! matrix {
    ($($name:ident: $version:ident, $looks:literal);* $(;)?) => {$(
        mod $name {
            use super::*;

            const VERSION: RoomVersion = RoomVersion::$version;
            /// Whether the version looks at the end of a key's copy.
            const LOOKS: bool = $looks;

            #[test]
            fn r85_a_copy_that_is_valid_after_the_event_is_good() {
                assert_eq!(current(VERSION, ms(SENT + 1)), None);
            }

            #[test]
            fn r85_a_copy_that_ends_with_the_event_is_good() {
                assert_eq!(current(VERSION, ms(SENT)), None);
            }

            #[test]
            fn r85_a_copy_that_ends_before_the_event_is_too_old_from_version_5_on() {
                let until = ms(SENT - 1);
                assert_eq!(current(VERSION, until), too_old(LOOKS, until));
            }

            #[test]
            fn r86_a_key_retired_after_the_event_is_good() {
                assert_eq!(retired(VERSION, SENT + 1), None);
            }

            #[test]
            fn r86_a_key_retired_at_the_time_of_the_event_is_good() {
                assert_eq!(retired(VERSION, SENT), None);
            }

            #[test]
            fn r86_a_key_retired_before_the_event_is_passed_over() {
                let unfit = KeyUnfit::Retired {
                    expired_ts: ms(SENT - 1),
                    origin_server_ts: ms(SENT),
                };
                let wanted = SignatureState::Skipped(Skipped::Unfit(unfit));
                assert_eq!(retired(VERSION, SENT - 1), Some(wanted));
            }

            #[test]
            fn r42_an_eternal_key_is_good_for_seven_days_from_the_fetch() {
                let until = |fetched_at| effective_until(Timestamp::MAX, ms(fetched_at));
                let fetched_at = SENT - KEY_VALIDITY_MS_MAX;
                assert_eq!(current(VERSION, until(fetched_at)), None);
                let late = until(fetched_at - 1);
                assert_eq!(current(VERSION, late), too_old(LOOKS, late));
            }

            #[test]
            fn r85_a_copy_that_was_fetched_long_ago_is_good_for_events_of_its_time() {
                // As a notary hands it out: valid when the event was sent, long over now.
                let until = effective_until(ms(SENT), ms(SENT + 365 * 24 * 3_600_000));
                assert_eq!(current(VERSION, until), None);
                let older = effective_until(ms(SENT - 5), ms(SENT + 365 * 24 * 3_600_000));
                assert_eq!(current(VERSION, older), too_old(LOOKS, older));
            }
        }
    )*};
}

matrix! {
    version_1: V1, false;
    version_2: V2, false;
    version_3: V3, false;
    version_4: V4, false;
    version_5: V5, true;
    version_6: V6, true;
    version_7: V7, true;
    version_8: V8, true;
    version_9: V9, true;
    version_10: V10, true;
    version_11: V11, true;
    version_12: V12, true;
}

#[test]
fn which_versions_ask_for_validity() {
    let has = RoomVersion::ALL.map(RoomVersion::has_key_validity);
    assert_eq!(has, [false, false, false, false, true, true, true, true, true, true, true, true]);
}

#[test]
fn a_signature_by_an_unfit_key_counts_neither_way() {
    let version = RoomVersion::V11;
    let mut event = hashed(message(version));
    sign(&mut event, version, "one.example", "ed25519:1");
    sign(&mut event, version, "one.example", "ed25519:late");
    event["signatures"]["one.example"]["ed25519:late"] = json!("A".repeat(86));
    let text = event.to_string();
    let find = |server: &ServerName, id: &KeyId| {
        let key = signing_key(server.as_str(), id.as_str()).verify_key();
        Some(if id.as_str() == "ed25519:late" {
            EventKey::Retired { key, expired_ts: ms(SENT - 1) }
        } else {
            EventKey::Current { key, effective_until: ms(SENT) }
        })
    };
    let judgement =
        judge(in_known_room(&Event::scan(text.as_bytes()).unwrap(), version), &find).unwrap();
    assert_eq!(judgement.verdict(), Verdict::Good);
}

#[test]
fn r93_where_the_version_is_a_guess_no_key_is_too_old_or_too_new() {
    for version in RoomVersion::ALL {
        let mut event = hashed(message(version));
        sign(&mut event, version, "one.example", "ed25519:1");
        let text = event.to_string();
        let event = Event::scan(text.as_bytes()).unwrap();
        let case = Case { event: &event, version, key_times: KeyTimes::Ignored };
        let key = signing_key("one.example", "ed25519:1").verify_key();
        for found in [
            EventKey::Current { key: key.clone(), effective_until: ms(0) },
            EventKey::Retired { key: key.clone(), expired_ts: ms(0) },
        ] {
            let find = |_: &ServerName, _: &KeyId| Some(found.clone());
            assert_eq!(judge(case, &find).unwrap().verdict(), Verdict::Good, "{version}");
            // It still has to verify.
            let other = signing_key("two.example", "ed25519:1").verify_key();
            let find = |_: &ServerName, _: &KeyId| {
                Some(EventKey::Current { key: other.clone(), effective_until: ms(0) })
            };
            let verdict = judge(case, &find).unwrap().verdict();
            assert!(matches!(verdict, Verdict::Refused(_)), "{version}");
        }
    }
}

#[test]
fn keys_come_out_of_documents_with_their_times() {
    use crate::proto::ed25519::BannedKeys;
    use crate::proto::server_keys::UnverifiedServerKeys;
    use crate::proto::sign::sign_json;
    let (server, current, old) = (name("one.example"), id("ed25519:1"), id("ed25519:old"));
    let key = signing_key("one.example", "ed25519:1");
    let old_key = signing_key("one.example", "ed25519:old").verify_key();
    let document = json!({
        "server_name": "one.example",
        "valid_until_ts": SENT + 1,
        "verify_keys": { "ed25519:1": { "key": key.verify_key().to_base64() } },
        "old_verify_keys": {
            "ed25519:old": { "key": old_key.to_base64(), "expired_ts": SENT - 3 },
        },
    });
    let signed = sign_json(document.to_string().as_bytes(), &server, &current, &key).unwrap();
    let document = UnverifiedServerKeys::parse(signed.into()).unwrap();
    let document = document.verify(&server, &BannedKeys::new([])).unwrap();
    let of = |id, fetched_at| EventKey::of(&document, id, ms(fetched_at));
    let until = |effective_until| {
        Some(EventKey::Current { key: key.verify_key(), effective_until: ms(effective_until) })
    };
    assert_eq!(of(&current, SENT), until(SENT + 1));
    let early = SENT - KEY_VALIDITY_MS_MAX;
    assert_eq!(of(&current, early), until(SENT));
    assert_eq!(of(&old, early), Some(EventKey::Retired { key: old_key, expired_ts: ms(SENT - 3) }));
    assert_eq!(of(&id("ed25519:2"), SENT), None);
}
