//! The events inside of requests, over sockets (R79 to R93).

mod versions;

use fedgate::proto::event::RoomVersion;
use http::Response;
use serde_json::{Value, json};

use crate::support::event::{finish, id, membership, message, sign, unsigned};
use crate::support::homeserver::full;
use crate::support::{
    Answer, Client, Gate, GateOptions, Homeserver, NOW_MS, OWN_NAME, Origin, within,
};

/// However busy the machine is, events are judged.
const REPORT: &str = "[events]\nmode = \"report\"\ntime_budget = \"1h\"";
const ENFORCE: &str = "[events]\nmode = \"enforce\"\ntime_budget = \"1h\"";
const OFF: &str = "[events]\nmode = \"off\"";

const ONE: &str = "one.example";

async fn gate(homeserver: &Homeserver, settings: &'static str) -> Gate {
    Gate::start_with(homeserver, GateOptions { settings, ..GateOptions::default() }).await
}

async fn put(gate: &Gate, origin: &Origin, target: &str, body: &Value) -> Answer {
    let body = body.to_string();
    let authorization = origin.authorize("PUT", target, Some(body.as_bytes()));
    let mut client = Client::plain(gate.address).await;
    client.request("PUT", target, &[("authorization", &authorization)], Some(body.as_bytes())).await
}

/// A signed GET.
async fn get(gate: &Gate, origin: &Origin, target: &str) -> Answer {
    let authorization = origin.authorize("GET", target, None);
    let mut client = Client::plain(gate.address).await;
    client.request("GET", target, &[("authorization", &authorization)], None).await
}

async fn send(gate: &Gate, origin: &Origin, pdus: &[Value], edus: &[Value]) -> Answer {
    let body = json!({
        "origin": origin.name.as_str(),
        "origin_server_ts": NOW_MS,
        "pdus": pdus,
        "edus": edus,
    });
    put(gate, origin, "/_matrix/federation/v1/send/1", &body).await
}

async fn checks(gate: &Gate, check: &str, outcome: &str, version: &str) -> f64 {
    let line = format!(
        "fedgate_events_total{{check=\"{check}\",outcome=\"{outcome}\",room_version=\"{version}\"}}"
    );
    gate.metric(&line).await
}

/// The event with another text, which its hash and so its signature do not cover.
fn altered(mut event: Value) -> Value {
    event["content"]["body"] = json!("altered");
    event
}

/// The event with another time, which its signature does not cover.
fn forged(mut event: Value) -> Value {
    event["depth"] = json!(8);
    event
}

#[tokio::test]
async fn good_events_of_every_shape_pass_and_are_counted() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, ENFORCE).await;
    let one = gate.origin(ONE);
    let versions = RoomVersion::ALL;
    let pdus: Vec<_> = versions.iter().map(|version| message(&one, *version, "hello")).collect();
    assert_eq!(send(&gate, &one, &pdus, &[]).await.status, 200);
    assert_eq!(homeserver.seen().len(), 1);
    for check in ["format", "signatures", "content_hash"] {
        assert_eq!(checks(&gate, check, "good", "unknown").await, 12.0, "{check}");
        assert_eq!(checks(&gate, check, "bad", "unknown").await, 0.0, "{check}");
    }
}

#[tokio::test]
async fn r87_an_altered_content_is_reported_and_passes_in_every_mode() {
    for settings in [REPORT, ENFORCE] {
        let homeserver = Homeserver::start().await;
        let gate = gate(&homeserver, settings).await;
        let one = gate.origin(ONE);
        let event = altered(message(&one, RoomVersion::V10, "hello"));
        assert_eq!(send(&gate, &one, &[event], &[]).await.status, 200);
        assert_eq!(homeserver.seen().len(), 1, "the homeserver takes its redacted form");
        assert_eq!(checks(&gate, "content_hash", "bad", "unknown").await, 1.0);
        assert_eq!(checks(&gate, "signatures", "good", "unknown").await, 1.0);
    }
}

/// What Synapse sends of an event that was redacted while the receiver was away.
#[tokio::test]
async fn r87_a_redacted_copy_is_nothing_bad_unless_more_than_redaction_is_gone() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, ENFORCE).await;
    let one = gate.origin(ONE);
    for version in RoomVersion::ALL {
        let mut event = message(&one, version, "hello");
        event["content"] = json!({});
        event["unsigned"] = json!({ "age": 1 });
        let forged = forged(event.clone());
        assert_eq!(send(&gate, &one, &[event], &[]).await.status, 200);
        assert_eq!(send(&gate, &one, &[forged], &[]).await.status, 200);
    }
    assert_eq!(homeserver.seen().len(), 12, "only the forged ones are answered here");
    assert_eq!(checks(&gate, "content_hash", "unjudged", "unknown").await, 12.0);
    assert_eq!(checks(&gate, "content_hash", "bad", "unknown").await, 0.0);
    assert_eq!(checks(&gate, "signatures", "good", "unknown").await, 12.0);
    assert_eq!(checks(&gate, "signatures", "bad", "unknown").await, 12.0);
}

