//! What an inquiry concludes, and what it advises.

use super::*;
use crate::keys::rules::{Change, Rules, Subject};

/// What is to come of one world.
struct Case {
    origin: Step,
    notary: Step,
    policy: KeyPolicy,
    rules: Rulebook,
    before: Beforehand,
    states: Vec<(&'static str, KeyState)>,
    summary: &'static str,
    advice: &'static str,
}

/// Everything fails, and nothing is known.
fn case() -> Case {
    Case {
        origin: fails(refused()),
        notary: fails(NetError::Dns("notary.example: SERVFAIL".to_owned())),
        policy: KeyPolicy::default(),
        rules: banning([]),
        before: nothing(),
        states: Vec::new(),
        summary: "",
        advice: "",
    }
}

fn cases_without_keys() -> Vec<Case> {
    let blocked = NetError::BlockedAddress("not dialled: 10.0.0.1".to_owned());
    vec![
        Case { summary: "origin: connect: a.example: refused", advice: "[[notaries]]", ..case() },
        Case {
            origin: fails(blocked),
            summary: "origin: blocked address: not dialled: 10.0.0.1",
            advice: "outbound.allowed_ranges",
            ..case()
        },
        Case {
            origin: fails(NetError::Tls("expired".to_owned())),
            summary: "origin: tls: expired",
            advice: "put its certificate right",
            ..case()
        },
        Case {
            origin: Step::Answer(Ok(Vec::new())),
            notary: Step::Answer(Ok(Vec::new())),
            summary: "no source has keys of it",
            advice: "spelling",
            ..case()
        },
    ]
}

fn cases_with_keys() -> Vec<Case> {
    let expired = TestServer { valid_until: at(0), ..server() };
    let mut other = server();
    other.add_seed(ID, [9; 32]);
    let mut both = server();
    let banned = both.add_key("ed25519:bad");
    let known =
        |server: &TestServer, fetched_at| knowing([server.stored(fetched_at, Provenance::Origin)]);
    let long_ago = Timestamp::from_ms(at(0).as_ms() - 2 * HOUR);
    vec![
        Case {
            before: known(&TestServer { valid_until: long_ago, ..server() }, long_ago),
            states: vec![(ID, KeyState::Expired)],
            summary: "ed25519:1 has expired at 2023-11-14T20:13:20.000Z; origin: connect",
            advice: "firewall",
            ..case()
        },
        Case {
            origin: gives(&TestServer { valid_until: long_ago, ..expired }),
            notary: Step::Answer(Ok(Vec::new())),
            states: vec![(ID, KeyState::Expired)],
            summary: "ed25519:1 has expired at 2023-11-14T20:13:20.000Z",
            advice: "publish a current key",
            ..case()
        },
        Case {
            origin: gives(&other),
            before: known(&server(), at(0)),
            states: vec![(ID, KeyState::Conflict)],
            summary: "the server shows another key as ed25519:1 than the one bound to it",
            advice: "fedgate keys flush a.example",
            ..case()
        },
        Case {
            origin: gives(&server()),
            policy: KeyPolicy { agreement: 2, ..KeyPolicy::default() },
            states: vec![(ID, KeyState::Unagreed)],
            summary: "fewer than 2 witnesses agree on ed25519:1",
            advice: "keys.agreement",
            ..case()
        },
        Case {
            origin: gives(&server()),
            notary: gives(&other),
            policy: KeyPolicy { agreement: 2, ..KeyPolicy::default() },
            states: vec![(ID, KeyState::Unagreed)],
            summary: "fewer than 2 witnesses agree on ed25519:1",
            advice: "keys.agreement",
            ..case()
        },
        Case {
            before: known(&both, at(0)),
            rules: banning([*banned.as_bytes()]),
            states: vec![(ID, KeyState::Valid), ("ed25519:bad", KeyState::Banned)],
            summary: "requests of a.example signed with ed25519:1 are accepted, until \
                      2023-11-15T22:13:20.000Z unless renewed",
            ..case()
        },
    ]
}

/// Rules as one made at run time.
fn ruled(change: &Change) -> Rulebook {
    let mut made = Rules::default();
    made.apply(change).expect("room");
    Rulebook::new(Rules::default(), made)
}

fn cases_with_rules() -> Vec<Case> {
    let name = || server().name;
    let own = server().add_key(ID);
    let other = TestServer::new("a.example").add_seed(ID, [9; 32]);
    let pin = |key| ruled(&Change::Pin(name(), key_id(ID), key));
    vec![
        Case {
            rules: pin(other.clone()),
            states: vec![(ID, KeyState::Pinned)],
            summary: "signed with ed25519:1 are accepted, for as long as that is pinned",
            ..case()
        },
        Case {
            origin: gives(&server()),
            rules: pin(other),
            states: vec![(ID, KeyState::Pinned), (ID, KeyState::Overruled)],
            summary: "signed with ed25519:1 are accepted, for as long as that is pinned",
            ..case()
        },
        Case {
            origin: gives(&server()),
            rules: pin(own),
            states: vec![(ID, KeyState::Pinned)],
            summary: "signed with ed25519:1 are accepted, for as long as that is pinned",
            ..case()
        },
        Case {
            origin: gives(&server()),
            rules: ruled(&Change::Ban(Subject::Server(name()))),
            states: vec![(ID, KeyState::Banned)],
            summary: "the server is banned",
            advice: "fedgate keys unban",
            ..case()
        },
        Case {
            origin: gives(&server()),
            rules: ruled(&Change::Ban(Subject::KeyId(name(), key_id(ID)))),
            states: vec![(ID, KeyState::Banned)],
            summary: "its keys are banned",
            advice: "fedgate keys rules",
            ..case()
        },
    ]
}

#[tokio::test(start_paused = true)]
async fn the_verdict_names_the_reason_and_the_remedy() {
    let cases = cases_without_keys().into_iter().chain(cases_with_keys());
    for (number, case) in cases.chain(cases_with_rules()).enumerate() {
        let origin = ScriptedFetcher::origin(vec![case.origin]);
        let notary = ScriptedFetcher::notary(vec![case.notary]);
        let (policy, rules) = (&case.policy, &case.rules);
        let inquiry = ask_under(&[&origin, &notary], policy, rules, case.before).await;
        let Verdict { accepted, summary, advice, .. } = &inquiry.verdict;
        assert_eq!(states(&inquiry), case.states, "{number}");
        let valid = case.states.iter().any(|(_, state)| state.passes());
        assert_eq!(*accepted, valid, "{number}");
        assert!(summary.contains(case.summary), "{number}: {summary}");
        assert_eq!(summary.contains("are not accepted: "), !valid, "{number}: {summary}");
        let advice = advice.as_deref().unwrap_or_default();
        assert!(advice.contains(case.advice), "{number}: {advice}");
        assert_eq!(advice.is_empty(), valid, "{number}: {advice}");
    }
}
