//! The pure core: bytes in, decisions out.
//!
//! Nothing in here waits, logs, reads a clock or the environment; time is an argument.

pub mod base64;
mod byte_set;
pub mod client_network;
pub mod countersign;
pub mod ed25519;
pub mod event;
pub mod json;
pub mod key_id;
pub mod key_map;
pub mod limits;
pub mod own_server_keys;
pub mod server_glob;
pub mod server_keys;
pub mod server_name;
pub mod sign;
pub mod signed_request;
pub mod signing_keys;
pub mod timestamp;
pub mod validity;
pub mod verify;
pub mod x_matrix;

#[cfg(test)]
mod test_vectors;

pub use client_network::ClientNetwork;
pub use key_id::KeyId;
pub use key_map::KeyMap;
pub use server_glob::ServerGlob;
pub use server_name::ServerName;
pub use timestamp::Timestamp;