#[tokio::test]
async fn r80_forged_events_are_only_reported_by_default() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, "").await;
    let one = gate.origin(ONE);
    let event = forged(message(&one, RoomVersion::V10, "hello"));
    assert_eq!(send(&gate, &one, &[event], &[]).await.json(), json!({}), "the homeserver's answer");
    assert_eq!(homeserver.seen().len(), 1);
    assert_eq!(checks(&gate, "signatures", "bad", "unknown").await, 1.0);
}

#[tokio::test]
async fn an_all_bad_transaction_is_answered_with_an_error_for_each_and_goes_nowhere() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, ENFORCE).await;
    let one = gate.origin(ONE);
    let first = forged(message(&one, RoomVersion::V10, "hello"));
    let second = forged(message(&one, RoomVersion::V1, "hello"));
    let mut third = message(&one, RoomVersion::V10, "hello");
    third["content"]["long"] = json!("x".repeat(65_536));
    let ids = [id(&first, RoomVersion::V10), id(&second, RoomVersion::V1)];
    let edu = json!({
        "edu_type": "m.typing",
        "content": { "room_id": "!r:one.example", "typing": true, "user_id": "@u:two.example" },
    });
    let answer = send(&gate, &one, &[first, second, third], &[edu]).await;
    assert_eq!(answer.status, 200);
    let pdus = answer.json()["pdus"].clone();
    for id in &ids {
        assert_eq!(pdus[id]["error"], json!("event refused: signatures"), "{pdus}");
    }
    assert_eq!(pdus.as_object().unwrap().len(), 3, "{pdus}");
    assert_eq!(homeserver.connections(), 0);
    assert_eq!(checks(&gate, "format", "bad", "unknown").await, 1.0);
    assert_eq!(checks(&gate, "edu_origin", "bad", "").await, 1.0);
}

#[tokio::test]
async fn r80_a_mixed_transaction_reaches_the_homeserver_byte_for_byte() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, ENFORCE).await;
    let one = gate.origin(ONE);
    let good = message(&one, RoomVersion::V10, "hello");
    let bad = forged(good.clone());
    let typing = json!({
        "edu_type": "m.typing",
        "content": { "room_id": "!r:one.example", "typing": true, "user_id": "@u:one.example" },
    });
    for (pdus, edus) in
        [(vec![bad.clone(), good], vec![]), (vec![bad.clone()], vec![typing]), (vec![], vec![])]
    {
        let before = homeserver.seen().len();
        assert_eq!(send(&gate, &one, &pdus, &edus).await.status, 200);
        let seen = homeserver.seen();
        assert_eq!(seen.len(), before + 1);
        let body: Value = serde_json::from_slice(&seen.last().unwrap().body).unwrap();
        assert_eq!((&body["pdus"], &body["edus"]), (&json!(pdus), &json!(edus)));
    }
}

#[tokio::test]
async fn observe_mode_forwards_all_bad_transactions_too() {
    let homeserver = Homeserver::start().await;
    let settings = "mode = \"observe\"\n[events]\nmode = \"enforce\"\ntime_budget = \"1h\"";
    let gate = gate(&homeserver, settings).await;
    let one = gate.origin(ONE);
    let bad = forged(message(&one, RoomVersion::V10, "hello"));
    assert_eq!(send(&gate, &one, &[bad], &[]).await.json(), json!({}));
    assert_eq!(homeserver.seen().len(), 1);
    let target = "/_matrix/federation/v2/send_leave/!room:one.example/$e";
    let join = membership(&one, RoomVersion::V10, "join", "@u:one.example");
    assert_eq!(put(&gate, &one, target, &join).await.status, 200);
    assert_eq!(homeserver.seen().len(), 2);
}

#[tokio::test]
async fn off_looks_at_nothing() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, OFF).await;
    let one = gate.origin(ONE);
    let bad = forged(message(&one, RoomVersion::V10, "hello"));
    assert_eq!(send(&gate, &one, &vec![bad; 51], &[]).await.status, 200);
    assert_eq!(homeserver.seen().len(), 1);
    let answer = gate.admin_get("/metrics").await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(!text.contains("fedgate_events_total{"), "{text}");
}

