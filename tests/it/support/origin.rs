//! A remote server: a name and a signing key, able to publish it and to sign requests.

use bytes::Bytes;
use fedgate::proto::ed25519::SigningKey;
use fedgate::proto::json::Object;
use fedgate::proto::sign::{sign_json, sign_request};
use fedgate::proto::signed_request::{RequestTarget, SignedRequest};
use fedgate::proto::x_matrix::header_value;
use fedgate::proto::{KeyId, ServerName};
use serde_json::json;

use super::{NOW_MS, OWN_NAME};

pub struct Origin {
    pub name: ServerName,
    pub key_id: KeyId,
    pub key: SigningKey,
}

impl Origin {
    /// A server whose key follows from its name.
    pub fn new(name: &str) -> Self {
        Self::with_key(name, "ed25519:1", seed(name))
    }

    pub fn with_key(name: &str, key_id: &str, seed: [u8; 32]) -> Self {
        Self {
            name: ServerName::parse(name).unwrap(),
            key_id: KeyId::parse(key_id).unwrap(),
            key: SigningKey::from_seed(&seed),
        }
    }

    /// Its key document, valid for a day from the tests' now.
    pub fn document(&self) -> Bytes {
        self.document_until(NOW_MS + 24 * 60 * 60 * 1_000)
    }

    pub fn document_until(&self, valid_until_ts: u64) -> Bytes {
        let document = json!({
            "server_name": self.name.as_str(),
            "valid_until_ts": valid_until_ts,
            "verify_keys": { self.key_id.as_str(): { "key": self.key.verify_key().to_base64() } },
            "old_verify_keys": {},
        });
        self.sign_document(&document)
    }

    pub fn sign_document(&self, document: &serde_json::Value) -> Bytes {
        let text = document.to_string();
        sign_json(text.as_bytes(), &self.name, &self.key_id, &self.key).unwrap().into()
    }

    /// The Authorization value for a request to the gate.
    pub fn authorize(&self, method: &str, target: &str, body: Option<&[u8]>) -> String {
        self.authorize_for(OWN_NAME, method, target, body)
    }

    pub fn authorize_for(
        &self,
        destination: &str,
        method: &str,
        target: &str,
        body: Option<&[u8]>,
    ) -> String {
        let destination = ServerName::parse(destination).unwrap();
        let content = body.map(|body| Object::scan(body).unwrap());
        let target = RequestTarget::parse(target.as_bytes()).unwrap();
        let request = SignedRequest {
            method,
            target: &target,
            origin: &self.name,
            destination: &destination,
            content: content.as_ref(),
        };
        let signature = sign_request(&request, &self.key);
        header_value(&self.name, &destination, &self.key_id, &signature)
    }
}

fn seed(name: &str) -> [u8; 32] {
    let mut seed = [7; 32];
    for (slot, byte) in seed.iter_mut().zip(name.bytes()) {
        *slot = byte;
    }
    seed
}
