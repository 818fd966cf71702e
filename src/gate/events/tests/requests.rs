//! What each operation may bring, and for whom (R83, R90 to R92).

use super::*;

const ROOM: &str = "!r:one.example";

/// The operations that bring a membership event, and what it must say.
const MEMBERSHIPS: [(Endpoint, &str, &str); 6] = [
    (Endpoint::Invite, "v1/invite", "invite"),
    (Endpoint::Invite, "v2/invite", "invite"),
    (Endpoint::SendJoin, "v1/send_join", "join"),
    (Endpoint::SendJoin, "v2/send_join", "join"),
    (Endpoint::SendKnock, "v1/send_knock", "knock"),
    (Endpoint::SendLeave, "v2/send_leave", "leave"),
];

fn one_examiner(servers: &[&TestServer]) -> Examiner {
    let (examiner, _) = examiner(servers, Duration::from_secs(60));
    examiner.rooms.learn(ROOM, "10", Authority::Homeserver);
    examiner
}

/// A request of `origin` for the operation, with a body if it brings one.
async fn ask(
    examiner: &Examiner,
    origin: &TestServer,
    (endpoint, target): (Endpoint, &str),
    body: Option<&Value>,
) -> Result<Examined, Rejection> {
    let body = body.map(Value::to_string).unwrap_or_default();
    let content = Object::scan(body.as_bytes()).ok();
    let target = format!("/_matrix/{target}");
    let target = RequestTarget::parse(target.as_bytes()).unwrap();
    let request = Verified {
        endpoint,
        target: &target,
        origin: &origin.name,
        client: CLIENT,
        body: body.as_bytes(),
        content: content.as_ref(),
    };
    examiner.examine(request).await.map_err(|refusal| refusal.rejection)
}

/// Brings a membership event as the operation has it.
async fn bring(
    examiner: &Examiner,
    origin: &TestServer,
    (endpoint, operation): (Endpoint, &str),
    event: &Value,
) -> Result<Examined, Rejection> {
    let wrapped = json!({ "event": event, "room_version": "10", "invite_room_state": [] });
    let body = if operation == "v2/invite" { &wrapped } else { event };
    let target = format!("federation/{operation}/{ROOM}/$e");
    ask(examiner, origin, (endpoint, &target), Some(body)).await
}

/// A membership event by a user of the server: his own, or the invite of one of ours.
fn membership(server: &TestServer, room_id: &str, content: Value) -> Value {
    let is_invite = content["membership"] == "invite";
    let mut event = event(server, room_id, "m.room.member", content, 0);
    let own = format!("@u:{}", server.name);
    event["state_key"] = json!(if is_invite { "@u:our.example" } else { &own });
    event["signatures"] = json!({});
    signed(server, event)
}

#[tokio::test]
async fn r91_servers_ask_to_join_knock_and_leave_for_their_own_users_only() {
    let one = server("one.example");
    let examiner = one_examiner(&[&one]);
    for (endpoint, operation) in [
        (Endpoint::MakeJoin, "make_join"),
        (Endpoint::MakeKnock, "make_knock"),
        (Endpoint::MakeLeave, "make_leave"),
    ] {
        for (user, is_own) in [
            ("/@u:one.example", true),
            ("/%40u%3Aone.example", true),
            ("/@u:one.example/more", true),
            ("/@u:evil.example", false),
            ("/u:one.example", false),
            ("/x/@u:one.example", false),
            ("/", false),
            ("", false),
        ] {
            let target = format!("federation/v1/{operation}/{ROOM}{user}");
            let answer = ask(&examiner, &one, (endpoint, &target), None).await;
            let expected =
                if is_own { Ok(Examined::Passed) } else { Err(Rejection::UserNotOnOrigin) };
            assert_eq!(answer, expected, "{target}");
        }
    }
}

#[tokio::test]
async fn r90_a_membership_event_is_the_one_that_the_request_is_for() {
    let (one, evil) = (server("one.example"), server("evil.example"));
    let examiner = one_examiner(&[&one, &evil]);
    for (endpoint, operation, said) in MEMBERSHIPS {
        let operation = (endpoint, operation);
        let event = |room_id, said: &str| membership(&one, room_id, json!({ "membership": said }));
        let right = event(ROOM, said);
        assert_eq!(bring(&examiner, &one, operation, &right).await, Ok(Examined::Passed), "{said}");
        let elsewhere = event("!s:one.example", said);
        let other = event(ROOM, if said == "leave" { "join" } else { "leave" });
        for (origin, event) in [(&evil, &right), (&one, &elsewhere), (&one, &other)] {
            let answer = bring(&examiner, origin, operation, event).await;
            assert_eq!(answer, Err(Rejection::MembershipRefused), "{operation:?} {event}");
        }
    }
    // Whoever exchanges an invite is not its sender.
    let exchange = (Endpoint::ExchangeThirdPartyInvite, "v1/exchange_third_party_invite");
    let member = json!({ "membership": "invite", "third_party_invite": { "signed": {
        "mxid": "@u:our.example", "token": "t", "signatures": {},
    } } });
    let invite = membership(&one, ROOM, member);
    assert_eq!(bring(&examiner, &evil, exchange, &invite).await, Ok(Examined::Passed));
    let plain = membership(&one, ROOM, json!({ "membership": "invite" }));
    let answer = bring(&examiner, &evil, exchange, &plain).await;
    assert_eq!(answer, Err(Rejection::MembershipRefused));
}

