//! Which versions an event's shape leaves (R82).

use RoomVersion::{V1, V3, V4, V6, V8, V9, V11, V12};

use super::vectors::{files, keys};
use super::*;

const URL_SAFE: [RoomVersion; 5] = [V9, V11, V6, V8, V4];

fn possible(event: &Value) -> Vec<RoomVersion> {
    let text = event.to_string();
    Event::scan(text.as_bytes()).unwrap().possible_versions().collect()
}

fn with(mut event: Value, name: &str, value: Value) -> Value {
    event[name] = value;
    event
}

fn create(version: RoomVersion) -> Value {
    let mut event = message(version);
    event["type"] = json!("m.room.create");
    event["state_key"] = json!("");
    event["auth_events"] = json!([]);
    event["prev_events"] = json!([]);
    if version.has_hashed_room_ids() {
        event.as_object_mut().unwrap().remove("room_id");
    }
    event
}

#[test]
fn r82_each_form_leaves_its_versions() {
    for version in RoomVersion::ALL {
        let left = match version.id_form() {
            IdForm::Given => vec![V1],
            IdForm::Base64 => vec![V3],
            IdForm::UrlSafe if version.has_hashed_room_ids() => vec![V12],
            IdForm::UrlSafe => URL_SAFE.into(),
        };
        assert_eq!(possible(&message(version)), left, "{version}");
    }
}

#[test]
fn r82_every_redaction_and_form_of_ids_has_one_version() {
    let looks = |version: RoomVersion| {
        (version.redaction(), version.id_form(), version.has_hashed_room_ids())
    };
    let mut event = create(V1);
    let mut tried = possible(&event);
    event = create(V12);
    tried.extend(possible(&event));
    for version in RoomVersion::ALL {
        // 3 has the redaction of 4 and other IDs.
        let same = tried.iter().filter(|other| looks(**other) == looks(version));
        assert_eq!(same.count(), 1, "{version}");
    }
    assert_eq!(tried.len(), 8);
}

#[test]
fn r82_references_tell_by_their_alphabet() {
    let plain = format!("${}", "a".repeat(43));
    let standard = [format!("${}+", "a".repeat(42)), format!("${}/", "a".repeat(42))];
    let url_safe = [format!("${}-", "a".repeat(42)), format!("${}_", "a".repeat(42))];
    let mut all = URL_SAFE.to_vec();
    all.push(V3);
    for list in ["auth_events", "prev_events"] {
        let event = |ids: Value| {
            let other = if list == "auth_events" { "prev_events" } else { "auth_events" };
            with(with(message(V4), other, json!([])), list, ids)
        };
        assert_eq!(possible(&event(json!([plain]))), all);
        assert_eq!(possible(&event(json!([]))), all);
        for (standard, url_safe) in standard.iter().zip(&url_safe) {
            assert_eq!(possible(&event(json!([plain, standard]))), [V3]);
            assert_eq!(possible(&event(json!([url_safe, plain]))), URL_SAFE);
            assert_eq!(possible(&event(json!([url_safe, standard]))), []);
        }
    }
    // A slash may be written as an escape.
    let text = message(V4).to_string().replace("-_\"", "a\\u002f\"");
    let event = Event::scan(text.as_bytes()).unwrap();
    assert_eq!(event.possible_versions().collect::<Vec<_>>(), [V3]);
}

#[test]
fn r82_pairs_and_a_given_id_belong_together() {
    let mut pairs = message(V1);
    assert_eq!(possible(&pairs), [V1]);
    pairs.as_object_mut().unwrap().remove("event_id");
    assert_eq!(possible(&pairs), []);
    // An ID that nobody asked for changes nothing.
    assert_eq!(possible(&with(message(V4), "event_id", json!("$1:one.example"))), URL_SAFE);
    let mixed = json!([["$1:one.example", {}], "$1:one.example"]);
    assert_eq!(possible(&with(message(V1), "prev_events", mixed)), []);
    // Without references all is open.
    assert_eq!(possible(&create(V1)), [V1, V9, V11, V6, V8, V4, V3]);
}

#[test]
fn r82_room_ids_without_a_domain_are_of_version_12() {
    for room_id in ["!aaaa", "!", "", "!\u{e9}"] {
        assert_eq!(possible(&with(message(V4), "room_id", json!(room_id))), [V12], "{room_id}");
    }
    assert_eq!(possible(&create(V12)), [V12]);
    assert_eq!(possible(&with(create(V12), "room_id", json!("!aaaa"))), []);
    assert_eq!(possible(&with(message(V12), "room_id", json!("!a:b"))), URL_SAFE);
    let no_room = with(create(V12), "type", json!("m.room.name"));
    assert_eq!(possible(&no_room), []);
    for room_id in [json!(null), json!(1), json!([]), json!({ ":": ":" })] {
        assert_eq!(possible(&with(message(V4), "room_id", room_id)), []);
    }
}

#[test]
fn r82_a_shape_contradicts_versions() {
    for version in RoomVersion::ALL {
        let text = message(version).to_string();
        let event = Event::scan(text.as_bytes()).unwrap();
        let wanted = |other: RoomVersion| {
            version.id_form() == other.id_form()
                && version.has_hashed_room_ids() == other.has_hashed_room_ids()
        };
        for other in RoomVersion::ALL {
            assert_eq!(event.fits_version(other), wanted(other), "{version} as {other}");
        }
    }
}

/// What Synapse takes in the version it is of is taken in one of those that are left, and nothing
/// that a version asks for alone is in its way.
#[test]
fn r82_what_is_good_in_its_version_is_good_in_one_that_is_left() {
    let files = files();
    let keys = keys(&files[0].1);
    let find =
        |server: &ServerName, id: &KeyId| keys.get(&(server.to_string(), id.to_string())).cloned();
    let mut taken = 0;
    for event in files.iter().flat_map(|(_, file)| file["events"].as_array().unwrap()) {
        if event["verdict"] == "refused" {
            continue;
        }
        let version = RoomVersion::parse(event["room_version"].as_str().unwrap()).unwrap();
        let scanned = Event::scan(event["text"].as_str().unwrap().as_bytes()).unwrap();
        assert!(scanned.fits_version(version), "{event}");
        let is_good = |version| {
            let case = Case { event: &scanned, version, key_times: KeyTimes::Observed };
            let judged = judge(case, &find);
            judged.is_ok_and(|judged| !matches!(judged.verdict(), Verdict::Refused(_)))
        };
        // An old key's time counts in every version here, other than with Synapse.
        if is_good(version) {
            assert!(scanned.possible_versions().any(is_good), "{event}");
            taken += 1;
        }
    }
    assert!(taken > 100, "{taken}");
}

#[test]
fn r82_a_damaged_signature_is_bad_in_all_that_are_left() {
    for version in RoomVersion::ALL {
        let mut event = message(version);
        sign(&mut event, version, "one.example", "ed25519:1");
        let refused = |event: &Value, version| {
            matches!(judged(event, version).unwrap().verdict(), Verdict::Refused(_))
        };
        assert!(!possible(&event).into_iter().all(|version| refused(&event, version)));
        event["sender"] = json!("@v:one.example");
        assert!(possible(&event).into_iter().all(|version| refused(&event, version)), "{version}");
    }
}
