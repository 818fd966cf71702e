//! Signatures over what a lenient server would make of an input, which the gate's own types would
//! often not take: so they are made here by hand.

use fedgate::proto::x_matrix::header_value;
use fedgate::proto::{KeyId, ServerName};
use serde_json::Value;

use super::text::unescape;
use crate::support::{OWN_NAME, Origin};

/// Whoever signs. All of them publish their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    /// `origin.example`, with `ed25519:1`.
    One,
    /// `origin.example`, with `ed25519:2`.
    Two,
    /// `evil.example`, with `ed25519:1`.
    Evil,
}

impl Signer {
    pub const ALL: [Self; 3] = [Self::One, Self::Two, Self::Evil];

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signer| signer.name() == name)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Two => "two",
            Self::Evil => "evil",
        }
    }

    pub fn origin(self) -> Origin {
        match self {
            Self::One => Origin::with_key("origin.example", "ed25519:1", [1; 32]),
            Self::Two => Origin::with_key("origin.example", "ed25519:2", [2; 32]),
            Self::Evil => Origin::with_key("evil.example", "ed25519:1", [3; 32]),
        }
    }
}

/// A request as it is signed.
#[derive(Clone, Debug)]
pub struct Meant {
    pub method: String,
    /// In Latin-1 where it is not UTF-8.
    pub target: String,
    /// In the canonical form, verbatim.
    pub content: Option<String>,
}

impl Meant {
    /// Reads `METHOD TARGET` or `METHOD TARGET CONTENT`.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.splitn(3, ' ');
        let mut word = |what: &str| words.next().ok_or_else(|| format!("signed wants {what}"));
        let (method, target) = (unescape(word("a method")?)?, unescape(word("a target")?)?);
        let content = words.next().map(unescape).transpose()?;
        Ok(Self { method: text_of(method), target: text_of(target), content: content.map(text_of) })
    }

    /// The signature of `signer` for `destination`.
    pub fn sign(&self, signer: Signer, destination: &str) -> Signed {
        let origin = signer.origin();
        let quoted = |text: &str| Value::from(text).to_string();
        let content = self.content.as_ref().map(|c| format!("\"content\":{c},"));
        let object = format!(
            "{{{}\"destination\":{},\"method\":{},\"origin\":{},\"uri\":{}}}",
            content.unwrap_or_default(),
            quoted(destination),
            quoted(&self.method),
            quoted(origin.name.as_str()),
            quoted(&self.target),
        );
        let signature = origin.key.sign(object.as_bytes());
        let header = |destination: &str, key: &KeyId| {
            let destination = ServerName::parse(destination).unwrap();
            header_value(&origin.name, &destination, key, &signature)
        };
        Signed {
            sig: signature.to_base64(),
            auth: header(destination, &origin.key_id),
            forwarded: header(OWN_NAME, &origin.key_id),
        }
    }
}

/// A signature.
#[derive(Clone, Debug)]
pub struct Signed {
    /// In base64.
    pub sig: String,
    /// As an Authorization value.
    pub auth: String,
    /// As the one that is forwarded.
    pub forwarded: String,
}

fn text_of(bytes: Vec<u8>) -> String {
    let latin = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect();
    String::from_utf8(bytes).unwrap_or_else(|error| latin(error.as_bytes()))
}
