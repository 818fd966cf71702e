//! The question: `GET /_matrix/key/v2/query/{serverName}[/{keyId}]` and `POST /_matrix/key/v2/query`
//! (server-server API, querying keys through another server).

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;

use crate::keys::keyring::WantedKey;
use crate::proto::json::{JsonError, Object, object_members};
use crate::proto::{KeyId, ServerName, Timestamp};

/// Where GET questions begin.
const GET_PREFIX: &str = "/_matrix/key/v2/query/";

/// The one parameter and criterion there is.
const MINIMUM: &str = "minimum_valid_until_ts";

/// Characters of a malformed name that are told.
const SHOWN_CHARS_MAX: usize = 64;

/// Most key IDs asked of one server: as many as are remembered of one.
const KEY_IDS_MAX: usize = crate::keys::known::KEY_IDS_PER_SERVER_MAX;

/// What is asked of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Whose keys.
    pub server: ServerName,
    /// Which of them; all of them when empty (R65).
    pub keys: Vec<WantedKey>,
    /// Until when all of them should be valid, where no single key is named.
    pub minimum_valid_until: Option<Timestamp>,
}

/// What is wrong with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// The body is no unambiguous JSON object.
    Json(JsonError),
    /// The question breaks its form; the text says where.
    Form(String),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => error.fmt(f),
            Self::Form(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for QueryError {}

/// The question of a GET.
///
/// # Errors
/// When a name, a key ID or the time is malformed.
pub fn of_get(path: &str, query: Option<&str>) -> Result<Wanted, QueryError> {
    let rest = path.strip_prefix(GET_PREFIX).unwrap_or_default();
    let (server, key_id) = rest.split_once('/').map_or((rest, None), |(s, id)| (s, Some(id)));
    let server = server_name(&decoded(server)?)?;
    let minimum_valid_until = minimum_of_query(query.unwrap_or_default())?;
    let keys = match key_id {
        None | Some("") => Vec::new(),
        Some(id) => vec![WantedKey { id: self::key_id(&decoded(id)?)?, minimum_valid_until }],
    };
    Ok(Wanted { server, keys, minimum_valid_until })
}

/// The questions of a POST, at most `names_max`.
///
/// # Errors
/// When the body is no such question.
pub fn of_post(body: &[u8], names_max: usize) -> Result<Vec<Wanted>, QueryError> {
    // One scan for all of it: what is unambiguous as a whole is so in its parts.
    let object = Object::scan(body).map_err(QueryError::Json)?;
    let servers = object.members().find(|(name, _)| name == "server_keys");
    let Some((_, servers)) = servers else {
        return Err(form("the member server_keys is missing"));
    };
    let mut wanted = Vec::new();
    for (name, keys) in members(servers, &"server_keys")? {
        if wanted.len() == names_max {
            return Err(form(format_args!("more than {names_max} servers in one query")));
        }
        let server = server_name(&name)?;
        let keys = wanted_keys(&server, keys)?;
        wanted.push(Wanted { server, keys, minimum_valid_until: None });
    }
    Ok(wanted)
}

fn wanted_keys(server: &ServerName, text: &[u8]) -> Result<Vec<WantedKey>, QueryError> {
    let mut wanted = Vec::new();
    for (id, criteria) in members(text, server)? {
        if wanted.len() == KEY_IDS_MAX {
            return Err(form(format_args!("more than {KEY_IDS_MAX} key IDs of {server}")));
        }
        let id = key_id(&id)?;
        let minimum = members(criteria, &id)?.find(|(name, _)| name == MINIMUM);
        let minimum_valid_until = minimum
            .map(|(_, text)| timestamp(std::str::from_utf8(text).unwrap_or_default()))
            .transpose()?;
        wanted.push(WantedKey { id, minimum_valid_until });
    }
    Ok(wanted)
}

fn minimum_of_query(query: &str) -> Result<Option<Timestamp>, QueryError> {
    let parameters = query.split('&').filter_map(|parameter| parameter.split_once('='));
    let mut minima = parameters.filter(|(name, _)| *name == MINIMUM).map(|(_, value)| value);
    let minimum = minima.next();
    if minima.next().is_some() {
        return Err(form(format_args!("{MINIMUM} is given twice")));
    }
    minimum.map(|text| timestamp(&decoded(text)?)).transpose()
}

/// The members of the value of `what`, which must be an object.
fn members<'v>(
    value: &'v [u8],
    what: &dyn fmt::Display,
) -> Result<impl Iterator<Item = (Cow<'v, str>, &'v [u8])>, QueryError> {
    object_members(value).ok_or_else(|| form(format_args!("{what} is not a JSON object")))
}

fn form(text: impl fmt::Display) -> QueryError {
    QueryError::Form(text.to_string())
}

fn decoded(segment: &str) -> Result<Cow<'_, str>, QueryError> {
    percent_decode_str(segment).decode_utf8().map_err(|_error| form("an escape is not UTF-8"))
}

fn server_name(text: &str) -> Result<ServerName, QueryError> {
    ServerName::parse(text)
        .map_err(|error| form(format_args!("{} is no server name: {error}", shown(text))))
}

fn key_id(text: &str) -> Result<KeyId, QueryError> {
    KeyId::parse(text).map_err(|error| form(format_args!("{}: {error}", shown(text))))
}

/// A text of the asker's, fit to be told.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(SHOWN_CHARS_MAX).collect::<String>())
}

/// An integer of canonical JSON that is not negative.
fn timestamp(text: &str) -> Result<Timestamp, QueryError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let ms = digits.then(|| text.parse::<u64>().ok()).flatten();
    ms.map(Timestamp::from_ms).filter(|at| *at <= Timestamp::MAX).ok_or_else(|| {
        let max = Timestamp::MAX.as_ms();
        form(format_args!("{MINIMUM} is not an integer from 0 to {max}"))
    })
}

#[cfg(test)]
mod tests;
