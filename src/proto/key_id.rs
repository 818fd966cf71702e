//! Key IDs: `ed25519:a_1`.

use std::fmt;
use std::sync::Arc;

/// A signing key's ID, `<algorithm>:<version>`; read liberally, compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Arc<str>);

/// Why a text is not a key ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyIdError;

impl KeyId {
    /// Parses `<algorithm>:<version>`: both parts non-empty, printable ASCII without `"`, `,`, `\`
    /// and space, at most `KEY_ID_BYTES_MAX` bytes.
    pub fn parse(_text: &str) -> Result<Self, KeyIdError> {
        todo!()
    }

    /// The whole ID.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the colon.
    pub fn algorithm(&self) -> &str {
        todo!()
    }

    /// Whether the key is of the one algorithm Matrix defines.
    pub fn is_ed25519(&self) -> bool {
        self.algorithm() == "ed25519"
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
