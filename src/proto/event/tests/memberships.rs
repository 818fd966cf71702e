//! The rules of the membership endpoints (R90, R91).

use MembershipRequest::{ExchangeThirdPartyInvite, Invite, SendJoin, SendKnock, SendLeave};

use super::*;
use crate::proto::test_vectors;

pub(super) const REQUESTS: [MembershipRequest; 5] =
    [ExchangeThirdPartyInvite, Invite, SendJoin, SendKnock, SendLeave];

const ROOM: &str = "!room:one.example";

/// An event that belongs in the request, from one.example to two.example.
fn member(request: MembershipRequest) -> Value {
    let mut event = message(RoomVersion::V10);
    event["type"] = json!("m.room.member");
    event["content"] = json!({ "membership": request.membership() });
    event["state_key"] = json!("@u:one.example");
    match request {
        Invite => event["state_key"] = json!("@v:two.example"),
        ExchangeThirdPartyInvite => {
            event["sender"] = json!("@inviter:three.example");
            event["content"]["third_party_invite"] = json!({
                "display_name": "u",
                "signed": { "mxid": "@u:one.example", "signatures": {}, "token": "t" },
            });
        }
        SendJoin | SendKnock | SendLeave => {}
    }
    event
}

fn check(request: MembershipRequest, event: &Value) -> Result<(), MembershipError> {
    check_in(request, event, ROOM)
}

fn check_in(
    request: MembershipRequest,
    event: &Value,
    room_id: &str,
) -> Result<(), MembershipError> {
    let text = event.to_string();
    let context = MembershipContext {
        request,
        origin: &name("one.example"),
        receivers: &[name("own.example"), name("two.example")],
        room_id,
    };
    Event::scan(text.as_bytes()).unwrap().check_membership(&context)
}

/// Asserts what is said of each request's event after a change.
fn assert_each(
    change: impl Fn(&mut Value, MembershipRequest),
    wanted: impl Fn(MembershipRequest) -> Result<(), MembershipError>,
) {
    for request in REQUESTS {
        let mut event = member(request);
        change(&mut event, request);
        assert_eq!(check(request, &event), wanted(request), "{request:?} {event}");
    }
}

#[test]
fn r90_what_belongs_is_taken() {
    assert_each(|_, _| {}, |_| Ok(()));
    // In every room version, and whatever else is in the event.
    assert_each(
        |event, _| {
            event["event_id"] = json!("$1:one.example");
            event["content"]["join_authorised_via_users_server"] = json!(null);
            event["unsigned"] = json!([]);
        },
        |_| Ok(()),
    );
    let room_id = format!("!{}", "a".repeat(43));
    for request in REQUESTS {
        let mut event = member(request);
        event["room_id"] = json!(room_id);
        assert_eq!(check_in(request, &event, &room_id), Ok(()));
    }
}

#[test]
fn r90_captured_requests_are_taken() {
    let captures = test_vectors::captures();
    let mut checked = 0;
    for capture in captures {
        let Some((_, path)) = capture.target.split_once("/v2/") else { continue };
        let mut parts = path.split('/');
        let (request, room_id) = match (parts.next(), parts.next()) {
            (Some("invite"), Some(room_id)) => (Invite, room_id),
            (Some("send_join"), Some(room_id)) => (SendJoin, room_id),
            (Some("send_leave"), Some(room_id)) => (SendLeave, room_id),
            _ => continue,
        };
        let room_id = room_id.replace("%21", "!").replace("%3A", ":");
        let body = Object::scan(capture.body.as_bytes()).unwrap();
        let event = match InviteBody::read(&body) {
            Ok(invite) => Event::scan(invite.event).unwrap(),
            Err(_) => Event::scan(capture.body.as_bytes()).unwrap(),
        };
        let header = |field: &str| {
            let (_, rest) = capture.authorization.split_once(&format!("{field}=\"")).unwrap();
            name(rest.split_once('"').unwrap().0)
        };
        let (origin, receiver) = (header("origin"), header("destination"));
        let context = MembershipContext {
            request,
            origin: &origin,
            receivers: std::slice::from_ref(&receiver),
            room_id: &room_id,
        };
        assert_eq!(event.check_membership(&context), Ok(()), "{}", capture.target);
        let reversed = MembershipContext { origin: &receiver, ..context };
        assert_eq!(event.check_membership(&reversed), Err(MembershipError::SenderElsewhere));
        checked += 1;
    }
    assert_eq!(checked, 3);
}

#[test]
fn r90_the_type_must_be_that_of_a_member() {
    let types =
        [json!("m.room.message"), json!(""), json!("m.room.member "), json!(null), json!([])];
    for event_type in types {
        assert_each(
            |event, _| event["type"] = event_type.clone(),
            |_| Err(MembershipError::OtherType),
        );
    }
    assert_each(
        |event, _| drop(event.as_object_mut().unwrap().remove("type")),
        |_| Err(MembershipError::OtherType),
    );
}

#[test]
fn r90_the_membership_must_be_the_requests() {
    for membership in ["join", "leave", "knock", "invite", "ban", "", "Join"] {
        assert_each(
            |event, _| event["content"]["membership"] = json!(membership),
            |request| {
                if request.membership() == membership {
                    Ok(())
                } else {
                    Err(MembershipError::OtherMembership(request))
                }
            },
        );
    }
    for content in
        [json!({}), json!(null), json!("join"), json!(["join"]), json!({ "membership": 1 })]
    {
        assert_each(
            |event, _| event["content"] = content.clone(),
            |request| Err(MembershipError::OtherMembership(request)),
        );
    }
}

