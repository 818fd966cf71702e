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
