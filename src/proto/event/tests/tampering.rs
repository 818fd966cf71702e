//! What a changed byte makes of an event.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::vectors::{files, keys, written};
use super::*;

/// Keys by server and ID, as the vectors have them.
type Keys = BTreeMap<(String, String), EventKey>;

/// Every event that Synapse takes, whole or redacted: its room version and its text.
static TAKEN: LazyLock<(Keys, Vec<(RoomVersion, String)>)> = LazyLock::new(|| {
    let files = files();
    let taken = files.iter().flat_map(|(_, file)| file["events"].as_array().unwrap());
    let taken = taken.filter(|event| event["verdict"] != "refused").map(|event| {
        let version = RoomVersion::parse(event["room_version"].as_str().unwrap()).unwrap();
        (version, event["text"].as_str().unwrap().to_owned())
    });
    (keys(&files[0].1), taken.collect())
});

fn signed(event: &Event<'_>, version: RoomVersion) -> String {
    written(|mut sink| event.write_signed(version, &mut sink))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever a damaged byte makes of an event: nothing panics in any room version; in its own,
    /// what servers had to sign is as they signed it or the event is refused, and a good event has
    /// the content it had.
    #[test]
    fn no_altered_event_is_good(which: prop::sample::Index, place: prop::sample::Index, byte: u8) {
        let (keys, taken) = &*TAKEN;
        let find = |server: &ServerName, id: &KeyId| {
            keys.get(&(server.to_string(), id.to_string())).cloned()
        };
        let (version, text) = which.get(taken);
        let original = Event::scan(text.as_bytes()).unwrap();
        let mut altered = text.clone().into_bytes();
        let index = place.index(altered.len());
        let kinds = *b"{}[]:,\"\\ u0-.e9";
        altered[index] = *kinds.get(usize::from(byte)).unwrap_or(&byte);
        let Ok(event) = Event::scan(&altered) else { return Ok(()) };
        for other in RoomVersion::ALL {
            let Ok(judgement) = judge(in_known_room(&event, other), &find) else { continue };
            let verdict = judgement.verdict();
            if other != *version || matches!(verdict, Verdict::Refused(_)) {
                continue;
            }
            if !judgement.signers.is_empty() {
                prop_assert_eq!(signed(&event, other), signed(&original, other));
            }
            if verdict == Verdict::Good {
                prop_assert_eq!(event.content_hash(), original.content_hash());
            }
        }
    }

    #[test]
    fn any_object_is_judged_without_panic(values in prop::collection::vec(0_usize..12, 13)) {
        const FIELDS: [&str; 13] = [
            "auth_events", "content", "depth", "event_id", "hashes", "origin_server_ts",
            "prev_events", "room_id", "sender", "signatures", "state_key", "type", "unsigned",
        ];
        let texts = [
            "null", "[]", "{}", "0", "-1", "1.5", "\"\"", "\"@a:b\"", "[[\"$a:b\",{}]]",
            r#"{"sha256":"a"}"#, r#"{"b":{"ed25519:1":"a","":[]},"":1}"#,
            r#"{"membership":"join","third_party_invite":1,"join_authorised_via_users_server":[]}"#,
        ];
        let members = FIELDS.iter().zip(&values).filter(|(_, value)| **value > 0);
        let members: Vec<_> =
            members.map(|(name, value)| format!("\"{name}\":{}", texts[*value])).collect();
        let text = format!("{{{}}}", members.join(","));
        let event = Event::scan(text.as_bytes()).unwrap();
        let find = |server: &ServerName, id: &KeyId| Some(known_key(server, id));
        for version in RoomVersion::ALL {
            let _ = judge(in_known_room(&event, version), &find);
            let _ = event.required_signers(version);
            let _ = event.reference_hash(version);
        }
    }
}
