//! The operator's word on keys: what is pinned and what is banned.

use std::collections::{BTreeMap, BTreeSet};

use crate::proto::ed25519::VerifyKey;
use crate::proto::{KeyId, ServerName};

/// Pins and bans. They decide before anything that was fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Keys that are used without asking anybody, and that no other key may take the ID of.
    pub pins: BTreeMap<ServerName, BTreeMap<KeyId, VerifyKey>>,
    /// Key bodies that are refused wherever they turn up, beside those fedgate ships with.
    pub banned_keys: BTreeSet<[u8; 32]>,
    /// Key IDs of one server that are refused.
    pub banned_key_ids: BTreeSet<(ServerName, KeyId)>,
    /// Servers none of whose keys are used.
    pub banned_servers: BTreeSet<ServerName>,
}
