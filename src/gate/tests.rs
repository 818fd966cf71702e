//! The order of checks, without a proxy around it: which keys count, what is verified, what observe
//! mode lets through.

mod policy;

use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use prometheus::Registry;

use super::events::metrics::EventMetrics;
use super::limits::metrics::LimitMetrics;
use super::*;
use crate::clock::ManualClock;
use crate::config::{BindingMode, Config, Events, EventsMode, Sources};
use crate::keys::KeyCache;
use crate::keys::keyring::{KeyPolicy, KeyringParts};
use crate::keys::metrics::KeyMetrics;
use crate::keys::rules::{Rulebook, Rules};
use crate::keys::testing::{DAY, TestServer, at};
use crate::proto::ed25519::SigningKey;
use crate::proto::sign::sign_request;
use crate::proto::signed_request::RequestTarget;
use crate::proto::validity::Provenance;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const TARGET: &str = "/_matrix/federation/v1/send/1";

/// A server with two current keys, a retired one, and one that the gate bans.
fn origin() -> TestServer {
    let mut origin = TestServer::new("one.example");
    for id in ["ed25519:1", "ed25519:2", "ed25519:banned", "ed25519:old"] {
        origin.add_key(id);
    }
    origin.retire("ed25519:old", at(0));
    origin
}

struct House {
    origin: TestServer,
    gate: Gate,
    clock: Arc<ManualClock>,
}

impl House {
    fn new(mode: Mode, other_paths: OtherPaths) -> Self {
        let origin = origin();
        let cache = KeyCache::new(1 << 20);
        cache.insert(origin.stored(at(0), Provenance::Origin), BindingMode::Enforce, None);
        let banned = SigningKey::from_seed(&origin.keys["ed25519:banned"]).verify_key();
        let rules = Rules { banned_keys: [*banned.as_bytes()].into(), ..Rules::default() };
        let clock = Arc::new(ManualClock::new(at(0)));
        let keyring = Keyring::new(KeyringParts {
            cache,
            store: None,
            stages: Vec::new(),
            clock: Arc::clone(&clock) as _,
            metrics: KeyMetrics::new(&Registry::new()).unwrap(),
            policy: KeyPolicy::default(),
            rules: Rulebook::new(rules, Rules::default()),
        });
        let settings = GateSettings {
            server_names: ["our.example", "ours.example"]
                .map(|name| ServerName::parse(name).unwrap())
                .into(),
            mode,
            other_paths,
            body_bytes_max: 1_000,
        };
        let gate = Gate::new(settings, keyring, None, Arc::clone(&clock) as _);
        Self { origin, gate, clock }
    }

    /// The same with limits, by these settings of theirs.
    fn limited(mut self, settings: &str) -> Self {
        let text = format!(
            "server_name = \"our.example\"\nhomeserver = \"http://127.0.0.1:1\"\n[limits]\n{settings}\n"
        );
        let config = Config::load(&Sources::from_text("test.toml", text)).unwrap();
        let metrics = LimitMetrics::register(&Registry::new()).unwrap();
        self.gate = self.gate.with_limits(Limits::new(&config.rates, &[], metrics).into());
        self
    }

    /// The same that looks at events, and refuses bad ones.
    fn examining(mut self) -> Self {
        let settings = Events {
            mode: EventsMode::Enforce,
            time_budget: Duration::from_secs(60),
            fetches_per_request_max: 10,
            rooms_max: 100,
            admin_token_file: None,
            admin_api: None,
        };
        let names = self.gate.settings.server_names.clone();
        let metrics = EventMetrics::register(&Registry::new()).unwrap();
        let keyring = self.gate.keyring.clone();
        self.gate.examiner = Examiner::new(settings, names, keyring, None, metrics);
        self
    }