#[tokio::test]
async fn r79_transactions_over_the_limits_are_refused() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, REPORT).await;
    let one = gate.origin(ONE);
    let (pdu, edu) = (json!({}), json!({ "edu_type": "x", "content": {} }));
    for (pdus, edus) in [(51, 0), (0, 101)] {
        let answer = send(&gate, &one, &vec![pdu.clone(); pdus], &vec![edu.clone(); edus]).await;
        assert_eq!((answer.status, &*answer.errcode()), (400, "M_INVALID_PARAM"));
    }
    assert_eq!(homeserver.connections(), 0);
    let answer = send(&gate, &one, &vec![pdu; 50], &vec![edu; 100]).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn r92_edus_for_users_of_others_are_reported() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, REPORT).await;
    let one = gate.origin(ONE);
    let edu = |user: &str| json!({ "edu_type": "m.typing", "content": { "room_id": "!r:x.example", "typing": true, "user_id": user } });
    let other = json!({ "edu_type": "org.example.other", "content": {} });
    let edus = [edu("@u:one.example"), edu("@u:two.example"), other];
    assert_eq!(send(&gate, &one, &[], &edus).await.status, 200);
    for outcome in ["good", "bad", "unjudged"] {
        assert_eq!(checks(&gate, "edu_origin", outcome, "").await, 1.0, "{outcome}");
    }
}

#[tokio::test]
async fn r90_membership_requests_bring_the_event_they_are_for() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, REPORT).await;
    let one = gate.origin(ONE);
    let version = RoomVersion::V10;
    let (user, ours) = ("@u:one.example", format!("@u:{OWN_NAME}"));
    let target = |path: &str| format!("/_matrix/federation/{path}/!room:one.example/$e");
    for (path, kind) in [
        ("v1/send_join", "join"),
        ("v2/send_join", "join"),
        ("v1/send_leave", "leave"),
        ("v2/send_leave", "leave"),
        ("v1/send_knock", "knock"),
        ("v1/invite", "invite"),
    ] {
        let state_key = if kind == "invite" { &*ours } else { user };
        let event = membership(&one, version, kind, state_key);
        let answer = put(&gate, &one, &target(path), &event).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let seen = homeserver.seen().len();
        let other_kind = if kind == "join" { "leave" } else { "join" };
        let elsewhere = Origin::new("two.example");
        for wrong in [
            membership(&one, version, other_kind, state_key),
            membership(&one, version, kind, "@v:three.example"),
            membership(&elsewhere, version, kind, state_key),
            message(&one, version, "hello"),
        ] {
            let answer = put(&gate, &one, &target(path), &wrong).await;
            let got = (answer.status, &*answer.errcode());
            assert_eq!(got, (400, "M_INVALID_PARAM"), "{path}: {wrong}");
        }
        let other_room = format!("/_matrix/federation/{path}/!other:one.example/$e");
        assert_eq!(put(&gate, &one, &other_room, &event).await.status, 400, "{path}");
        assert_eq!(homeserver.seen().len(), seen, "{path}: nothing of it at the homeserver");
    }
}

#[tokio::test]
async fn r90_a_forged_membership_event_is_refused_only_by_enforce() {
    for (settings, status) in [(REPORT, 200), (ENFORCE, 400)] {
        let homeserver = Homeserver::start().await;
        let gate = gate(&homeserver, settings).await;
        let one = gate.origin(ONE);
        let version = RoomVersion::V10;
        let target = "/_matrix/federation/v2/send_join/!room:one.example/$e";
        let event = forged(membership(&one, version, "join", "@u:one.example"));
        assert_eq!(put(&gate, &one, target, &event).await.status, status);
        let invite = json!({
            "room_version": "10",
            "event": forged(membership(&one, version, "invite", &format!("@u:{OWN_NAME}"))),
            "invite_room_state": [],
        });
        let target = "/_matrix/federation/v2/invite/!room:one.example/$e";
        assert_eq!(put(&gate, &one, target, &invite).await.status, status);
        let target = "/_matrix/policy/v1/sign";
        let body = forged(message(&one, version, "hello")).to_string();
        let authorization = one.authorize("POST", target, Some(body.as_bytes()));
        let headers = [("authorization", &*authorization)];
        let mut client = Client::plain(gate.address).await;
        let answer = client.request("POST", target, &headers, Some(body.as_bytes())).await;
        assert_eq!(answer.status, status);
        assert_eq!(homeserver.connections() == 0, status == 400);
    }
}

#[tokio::test]
async fn r91_servers_ask_to_join_for_their_own_users_only() {
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, REPORT).await;
    let one = gate.origin(ONE);
    for operation in ["make_join", "make_knock", "make_leave"] {
        for (user, status) in [
            ("@u:one.example", 200),
            ("%40u%3Aone.example", 200),
            ("@u:two.example", 403),
            ("u", 403),
        ] {
            let target =
                format!("/_matrix/federation/v1/{operation}/!room:x.example/{user}?ver=10");
            let answer = get(&gate, &one, &target).await;
            assert_eq!(answer.status, status, "{target}");
        }
    }
    assert_eq!(homeserver.seen().len(), 6);
}
