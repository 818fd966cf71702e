//! What depends on the version of a room, and on keys that have to be found.

use super::*;

/// An event of a version whose key was valid until an hour before it.
fn late(origin: &Origin, version: RoomVersion) -> Value {
    let mut event = unsigned(origin, version, "m.room.message", json!({ "body": "x" }));
    event["origin_server_ts"] = json!(NOW_MS + 30 * 24 * 3_600_000);
    finish(event, origin, version)
}

#[tokio::test]
async fn r85_times_count_once_the_homeserver_has_told_the_version() {
    let answer = json!({ "room_version": "5", "event": {} }).to_string();
    let homeserver = Homeserver::start_with(move |_| Response::new(full(answer.clone()))).await;
    let gate = gate(&homeserver, REPORT).await;
    let one = gate.origin(ONE);
    let event = late(&one, RoomVersion::V5);
    send(&gate, &one, std::slice::from_ref(&event), &[]).await;
    assert_eq!(
        checks(&gate, "signatures", "good", "unknown").await,
        1.0,
        "R82: no version, no time"
    );
    let target = "/_matrix/federation/v1/make_join/%21room%3Aone.example/@u:one.example?ver=5";
    get(&gate, &one, target).await;
    // R12: what has been learnt is known under new settings too.
    gate.reload_unrelated().await;
    send(&gate, &one, &[event], &[]).await;
    assert_eq!(checks(&gate, "signatures", "bad", "5").await, 1.0);
    assert_eq!(gate.metric("fedgate_events_rooms_known").await, 1.0);
}

#[tokio::test]
async fn r93_events_of_unrecognised_versions_pass_unjudged() {
    let answer = json!({ "room_version": "org.example.new", "event": {} }).to_string();
    let homeserver = Homeserver::start_with(move |_| Response::new(full(answer.clone()))).await;
    let gate = gate(&homeserver, ENFORCE).await;
    let one = gate.origin(ONE);
    let target = "/_matrix/federation/v1/make_knock/!room:one.example/@u:one.example";
    get(&gate, &one, target).await;
    let event = forged(message(&one, RoomVersion::V10, "hello"));
    send(&gate, &one, &[event], &[]).await;
    assert_eq!(homeserver.seen().len(), 2);
    assert_eq!(checks(&gate, "signatures", "unjudged", "unrecognised").await, 1.0);
    let reason = "fedgate_events_unjudged_total{reason=\"room_version\"}";
    assert_eq!(gate.metric(reason).await, 1.0);
}

#[tokio::test]
async fn r82_a_version_that_a_stranger_claims_decides_nothing() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, REPORT).await;
    let (one, evil) = (gate.origin(ONE), gate.origin("evil.example"));
    let mut event = membership(&evil, RoomVersion::V12, "invite", &format!("@u:{OWN_NAME}"));
    event["room_id"] = json!("!room:one.example");
    let body =
        json!({ "room_version": "org.example.new", "event": event, "invite_room_state": [] });
    let target = "/_matrix/federation/v2/invite/!room:one.example/$e";
    assert_eq!(put(&gate, &evil, target, &body).await.status, 200);
    let event = forged(message(&one, RoomVersion::V10, "hello"));
    send(&gate, &one, &[event], &[]).await;
    assert_eq!(checks(&gate, "signatures", "bad", "unknown").await, 1.0);
}

#[tokio::test]
async fn a_room_is_known_by_its_create_event_and_by_its_servers_invites() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, REPORT).await;
    let one = gate.origin(ONE);
    let content = json!({ "creator": "@u:one.example", "room_version": "9" });
    let mut create = unsigned(&one, RoomVersion::V9, "m.room.create", content);
    create["state_key"] = json!("");
    let create = finish(create, &one, RoomVersion::V9);
    let hello = message(&one, RoomVersion::V9, "hello");
    send(&gate, &one, &[create, hello.clone()], &[]).await;
    send(&gate, &one, &[hello], &[]).await;
    assert_eq!(checks(&gate, "signatures", "good", "9").await, 2.0);
    let mut event =
        unsigned(&one, RoomVersion::V6, "m.room.member", json!({ "membership": "invite" }));
    event["state_key"] = json!(format!("@u:{OWN_NAME}"));
    event["room_id"] = json!("!six:one.example");
    let event = finish(event, &one, RoomVersion::V6);
    let body = json!({ "room_version": "6", "event": event, "invite_room_state": [] });
    let target = "/_matrix/federation/v2/invite/!six:one.example/$e";
    assert_eq!(put(&gate, &one, target, &body).await.status, 200);
    let mut event = message(&one, RoomVersion::V6, "hello");
    event["room_id"] = json!("!six:one.example");
    let event = finish(event, &one, RoomVersion::V6);
    send(&gate, &one, &[event], &[]).await;
    assert_eq!(checks(&gate, "signatures", "good", "6").await, 2.0, "the invite, the message");
}

#[tokio::test]
async fn r84_a_key_that_cannot_be_had_leaves_an_event_unjudged_and_one_that_is_not_there_does_not()
{
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, ENFORCE).await;
    let one = gate.origin(ONE);
    let (silent, other) = (Origin::new("silent.example"), gate.origin("two.example"));
    let event = message(&silent, RoomVersion::V10, "hello");
    send(&gate, &one, &[event], &[]).await;
    assert_eq!(checks(&gate, "signatures", "unjudged", "unknown").await, 1.0);
    assert_eq!(homeserver.seen().len(), 1, "it may be good");
    let unlisted = Origin::with_key("two.example", "ed25519:2", [3; 32]);
    let event = message(&unlisted, RoomVersion::V10, "hello");
    send(&gate, &one, &[event], &[]).await;
    assert_eq!(checks(&gate, "signatures", "bad", "unknown").await, 1.0, "{}", other.name);
    assert_eq!(homeserver.seen().len(), 1);
}