    /// A header by that key for a request with that body, signed for `signed_for`.
    fn header(&self, id: &str, stated: Option<&str>, signed_for: &str, body: &str) -> String {
        let origin = &self.origin;
        let seed = origin.keys.get(id).copied().or_else(|| Some(origin.old_keys.get(id)?.0));
        let content = (!body.is_empty()).then(|| Object::scan(body.as_bytes()).unwrap());
        let request = SignedRequest {
            method: if body.is_empty() { "GET" } else { "PUT" },
            target: &RequestTarget::parse(TARGET.as_bytes()).unwrap(),
            origin: &origin.name,
            destination: &ServerName::parse(signed_for).unwrap(),
            content: content.as_ref(),
        };
        let signature = sign_request(&request, &SigningKey::from_seed(&seed.unwrap_or([1; 32])));
        let stated = stated.map_or(String::new(), |name| format!(r#"destination="{name}","#));
        let (name, sig) = (&origin.name, signature.to_base64());
        format!(r#"X-Matrix origin="{name}",{stated}key="{id}",sig="{sig}""#)
    }

    /// A right one.
    fn signed_by(&self, id: &str, body: &str) -> String {
        self.header(id, Some("our.example"), "our.example", body)
    }

    async fn judge(&self, headers: &[String], body: &str) -> Result<Permit, Rejection> {
        let method = if body.is_empty() { Method::GET } else { Method::PUT };
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        let head = RequestHead { method: &method, raw_target: TARGET.as_bytes(), headers: &map };
        let judged = async {
            let admitted = self.gate.admit(head)?;
            let keys = self.gate.find_keys(&admitted.claim, CLIENT).await?;
            let [dripped, whole] = [1, usize::MAX].map(|length| {
                let body = heard(&self.gate, &admitted, &keys, body, length);
                self.gate.judge(&admitted, &body).map(|judged| judged.permit)
            });
            let shown = |judged: &Result<Permit, Refusal>| format!("{judged:?}");
            assert_eq!(shown(&dripped), shown(&whole));
            whole
        };
        judged.await.map_err(|refusal: Refusal| refusal.rejection)
    }

    async fn refusal(&self, headers: &[String], body: &str) -> Rejection {
        self.judge(headers, body).await.unwrap_err()
    }
}

/// A body that has come in pieces of that length.
fn heard<'k>(
    gate: &Gate,
    admitted: &Admitted,
    keys: &'k FoundKeys,
    text: &str,
    length: usize,
) -> Body<'k> {
    let mut body = gate.hear(admitted, keys);
    for piece in text.as_bytes().chunks(length) {
        body.push(Bytes::copy_from_slice(piece), text.len());
    }
    body.end();
    body
}

fn enforcing() -> House {
    House::new(Mode::Enforce, OtherPaths::Refuse)
}

fn values(permit: Permit) -> Vec<String> {
    match permit.consume() {
        Authorization::Rewritten(values) => values,
        Authorization::AsReceived => panic!("the headers are passed as they came"),
    }
}

#[tokio::test]
async fn b5_a_permit_carries_the_headers_that_verified_and_no_others() {
    let house = enforcing();
    let (first, second) = (house.signed_by("ed25519:1", "{}"), house.signed_by("ed25519:2", "{}"));
    let permit = house.judge(&[first.clone(), second.clone()], "{}").await.unwrap();
    assert_eq!(permit.origin(), Some(&house.origin.name));
    assert_eq!(permit.observed_refusal(), None);
    assert_eq!(values(permit), [first.clone(), second]);
    let unknown = house.signed_by("ed25519:unknown", "{}");
    assert_eq!(values(house.judge(&[unknown, first.clone()], "{}").await.unwrap()), [first]);
}

#[tokio::test]
async fn b5_every_signature_by_a_usable_key_must_verify() {
    let house = enforcing();
    let right = house.signed_by("ed25519:1", "{}");
    let wrong = house.signed_by("ed25519:2", r#"{"a":1}"#);
    for headers in [vec![wrong.clone()], vec![right.clone(), wrong.clone()], vec![wrong, right]] {
        assert_eq!(house.refusal(&headers, "{}").await, Rejection::BadSignature);
    }
}

#[tokio::test]
async fn r40_r41_r48_keys_that_may_not_sign_are_told_apart_and_skipped_beside_one_that_may() {
    let house = enforcing();
    let right = house.signed_by("ed25519:1", "");
    for (id, rejection) in [
        ("ed25519:banned", Rejection::KeyBanned),
        ("ed25519:old", Rejection::KeyRetired),
        // Nobody can be asked whether there is such a key by now.
        ("ed25519:unknown", Rejection::KeyUnavailable),
    ] {
        let header = house.signed_by(id, "");
        assert_eq!(house.refusal(std::slice::from_ref(&header), "").await, rejection, "{id}");
        let beside = house.judge(&[header, right.clone()], "").await.unwrap();
        assert_eq!(values(beside), std::slice::from_ref(&right), "{id}");
    }
    house.clock.set(at(DAY));
    assert!(house.judge(std::slice::from_ref(&right), "").await.is_ok(), "the last millisecond");
    house.clock.set(at(DAY + 1));
    assert_eq!(house.refusal(&[right], "").await, Rejection::KeyUnavailable);
}

#[tokio::test]
async fn r41_a_key_that_ends_while_the_body_arrives_verifies_nothing() {
    let house = enforcing();
    let header = house.signed_by("ed25519:1", "{}");
    let map = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&header).unwrap())]);
    let head = RequestHead { method: &Method::PUT, raw_target: TARGET.as_bytes(), headers: &map };
    let admitted = house.gate.admit(head).unwrap();
    let keys = house.gate.find_keys(&admitted.claim, CLIENT).await.unwrap();
    for text in ["{}", "{ }"] {
        house.clock.set(at(0));
        let body = heard(&house.gate, &admitted, &keys, text, 1);
        assert!(house.gate.judge(&admitted, &body).is_ok());
        house.clock.set(at(DAY + 1));
        let refusal = house.gate.judge(&admitted, &body).unwrap_err();
        assert_eq!(refusal.rejection, Rejection::KeyExpired, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_keys_of_verified_requests_become_hot_and_those_of_forged_ones_do_not() {
    let house = enforcing();
    let (right, forged) =
        (house.signed_by("ed25519:1", "{}"), house.signed_by("ed25519:1", r#"{"a":1}"#));
    let hot_keys = house.gate.keyring.hot_keys();
    for _ in 0..100 {
        assert_eq!(
            house.refusal(std::slice::from_ref(&forged), "{}").await,
            Rejection::BadSignature
        );
    }
    assert!(!hot_keys.make_one());
    let second = house.signed_by("ed25519:2", "{}");
    for _ in 0..100 {
        for right in [&right, &second] {
            house.judge(std::slice::from_ref(right), "{}").await.unwrap();
        }
    }
    assert!(hot_keys.make_one());
    let prepared = tokio::time::timeout(Duration::from_secs(5), house.gate.prepare());
    assert!(prepared.await.is_err(), "it goes on");
    assert!(!hot_keys.make_one(), "the other one is made by now");
    house.judge(&[right], "{}").await.unwrap();
    assert_eq!(house.refusal(&[forged], "{}").await, Rejection::BadSignature);
}

#[tokio::test]
async fn r21_without_a_destination_any_own_name_may_have_been_meant() {
    let house = enforcing();
    for own in ["our.example", "ours.example"] {
        let header = house.header("ed25519:1", None, own, "{}");
        let values = values(house.judge(&[header], "{}").await.unwrap());
        assert!(values[0].contains(&format!(r#"destination="{own}""#)), "{values:?}");
    }
    for (stated, signed_for) in [(None, "other.example"), (Some("our.example"), "ours.example")] {
        let header = house.header("ed25519:1", stated, signed_for, "{}");
        assert_eq!(house.refusal(&[header], "{}").await, Rejection::BadSignature);
    }
    let elsewhere = house.header("ed25519:1", Some("other.example"), "other.example", "{}");
    assert_eq!(house.refusal(&[elsewhere], "{}").await, Rejection::DestinationMismatch);
}

#[tokio::test]
async fn r34_what_is_wrong_with_a_body_is_told_apart() {
    use Rejection::{BodyAmbiguous, BodyNotJson, BodyNotObject};
    let house = enforcing();
    let header = [house.signed_by("ed25519:1", "{}")];
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(500), "]".repeat(500));
    let long = format!(r#"{{"a":{}}}"#, "1".repeat(4_301));
    for (body, rejection) in [
        (r#"{"a":1,"a":1}"#, BodyAmbiguous),
        (r#"{"a":"\ud800"}"#, BodyAmbiguous),
        (r#"{"a":1e999}"#, BodyAmbiguous),
        (&deep, BodyAmbiguous),
        (&long, BodyAmbiguous),
        ("[]", BodyNotObject),
        ("\u{feff}{}", BodyNotJson),
        ("{", BodyNotJson),
        ("{}{}", BodyNotJson),
    ] {
        assert_eq!(house.refusal(&header, body).await, rejection, "{body}");
    }
}

#[test]
fn r4_other_paths_pass_only_where_the_operator_says_so() {
    let headers = HeaderMap::new();
    let head = RequestHead { method: &Method::GET, raw_target: b"/x", headers: &headers };
    let refusing = House::new(Mode::Enforce, OtherPaths::Refuse);
    assert_eq!(refusing.gate.admit(head).unwrap_err().rejection, Rejection::OtherPath);
    let forwarding = House::new(Mode::Enforce, OtherPaths::Forward);
    let admitted = forwarding.gate.admit(head).unwrap();
    let keys = FoundKeys::default();
    let body = heard(&forwarding.gate, &admitted, &keys, "x", 1);
    let judged = forwarding.gate.judge(&admitted, &body).unwrap();
    assert_eq!(judged.permit.origin(), None);
    assert_eq!(judged.permit.consume(), Authorization::AsReceived);
    let open = RequestHead { raw_target: b"/_matrix/federation/v1/version", ..head };
    assert!(refusing.gate.admit(open).is_ok());
}

#[test]
fn observe_mode_holds_back_judgements_and_nothing_else() {
    let house = |mode| House::new(mode, OtherPaths::Refuse).gate;
    let (enforcing, observing) = (house(Mode::Enforce), house(Mode::Observe));
    assert!(!enforcing.is_observing());
    assert!(observing.is_observing());
    let is_held_back = |rejection: &&Rejection| {
        let refusal = Refusal::new(**rejection, "detail");
        assert_eq!(enforcing.observe(refusal.clone()).unwrap_err(), refusal);
        match observing.observe(refusal.clone()) {
            Ok(permit) => {
                assert_eq!(permit.observed_refusal(), Some(&refusal));
                assert_eq!(permit.origin(), None);
                assert_eq!(permit.consume(), Authorization::AsReceived);
                true
            }
            Err(_) => false,
        }
    };
    // Whatever says that HTTP is unclear, that a bound is reached or that the gate is broken is
    // refused in any mode.
    let refused: Vec<_> =
        Rejection::ALL.iter().filter(|it| !is_held_back(it)).map(|it| it.code()).collect();
    for code in [
        "body_forbidden",
        "body_too_large",
        "content_encoding",
        "framing_ambiguous",
        "head_too_large",
        "internal_error",
        "method_not_allowed",
        "other_path",
        "overloaded",
        "request_malformed",
        "target_refused",
    ] {
        assert!(refused.contains(&code), "{code}");
    }
    for code in ["bad_signature", "header_missing", "key_unknown", "body_ambiguous"] {
        assert!(!refused.contains(&code), "{code}");
    }
}

#[tokio::test]
async fn nothing_signs_for_a_claim_of_no_keys() {
    let house = enforcing();
    let claim = Claim::Signed(Credentials {
        origin: house.origin.name.clone(),
        destinations: [ServerName::parse("our.example").unwrap()].into(),
        signatures: Default::default(),
    });
    let refusal = house.gate.find_keys(&claim, CLIENT).await.unwrap_err();
    assert_eq!(refusal.rejection, Rejection::HeaderMissing);
    assert!(house.gate.find_keys(&Claim::Open, CLIENT).await.unwrap().0.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_too_often_is_refused_before_a_key_is_looked_for() {
    let house = enforcing().limited("failures_per_second = 1");
    let stranger = "198.51.100.66".parse().unwrap();
    let claim = Claim::Signed(Credentials {
        origin: house.origin.name.clone(),
        destinations: Default::default(),
        signatures: Default::default(),
    });
    let refusal = house.gate.find_keys(&claim, stranger).await.unwrap_err();
    assert_eq!(refusal.rejection, Rejection::HeaderMissing);
    for _ in 0..10 {
        house.gate.note(&refusal, stranger);
    }
    let refusal = house.gate.find_keys(&claim, stranger).await.unwrap_err();
    assert_eq!(refusal.rejection, Rejection::RateLimited);
}

#[tokio::test(start_paused = true)]
async fn a_verified_request_waits_for_its_turn_and_no_other_does() {
    let house = enforcing().limited("origin_concurrent = 1\norigin_queue = 1");
    let header = house.signed_by("ed25519:1", "");
    let permit = house.judge(&[header], "").await.unwrap();
    let place = house.gate.turn(&permit).await.unwrap();
    assert!(place.is_some());
    assert_eq!(house.gate.turn(&permit).await.unwrap_err().rejection, Rejection::RateLimited);
    assert!(house.gate.turn(&Permit::open()).await.unwrap().is_none());
    drop(place);
    assert!(house.gate.turn(&permit).await.unwrap().is_some());
}

#[tokio::test]
async fn r92_what_has_nothing_good_is_answered_here_unless_the_gate_observes() {
    let text = r#"{"edus":[{"edu_type":"m.typing","content":{"user_id":"@u:two.example"}}]}"#;
    for mode in [Mode::Enforce, Mode::Observe] {
        let house = House::new(mode, OtherPaths::Refuse).examining();
        let header = house.signed_by("ed25519:1", text);
        let map = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&header).unwrap())]);
        let target = TARGET.as_bytes();
        let head = RequestHead { method: &Method::PUT, raw_target: target, headers: &map };
        let admitted = house.gate.admit(head).unwrap();
        let keys = house.gate.find_keys(&admitted.claim, CLIENT).await.unwrap();
        let body = heard(&house.gate, &admitted, &keys, text, usize::MAX);
        let judged = house.gate.judge(&admitted, &body).unwrap();
        let examined = house.gate.examine(&admitted, &judged, text.as_bytes(), CLIENT).await;
        let is_answered = matches!(examined.unwrap(), Examined::Answered(_));
        assert_eq!(is_answered, mode == Mode::Enforce);
    }
}

#[tokio::test]
async fn what_goes_on_is_what_came() {
    let house = enforcing();
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(10_000));
    for text in [r#"{"a":1}"#, r#"{"b":1, "a":2}"#, &long] {
        let header = house.signed_by("ed25519:1", text);
        let map = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&header).unwrap())]);
        let target = TARGET.as_bytes();
        let head = RequestHead { method: &Method::PUT, raw_target: target, headers: &map };
        let admitted = house.gate.admit(head).unwrap();
        let keys = house.gate.find_keys(&admitted.claim, CLIENT).await.unwrap();
        // What is not canonical is not heard on the way.
        let left = if text.contains(' ') { text.len() } else { 0 };
        let mut kept = Body::kept(&keys);
        let mut unended = house.gate.hear(&admitted, &keys);
        for body in [&mut kept, &mut unended] {
            body.push(Bytes::copy_from_slice(text.as_bytes()), 0);
            assert!(house.gate.judge(&admitted, body).is_ok(), "though not all has been heard");
        }
        kept.end();
        assert_eq!(kept.bytes_left(), text.len(), "all is left to the verdict");
        assert!(house.gate.judge(&admitted, &kept).is_ok());
        for length in [1, 5_000, usize::MAX] {
            let body = heard(&house.gate, &admitted, &keys, text, length);
            assert_eq!(body.bytes_left(), left);
            assert!(house.gate.judge(&admitted, &body).is_ok());
            assert_eq!(body.bytes(), text.as_bytes());
            assert_eq!(body.into_bytes(), text);
        }
    }
}

#[test]
fn r82_answers_teach_where_events_are_looked_at() {
    let house = enforcing();
    let header = house.signed_by("ed25519:1", "");
    let map = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&header).unwrap())]);
    let raw_target = b"/_matrix/federation/v1/make_join/!r:our.example/@u:one.example";
    let head = RequestHead { method: &Method::GET, raw_target, headers: &map };
    let admitted = house.gate.admit(head).unwrap();
    assert!(house.gate.lesson(&admitted).is_none());
    assert!(house.examining().gate.lesson(&admitted).is_some());
}