#[test]
fn r90_the_room_must_be_that_of_the_path() {
    for room_id in [json!("!other:one.example"), json!(""), json!("!ROOM:one.example"), json!(null)]
    {
        assert_each(
            |event, _| event["room_id"] = room_id.clone(),
            |_| Err(MembershipError::OtherRoom),
        );
    }
    assert_each(
        |event, _| drop(event.as_object_mut().unwrap().remove("room_id")),
        |_| Err(MembershipError::OtherRoom),
    );
}

#[test]
fn r90_the_sender_must_be_on_the_origin() {
    for sender in ["@u:two.example", "@u:one.example:8448", "@u:two.example.one.example"] {
        assert_each(
            |event, _| event["sender"] = json!(sender),
            |request| match request {
                ExchangeThirdPartyInvite => Ok(()),
                Invite | SendJoin | SendKnock | SendLeave => Err(MembershipError::SenderElsewhere),
            },
        );
    }
}

#[test]
fn r90_the_state_key_must_be_the_sender() {
    assert_each(
        |event, _| event["state_key"] = json!("@U:one.example"),
        |request| match request {
            ExchangeThirdPartyInvite => Err(MembershipError::ThirdPartyInvitee),
            Invite => Err(MembershipError::InviteeElsewhere),
            SendJoin | SendKnock | SendLeave => Err(MembershipError::StateKeyNotSender),
        },
    );
}

#[test]
fn r90_who_is_invited_must_be_on_the_receiving_server() {
    let invite = |state_key: &str| {
        let mut event = member(Invite);
        event["state_key"] = json!(state_key);
        check(Invite, &event)
    };
    assert_eq!(invite("@v:two.example"), Ok(()));
    assert_eq!(invite("@v:own.example"), Ok(()));
    for elsewhere in ["@v:one.example", "@v:two.example:8448", "@v:TWO.example"] {
        assert_eq!(invite(elsewhere), Err(MembershipError::InviteeElsewhere));
    }
}

#[test]
fn r90_user_ids_need_a_sigil_and_a_server() {
    let ids = [
        json!(""),
        json!("@"),
        json!("@u"),
        json!("@u:"),
        json!("u:one.example"),
        json!("!u:one.example"),
        json!(" @u:one.example"),
        json!("@u:one example"),
        json!(null),
        json!(1),
        json!(["@u:one.example"]),
    ];
    for id in ids {
        for field in ["sender", "state_key"] {
            assert_each(
                |event, _| event[field] = id.clone(),
                |_| Err(MembershipError::NotAUserId(field)),
            );
        }
    }
    for field in ["sender", "state_key"] {
        assert_each(
            |event, _| drop(event.as_object_mut().unwrap().remove(field)),
            |_| Err(MembershipError::NotAUserId(field)),
        );
    }
}

#[test]
fn r90_historical_user_ids_are_taken() {
    let long = format!("@{}:one.example", "x".repeat(1_000));
    for id in
        ["@:one.example", "@U V\u{e9}\u{0}\u{1f600}\"\\:one.example", "@@/a:one.example", &long]
    {
        for request in [SendJoin, SendKnock, SendLeave] {
            let mut event = member(request);
            event["sender"] = json!(id);
            event["state_key"] = json!(id);
            assert_eq!(check(request, &event), Ok(()), "{id}");
        }
        assert!(user_is_on(id, &name("one.example")));
    }
}

#[test]
fn r90_an_exchanged_invite_is_signed_for_who_is_invited() {
    let exchange = |change: &dyn Fn(&mut Value)| {
        let mut event = member(ExchangeThirdPartyInvite);
        change(&mut event["content"]["third_party_invite"]);
        check(ExchangeThirdPartyInvite, &event)
    };
    let lacks = |member| Err(MembershipError::ThirdPartyInvite(member));
    for member in ["mxid", "token", "signatures"] {
        let remove = |invite: &mut Value| {
            invite["signed"].as_object_mut().unwrap().remove(member);
        };
        assert_eq!(exchange(&remove), lacks(member));
        assert_eq!(exchange(&|invite| invite["signed"][member] = json!(null)), lacks(member));
        assert_eq!(exchange(&|invite| invite["signed"][member] = json!([])), lacks(member));
    }
    for invite in [json!(null), json!([]), json!({}), json!({ "signed": "mxid" })] {
        assert_eq!(exchange(&|old| *old = invite.clone()), lacks("mxid"));
    }
    let other = exchange(&|invite| invite["signed"]["mxid"] = json!("@x:one.example"));
    assert_eq!(other, Err(MembershipError::ThirdPartyInvitee));
}

#[test]
fn r91_users_are_on_the_server_behind_the_first_colon() {
    let origin = name("one.example:8448");
    assert!(user_is_on("@u:one.example:8448", &origin));
    assert!(user_is_on("@:one.example:8448", &origin));
    let others = [
        "",
        "@",
        ":one.example:8448",
        "u:one.example:8448",
        "@u",
        "@u:",
        "@u:one.example",
        "@u:one.example:844",
        "@u:ONE.example:8448",
        "@u:x:one.example:8448",
        "@u:one.example:8448\n",
        "\u{feff}@u:one.example:8448",
        "@u%3Aone.example:8448",
    ];
    for other in others {
        assert!(!user_is_on(other, &origin), "{other:?}");
    }
}

#[test]
fn errors_name_the_cause() {
    let texts = [
        (MembershipError::NotAUserId("sender"), "sender is not a user ID"),
        (MembershipError::OtherMembership(SendKnock), "content.membership is not \"knock\""),
        (
            MembershipError::ThirdPartyInvite("token"),
            "content.third_party_invite.signed has no token as it must have",
        ),
    ];
    for (error, text) in texts {
        assert_eq!(error.to_string(), text);
    }
}
