//! Whole requests, a gate that knows some keys, and which of the requests' signatures hold.

use std::collections::BTreeSet;
use std::sync::Arc;

use fedgate::clock::{Clock, ManualClock};
use fedgate::config::{BindingMode, Config, Mode, OtherPaths, Sources};
use fedgate::gate::events::Examiner;
use fedgate::gate::events::metrics::EventMetrics;
use fedgate::gate::{Gate, GateSettings};
use fedgate::keys::cache::{KeyCache, StoredKeys};
use fedgate::keys::keyring::{KeyPolicy, Keyring, KeyringParts};
use fedgate::keys::metrics::KeyMetrics;
use fedgate::keys::record::Source;
use fedgate::keys::rules::{Rulebook, Rules};
use fedgate::proto::ed25519::BannedKeys;
use fedgate::proto::server_keys::UnverifiedServerKeys;
use fedgate::proto::{ServerName, Timestamp};
use prometheus::Registry;

use crate::input::{Input, tamper};
use crate::json::{self, Value};
use crate::x_matrix::{self, Header, Parameters};
use crate::{names, signing};

/// The gate's time.
pub const NOW: u64 = 1_767_225_600_000;
/// The gate's own names.
pub const OWN: [&str; 2] = ["gate.example", "gate2.example:8448"];
/// Most bytes of a signed body.
pub const BODY_MAX: usize = 65_536;

/// How events are looked at.
const SETTINGS: &str = r#"
server_name = "gate.example"
homeserver = "http://127.0.0.1:8008"
[events]
mode = "enforce"
time_budget = "60s"
"#;

/// Current keys that the gate knows, and the numbers they are made of.
const CURRENT: [(&str, &str, u8); 3] = [
    ("one.example", "ed25519:1", 1),
    ("one.example", "ed25519:2", 2),
    ("[2001:db8::1]:8448", "ed25519:1", 3),
];
/// A key that has ended, one that is retired, and one that is banned.
const EXPIRED: (&str, &str, u8) = ("late.example", "ed25519:1", 4);
const RETIRED: (&str, &str, u8) = ("one.example", "ed25519:old", 5);
const BANNED: (&str, &str, u8) = ("one.example", "ed25519:banned", 6);

/// The public key of that ID, if it may sign requests now.
fn usable(origin: &str, id: &str) -> Option<u8> {
    CURRENT.iter().find(|key| (key.0, key.1) == (origin, id)).map(|key| key.2)
}

/// The key document of a server.
pub fn document(server: &str) -> Vec<u8> {
    let mut document = json::object([
        ("server_name", json::string(server)),
        (
            "valid_until_ts",
            Value::Number(
                (if server == EXPIRED.0 { NOW - 1 } else { NOW + 3_600_000 }).to_string(),
            ),
        ),
        ("verify_keys", json::object([])),
        ("old_verify_keys", json::object([])),
    ]);
    let keys = CURRENT.into_iter().chain([EXPIRED, BANNED]).filter(|key| key.0 == server);
    for (_, id, number) in keys.clone() {
        let entry = json::object([("key", json::string(&signing::public(number)))]);
        document.object_in("verify_keys").set(id, entry);
    }
    if RETIRED.0 == server {
        let entry = document.object_in("old_verify_keys").object_in(RETIRED.1);
        entry.set("key", json::string(&signing::public(RETIRED.2)));
        entry.set("expired_ts", Value::Number((NOW - 10_000).to_string()));
    }
    for (_, id, number) in keys {
        signing::sign_json(&mut document, server, id, number);
    }
    document.canonical()
}

fn cache() -> KeyCache {
    let cache = KeyCache::new(1 << 20);
    for server in ["one.example", "[2001:db8::1]:8448", "late.example"] {
        let name = ServerName::parse(server).unwrap();
        let document = UnverifiedServerKeys::parse(document(server).into()).unwrap();
        let document = document.verify(&name, &BannedKeys::new([])).unwrap();
        let stored = StoredKeys::new(document, Timestamp::from_ms(NOW - 1_000), Source::Origin);
        cache.insert(stored, BindingMode::Enforce, None);
    }
    cache
}

/// A gate that looks at events, forwards other paths and can ask nobody for keys.
pub fn gate() -> Gate {
    let own: Vec<_> = OWN.iter().map(|name| ServerName::parse(name).unwrap()).collect();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_ms(NOW)));
    let banned = *signing::key(BANNED.2).verifying_key().as_bytes();
    let rules = Rules { banned_keys: [banned].into(), ..Rules::default() };
    let keyring = Keyring::new(KeyringParts {
        cache: cache(),
        store: None,
        stages: Vec::new(),
        clock: Arc::clone(&clock),
        metrics: KeyMetrics::new(&Registry::new()).unwrap(),
        policy: KeyPolicy::default(),
        rules: Rulebook::new(rules, Rules::default()),
    });
    let config = Config::load(&Sources::from_text("fuzz.toml", SETTINGS.to_owned())).unwrap();
    let metrics = EventMetrics::register(&Registry::new()).unwrap();
    let examiner = Examiner::new(config.events, own.clone(), keyring.clone(), None, metrics);
    let settings = GateSettings {
        server_names: own,
        mode: Mode::Enforce,
        other_paths: OtherPaths::Forward,
        body_bytes_max: BODY_MAX,
    };
    Gate::new(settings, keyring, examiner, clock)
}

