//! What is verified: requests as deployed servers send them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fedgate::clock::{Clock, ManualClock};
use fedgate::config::{Mode, OtherPaths};
use fedgate::gate::{Gate, GateSettings};
use fedgate::keys::budget::Rates;
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
use serde_json::{Map, Value, json};

use crate::transaction::transaction;

const NOW_MS: u64 = 1_767_225_600_000;
pub const SEED: [u8; 32] = [42; 32];

/// How a server writes what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// In canonical form, as Synapse and Dendrite do.
    Canonical,
    /// Members in the order of the structure, events in canonical form, as ruma's family does.
    Ruma,
    /// The same with some characters escaped, as mautrix-go does.
    Go,
    /// Every object in another order.
    Shuffled,
}

/// A kind of request, and what may be asked of it.
pub struct Kind {
    pub name: &'static str,
    /// How long the body is, about, in bytes; 0 for none.
    pub bytes: usize,
    pub wire: Wire,
    /// The most that the gate may take, as a multiple of the floor: time, instructions.
    pub time_goal: f64,
    pub count_goal: f64,
}

pub const fn kind(name: &'static str, bytes: usize, wire: Wire, time: f64, count: f64) -> Kind {
    Kind { name, bytes, wire, time_goal: time, count_goal: count }
}

pub const KINDS: [Kind; 8] = [
    kind("GET", 0, Wire::Canonical, 1.03, 1.03),
    kind("2 KB", 2_000, Wire::Canonical, 1.07, 1.06),
    kind("20 KB", 20_000, Wire::Canonical, 1.20, 1.12),
    kind("200 KB", 200_000, Wire::Canonical, 1.30, 1.15),
    kind("2 MB", 2_000_000, Wire::Canonical, 1.30, 1.15),
    kind("200 KB as ruma writes", 200_000, Wire::Ruma, 1.50, 1.22),
    kind("200 KB as mautrix-go writes", 200_000, Wire::Go, 1.65, 1.30),
    kind("200 KB shuffled", 200_000, Wire::Shuffled, 2.20, 1.45),
];

/// A request with everything that the gate and the floor need.
pub struct Workload {
    pub method: Method,
    pub target: &'static str,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What is signed.
    pub message: Vec<u8>,
    pub signature: ed25519_dalek::Signature,
}

/// Publishes the keys of all origins, which have the same one.
struct Published;

#[async_trait]
impl FederationTransport for Published {
    async fn send(
        &self,
        server: &ServerName,
        _request: FederationRequest,
    ) -> Result<FederationResponse, NetError> {
        let (_, key_id) = names();
        let key = SigningKey::from_seed(&SEED);
        let document = json!({
            "server_name": server.as_str(),
            "valid_until_ts": NOW_MS + 86_400_000,
            "verify_keys": { key_id.as_str(): { "key": key.verify_key().to_base64() } },
            "old_verify_keys": {},
        });
        let body = sign_json(document.to_string().as_bytes(), server, &key_id, &key).unwrap();
        Ok(FederationResponse { status: 200, body: body.into() })
    }
}

/// The name whose requests are measured where there is one only.
pub const ORIGIN: &str = "matrix.example.com";

/// The own name, and the key ID of all origins.
pub fn names() -> (ServerName, KeyId) {
    (ServerName::parse("gate.example.org").unwrap(), KeyId::parse("ed25519:a_c2e256").unwrap())
}

/// A gate, and the keyring it asks.
pub fn gate() -> (Gate, Keyring) {
    let (own, _) = names();
    let transport = Arc::new(Published);
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_ms(NOW_MS)));
    let keyring = Keyring::new(KeyringParts {
        // What a hundred thousand servers take.
        cache: KeyCache::new(1 << 28),
        store: None,
        stages: vec![Stage {
            sources: vec![Arc::new(OriginFetcher::new(transport, Rulebook::default()))],
            head_start: Duration::from_secs(1),
        }],
        clock: Arc::clone(&clock),
        metrics: KeyMetrics::new(&Registry::new()).unwrap(),
        // All that the growth is measured with are new at one time.
        policy: KeyPolicy {
            first_seen: Rates { in_all: 100_000, per_network: 100_000 },
            ..KeyPolicy::default()
        },
        rules: Rulebook::default(),
    });
    let settings = GateSettings {
        server_names: vec![own],
        mode: Mode::Enforce,
        other_paths: OtherPaths::Refuse,
        body_bytes_max: 13_107_200,
    };
    (Gate::new(settings, keyring.clone(), None, clock), keyring)
}