#[tokio::test]
async fn r90_a_forged_event_that_comes_alone_is_refused_where_bad_events_are() {
    let one = server("one.example");
    let mut examiner = one_examiner(&[&one]);
    for mode in [EventsMode::Enforce, EventsMode::Report] {
        examiner.settings.mode = mode;
        let refused = Err(Rejection::EventRefused);
        let expected = if mode == EventsMode::Enforce { refused } else { Ok(Examined::Passed) };
        for (endpoint, operation, said) in MEMBERSHIPS {
            let mut event = membership(&one, ROOM, json!({ "membership": said }));
            event["depth"] = json!(8);
            let answer = bring(&examiner, &one, (endpoint, operation), &event).await;
            assert_eq!(answer, expected, "{operation}");
        }
        let sign = (Endpoint::PolicySign, "policy/v1/sign");
        let mut event = event(&one, ROOM, "m.room.message", json!({}), 0);
        assert_eq!(ask(&examiner, &one, sign, Some(&event)).await, Ok(Examined::Passed));
        // Of an altered content the homeserver takes what redaction leaves.
        event["content"] = json!({ "a": 1 });
        assert_eq!(ask(&examiner, &one, sign, Some(&event)).await, Ok(Examined::Passed));
        event["depth"] = json!(8);
        assert_eq!(ask(&examiner, &one, sign, Some(&event)).await, expected);
    }
}

#[tokio::test]
async fn r83_of_a_restricted_join_only_our_own_signature_may_still_be_missing() {
    let (one, two, our) = (server("one.example"), server("two.example"), server("our.example"));
    let examiner = one_examiner(&[&one, &two, &our]);
    let join = |by: &str| {
        let member = json!({ "membership": "join", "join_authorised_via_users_server": by });
        membership(&one, ROOM, member)
    };
    let send_join = (Endpoint::SendJoin, "v2/send_join");
    let ours = join("@a:our.example");
    assert_eq!(bring(&examiner, &one, send_join, &ours).await, Ok(Examined::Passed));
    let refused = Err(Rejection::EventRefused);
    assert_eq!(bring(&examiner, &one, send_join, &join("@a:two.example")).await, refused);
    let mut forged = ours.clone();
    forged["signatures"]["our.example"] = forged["signatures"]["one.example"].clone();
    assert_eq!(bring(&examiner, &one, send_join, &forged).await, refused, "that is not ours");
    let mut unsigned = ours.clone();
    unsigned["signatures"] = json!({});
    assert_eq!(bring(&examiner, &one, send_join, &unsigned).await, refused, "nor the sender's");
    let sent = send(&examiner, &one, &[ours]).await;
    assert!(matches!(sent, Ok(Examined::Answered(_))), "once it is sent it has ours");
}

#[tokio::test]
async fn r93_an_invite_exempts_no_room_of_another_server_from_judgement() {
    let (one, evil) = (server("one.example"), server("evil.example"));
    let (examiner, _) = examiner(&[&one, &evil], Duration::from_secs(60));
    let target = format!("federation/v2/invite/{ROOM}/$e");
    let mut invited = Vec::new();
    for (origin, standing) in [(&evil, Standing::Open(None)), (&one, Standing::Unrecognised)] {
        let event = membership(origin, ROOM, json!({ "membership": "invite" }));
        let body = json!({ "event": event, "room_version": "org.example.new" });
        invited.push(ask(&examiner, origin, (Endpoint::Invite, &target), Some(&body)).await);
        assert_eq!(examiner.rooms.standing(ROOM), standing);
    }
    assert_eq!(invited, [Ok(Examined::Passed), Ok(Examined::Passed)]);
}

#[tokio::test]
async fn r92_a_transaction_of_nothing_but_others_edus_goes_nowhere() {
    let one = server("one.example");
    let mut examiner = one_examiner(&[&one]);
    let typing = |user| json!({ "edu_type": "m.typing", "content": { "user_id": user } });
    let (own, foreign) = (typing("@u:one.example"), typing("@u:evil.example"));
    let (malformed, unknown) = (json!({ "edu_type": 1 }), json!({ "edu_type": "org.example" }));
    let good = event(&one, ROOM, "m.room.message", json!({}), 0);
    let mut forged = good.clone();
    forged["depth"] = json!(8);
    let send = (Endpoint::Send, "federation/v1/send/1");
    for (edus, pdus, passes) in [
        (vec![], vec![], true),
        (vec![&foreign], vec![], false),
        (vec![&malformed, &foreign], vec![], false),
        (vec![&own], vec![], true),
        (vec![&unknown], vec![], true),
        (vec![&own, &foreign], vec![], true),
        (vec![], vec![&forged], false),
        (vec![&foreign], vec![&forged], false),
        (vec![&own], vec![&forged], true),
        (vec![&foreign], vec![&good, &forged], true),
    ] {
        let body = json!({ "edus": edus, "pdus": pdus });
        examiner.settings.mode = EventsMode::Enforce;
        let answer = ask(&examiner, &one, send, Some(&body)).await.unwrap();
        assert_eq!(answer == Examined::Passed, passes, "{body}");
        examiner.settings.mode = EventsMode::Report;
        assert_eq!(ask(&examiner, &one, send, Some(&body)).await, Ok(Examined::Passed));
    }
    let many = json!({ "edus": vec![&own; 101] });
    assert_eq!(ask(&examiner, &one, send, Some(&many)).await, Err(Rejection::TransactionRefused));
}

