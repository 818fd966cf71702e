//! What a verdict costs beside the bare signature check it cannot do without.
//!
//! Both contenders run in turns within one process: the floor is ed25519-dalek's `verify` over the
//! prepared message; the gate goes from the request's head and body to the permit, with the origin's
//! key in its cache. Only the ratio means anything: the machine's speed cancels out.
//!
//! `cargo bench --bench verify` prints the table, `cargo bench --bench verify -- 5` takes five times
//! as many rounds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark: it reads the clock, prints, and may stop at the first mistake"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use ed25519_dalek::Verifier as _;
use fedgate::clock::{Clock, ManualClock};
use fedgate::config::{Mode, OtherPaths};
use fedgate::gate::admission::RequestHead;
use fedgate::gate::{Gate, GateSettings, Permit};
use fedgate::keys::cache::KeyCache;
use fedgate::keys::fetch::OriginFetcher;
use fedgate::keys::keyring::{KeyPolicy, Keyring, KeyringParts, Stage};
use fedgate::keys::metrics::KeyMetrics;
use fedgate::keys::rules::Rulebook;
use fedgate::net::transport::{FederationRequest, FederationResponse};
use fedgate::net::{FederationTransport, NetError};
use fedgate::proto::ed25519::SigningKey;
use fedgate::proto::json::Object;
use fedgate::proto::sign::{sign_json, sign_request};
use fedgate::proto::signed_request::{RequestTarget, SignedRequest};
use fedgate::proto::x_matrix::header_value;
use fedgate::proto::{KeyId, ServerName, Timestamp};
use http::{HeaderMap, Method};
use prometheus::Registry;
use serde_json::json;
use tokio::runtime::Runtime;

/// Whoever sends.
const CLIENT: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

const NOW_MS: u64 = 1_767_225_600_000;
const SEED: [u8; 32] = [42; 32];

/// Time one contender runs per round.
const SLICE: Duration = Duration::from_millis(2);
const ROUNDS: usize = 200;

/// The bodies: name, how many bytes about, the ratio that is asked for.
const WORKLOADS: [(&str, usize, f64); 5] = [
    ("GET, no body", 0, 1.2),
    ("PUT, 2 KB", 2_000, 1.2),
    ("PUT, 20 KB", 20_000, 1.6),
    ("PUT, 200 KB", 200_000, 1.6),
    ("PUT, 2 MB", 2_000_000, 1.6),
];

/// Publishes the one origin's key.
struct Published(Bytes);

#[async_trait]
impl FederationTransport for Published {
    async fn send(
        &self,
        _server: &ServerName,
        _request: FederationRequest,
    ) -> Result<FederationResponse, NetError> {
        Ok(FederationResponse { status: 200, body: self.0.clone() })
    }
}

/// A request with everything both contenders need.
struct Workload {
    method: Method,
    target: &'static str,
    headers: HeaderMap,
    body: Bytes,
    message: Vec<u8>,
    signature: ed25519_dalek::Signature,
}

fn names() -> (ServerName, ServerName, KeyId) {
    (
        ServerName::parse("matrix.example.com").unwrap(),
        ServerName::parse("gate.example.org").unwrap(),
        KeyId::parse("ed25519:a_c2e256").unwrap(),
    )
}

fn gate() -> Gate {
    let (origin, own, key_id) = names();
    let key = SigningKey::from_seed(&SEED);
    let document = json!({
        "server_name": origin.as_str(),
        "valid_until_ts": NOW_MS + 86_400_000,
        "verify_keys": { key_id.as_str(): { "key": key.verify_key().to_base64() } },
        "old_verify_keys": {},
    });
    let document = sign_json(document.to_string().as_bytes(), &origin, &key_id, &key).unwrap();
    let transport = Arc::new(Published(document.into()));
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_ms(NOW_MS)));
    let keyring = Keyring::new(KeyringParts {
        cache: KeyCache::new(1 << 20),
        store: None,
        stages: vec![Stage {
            sources: vec![Arc::new(OriginFetcher::new(transport, Rulebook::default()))],
            head_start: Duration::from_secs(1),
        }],
        clock: Arc::clone(&clock),
        metrics: KeyMetrics::new(&Registry::new()).unwrap(),
        policy: KeyPolicy::default(),
        rules: Rulebook::default(),
    });
    let settings = GateSettings {
        server_names: vec![own],
        mode: Mode::Enforce,
        other_paths: OtherPaths::Refuse,
        body_bytes_max: 13_107_200,
    };
    Gate::new(settings, keyring, None, clock)
}

