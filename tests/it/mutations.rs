//! Requests that were signed, and then changed: nothing passes that does not mean what was signed.
//!
//! `FEDGATE_SEED` chooses other changes than the usual ones; a failure names the seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fedgate::clock::ManualClock;
use fedgate::config::{Mode, OtherPaths};
use fedgate::gate::admission::{BodyRule, RequestHead};
use fedgate::gate::{Authorization, Gate as Decision, GateSettings, Rejection};
use fedgate::keys::fetch::OriginFetcher;
use fedgate::keys::keyring::{KeyPolicy, Stage};
use fedgate::keys::rules::Rulebook;
use fedgate::keys::{KeyCache, KeyMetrics, Keyring, KeyringParts};
use fedgate::net::transport::{FederationRequest, FederationResponse};
use fedgate::net::{FederationTransport, NetError};
use fedgate::proto::limits::BODY_BYTES_MAX;
use fedgate::proto::{ServerName, Timestamp};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::support::meaning::meaning;
use crate::support::mutate::{Mutator, Wire};
use crate::support::{Client, Gate, GateOptions, Homeserver, NOW_MS, OWN_NAME, Origin};

/// Whoever sends.
const CLIENT: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Bodies come in pieces of this length.
const PIECE_BYTES: usize = 11;

/// As many as the project's definition of done asks for.
const MUTATIONS: usize = 20_000;
const OVER_SOCKETS: usize = 500;
const USUAL_SEED: u64 = 20_260_101;

const SIGNER: &str = "origin.example";
const KEY_SEED: [u8; 32] = [42; 32];
/// The gate's second own name: a request signed for the first is not for this one.
const SECOND_NAME: &str = "other.example";

/// A federation in which every server has the signer's key: only what the signature covers tells
/// them apart.
struct Everybody;

#[async_trait]
impl FederationTransport for Everybody {
    async fn send(
        &self,
        server: &ServerName,
        _request: FederationRequest,
    ) -> Result<FederationResponse, NetError> {
        let body = Origin::with_key(server.as_str(), "ed25519:1", KEY_SEED).document();
        Ok(FederationResponse { status: 200, body })
    }
}

fn decision() -> Decision {
    let clock = Arc::new(ManualClock::new(Timestamp::from_ms(NOW_MS)));
    let fetcher = OriginFetcher::new(Arc::new(Everybody), Rulebook::default());
    let keyring = Keyring::new(KeyringParts {
        cache: KeyCache::new(1 << 20),
        store: None,
        stages: vec![Stage {
            sources: vec![Arc::new(fetcher)],
            head_start: Duration::from_secs(1),
        }],
        clock: clock.clone(),
        metrics: KeyMetrics::new(&prometheus::Registry::new()).unwrap(),
        policy: KeyPolicy::default(),
        rules: Rulebook::default(),
    });
    let names = [OWN_NAME, SECOND_NAME].map(|name| ServerName::parse(name).unwrap());
    let settings = GateSettings {
        server_names: names.to_vec(),
        mode: Mode::Enforce,
        other_paths: OtherPaths::Refuse,
        body_bytes_max: BODY_BYTES_MAX,
    };
    Decision::new(settings, keyring, None, clock)
}

/// Head and body of a captured request.
fn captured(text: &'static str) -> (&'static str, &'static str, Option<&'static str>) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    (method, target, Some(body).filter(|_| method != "GET"))
}

