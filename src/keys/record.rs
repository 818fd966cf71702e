//! What is kept of one server's keys, as plain data: the form in which stores keep it.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;

use crate::proto::ed25519::VerifyKey;
use crate::proto::validity::Provenance;
use crate::proto::{KeyId, ServerName, Timestamp};

/// Who has shown a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The homeserver behind the gate.
    Homeserver,
    /// A notary.
    Notary(ServerName),
    /// The origin itself.
    Origin,
}

impl Source {
    /// Which kind of source it is.
    pub const fn kind(&self) -> Provenance {
        match self {
            Self::Homeserver => Provenance::Homeserver,
            Self::Notary(_) => Provenance::Notary,
            Self::Origin => Provenance::Origin,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Homeserver => f.write_str("homeserver"),
            Self::Notary(name) => write!(f, "notary {name}"),
            Self::Origin => f.write_str("origin"),
        }
    }
}

/// All that is kept of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerRecord {
    /// One per key ID, in the order of the IDs.
    pub bindings: Vec<Binding>,
    /// The documents that decide on windows and retirements.
    pub documents: Vec<KeptDocument>,
}

/// What a key ID is bound to, for ever (MSC4499): the first body seen, unless the origin itself has
/// contradicted what only others had shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The key ID.
    pub id: KeyId,
    /// The body.
    pub key: VerifyKey,
    /// The best kind of source that has shown this body. Less than the origin is provisional.
    pub learnt_from: Provenance,
    /// When this body was first shown.
    pub first_seen: Timestamp,
    /// Everybody who has shown this body.
    pub witnesses: BTreeSet<Source>,
    /// The first `expired_ts` under which it was shown as retired.
    pub expired_ts: Option<Timestamp>,
    /// The last other body shown under this ID, which was not believed.
    pub conflict: Option<Conflict>,
    /// The document that decides on the window, as its place in [`ServerRecord::documents`]. None
    /// when the document had to make room: the body stays bound all the same.
    pub document: Option<usize>,
}

/// Another body shown under a bound key ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The other body.
    pub key: VerifyKey,
    /// Who has shown it.
    pub source: Source,
    /// When.
    pub at: Timestamp,
}

/// A signed key document as received, to be verified again when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptDocument {
    /// The document, byte for byte.
    pub raw: Bytes,
    /// When it was fetched.
    pub fetched_at: Timestamp,
    /// From where.
    pub source: Source,
}
