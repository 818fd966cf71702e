//! What a document brings: keys never seen before, and other bodies than known.

use std::fmt;

use crate::keys::history::Entry;
use crate::keys::record::Source;
use crate::proto::ed25519::VerifyKey;
use crate::proto::validity::Provenance;
use crate::proto::{KeyId, ServerName};

/// What a document has brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The key IDs it shows with another body than known.
    pub collisions: Vec<Collision>,
    /// What it shows for the first time, for the history; none if that is nothing.
    pub entry: Option<Entry>,
}

/// One key ID with two different bodies (R62).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// Whose key.
    pub server: ServerName,
    /// The ID both bodies go by.
    pub id: KeyId,
    /// The body known before, and the best source that had shown it.
    pub known: (VerifyKey, Provenance),
    /// The other body, and the source that shows it now.
    pub offered: (VerifyKey, Source),
    /// Whether the new body takes the place of the known one.
    pub replaced: bool,
}

impl fmt::Display for Collision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (known, known_from) = (&self.known.0, label(self.known.1));
        let (offered, offered_from) = &self.offered;
        write!(f, "{} of {} was ", self.id, self.server)?;
        write!(f, "{} ({known_from}) and is now shown as ", known.to_base64())?;
        write!(f, "{} ({offered_from}); ", offered.to_base64())?;
        f.write_str(if self.replaced { "the new one is used" } else { "the known one is kept" })
    }
}

/// The name of a source in logs and metrics.
pub(crate) const fn label(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::Homeserver => "homeserver",
        Provenance::Notary => "notary",
        Provenance::Origin => "origin",
    }
}