/// Requests as Synapse sends them, and one that has every kind of JSON in it, signed anew.
fn signed_requests() -> Vec<Wire> {
    macro_rules! capture {
        ($name:literal) => {
            captured(include_str!(concat!("../vectors/captures/", $name, ".http")))
        };
    }
    let everything = r#"{"A":{"z":[],"a":{}},"b":[1.5,1e22,-0.0,10.0,0.1,1E5,1e-7,-1],"n":null,
        "big":1152921504606846976,"s":"\u00e9\ud83d\ude00 \/é\n\t\"\\","t":true,"€":"\u20ac"}"#;
    let requests = [
        capture!("GET-v1-make_join"),
        capture!("GET-v1-query-profile"),
        capture!("PUT-v1-send"),
        capture!("PUT-v1-send-with-floats"),
        capture!("PUT-v2-invite"),
        capture!("POST-v1-user-keys-query"),
        capture!("POST-v1-public"),
        ("PUT", "/_matrix/federation/v1/send/1", Some(r#"{"edus":[],"pdus":[]}"#)),
        ("PUT", "/_matrix/federation/v2/send_leave/!r%3Ax/%24e?omit=%C3%A9", Some(everything)),
    ];
    let origin = Origin::with_key(SIGNER, "ed25519:1", KEY_SEED);
    requests
        .map(|(method, target, body)| {
            let body = body.map(str::as_bytes);
            Wire::new(method, target, &origin.authorize(method, target, body), body)
        })
        .to_vec()
}

/// Runs a request through the gate's steps, as the proxy does after reading it.
async fn judge(gate: &Decision, wire: &Wire) -> Result<Authorization, Rejection> {
    let broken = Rejection::RequestMalformed;
    let method = Method::from_bytes(&wire.method).map_err(|_invalid| broken)?;
    let mut headers = HeaderMap::new();
    for (name, value) in &wire.headers {
        let value = HeaderValue::from_bytes(value.trim_ascii()).map_err(|_invalid| broken)?;
        headers.append(HeaderName::from_static(name), value);
    }
    let body = wire.body.as_deref();
    if let Some(body) = body {
        headers.insert(CONTENT_LENGTH, body.len().into());
    }
    let head = RequestHead { method: &method, raw_target: &wire.target, headers: &headers };
    let admitted = gate.admit(head).map_err(|refusal| refusal.rejection)?;
    assert!(body.is_none_or(<[u8]>::is_empty) || admitted.body != BodyRule::Empty);
    let keys =
        gate.find_keys(&admitted.claim, CLIENT).await.map_err(|refusal| refusal.rejection)?;
    let mut heard = gate.hear(&admitted, &keys);
    for piece in body.unwrap_or_default().chunks(PIECE_BYTES) {
        heard.push(Bytes::copy_from_slice(piece), 0);
    }
    heard.end();
    let judged = gate.judge(&admitted, &heard);
    let permit = judged.map_err(|refusal| refusal.rejection)?.permit;
    assert_eq!(permit.origin().map(ServerName::as_str), Some(SIGNER), "{wire:?}");
    Ok(permit.consume())
}

fn assert_same_meaning(signed: &Wire, method: &[u8], target: &[u8], body: &[u8], seed: u64) {
    let shown = || format!("seed {seed}: {}", signed.bytes().escape_ascii());
    let (sent, as_signed) = ([method, b" ", target], [&signed.method[..], b" ", &signed.target]);
    let text = |line: [&[u8]; 3]| line.concat().escape_ascii().to_string();
    assert_eq!(text(sent), text(as_signed), "{}", shown());
    let signed_body = signed.body.as_deref().unwrap_or_default();
    if signed_body.is_empty() {
        assert!(body.is_empty(), "{}", shown());
        return;
    }
    let received = meaning(body);
    let text = body.escape_ascii();
    assert!(received.is_some(), "ambiguous: {text} instead of {}", shown());
    assert_eq!(received, meaning(signed_body), "{text} instead of {}", shown());
}

fn assert_same_names(authorization: &str, seed: u64) {
    let names =
        format!("X-Matrix origin=\"{SIGNER}\",destination=\"{OWN_NAME}\",key=\"ed25519:1\"");
    assert!(authorization.starts_with(&names), "seed {seed}: {authorization}");
}

fn seed() -> u64 {
    let seed = std::env::var("FEDGATE_SEED").map_or(USUAL_SEED, |text| text.parse().unwrap());
    println!("FEDGATE_SEED={seed}");
    seed
}

#[tokio::test]
async fn nothing_passes_that_means_something_else_than_what_was_signed() {
    let seed = seed();
    let mut mutator = Mutator::new(seed);
    let (gate, signed) = (decision(), signed_requests());
    for wire in &signed {
        assert!(judge(&gate, wire).await.is_ok(), "unchanged, it passes: {wire:?}");
    }
    let mut passed = [0_usize; 2];
    let mut refused: BTreeMap<Rejection, usize> = BTreeMap::new();
    for (base, _) in signed.iter().cycle().zip(0..MUTATIONS) {
        let wire = mutator.mutate(base);
        match judge(&gate, &wire).await {
            Ok(authorization) => {
                let body = wire.body.as_deref().unwrap_or_default();
                assert_same_meaning(base, &wire.method, &wire.target, body, seed);
                let Authorization::Rewritten(values) = authorization else {
                    panic!("seed {seed}: unverified headers passed: {wire:?}");
                };
                assert!(!values.is_empty());
                values.iter().for_each(|value| assert_same_names(value, seed));
                passed[usize::from(wire.body != base.body)] += 1;
            }
            Err(rejection) => *refused.entry(rejection).or_default() += 1,
        }
    }
    println!("passed with another head {}, with another body {}", passed[0], passed[1]);
    println!("refused: {refused:?}");
    // The changes are worth something only if many come as far as the signature, and some are
    // other spellings of the same request.
    assert!(passed.iter().all(|count| *count > MUTATIONS / 100), "{passed:?}");
    let at_signature = refused.get(&Rejection::BadSignature).copied().unwrap_or_default();
    assert!(at_signature > MUTATIONS / 5, "{refused:?}");
}

#[tokio::test]
async fn over_a_socket_the_homeserver_sees_only_what_was_signed() {
    let seed = seed();
    let mut mutator = Mutator::new(seed.wrapping_add(1));
    let (decision, signed) = (decision(), signed_requests());
    let homeserver = Homeserver::start().await;
    let gate = Gate::start_with(&homeserver, GateOptions::default()).await;
    let origin = Origin::with_key(SIGNER, "ed25519:1", KEY_SEED);
    gate.federation.publish(&origin.name, origin.document());
    let mut expected = 0;
    for (base, _) in signed.iter().cycle().zip(0..OVER_SOCKETS) {
        let mut wire = mutator.mutate(base);
        wire.headers.push(("connection", b"close".to_vec()));
        let before = homeserver.seen().len();
        let mut client = Client::plain(gate.address).await;
        client.send(&wire.bytes()).await;
        let answer = tokio::time::timeout(Duration::from_secs(30), client.answer()).await;
        let answer = answer.unwrap_or_else(|_| panic!("seed {seed}: no answer to {wire:?}"));
        let seen = homeserver.seen().split_off(before);
        // A change may cut one request into two; none of them may be another than the signed one.
        assert!(seen.len() <= 1, "seed {seed}: {seen:?}");
        let passed = seen.len() == 1;
        assert_eq!(passed, answer.is_some_and(|a| a.status == 200), "seed {seed}: {wire:?}");
        for seen in seen {
            let (method, target) = (seen.method.as_bytes(), seen.target.as_bytes());
            assert_same_meaning(base, method, target, &seen.body, seed);
            assert_same_names(seen.headers["authorization"].to_str().unwrap(), seed);
        }
        let expect = judge(&decision, &wire).await.is_ok();
        assert!(expect || !passed, "seed {seed}: only the proxy let it pass: {wire:?}");
        expected += usize::from(passed);
    }
    println!("{expected} of {OVER_SOCKETS} reached the homeserver");
    gate.stop().await;
    assert_eq!(homeserver.seen().len(), expected, "nothing came late");
    assert!(expected > OVER_SOCKETS / 100, "{expected}");
}