/// A request in parts.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The request of a text in which lines end with a line feed: method and target, headers, an
    /// empty line, the body. Wherever a header holds `@N@` the signature of key N is put, over the
    /// request as it stands; then two bytes somewhere may be changed.
    pub fn read(input: &[u8]) -> Option<Self> {
        let (choices, text) = input.split_at_checked(8)?;
        let mut text = Input(text);
        let line = String::from_utf8(text.until(b'\n').to_vec()).ok()?;
        let (method, target) = line.split_once(' ')?;
        let mut request = Self {
            method: method.to_owned(),
            target: target.as_bytes().to_vec(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        while let line = text.until(b'\n')
            && !line.is_empty()
        {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = str::from_utf8(&line[..colon]).ok()?.to_ascii_lowercase();
            let value = line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..]);
            request.headers.push((name, value.to_vec()));
        }
        request.body = text.0.to_vec();
        request.sign();
        let mut choices = Input(choices);
        request.tamper(&mut choices);
        request.tamper(&mut choices);
        Some(request)
    }

    fn sign(&mut self) {
        let signed: Vec<_> = self.headers.iter().map(|(_, value)| self.signed(value)).collect();
        for ((_, value), signed) in self.headers.iter_mut().zip(signed) {
            *value = signed.unwrap_or_else(|| value.clone());
        }
    }

    /// A header value with its signatures in it.
    fn signed(&self, value: &[u8]) -> Option<Vec<u8>> {
        let Header::XMatrix(Parameters { origin, destination, sig, .. }) = x_matrix::parse(value)
        else {
            return None;
        };
        let number = sig.strip_prefix('@')?.strip_suffix('@')?.parse().ok()?;
        let destination = destination.as_deref().unwrap_or(OWN[0]);
        let signature = signing::sign(number, &self.message(&origin, destination)?);
        Some(String::from_utf8(value.to_vec()).ok()?.replace(&sig, &signature).into_bytes())
    }

    fn tamper(&mut self, choices: &mut Input<'_>) {
        let count = self.headers.len();
        let part = match choices.below(4) {
            0 => return,
            1 => &mut self.target,
            2 => &mut self.body,
            _ => match self.headers.get_mut(choices.below(count.max(1))) {
                Some((_, value)) => value,
                None => return,
            },
        };
        tamper(part, choices);
    }

    /// What the signature of this request covers; none if its body cannot be signed.
    fn message(&self, origin: &str, destination: &str) -> Option<Vec<u8>> {
        let content = match self.method.as_str() {
            "PUT" | "POST" => Some(json::parse_object(&self.body)?),
            _ => None,
        };
        let target = str::from_utf8(&self.target).ok()?;
        Some(signing::request(&self.method, target, origin, destination, content.as_ref()))
    }

    /// The `Authorization` headers.
    pub fn authorization(&self) -> impl Iterator<Item = Header> {
        let values = self.headers.iter().filter(|(name, _)| name == "authorization");
        values.map(|(_, value)| x_matrix::parse(value))
    }

    /// Whether the signature is by a key that may sign now, and right for that destination.
    pub fn verifies(&self, header: &Parameters, destination: &str) -> bool {
        let Some(number) = usable(&header.origin, &header.key) else { return false };
        let key = signing::key(number).verifying_key();
        let message = self.message(&header.origin, destination);
        message.is_some_and(|message| signing::verifies_base64(&key, &message, &header.sig))
    }

    /// The headers by keys that may sign now.
    pub fn by_usable_keys(&self) -> Vec<Parameters> {
        let headers = self.authorization().filter_map(|header| match header {
            Header::XMatrix(parameters) => Some(parameters),
            Header::OtherScheme | Header::Malformed => None,
        });
        headers.filter(|header| usable(&header.origin, &header.key).is_some()).collect()
    }

    /// Whether for one own name all signatures by usable keys hold, and there is one.
    pub fn is_authentic(&self) -> bool {
        let headers = self.by_usable_keys();
        let is_for = |own: &&str| {
            let right = |header: &Parameters| {
                header.destination.as_deref().is_none_or(|it| it == *own)
                    && self.verifies(header, own)
            };
            headers.iter().all(right)
        };
        let origins: BTreeSet<_> = headers.iter().map(|header| &header.origin).collect();
        origins.len() == 1 && OWN.iter().any(|own| is_for(own))
    }

    /// Whether a signature is none by its form alone.
    pub fn has_unreadable_signature(&self) -> bool {
        self.authorization().any(|header| match header {
            Header::XMatrix(header) => names::base64::<64>(&header.sig).is_none(),
            Header::OtherScheme | Header::Malformed => false,
        })
    }
}
