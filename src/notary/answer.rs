//! The notary: the documents of other servers with our signature.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use ipnet::IpNet;
use moka::sync::Cache;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::metrics::NotaryMetrics;
use super::publish::Publisher;
use super::query::Wanted;
use super::{Answer, KeyServerError};
use crate::keys::Keyring;
use crate::keys::budget::{Budget, Rates};
use crate::keys::cache::StoredKeys;
use crate::keys::keyring::Allowance;
use crate::proto::ServerName;
use crate::proto::countersign::countersign;
use crate::proto::signing_keys::SigningKeys;

/// Most servers in one question: the largest rooms have some thousand.
pub const NAMES_MAX: usize = 10_000;

/// How many servers strangers may ask for per second, and what is saved up: that of one question of the
/// largest size.
const NAMES_RATES: Rates = Rates { in_all: 2_000, per_network: 100 };
const NAMES_BURST: Duration = Duration::from_secs(100);

/// Servers of one question that are worked on at one time: as many as there are places for fetches of
/// servers never seen before.
const CONCURRENT: usize = 64;

/// Servers that are looked up in memory in one go, which takes less than a millisecond.
const AT_ONE_GO: usize = 500;

/// Largest answer, in bytes: documents beyond it are left out. With 1 KB for a document, as most have
/// it, all of `NAMES_MAX` fit.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Memory for the answers that are being read, in bytes: four of the largest. Once for strangers, who may
/// read slowly, and once for our own homeserver.
const ANSWERS_BYTES_MAX: usize = 4 * ANSWER_BYTES_MAX;

/// Signed documents that are kept, in bytes: about ten thousand.
const SIGNED_BYTES_MAX: u64 = 32 << 20;

/// What a signed document takes beside its text, in bytes.
const SIGNED_ENTRY_BYTES: usize = 256;

/// An answer without documents.
const EMPTY: &[u8] = b"{\"server_keys\":[]}";

/// A document and the same with our signature.
type Signed = (Arc<StoredKeys>, Bytes);

/// What a notary is made of.
pub struct NotaryParts {
    /// The name its signatures go by.
    pub server_name: ServerName,
    /// The keys it signs with.
    pub keys: Arc<SigningKeys>,
    /// Where the documents come from.
    pub keyring: Keyring,
    /// Its own server's document, where that is published here.
    pub publisher: Option<Arc<Publisher>>,
    /// Where our own homeserver asks from.
    pub own_clients: Vec<IpNet>,
    /// How many servers a stranger's question may make us ask.
    pub fetches_per_query_max: usize,
    /// How long an answer may take.
    pub timeout: Duration,
    /// What is counted.
    pub metrics: NotaryMetrics,
}

/// Answers for the keys of others.
pub struct Notary {
    parts: NotaryParts,
    /// By the address of the document, which is held and so stays the only one there.
    signed: Cache<usize, Signed>,
    names: Budget,
    /// A permit for each byte of the answers to strangers.
    strangers: Arc<Semaphore>,
    /// The same for our own homeserver.
    own: Arc<Semaphore>,
}

