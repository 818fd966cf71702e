//! Where `fedgate keys` has its work done: by the fedgate that runs, or else here, on its file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::super::healthcheck::admin;
use super::super::http::{self, Asked};
use super::super::{Exit, Failure};
use crate::admin::{Api, PREFIX, read_token};
use crate::app::{self, StartError};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Config, Homeserver, Store};
use crate::keys::inquiry::Inquiry;
use crate::keys::store::{FileStore, StoreError};
use crate::proto::{KeyId, ServerName};

/// Added to the time that finding keys may take.
const ANSWER_SLACK: Duration = Duration::from_secs(5);

/// Does what the API does.
pub(super) enum Desk {
    /// The fedgate that runs.
    Running(Running),
    /// None runs: the same code, on its file.
    Here(Runtime, Api),
}

/// A fedgate that runs.
pub(in super::super) struct Running {
    address: Homeserver,
    token: Option<String>,
    timeout: Duration,
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Undone {
    /// There is nothing to do it to.
    Nothing(String),
    /// Anything else.
    Failed(Failure),
}

impl From<Failure> for Undone {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<std::io::Error> for Undone {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl Desk {
    /// The fedgate that runs with these settings, or else its file.
    ///
    /// # Errors
    /// When there is neither, or the one that runs does not let us.
    pub(super) fn find(config: &Config, may_begin: MayBegin) -> Result<Self, Failure> {
        if let Some(running) = Running::find(config)? {
            return Ok(Self::Running(running));
        }
        let store = open(config, may_begin)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let api = runtime.block_on(async {
            let keyring = app::keyring_alone(config, Arc::new(store)).await?;
            Ok::<_, StartError>(Api::new(keyring))
        });
        let api = api.map_err(|error| negative(format!("error: {error}")))?;
        Ok(Self::Here(runtime, api))
    }

    /// Does what `method` on `target` asks for.
    pub(super) fn call(&self, method: &str, target: &str, body: &str) -> Result<Value, Undone> {
        let (status, said) = match self {
            Self::Running(running) => match running.call(method, target, body)? {
                (200, value) => return Ok(value),
                (status, value) => {
                    let said = value.get("error").and_then(Value::as_str);
                    (status, said.unwrap_or("no reason was given").to_owned())
                }
            },
            Self::Here(runtime, api) => {
                match runtime.block_on(api.call(method, target, body.as_bytes())) {
                    Ok(value) => return Ok(value),
                    Err(failure) => (failure.status.as_u16(), failure.text),
                }
            }
        };
        Err(match status {
            404 => Undone::Nothing(said),
            400 => Undone::Failed(Failure::usage(format!("error: {said}"))),
            _ => Undone::Failed(negative(format!("error: {said}"))),
        })
    }
}

impl Running {
    /// The fedgate that answers at `admin.address`, if anybody does.
    pub(in super::super) fn find(config: &Config) -> Result<Option<Self>, Failure> {
        let token = match &config.admin.token_file {
            None => None,
            Some(path) => Some(read_token(path).map_err(|error| {
                negative(format!("error: admin.token_file = {path:?}: {error}"))
            })?),
        };
        let timeout = config.keys.fetch_timeout + ANSWER_SLACK;
        let running = Self { address: admin(config.admin.address), token, timeout };
        match running.ask("GET", "", "") {
            Err(_nobody) => Ok(None),
            Ok(answer) => {
                let told = serde_json::from_str::<Value>(&answer.body).unwrap_or_default();
                let address = config.admin.address;
                match (answer.status, told.get("fedgate"), told.get("error")) {
                    (200, Some(_), _) => Ok(Some(running)),
                    (_, None, Some(error)) => {
                        Err(negative(format!("error: the fedgate at {address}: {error}")))
                    }
                    _ => Err(negative(format!(
                        "error: what listens on admin.address {address} is no fedgate of this \
                         version; stop it, or change admin.address"
                    ))),
                }
            }
        }
    }

    fn ask(&self, method: &str, target: &str, body: &str) -> std::io::Result<http::Answer> {
        let mut headers = String::from("Content-Type: application/json\r\n");
        if let Some(token) = &self.token {
            headers.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        let path = &format!("{PREFIX}{target}");
        http::send(
            &self.address,
            &Asked { method, path, headers: &headers, body, timeout: self.timeout },
        )
    }

    /// All it has to say of one server.
    pub(in super::super) fn inquiry(
        &self,
        server: &ServerName,
        ids: &[KeyId],
        offline: bool,
    ) -> Result<Inquiry, Failure> {
        let ids: Vec<&str> = ids.iter().map(KeyId::as_str).collect();
        let body = json!({ "key_ids": ids, "offline": offline }).to_string();
        let (status, value) = self.call("POST", &format!("/keys/{server}/inquiry"), &body)?;
        serde_json::from_value(value).map_err(|error| {
            negative(format!(
                "error: the fedgate that runs gave no inquiry (status {status}): {error}"
            ))
        })
    }

    fn call(&self, method: &str, target: &str, body: &str) -> Result<(u16, Value), Failure> {
        let answer = self.ask(method, target, body).map_err(|error| {
            negative(format!("error: the fedgate that runs does not answer: {error}"))
        })?;
        let value = serde_json::from_str(&answer.body).map_err(|error| {
            negative(format!("error: the answer of the fedgate that runs is no JSON: {error}"))
        })?;
        Ok((answer.status, value))
    }
}

/// Whether the file of keys is made where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MayBegin {
    /// It is: there is something to write into it.
    Yes,
    /// It is not.
    No,
}

/// The file of keys that the settings name.
fn open(config: &Config, may_begin: MayBegin) -> Result<FileStore, Failure> {
    let path: &Path = match &config.keys.store {
        Store::Memory => {
            return Err(Failure::usage(
                "error: keys.store is \"\": keys are kept in memory only, and no fedgate runs",
            ));
        }
        Store::File(path) | Store::FileIfPossible(path) => path,
    };
    if may_begin == MayBegin::No && !path.exists() {
        let message =
            format!("error: no fedgate runs, and keys.store = {path:?}: there is no such file");
        return Err(negative(message));
    }
    let opened = FileStore::open(path, SystemClock.now())?;
    if let Some(aside) = opened.moved_aside {
        return Err(negative(format!(
            "error: keys.store was damaged; it has been moved to {aside:?}"
        )));
    }
    Ok(opened.store)
}

fn negative(message: String) -> Failure {
    Failure { message, exit: Exit::Negative }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let mut message = format!("error: {error}");
        if matches!(error, StoreError::Locked(_)) {
            message.push_str("; a fedgate runs, but does not answer at admin.address");
        }
        Self { message, exit: Exit::Negative }
    }
}
