//! Getting and keeping the keys of other servers. [`Keyring`] is the one entry: it looks into a
//! [`KeyCache`], asks the [`KeyFetcher`]s in their order when that does not answer, and remembers
//! for a while when asking led nowhere.

mod backoff;
pub mod budget;
pub mod cache;
pub mod fetch;
pub mod history;
pub mod inquiry;
pub mod keyring;
pub mod known;
pub mod metrics;
pub mod record;
pub mod rules;
pub mod signing_key_file;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;

pub use cache::KeyCache;
pub use fetch::{FetchError, KeyFetcher};
pub use keyring::{KeyAnswer, Keyring, KeyringParts, KeysUnavailable};
pub use known::KnownKeys;
pub use metrics::KeyMetrics;
pub use store::KeyStore;
