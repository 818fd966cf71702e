//! A notary's answer, from the bytes it sends to the documents that are believed.

#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use fedgate::config::Notary;
use fedgate::keys::fetch::{KeyFetcher as _, KeyRequest, NotaryFetcher};
use fedgate::keys::metrics::KeyMetrics;
use fedgate::keys::rules::Rulebook;
use fedgate::net::trace::Trace;
use fedgate::net::transport::{FederationRequest, FederationResponse};
use fedgate::net::{FederationTransport, NetError};
use fedgate::proto::ed25519::VerifyKey;
use fedgate::proto::{KeyId, ServerName, Timestamp};
use fedgate_fuzz::input::Input;
use fedgate_fuzz::json_spelling::spell;
use fedgate_fuzz::{documents, json, signing};
use libfuzzer_sys::fuzz_target;

const ASKED: &str = "one.example";
const NOTARY: &str = "notary.example";
const NOTARY_KEY: u8 = 7;

/// A notary that answers what it is told to.
#[derive(Default)]
struct Scripted(Mutex<Bytes>);

#[async_trait]
impl FederationTransport for Scripted {
    async fn send(
        &self,
        _: &ServerName,
        _: FederationRequest,
    ) -> Result<FederationResponse, NetError> {
        Ok(FederationResponse { status: 200, body: self.0.lock().unwrap().clone() })
    }
}

thread_local! {
    static ASKER: (Arc<Scripted>, NotaryFetcher, tokio::runtime::Runtime) = asker();
}

fn asker() -> (Arc<Scripted>, NotaryFetcher, tokio::runtime::Runtime) {
    let key = VerifyKey::from_base64(&signing::public(NOTARY_KEY)).unwrap();
    let notary = Notary {
        server_name: ServerName::parse(NOTARY).unwrap(),
        verify_keys: BTreeMap::from([(KeyId::parse("ed25519:n").unwrap(), key)]),
    };
    let transport = Arc::new(Scripted::default());
    let metrics = KeyMetrics::new(&prometheus::Registry::new()).unwrap();
    let fetcher =
        NotaryFetcher::new(Arc::clone(&transport) as _, Rulebook::default(), notary, metrics);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    (transport, fetcher, runtime)
}

fuzz_target!(|data: &[u8]| {
    let body = answer(data);
    let request = KeyRequest {
        server: ServerName::parse(ASKED).unwrap(),
        key_ids: vec![KeyId::parse("ed25519:1").unwrap()],
        minimum_valid_until: Timestamp::from_ms(0),
        trace: Trace::default(),
        is_known: true,
    };
    let believed = ASKER.with(|(transport, fetcher, runtime)| {
        *transport.0.lock().unwrap() = body.clone().into();
        runtime.block_on(fetcher.fetch(&request))
    });
    let tree = json::parse_object(&body);
    let entries =
        tree.as_ref().and_then(|tree| tree.member("server_keys")?.array()).unwrap_or_default();
    let good = entries.iter().filter(|entry| is_good(entry)).count();
    match &believed {
        Ok(believed) => {
            assert!(believed.iter().all(|keys| is_believable(keys.raw(), &body)), "{believed:?}");
            assert_eq!(believed.len(), good);
        }
        // Documents that contradict each other are refused together.
        Err(error) => assert!(good == 0 || good > 1 || entries.len() > 64, "{error}"),
    }
});

/// The answer of the input: its documents signed by their server with key 1 and by the notary, as
/// each byte of the first eight says.
fn answer(data: &[u8]) -> Vec<u8> {
    let mut input = Input(data);
    let mut choices = Input(input.bytes(8));
    let mut spelling = Input(input.bytes(24));
    let Some(mut tree) = json::parse_object(input.0) else { return input.0.to_vec() };
    let Some(entries) = tree.member("server_keys").and_then(json::Value::array) else {
        return input.0.to_vec();
    };
    let signed = entries.iter().map(|entry| {
        let choice = choices.byte();
        let mut entry = entry.clone();
        if choice & 1 != 0 {
            let key = json::object([("key", json::string(&signing::public(1)))]);
            entry.object_in("verify_keys").set("ed25519:1", key);
            signing::sign_json(&mut entry, ASKED, "ed25519:1", 1);
        }
        if choice & 2 != 0 {
            signing::sign_json(&mut entry, NOTARY, "ed25519:n", NOTARY_KEY);
        }
        entry
    });
    let signed = json::Value::Array(signed.collect());
    tree.set("server_keys", signed);
    let mut text = String::new();
    spell(&tree, &mut spelling, &mut text);
    text.into_bytes()
}

/// Whether a document is whose keys were asked for, signed by its server and by the notary.
fn is_good(entry: &json::Value) -> bool {
    let notary = signing::key(NOTARY_KEY).verifying_key();
    documents::of_value(entry.clone()).is_some_and(|document| {
        document.server_name == ASKED
            && document.is_self_signed()
            && signing::is_signed_by(&document.value, NOTARY, "ed25519:n", &notary)
    })
}

/// The same for a text, which must be a part of the answer as it came.
fn is_believable(raw: &[u8], body: &[u8]) -> bool {
    let is_part = body.windows(raw.len()).any(|part| part == raw);
    is_part && json::parse_object(raw).is_some_and(|entry| is_good(&entry))
}
