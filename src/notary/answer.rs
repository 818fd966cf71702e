//! The notary: the documents of other servers with our signature.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use ipnet::IpNet;
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
use crate::proto::json::JsonError;
use crate::proto::server_keys::ServerKeys;
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

/// Memory for the answers to strangers that are being read, in bytes: two of the largest, as they may
/// read slowly. For our own homeserver there is one of them.
const ANSWERS_BYTES_MAX: usize = 2 * ANSWER_BYTES_MAX;

/// An answer without documents.
const EMPTY: &[u8] = b"{\"server_keys\":[]}";

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
    names: Arc<Budget>,
    /// A permit for each byte of the answers to strangers.
    strangers: Arc<Semaphore>,
    /// The same for our own homeserver.
    own: Arc<Semaphore>,
}

/// What goes into an answer: signed, and as it is kept, not copied yet.
struct Gathered {
    documents: Vec<Arc<StoredKeys>>,
    /// Of the answer with these, at most.
    bytes: usize,
    /// How many documents did not fit.
    left_out: usize,
}

impl Notary {
    /// A notary of these parts.
    pub fn new(parts: NotaryParts) -> Self {
        let names = Arc::new(Budget::new(NAMES_RATES, NAMES_BURST));
        let room = |bytes| Arc::new(Semaphore::new(bytes));
        let (strangers, own) = (room(ANSWERS_BYTES_MAX), room(ANSWER_BYTES_MAX));
        Self { parts, names, strangers, own }
    }

    /// The same with new settings: what is taken of its budgets stays taken.
    #[must_use]
    pub fn renewed(&self, parts: NotaryParts) -> Self {
        let (names, own) = (Arc::clone(&self.names), Arc::clone(&self.own));
        Self { parts, names, strangers: Arc::clone(&self.strangers), own }
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
        let (at_hand, others) = self.at_hand(wanted).await;
        let mut gathered = Gathered { documents: Vec::new(), bytes: EMPTY.len(), left_out: 0 };
        self.gather(at_hand, &mut gathered);
        if !others.is_empty() {
            let fetches = if is_own { NAMES_MAX } else { self.parts.fetches_per_query_max };
            let allowance = Allowance {
                client: (!is_own).then_some(client),
                fetches: AtomicUsize::new(fetches),
                until: Instant::now() + self.parts.timeout,
            };
            // In a box: the usual way does not carry the room it takes.
            Box::pin(self.find(others, allowance, &mut gathered)).await;
        }
        let Gathered { documents, bytes, left_out } = gathered;
        let room = if is_own { &self.own } else { &self.strangers };
        let share = u32::try_from(bytes).map_err(|_too_large| KeyServerError::Full)?;
        let share = Arc::clone(room).try_acquire_many_owned(share);
        let share = share.map_err(|_none_left| KeyServerError::Full)?;
        self.parts.metrics.answered(documents.len());
        if left_out > 0 {
            tracing::warn!(
                target: "fedgate::notary",
                %client,
                left_out,
                "an answer would have had more than {ANSWER_BYTES_MAX} bytes"
            );
        }
        Ok(Answer { body: joined(&documents, bytes), _share: Some(share) })
    }

    /// The documents that are in memory and will do, and what else is wanted.
    async fn at_hand(&self, wanted: Vec<Wanted>) -> (Vec<Arc<StoredKeys>>, Vec<Wanted>) {
        let (mut found, mut others) = (Vec::with_capacity(wanted.len()), Vec::new());
        for (index, wanted) in wanted.into_iter().enumerate() {
            if index % AT_ONE_GO == AT_ONE_GO - 1 {
                tokio::task::yield_now().await;
            }
            let Wanted { server, keys, minimum_valid_until: minimum } = &wanted;
            let is_own = *server == self.parts.server_name;
            if is_own || !self.parts.keyring.documents_at_hand(server, keys, *minimum, &mut found) {
                others.push(wanted);
            }
        }
        (found, others)
    }

    /// Adds what is not at hand: read, renewed or fetched, several servers at one time.
    async fn find(&self, wanted: Vec<Wanted>, allowance: Allowance, gathered: &mut Gathered) {
        let allowance = &allowance;
        let found = stream::iter(wanted)
            .map(|wanted| async move { self.documents(&wanted, allowance).await })
            .buffered(CONCURRENT);
        let mut found = std::pin::pin!(found);
        while let Some(documents) = found.next().await {
            self.gather(documents, gathered);
        }
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

    /// Adds documents to an answer, signed, as long as they fit.
    fn gather(&self, mut documents: Vec<Arc<StoredKeys>>, gathered: &mut Gathered) {
        documents.retain(|document| {
            let Some(signed) = self.signed(document) else { return false };
            let bytes = gathered.bytes + signed.len() + 1;
            let fits = bytes <= ANSWER_BYTES_MAX;
            if fits {
                gathered.bytes = bytes;
            } else {
                gathered.left_out += 1;
            }
            fits
        });
        gathered.documents.append(&mut documents);
    }

    /// The document with our signature, made once.
    fn signed<'d>(&self, document: &'d StoredKeys) -> Option<&'d Bytes> {
        let NotaryParts { server_name, keys, keyring, .. } = &self.parts;
        let sign = |document: &ServerKeys| countersign(document, server_name, keys);
        let signed = keyring.countersigned(document, sign);
        let complain = |error: &JsonError| {
            let server = document.keys.server_name();
            tracing::error!(target: "fedgate::notary", %server, %error, "cannot sign");
        };
        signed.inspect_err(complain).ok()
    }
}

/// The answer with these documents, all of them signed, of `bytes` bytes at most.
fn joined(documents: &[Arc<StoredKeys>], bytes: usize) -> Bytes {
    let mut text = Vec::with_capacity(bytes);
    text.extend_from_slice(b"{\"server_keys\":[");
    let signed = documents.iter().filter_map(|document| document.countersigned());
    for (index, document) in signed.enumerate() {
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
