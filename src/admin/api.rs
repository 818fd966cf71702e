//! The operator's API: what stands below `/api/v1`. JSON in, JSON out. `fedgate keys` asks a running
//! fedgate over HTTP, or does the same here when none runs.

mod history;

use std::fmt;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use self::history::{Asked, told};
use crate::keys::Keyring;
use crate::keys::keyring::AmendError;
use crate::keys::rules::Change;
use crate::keys::rules::form::{ChangeForm, RulesForm};
use crate::keys::store::StoreError;
use crate::proto::{KeyId, ServerName};

/// Where the API begins.
pub const PREFIX: &str = "/api/v1";

/// Server names in one answer.
const PAGE: usize = 1_000;

/// The API over one keyring.
pub struct Api {
    keyring: Keyring,
}

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The HTTP status that says so.
    pub status: StatusCode,
    /// The cause, for people.
    pub text: String,
    /// The methods there are instead, as in the header `Allow`.
    pub allow: Option<&'static str>,
}

type Answered = Result<Value, Failure>;

/// What an inquiry is to be about.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Question {
    /// The keys to ask for; those that the server shows, and those known, unless given.
    key_ids: Vec<String>,
    /// Whether to say only what is known.
    offline: bool,
}

impl Api {
    /// The API over `keyring`.
    pub const fn new(keyring: Keyring) -> Self {
        Self { keyring }
    }