/// A transaction as Synapse sends one: canonical JSON, messages of a few hundred bytes.
fn transaction(bytes: usize) -> Vec<u8> {
    let mut pdus = Vec::new();
    let mut size = 0;
    while size < bytes {
        let n = pdus.len();
        let pdu = json!({
            "auth_events": ["$1GUjj2khN_v_tQtw3Ps39sUA_NqtlVl9QqeLG6ElXFw",
                "$7WcXszZ6AG_VgZkyMDTNWJV04WevE_FwY8FR3lGoty4"],
            "content": { "body": format!("Message {n}: grüße, \"quoted\", and a line\nbreak"),
                "m.mentions": {}, "msgtype": "m.text" },
            "depth": 9_000 + n,
            "hashes": { "sha256": "z3hP5E6MPhgmvov7PGVgEd95j00qOa9G0jZt4PvzJXY" },
            "origin_server_ts": 1_795_298_014_459_u64 + n as u64,
            "prev_events": ["$ytCo9lV2Q-e_x9l6-KOErEitfZbwZIif8zrkcQvhkLM"],
            "room_id": "!NwYilDRAwVoKCyKNRG:matrix.example.com",
            "sender": "@alice:matrix.example.com",
            "signatures": { "matrix.example.com": { "ed25519:a_c2e256":
                "gO3yM51G5/4sw0lh3jEA+nvf8anlLffNnCm04EflXXYkfPwogIiogJsJWKQTzKWz20B9Wq4LkajTEDFHa6SfBA" } },
            "type": "m.room.message",
            "unsigned": { "age_ts": 1_795_298_014_459_u64 },
        });
        size += pdu.to_string().len();
        pdus.push(pdu);
    }
    let text = json!({ "edus": [], "origin": "matrix.example.com",
        "origin_server_ts": 1_795_298_014_493_u64, "pdus": pdus });
    let text = text.to_string().into_bytes();
    assert!(Object::scan(&text).unwrap().is_canonical());
    text
}

fn workload(bytes: usize) -> Workload {
    let (origin, own, key_id) = names();
    let (method, target, body) = if bytes == 0 {
        let target = "/_matrix/federation/v1/event/%241GUjj2khN_v_tQtw3Ps39sUA_NqtlVl9QqeLG6ElXFw";
        (Method::GET, target, Vec::new())
    } else {
        (Method::PUT, "/_matrix/federation/v1/send/1795298006332", transaction(bytes))
    };
    let parsed = RequestTarget::parse(target.as_bytes()).unwrap();
    let content = (bytes > 0).then(|| Object::scan(&body).unwrap());
    let request = SignedRequest {
        method: method.as_str(),
        target: &parsed,
        origin: &origin,
        destination: &own,
        content: content.as_ref(),
    };
    let mut message = Vec::new();
    request.write_signed_bytes(&mut |piece: &[u8]| message.extend_from_slice(piece));
    let signature = sign_request(&request, &SigningKey::from_seed(&SEED));
    let value = header_value(&origin, &own, &key_id, &signature);
    let mut headers = HeaderMap::new();
    if bytes > 0 {
        headers.insert("content-length", body.len().into());
        headers.insert("content-type", "application/json".parse().unwrap());
    }
    headers.insert("user-agent", "Synapse/1.163.2".parse().unwrap());
    headers.insert("authorization", value.parse().unwrap());
    headers.insert("host", "gate.example.org".parse().unwrap());
    let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
    Workload { method, target, headers, body: body.into(), message, signature }
}

/// From the head to the permit, as the proxy does it.
fn judge(gate: &Gate, runtime: &Runtime, work: &Workload) -> Permit {
    let head = RequestHead {
        method: &work.method,
        raw_target: work.target.as_bytes(),
        headers: &work.headers,
    };
    let admitted = gate.admit(head).unwrap();
    let keys = runtime.block_on(gate.find_keys(&admitted.claim, CLIENT)).unwrap();
    let mut body = gate.hear(&admitted, &keys);
    body.push(work.body.clone(), 0);
    body.end();
    gate.judge(&admitted, &body).unwrap().permit
}

/// Nanoseconds per call over one slice of time.
fn time(mut call: impl FnMut()) -> f64 {
    let started = Instant::now();
    let mut calls = 0_u32;
    while calls < 4 || started.elapsed() < SLICE {
        call();
        calls += 1;
    }
    started.elapsed().as_nanos() as f64 / f64::from(calls)
}

fn quantile(values: &mut [f64], per_cent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) * per_cent / 100]
}

fn main() {
    let times = std::env::args().filter_map(|arg| arg.parse::<usize>().ok()).next().unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let gate = gate();
    let key = ed25519_dalek::SigningKey::from_bytes(&SEED).verifying_key();
    println!(
        "{:<14} {:>10} {:>10} {:>8} {:>8}",
        "request", "floor us", "gate us", "ratio", "asked"
    );
    for (name, bytes, asked) in WORKLOADS {
        let work = workload(bytes);
        let (mut floors, mut gates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..ROUNDS * times {
            let floor = || {
                time(|| key.verify(black_box(&work.message), black_box(&work.signature)).unwrap())
            };
            let whole = || time(|| drop(black_box(judge(&gate, &runtime, black_box(&work)))));
            // Turns are swapped so that neither always runs on a warmer machine.
            let (f, g) = if round % 2 == 0 {
                let f = floor();
                (f, whole())
            } else {
                let g = whole();
                (floor(), g)
            };
            floors.push(f);
            gates.push(g);
            ratios.push(g / f);
        }
        println!(
            "{name:<14} {:>10.1} {:>10.1} {:>8.3} {:>8.1}",
            quantile(&mut floors, 10) / 1_000.0,
            quantile(&mut gates, 10) / 1_000.0,
            quantile(&mut ratios, 50),
            asked
        );
    }
}
