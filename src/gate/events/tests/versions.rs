//! How an event is judged whose room may be of several versions (R82), and by which keys.

use super::*;

const ROOM: &str = "!r:one.example";

#[tokio::test]
async fn r82_an_event_is_good_if_it_is_in_one_of_the_versions_that_its_room_may_be_of() {
    let one = server("one.example");
    let (examiner, registry) = examiner(&[&one], Duration::from_secs(60));
    let aliases = ("m.room.aliases", json!({ "aliases": [] }));
    let rules = ("m.room.join_rules", json!({ "join_rule": "restricted", "allow": [] }));
    // Such a number is right in old rooms only, of which there is the same to sign as of others.
    let number = ("m.room.message", json!({ "number": 1.5 }));
    for (version, (kind, content)) in [
        (RoomVersion::V4, aliases.clone()),
        (RoomVersion::V6, aliases),
        (RoomVersion::V6, rules.clone()),
        (RoomVersion::V10, rules),
        (RoomVersion::V4, number),
    ] {
        let mut event = event(&one, ROOM, kind, content, 0);
        event["signatures"] = json!({});
        let mut event = signed_as(version, &one, event);
        let answer = send(&examiner, &one, std::slice::from_ref(&event)).await;
        assert_eq!(answer, Ok(Examined::Passed), "{version} {kind}");
        event["depth"] = json!(8);
        let answer = send(&examiner, &one, &[event]).await;
        assert!(matches!(answer, Ok(Examined::Answered(_))), "{version} {kind}");
    }
    assert_eq!(count(&registry, "bad", "fedgate_events_total"), 5.0);
}

#[tokio::test]
async fn r84_events_of_one_server_may_be_signed_by_different_keys() {
    let (mut one, mut other) = (server("one.example"), TestServer::new("one.example"));
    one.add_key("ed25519:2");
    other.add_key("ed25519:2");
    let (examiner, registry) = examiner(&[&one], Duration::from_secs(60));
    let by = |signer| event(signer, ROOM, "m.room.message", json!({}), 0);
    send(&examiner, &one, &[by(&one), by(&other)]).await.unwrap();
    assert_eq!(count(&registry, "bad", "fedgate_events_total"), 0.0);
    assert_eq!(count(&registry, "unjudged", "fedgate_events_total"), 0.0);
}

#[tokio::test]
async fn r82_of_bad_findings_the_likeliest_counts_of_those_that_show_the_form_to_be_right() {
    let one = server("one.example");
    let (examiner, _) = examiner(&[&one], Duration::from_secs(60));
    for (kind, content, version) in [
        ("m.room.aliases", json!({ "aliases": [] }), RoomVersion::V9),
        // In later versions this would be no event at all.
        ("m.room.message", json!({ "number": 1.5 }), RoomVersion::V4),
    ] {
        let mut forged = event(&one, ROOM, kind, content, 0);
        forged["depth"] = json!(8);
        let text = forged.to_string();
        let id = Event::scan(text.as_bytes()).unwrap().any_id(version).unwrap();
        let answer = json!({ "pdus": { id: { "error": "event refused: signatures" } } });
        let expected = Examined::Answered(answer.to_string().into());
        assert_eq!(send(&examiner, &one, &[forged]).await, Ok(expected), "{kind}");
    }
}

#[tokio::test]
async fn r87_a_redacted_copy_passes_and_its_content_is_not_judged() {
    let one = server("one.example");
    let (examiner, registry) = examiner(&[&one], Duration::from_secs(60));
    let mut copy = event(&one, ROOM, "m.room.message", json!({ "body": "hello" }), 0);
    copy["content"] = json!({});
    assert_eq!(send(&examiner, &one, &[copy]).await, Ok(Examined::Passed));
    assert_eq!(count(&registry, "bad", "fedgate_events_total"), 0.0);
    assert_eq!(count(&registry, "unjudged", "fedgate_events_total"), 1.0);
}

#[tokio::test]
async fn r93_events_of_a_room_whose_rules_are_unknown_pass_unjudged_and_are_counted() {
    let one = server("one.example");
    let (examiner, registry) = examiner(&[&one], Duration::from_secs(60));
    examiner.rooms.learn(ROOM, "org.example.new", Authority::Homeserver);
    let mut forged = event(&one, ROOM, "m.room.message", json!({}), 0);
    forged["depth"] = json!(8);
    assert_eq!(send(&examiner, &one, &[forged]).await, Ok(Examined::Passed));
    assert_eq!(count(&registry, "room_version", "fedgate_events_unjudged_total"), 1.0);
}

#[tokio::test]
async fn r82_the_event_whose_hash_names_a_room_tells_its_version() {
    let one = server("one.example");
    let (examiner, _) = examiner(&[&one], Duration::from_secs(60));
    let mut create = event(&one, "", "m.room.create", json!({ "room_version": "12" }), 0);
    create.as_object_mut().unwrap().remove("room_id");
    for member in ["auth_events", "prev_events"] {
        create[member] = json!([]);
    }
    create["signatures"] = json!({});
    let create = signed_as(RoomVersion::V12, &one, create);
    let text = create.to_string();
    let id = Event::scan(text.as_bytes()).unwrap().any_id(RoomVersion::V12).unwrap();
    assert_eq!(send(&examiner, &one, &[create]).await, Ok(Examined::Passed));
    let standing = examiner.rooms.standing(&id.replace('$', "!"));
    assert_eq!(standing, Standing::Known(RoomVersion::V12));
}
