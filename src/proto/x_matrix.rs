//! The `Authorization: X-Matrix` header: what is read, and the one form that is written.

use super::{KeyId, ServerName};
use super::ed25519::Signature;

/// The parameters of one header, syntactically sound. Whether key ID and signature are usable is
/// for the caller to find out: Synapse too answers 401, not 400, when they are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XMatrix {
    /// Who claims to have sent the request.
    pub origin: ServerName,
    /// Whom the request is for, as written; `None` when the parameter is missing (R21).
    pub destination: Option<String>,
    /// The signing key's ID, as written.
    pub key: String,
    /// The signature, as written.
    pub sig: String,
}

/// Why a header value is malformed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XMatrixError {
    // to be filled
    /// Placeholder.
    TooLong,
}

impl XMatrix {
    /// Reads one header value. `Ok(None)` when its scheme is not X-Matrix.
    pub fn parse(_value: &[u8]) -> Result<Option<Self>, XMatrixError> {
        todo!()
    }
}

/// Writes the canonical header value, which Synapse, Dendrite and ruma read alike (R25).
pub fn header_value(
    _origin: &ServerName,
    _destination: &ServerName,
    _key: &KeyId,
    _signature: &Signature,
) -> String {
    todo!()
}
