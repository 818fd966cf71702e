//! What a transaction holds: the body of `PUT /send/{txnId}` (server-server API, transactions; R79).

use std::borrow::Cow;
use std::fmt;

use crate::proto::ServerName;
use crate::proto::json::{Object, array_values, string_value};
use crate::proto::limits::{EDUS_MAX, PDUS_MAX};

/// A transaction's events and messages, each as its text within the body. What they are is not looked
/// at: an entry may be any JSON value, and is no ground to refuse the others (R80).
#[derive(Debug, Default)]
pub struct Transaction<'a> {
    origin: Option<&'a [u8]>,
    pdus: Vec<&'a [u8]>,
    edus: Vec<&'a [u8]>,
}

/// Why a body is no transaction that may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionError {
    /// The field is there and not an array.
    NotAnArray(&'static str),
    /// The field has more entries than it may. They are not counted to the end.
    TooMany {
        /// The field.
        field: &'static str,
        /// How many it may have.
        max: usize,
    },
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnArray(field) => write!(f, "{field} is not an array"),
            Self::TooMany { field, max } => write!(f, "{field} has more than {max} entries"),
        }
    }
}

impl std::error::Error for TransactionError {}

impl<'a> Transaction<'a> {
    /// Reads a body. `pdus` and `edus` may be missing, as Synapse takes it.
    ///
    /// # Errors
    /// One of them is no array, or has more entries than `PDUS_MAX` or `EDUS_MAX`.
    pub fn read(body: &Object<'a>) -> Result<Self, TransactionError> {
        let mut transaction = Self::default();
        for (name, value) in body.members() {
            match name.as_ref() {
                "edus" => transaction.edus = entries("edus", value, EDUS_MAX)?,
                "origin" => transaction.origin = Some(value),
                "pdus" => transaction.pdus = entries("pdus", value, PDUS_MAX)?,
                _ => {}
            }
        }
        Ok(transaction)
    }

    /// The texts of the events, for [`Event::scan`](super::Event::scan).
    pub fn pdus(&self) -> &[&'a [u8]] {
        &self.pdus
    }

    /// The texts of the messages, for [`edu_claims`](super::edu_claims).
    pub fn edus(&self) -> &[&'a [u8]] {
        &self.edus
    }

    /// The server that the body says it comes from, if that is a string. Proves nothing, may be
    /// anything.
    pub fn origin(&self) -> Option<Cow<'a, str>> {
        string_value(self.origin?)
    }

    /// Whether the body says that it comes from somebody else than the server that sent it. A body
    /// that says nothing does not.
    pub fn names_other_origin(&self, authenticated: &ServerName) -> bool {
        self.origin.is_some() && self.origin().as_deref() != Some(authenticated.as_str())
    }
}

/// The texts of an array's values.
fn entries<'a>(
    field: &'static str,
    value: &'a [u8],
    max: usize,
) -> Result<Vec<&'a [u8]>, TransactionError> {
    let values = array_values(value).ok_or(TransactionError::NotAnArray(field))?;
    let entries: Vec<_> = values.take(max + 1).collect();
    if entries.len() > max {
        return Err(TransactionError::TooMany { field, max });
    }
    Ok(entries)
}
