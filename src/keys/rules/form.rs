//! Rules and their changes as JSON: in the store, in the admin API and on the command line.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Change, Rules, Subject};
use crate::proto::ed25519::VerifyKey;
use crate::proto::{KeyId, ServerName, base64};

/// [`Rules`] as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesForm {
    /// Server name to key ID to key, in base64.
    pub pins: BTreeMap<String, BTreeMap<String, String>>,
    /// Key bodies, in base64.
    pub banned_keys: Vec<String>,
    /// Server names and key IDs.
    pub banned_key_ids: Vec<(String, String)>,
    /// Server names.
    pub banned_servers: Vec<String>,
}

/// [`Change`] as JSON: `{"pin": {"server_name": …, "key_id": …, "key": …}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeForm {
    /// A key is pinned: server name, key ID and key are given.
    Pin(SubjectForm),
    /// A pin ends: server name and key ID are given.
    Unpin(SubjectForm),
    /// Given are a server name, a server name and a key ID, or a key.
    Ban(SubjectForm),
    /// The same.
    Unban(SubjectForm),
}

/// What a change is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectForm {
    /// A server name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// A key ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// A key, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What is wrong with a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormError(pub String);

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FormError {}

impl From<&Rules> for RulesForm {
    fn from(rules: &Rules) -> Self {
        let pins = rules.pins.iter().map(|(server, keys)| {
            let keys = keys.iter().map(|(id, key)| (id.as_str().to_owned(), key.to_base64()));
            (server.as_str().to_owned(), keys.collect())
        });
        let ids = rules.banned_key_ids.iter();
        Self {
            pins: pins.collect(),
            banned_keys: rules.banned_keys.iter().map(|key| base64::encode(key)).collect(),
            banned_key_ids: ids
                .map(|(server, id)| (server.as_str().to_owned(), id.as_str().to_owned()))
                .collect(),
            banned_servers: rules.banned_servers.iter().map(|s| s.as_str().to_owned()).collect(),
        }
    }
}

impl TryFrom<RulesForm> for Rules {
    type Error = FormError;

    fn try_from(form: RulesForm) -> Result<Self, FormError> {
        let mut rules = Self::default();
        for (server, keys) in form.pins {
            let keys = keys
                .into_iter()
                .map(|(id, key)| Ok((key_id(&id)?, verify_key(&key)?)))
                .collect::<Result<_, FormError>>()?;
            rules.pins.insert(server_name(&server)?, keys);
        }
        for key in form.banned_keys {
            rules.banned_keys.insert(key_bytes(&key)?);
        }
        for (server, id) in form.banned_key_ids {
            rules.banned_key_ids.insert((server_name(&server)?, key_id(&id)?));
        }
        for server in form.banned_servers {
            rules.banned_servers.insert(server_name(&server)?);
        }
        Ok(rules)
    }
}

impl TryFrom<ChangeForm> for Change {
    type Error = FormError;

    fn try_from(form: ChangeForm) -> Result<Self, FormError> {
        match form {
            ChangeForm::Pin(SubjectForm {
                server_name: Some(server),
                key_id: Some(id),
                key: Some(key),
            }) => Ok(Self::Pin(server_name(&server)?, own_key_id(&id)?, verify_key(&key)?)),
            ChangeForm::Pin(_) => Err(FormError("a pin needs server_name, key_id and key".into())),
            ChangeForm::Unpin(SubjectForm {
                server_name: Some(server),
                key_id: Some(id),
                key: None,
            }) => Ok(Self::Unpin(server_name(&server)?, key_id(&id)?)),
            ChangeForm::Unpin(_) => {
                Err(FormError("the end of a pin needs server_name and key_id".into()))
            }
            ChangeForm::Ban(subject) => subject.try_into().map(Self::Ban),
            ChangeForm::Unban(subject) => subject.try_into().map(Self::Unban),
        }
    }
}

impl TryFrom<SubjectForm> for Subject {
    type Error = FormError;

    fn try_from(form: SubjectForm) -> Result<Self, FormError> {
        match form {
            SubjectForm { server_name: None, key_id: None, key: Some(key) } => {
                key_bytes(&key).map(Self::Key)
            }
            SubjectForm { server_name: Some(server), key_id: Some(id), key: None } => {
                Ok(Self::KeyId(server_name(&server)?, key_id(&id)?))
            }
            SubjectForm { server_name: Some(server), key_id: None, key: None } => {
                server_name(&server).map(Self::Server)
            }
            SubjectForm { .. } => Err(FormError(
                "a ban is of a server_name, of a server_name and a key_id, or of a key".into(),
            )),
        }
    }
}

fn server_name(text: &str) -> Result<ServerName, FormError> {
    ServerName::parse(text).map_err(|error| wrong(text, "no server name", &error))
}

fn key_id(text: &str) -> Result<KeyId, FormError> {
    KeyId::parse(text).map_err(|error| wrong(text, "no key ID", &error))
}

/// A key ID of the one algorithm there are keys of.
fn own_key_id(text: &str) -> Result<KeyId, FormError> {
    let id = key_id(text)?;
    if id.is_ed25519() {
        return Ok(id);
    }
    Err(FormError(format!("{text:?} is not the ID of an Ed25519 key, as in \"ed25519:auto\"")))
}

fn verify_key(text: &str) -> Result<VerifyKey, FormError> {
    VerifyKey::from_base64(text).map_err(|error| wrong(text, "no Ed25519 public key", &error))
}

fn key_bytes(text: &str) -> Result<[u8; 32], FormError> {
    base64::decode_array(text.as_bytes())
        .map_err(|error| wrong(text, "not the base64 of 32 bytes", &error))
}

fn wrong(text: &str, what: &str, error: &dyn fmt::Display) -> FormError {
    FormError(format!("{text:?} is {what}: {error}"))
}
