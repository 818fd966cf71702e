//! Getting and keeping keys. [`Keyring`] is the one entry.

pub mod fetch;
pub mod keyring;
pub mod metrics;
pub mod store;

pub use fetch::{FetchError, KeyFetcher};
pub use keyring::{KeyAnswer, Keyring, KeysUnavailable};
pub use store::KeyStore;