#[tokio::test]
async fn r84_events_of_other_servers_are_verified_with_their_keys_and_fetches_are_bounded() {
    let homeserver = Homeserver::start().await;
    let settings = "[events]\nmode = \"report\"\ntime_budget = \"1h\"\nfetches_per_request_max = 2";
    let keys = "first_seen_per_second = 1000\nfirst_seen_per_second_per_network = 1000";
    let options = GateOptions { settings, keys, ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    let one = gate.origin(ONE);
    let others: Vec<_> = (0..5).map(|n| gate.origin(&format!("s{n}.example"))).collect();
    let pdus: Vec<_> =
        others.iter().map(|other| message(other, RoomVersion::V10, "hello")).collect();
    send(&gate, &one, &pdus, &[]).await;
    assert_eq!(checks(&gate, "signatures", "good", "unknown").await, 2.0);
    assert_eq!(checks(&gate, "signatures", "unjudged", "unknown").await, 3.0);
    assert_eq!(gate.federation.fetches(), 3, "the origin's own and two more");
}

#[tokio::test]
async fn r88_numbers_count_where_the_version_is_known() {
    let answer = json!({ "room_version": "6", "event": {} }).to_string();
    let homeserver = Homeserver::start_with(move |_| Response::new(full(answer.clone()))).await;
    let gate = gate(&homeserver, REPORT).await;
    let one = gate.origin(ONE);
    let content = json!({ "body": 1.5 });
    let event =
        finish(unsigned(&one, RoomVersion::V5, "m.room.message", content), &one, RoomVersion::V5);
    send(&gate, &one, std::slice::from_ref(&event), &[]).await;
    assert_eq!(checks(&gate, "format", "good", "unknown").await, 1.0, "it may be of version 5");
    let target = "/_matrix/federation/v1/make_join/!room:one.example/@u:one.example?ver=6";
    get(&gate, &one, target).await;
    send(&gate, &one, &[sign(event, &one, RoomVersion::V6)], &[]).await;
    assert_eq!(checks(&gate, "format", "bad", "6").await, 1.0);
}

#[tokio::test]
async fn r83_a_restricted_join_needs_our_signature_only_once_we_have_seen_it() {
    let answer = json!({ "room_version": "10", "event": {} }).to_string();
    let homeserver = Homeserver::start_with(move |_| Response::new(full(answer.clone()))).await;
    let gate = gate(&homeserver, ENFORCE).await;
    let one = gate.origin(ONE);
    let target = "/_matrix/federation/v1/make_join/!room:one.example/@u:one.example?ver=10";
    get(&gate, &one, target).await;
    let join = |authorising: &str| {
        let content =
            json!({ "membership": "join", "join_authorised_via_users_server": authorising });
        let mut event = unsigned(&one, RoomVersion::V10, "m.room.member", content);
        event["state_key"] = json!("@u:one.example");
        finish(event, &one, RoomVersion::V10)
    };
    let ours = join(&format!("@a:{OWN_NAME}"));
    let target = "/_matrix/federation/v2/send_join/!room:one.example/$e";
    assert_eq!(put(&gate, &one, target, &ours).await.status, 200, "we sign it after this");
    let own = gate.origin(OWN_NAME);
    let mut forged = ours.clone();
    forged["signatures"][OWN_NAME] = json!({ own.key_id.as_str(): own.key.sign(b"").to_base64() });
    assert_eq!(put(&gate, &one, target, &forged).await.status, 400, "that is not ours");
    let theirs = join("@a:two.example");
    assert_eq!(put(&gate, &one, target, &theirs).await.errcode(), "M_INVALID_PARAM");
    send(&gate, &one, &[ours], &[]).await;
    assert_eq!(checks(&gate, "signatures", "bad", "10").await, 3.0, "now it should have ours");
}

#[tokio::test]
async fn r82_the_homeserver_is_asked_for_the_versions_of_rooms_if_it_may_be() {
    let homeserver = Homeserver::start_with(|seen| {
        let token = seen.headers.get("authorization").and_then(|value| value.to_str().ok());
        let is_admin = token == Some("Bearer syt_0123456789abcdef0123");
        let answer = match seen.target.as_str() {
            "/_synapse/admin/v1/rooms/%21room%3Aone%2Eexample" if is_admin => {
                json!({ "name": "Room", "room_id": "!room:one.example", "version": "5" })
            }
            _ => json!({}),
        };
        Response::new(full(answer.to_string()))
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "syt_0123456789abcdef0123\n").unwrap();
    let settings = format!("{REPORT}\nadmin_token_file = {token:?}");
    let options = GateOptions { settings: settings.leak(), ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    let one = gate.origin(ONE);
    let event = late(&one, RoomVersion::V5);
    send(&gate, &one, std::slice::from_ref(&event), &[]).await;
    within("the version", async { while gate.metric("fedgate_events_rooms_known").await < 1.0 {} })
        .await;
    send(&gate, &one, std::slice::from_ref(&event), &[]).await;
    send(&gate, &one, &[event], &[]).await;
    assert_eq!(checks(&gate, "signatures", "bad", "5").await, 2.0);
    let asked = homeserver.seen().into_iter().filter(|seen| seen.target.contains("/_synapse/"));
    assert_eq!(asked.count(), 1);
}