    /// Does what `method` on `target`, a path below [`PREFIX`], asks for with `body`.
    ///
    /// # Errors
    /// With the status and the cause when it is not done.
    pub async fn call(&self, method: &str, target: &str, body: &[u8]) -> Answered {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method, &segments[..]) {
            ("GET", [""]) => Ok(json!({ "fedgate": env!("CARGO_PKG_VERSION") })),
            ("GET", ["keys"]) => self.list(query).await,
            ("DELETE", ["keys", server]) => self.flush(&named(server)?).await,
            ("POST", ["keys", server, "refresh"]) => self.refresh(&named(server)?).await,
            ("POST", ["keys", server, "inquiry"]) => self.inquire(&named(server)?, body).await,
            ("GET", ["keys", server, "history"]) => self.history(&named(server)?, query).await,
            ("GET", ["rules"]) => Ok(self.rules()),
            ("POST", ["rules"]) => self.amend(body).await,
            (_, ["" | "keys"]) => Err(not_allowed("GET")),
            (_, ["keys", _]) => Err(not_allowed("DELETE")),
            (_, ["keys", _, "history"]) => Err(not_allowed("GET")),
            (_, ["keys", _, "inquiry" | "refresh"]) => Err(not_allowed("POST")),
            (_, ["rules"]) => Err(not_allowed("GET, POST")),
            _ => Err(failure(
                StatusCode::NOT_FOUND,
                format_args!("here are {PREFIX}/keys and {PREFIX}/rules"),
            )),
        }
    }

    /// `GET /keys?after=NAME`: the servers whose keys are kept, page by page.
    async fn list(&self, query: &str) -> Answered {
        let after = match query.strip_prefix("after=") {
            Some(name) => Some(named(name)?),
            None if query.is_empty() => None,
            None => return Err(bad("the one parameter is after=SERVER_NAME")),
        };
        let servers = self.keyring.servers(after.as_ref(), PAGE).await.map_err(of_store)?;
        let next = if servers.len() < PAGE { None } else { servers.last() };
        let names: Vec<&str> = servers.iter().map(ServerName::as_str).collect();
        Ok(json!({ "servers": names, "next": next.map(ServerName::as_str) }))
    }

    /// `DELETE /keys/NAME`: lets go of all that is known of a server.
    async fn flush(&self, server: &ServerName) -> Answered {
        let Some(record) = self.keyring.flush(server).await.map_err(of_store)? else {
            let text = format_args!("nothing is kept of {server}");
            return Err(failure(StatusCode::NOT_FOUND, text));
        };
        let keys = record.bindings.iter();
        let keys = keys.map(|key| json!({ "key_id": key.id.as_str(), "key": key.key.to_base64() }));
        Ok(json!({ "server_name": server.as_str(), "flushed": keys.collect::<Vec<_>>() }))
    }

    /// `POST /keys/NAME/refresh`: asks the sources anew.
    async fn refresh(&self, server: &ServerName) -> Answered {
        match self.keyring.refresh(server).await {
            Ok(valid) => Ok(json!({ "server_name": server.as_str(), "valid_keys": valid })),
            Err(error) => Err(failure(StatusCode::BAD_GATEWAY, error)),
        }
    }

    /// `POST /keys/NAME/inquiry`: all there is to say of a server, with every source asked.
    async fn inquire(&self, server: &ServerName, body: &[u8]) -> Answered {
        let asked: Question = serde_json::from_slice(body).map_err(bad)?;
        let ids = asked.key_ids.iter().map(|id| KeyId::parse(id));
        let ids: Vec<KeyId> = ids.collect::<Result<_, _>>().map_err(bad)?;
        let inquiry = if asked.offline {
            self.keyring.look_at(server).await
        } else {
            self.keyring.inquire(server, &ids).await
        };
        Ok(json!(inquiry))
    }

    /// `GET /keys/NAME/history?from=NUMBER&verify=true`: what has happened to a server's keys, page by
    /// page, and whether each entry is right.
    async fn history(&self, server: &ServerName, query: &str) -> Answered {
        let Asked { from, verify } = Asked::of(query)?;
        let page = self.keyring.history(server, from, PAGE).await.map_err(of_store)?;
        if page.is_empty() && from == 0 {
            let text = format_args!("nothing is recorded of {server}");
            return Err(failure(StatusCode::NOT_FOUND, text));
        }
        let next = page.last().map(|last| last.number.saturating_add(1));
        let rules = self.keyring.rules().in_force();
        let entries = page.iter().map(|kept| {
            let mut told = told(kept);
            if verify {
                let wrong = kept.verify(server, rules.banned()).err();
                told.insert("wrong".to_owned(), json!(wrong));
            }
            Value::Object(told)
        });
        let entries: Vec<Value> = entries.collect();
        Ok(json!({ "server_name": server.as_str(), "entries": entries, "next": next }))
    }

    /// `GET /rules`: those of the settings and those made at run time.
    fn rules(&self) -> Value {
        let book = self.keyring.rules();
        json!({
            "settings": RulesForm::from(book.of_settings()),
            "made": RulesForm::from(&book.made()),
        })
    }

    /// `POST /rules`: one change.
    async fn amend(&self, body: &[u8]) -> Answered {
        let form: ChangeForm = serde_json::from_slice(body).map_err(bad)?;
        let change = Change::try_from(form).map_err(bad)?;
        match self.keyring.amend(&change).await {
            Ok(changed) => Ok(json!({ "changed": changed })),
            Err(AmendError::Rules(error)) => Err(failure(StatusCode::CONFLICT, error)),
            Err(AmendError::Store(error)) => Err(of_store(error)),
        }
    }
}

fn named(text: &str) -> Result<ServerName, Failure> {
    ServerName::parse(text)
        .map_err(|error| bad(format_args!("{text:?} is no server name: {error}")))
}

pub(super) fn failure(status: StatusCode, text: impl fmt::Display) -> Failure {
    Failure { status, text: text.to_string(), allow: None }
}

pub(super) fn bad(text: impl fmt::Display) -> Failure {
    failure(StatusCode::BAD_REQUEST, text)
}

fn of_store(error: StoreError) -> Failure {
    failure(StatusCode::SERVICE_UNAVAILABLE, error)
}

fn not_allowed(allow: &'static str) -> Failure {
    let text = format!("this takes {allow} only");
    Failure { status: StatusCode::METHOD_NOT_ALLOWED, text, allow: Some(allow) }
}
