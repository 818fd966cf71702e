//! What is verified: requests as deployed servers send them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fedgate::clock::{Clock, ManualClock};
use fedgate::config::{Mode, OtherPaths};
use fedgate::gate::{Gate, GateSettings};
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

const fn kind(name: &'static str, bytes: usize, wire: Wire, time: f64, count: f64) -> Kind {
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

fn names() -> (ServerName, ServerName, KeyId) {
    (
        ServerName::parse("matrix.example.com").unwrap(),
        ServerName::parse("gate.example.org").unwrap(),
        KeyId::parse("ed25519:a_c2e256").unwrap(),
    )
}

/// A gate, and the keyring it asks.
pub fn gate() -> (Gate, Keyring) {
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
    (Gate::new(settings, keyring.clone(), None, clock), keyring)
}

/// What is in an event and what kind it is, of those that rooms are full of; two fifths of the bytes are
/// encrypted.
fn content(n: usize) -> (&'static str, Value) {
    let hash = "$1GUjj2khN_v_tQtw3Ps39sUA_NqtlVl9QqeLG6ElXFw";
    let html = ["<b>bold</b> &amp; more", "a > b && b < c"][n / 5 % 2];
    match n % 5 {
        0 => (
            "m.room.message",
            json!({
                "body": format!("Message {n}: grüße, \"quoted\", and a line\nbreak"),
                "format": "org.matrix.custom.html", "formatted_body": html, "m.mentions": {},
                "msgtype": "m.text",
            }),
        ),
        1 | 3 => (
            "m.room.encrypted",
            json!({
                "algorithm": "m.megolm.v1.aes-sha2",
                "ciphertext": "AwgAEnACgAkLmt6qF84IK+gC4BrcJ5CZ0k7pCFoOJoA8hQm3rIu".repeat(12 + n % 7),
                "device_id": "RJYKSTBOIE", "sender_key": "IlRMeOPX2e0MurIyfWEucYBRVOEEUMrOHqn/8mLqMjA",
                "session_id": "X3lUlvLELLYxeTx4yOVu6UDpasGEVO0Jbu+QFnm0cKQ",
            }),
        ),
        2 => (
            "m.reaction",
            json!({
                "m.relates_to": { "event_id": hash, "key": "👍", "rel_type": "m.annotation" },
            }),
        ),
        _ => (
            "m.room.member",
            json!({
                "avatar_url": "mxc://matrix.example.com/SDGdghriugerRg", "displayname": "Älice Ω",
                "membership": "join",
            }),
        ),
    }
}

fn pdu(n: usize) -> Value {
    let (kind, content) = content(n);
    json!({
        "auth_events": ["$1GUjj2khN_v_tQtw3Ps39sUA_NqtlVl9QqeLG6ElXFw",
            "$7WcXszZ6AG_VgZkyMDTNWJV04WevE_FwY8FR3lGoty4"],
        "content": content,
        "depth": 9_000 + n,
        "hashes": { "sha256": "z3hP5E6MPhgmvov7PGVgEd95j00qOa9G0jZt4PvzJXY" },
        "origin_server_ts": 1_795_298_014_459_u64 + n as u64,
        "prev_events": ["$ytCo9lV2Q-e_x9l6-KOErEitfZbwZIif8zrkcQvhkLM"],
        "room_id": "!NwYilDRAwVoKCyKNRG:matrix.example.com",
        "sender": "@alice:matrix.example.com",
        "signatures": { "matrix.example.com": { "ed25519:a_c2e256":
            "gO3yM51G5/4sw0lh3jEA+nvf8anlLffNnCm04EflXXYkfPwogIiogJsJWKQTzKWz20B9Wq4LkajTEDFHa6SfBA" } },
        "type": kind,
        "unsigned": { "age_ts": 1_795_298_014_459_u64 },
    })
}

/// A transaction of about so many bytes: events of some hundred each, and typing notices.
fn transaction(bytes: usize) -> Value {
    let edu = json!({ "edu_type": "m.typing", "content": { "room_id": "!a:matrix.example.com",
        "user_id": "@alice:matrix.example.com", "typing": true } });
    let (mut pdus, mut size) = (Vec::new(), 0);
    while size < bytes {
        let pdu = pdu(pdus.len());
        size += pdu.to_string().len();
        pdus.push(pdu);
    }
    json!({ "edus": [edu, edu], "origin": "matrix.example.com",
        "origin_server_ts": 1_795_298_014_493_u64, "pdus": pdus })
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

pub fn workload(kind: &Kind) -> Workload {
    let (origin, own, key_id) = names();
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