/// Writes an object with its members in this order, those that are not named behind; what is in them in
/// canonical form.
fn ordered(object: &Map<String, Value>, order: &[&str], write: fn(&Value) -> String) -> String {
    let place = |name: &str| order.iter().position(|n| *n == name).unwrap_or(order.len());
    let mut members: Vec<_> = object.iter().collect();
    members.sort_by_key(|(name, _)| place(name));
    let member = |(name, value): (&String, &Value)| format!("{}:{}", json!(name), write(value));
    format!("{{{}}}", members.into_iter().map(member).collect::<Vec<_>>().join(","))
}

fn edus(value: &Value) -> String {
    let edu =
        |edu: &Value| ordered(edu.as_object().unwrap(), &["edu_type", "content"], Value::to_string);
    format!("[{}]", value.as_array().unwrap().iter().map(edu).collect::<Vec<_>>().join(","))
}

fn structure(value: &Value, order: &[&str]) -> String {
    fn member(value: &Value) -> String {
        let is_edus = value.pointer("/0/edu_type").is_some();
        if is_edus { edus(value) } else { value.to_string() }
    }
    ordered(value.as_object().unwrap(), order, member)
}

/// Writes every object with its members turned round.
fn shuffled(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(shuffled).collect::<Vec<_>>().join(","))
        }
        Value::Object(members) => {
            let half = members.len() / 2;
            let turned = members.iter().skip(half).chain(members.iter().take(half));
            let member =
                |(name, value): (&String, &Value)| format!("{}:{}", json!(name), shuffled(value));
            format!("{{{}}}", turned.map(member).collect::<Vec<_>>().join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

fn written(value: &Value, wire: Wire) -> String {
    match wire {
        Wire::Canonical => value.to_string(),
        Wire::Ruma => structure(value, &["origin", "origin_server_ts", "pdus", "edus"]),
        Wire::Go => structure(value, &["origin", "origin_server_ts", "pdus", "edus"])
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026"),
        Wire::Shuffled => shuffled(value),
    }
}

pub fn workload(kind: &Kind, origin: &str) -> Workload {
    let (own, key_id) = names();
    let origin = ServerName::parse(origin).unwrap();
    let (method, target, body) = if kind.bytes == 0 {
        let target = "/_matrix/federation/v1/event/%241GUjj2khN_v_tQtw3Ps39sUA_NqtlVl9QqeLG6ElXFw";
        (Method::GET, target, String::new())
    } else {
        let target = "/_matrix/federation/v1/send/1795298006332";
        (Method::PUT, target, written(&transaction(kind.bytes), kind.wire))
    };
    let body = Bytes::from(body);
    let parsed = RequestTarget::parse(target.as_bytes()).unwrap();
    let content = (kind.bytes > 0).then(|| Object::scan(&body).unwrap());
    let is_canonical = content.as_ref().is_none_or(Object::is_canonical);
    assert_eq!(is_canonical, kind.wire == Wire::Canonical, "{}", kind.name);
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
    if kind.bytes > 0 {
        headers.insert("content-length", body.len().into());
        headers.insert("content-type", "application/json".parse().unwrap());
    }
    headers.insert("user-agent", "Synapse/1.163.2".parse().unwrap());
    headers.insert("authorization", value.parse().unwrap());
    headers.insert("host", "gate.example.org".parse().unwrap());
    let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
    drop(content);
    Workload { method, target, headers, body, message, signature }
}