impl Notary {
    /// A notary of these parts.
    pub fn new(parts: NotaryParts) -> Self {
        let weigh = |_: &usize, (document, signed): &Signed| {
            let bytes = document.keys.raw().len() + signed.len() + SIGNED_ENTRY_BYTES;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let signed = Cache::builder().max_capacity(SIGNED_BYTES_MAX).weigher(weigh).build();
        let names = Budget::new(NAMES_RATES, NAMES_BURST);
        let room = || Arc::new(Semaphore::new(ANSWERS_BYTES_MAX));
        Self { parts, signed, names, strangers: room(), own: room() }
    }

    /// The answer to a question of `client`: what there is, signed. Servers of which nothing can be
    /// had are left out (R66).
    ///
    /// # Errors
    /// When a stranger's network asks for too many, or there is no memory for the answer.
    pub async fn answer(
        &self,
        wanted: Vec<Wanted>,
        client: IpAddr,
    ) -> Result<Answer, KeyServerError> {
        let client = client.to_canonical();
        let is_own = self.parts.own_clients.iter().any(|range| range.contains(&client));
        if !is_own {
            let count = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
            let taken = self.names.take(client, count).await;
            taken.map_err(|(wait, _)| KeyServerError::TooMany(wait))?;
        }
        let fetches = if is_own { NAMES_MAX } else { self.parts.fetches_per_query_max };
        let allowance = Allowance {
            client: (!is_own).then_some(client),
            fetches: AtomicUsize::new(fetches),
            until: Instant::now() + self.parts.timeout,
        };
        let allowance = &allowance;
        let (at_hand, others) = self.at_hand(wanted).await;
        let documents = stream::iter(others)
            .map(|wanted| async move { self.documents(&wanted, allowance).await })
            .buffered(CONCURRENT)
            .flat_map(stream::iter);
        let mut documents = std::pin::pin!(stream::iter(at_hand).chain(documents));
        // Held as they are kept, not copied yet.
        let (mut signed, mut bytes, mut left_out) = (Vec::new(), EMPTY.len(), 0_usize);
        while let Some(document) = documents.next().await {
            let Some(text) = self.signed(&document) else { continue };
            if bytes + text.len() + 1 > ANSWER_BYTES_MAX {
                left_out += 1;
                continue;
            }
            bytes += text.len() + 1;
            signed.push(text);
        }
        let room = if is_own { &self.own } else { &self.strangers };
        let share = u32::try_from(bytes).map_err(|_too_large| KeyServerError::Full)?;
        let share = Arc::clone(room).try_acquire_many_owned(share);
        let share = share.map_err(|_none_left| KeyServerError::Full)?;
        let count = signed.len();
        self.parts.metrics.answered(count);
        if left_out > 0 {
            tracing::warn!(
                target: "fedgate::notary",
                %client,
                left_out,
                "an answer would have had more than {ANSWER_BYTES_MAX} bytes"
            );
        }
        Ok(Answer { body: joined(&signed, bytes), _share: Some(share) })
    }

    /// The documents that are in memory and will do, and what else is wanted.
    async fn at_hand(&self, wanted: Vec<Wanted>) -> (Vec<Arc<StoredKeys>>, Vec<Wanted>) {
        let (mut found, mut others) = (Vec::with_capacity(wanted.len()), Vec::new());
        for (index, wanted) in wanted.into_iter().enumerate() {
            if index % AT_ONE_GO == AT_ONE_GO - 1 {
                tokio::task::yield_now().await;
            }
            let Wanted { server, keys, minimum_valid_until } = &wanted;
            let is_own = *server == self.parts.server_name;
            let keyring = (!is_own).then_some(&self.parts.keyring);
            let documents =
                keyring.and_then(|k| k.documents_at_hand(server, keys, *minimum_valid_until));
            match documents {
                Some(documents) => found.extend(documents),
                None => others.push(wanted),
            }
        }
        (found, others)
    }

    async fn documents(&self, wanted: &Wanted, allowance: &Allowance) -> Vec<Arc<StoredKeys>> {
        if wanted.server == self.parts.server_name
            && let Some(publisher) = &self.parts.publisher
        {
            return publisher.document().await.into_iter().collect();
        }
        let Wanted { server, keys, minimum_valid_until } = wanted;
        self.parts.keyring.documents(server, keys, *minimum_valid_until, allowance).await
    }

    /// The document with our signature, made once.
    fn signed(&self, document: &Arc<StoredKeys>) -> Option<Bytes> {
        let place = Arc::as_ptr(document).addr();
        if let Some((_, signed)) = self.signed.get(&place) {
            return Some(signed);
        }
        let NotaryParts { server_name, keys, .. } = &self.parts;
        match countersign(&document.keys, server_name, keys) {
            Ok(signed) => {
                self.signed.insert(place, (Arc::clone(document), signed.clone()));
                Some(signed)
            }
            Err(error) => {
                let server = document.keys.server_name();
                tracing::error!(target: "fedgate::notary", %server, %error, "cannot sign");
                None
            }
        }
    }
}

/// The answer with these documents, of `bytes` bytes at most.
fn joined(documents: &[Bytes], bytes: usize) -> Bytes {
    let mut text = Vec::with_capacity(bytes);
    text.extend_from_slice(b"{\"server_keys\":[");
    for (index, document) in documents.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        text.extend_from_slice(document);
    }
    text.extend_from_slice(b"]}");
    text.into()
}

#[cfg(test)]
mod tests;