#[tokio::test]
async fn r82_the_answers_to_make_join_and_make_knock_teach_a_rooms_version() {
    for (endpoint, operation, standing) in [
        (Endpoint::MakeJoin, "make_join", Standing::Known(RoomVersion::V9)),
        (Endpoint::MakeKnock, "make_knock", Standing::Known(RoomVersion::V9)),
        (Endpoint::MakeLeave, "make_leave", Standing::Open(None)),
    ] {
        let (examiner, _) = examiner(&[], Duration::from_secs(60));
        let target = format!("/_matrix/federation/v1/{operation}/%21r:one.example/@u:one.example");
        let target = RequestTarget::parse(target.as_bytes()).unwrap();
        if let Some(mut lesson) = examiner.lesson(endpoint, &target) {
            lesson.begin(http::StatusCode::OK, &http::HeaderMap::new());
            lesson.read(br#"{"room_version":"9"}"#, true);
        }
        assert_eq!(examiner.rooms.standing(ROOM), standing, "{operation}");
    }
}

#[tokio::test]
async fn what_is_known_of_rooms_outlives_a_reload() {
    let before = one_examiner(&[]);
    let after = examiner(&[], Duration::from_secs(60)).0.remembering(&before);
    assert_eq!(after.rooms.standing(ROOM), Standing::Known(RoomVersion::V10));
}

#[tokio::test]
async fn r90_an_invite_comes_with_its_event_and_its_rooms_version() {
    let one = server("one.example");
    let examiner = one_examiner(&[&one]);
    let target = format!("federation/v2/invite/{ROOM}/$e");
    let invite = membership(&one, ROOM, json!({ "membership": "invite" }));
    for body in [
        invite.clone(),
        json!({ "event": invite }),
        json!({ "event": invite, "room_version": 10 }),
        json!({ "event": [invite], "room_version": "10" }),
        json!({ "room_version": "10" }),
    ] {
        let answer = ask(&examiner, &one, (Endpoint::Invite, &target), Some(&body)).await;
        assert_eq!(answer, Err(Rejection::MembershipRefused), "{body}");
    }
}

#[tokio::test]
async fn r93_a_bad_invite_teaches_no_rooms_version() {
    let one = server("one.example");
    let (mut examiner, _) = examiner(&[&one], Duration::from_secs(60));
    let target = format!("federation/v2/invite/{ROOM}/$e");
    let invite = membership(&one, ROOM, json!({ "membership": "invite" }));
    let (mut altered, mut forged) = (invite.clone(), invite);
    altered["content"]["reason"] = json!("of somebody else");
    forged["depth"] = json!(8);
    for (mode, event) in [(EventsMode::Enforce, altered), (EventsMode::Report, forged)] {
        examiner.settings.mode = mode;
        let body = json!({ "event": event, "room_version": "10" });
        let answer = ask(&examiner, &one, (Endpoint::Invite, &target), Some(&body)).await;
        assert_eq!(answer, Ok(Examined::Passed));
        assert_eq!(examiner.rooms.standing(ROOM), Standing::Open(None), "{mode:?}");
    }
}

#[tokio::test]
async fn r83_whose_name_is_in_an_old_joins_event_id_must_have_signed_it_though_it_is_ours() {
    let one = server("one.example");
    let (examiner, _) = examiner(&[&one], Duration::from_secs(60));
    examiner.rooms.learn(ROOM, "1", Authority::Homeserver);
    for (named, expected) in
        [("one.example", Ok(Examined::Passed)), ("our.example", Err(Rejection::EventRefused))]
    {
        let mut join = membership(&one, ROOM, json!({ "membership": "join" }));
        let reference = json!([["$1:one.example", { "sha256": "abc" }]]);
        join["auth_events"] = reference.clone();
        join["prev_events"] = reference;
        join["event_id"] = json!(format!("$2:{named}"));
        join["signatures"] = json!({});
        let join = signed_as(RoomVersion::V1, &one, join);
        let send_join = (Endpoint::SendJoin, "v2/send_join");
        assert_eq!(bring(&examiner, &one, send_join, &join).await, expected, "{named}");
    }
}
