//! Made-up servers and scripted sources for the tests of this module.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::cache::StoredKeys;
use super::fetch::{FetchError, KeyFetcher, KeyRequest};
use super::history::{Entry, KeptEntry};
use super::metrics::KeyMetrics;
use super::record::{KeptDocument, ServerRecord, Source};
use super::rules::{Rulebook, Rules};
use super::store::{KeyStore, Saved, StoreError, StoreSize, lists};
use crate::net::trace::Trace;
use crate::net::transport::{FederationRequest, FederationResponse};
use crate::net::{FederationTransport, NetError};
use crate::proto::ed25519::{BannedKeys, SigningKey, VerifyKey};
use crate::proto::server_keys::{ServerKeys, UnverifiedServerKeys};
use crate::proto::sign::sign_json;
use crate::proto::validity::Provenance;
use crate::proto::{KeyId, ServerName, Timestamp};

pub(crate) const HOUR: u64 = 3_600_000;
pub(crate) const DAY: u64 = 24 * HOUR;

/// The tests' time, `ms` after its beginning.
pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_700_000_000_000 + ms)
}

pub(crate) fn key_id(id: &str) -> KeyId {
    KeyId::parse(id).unwrap()
}

pub(crate) fn no_bans() -> BannedKeys {
    BannedKeys::new([])
}

/// Metrics that nobody reads.
pub(crate) fn key_metrics() -> KeyMetrics {
    KeyMetrics::new(&prometheus::Registry::new()).unwrap()
}

/// Rules that ban `keys`.
pub(crate) fn banning<const N: usize>(keys: [[u8; 32]; N]) -> Rulebook {
    let rules = Rules { banned_keys: keys.into_iter().collect(), ..Rules::default() };
    Rulebook::new(rules, Rules::default())
}

/// A server that publishes keys.
pub(crate) struct TestServer {
    pub(crate) name: ServerName,
    /// Current keys by ID, as seeds.
    pub(crate) keys: BTreeMap<String, [u8; 32]>,
    /// Retired keys by ID, with the time.
    pub(crate) old_keys: BTreeMap<String, ([u8; 32], Timestamp)>,
    pub(crate) valid_until: Timestamp,
    /// Bytes of an unknown field, to make the document large.
    pub(crate) filler: usize,
}

impl TestServer {
    /// A server without keys, whose documents are valid for a day from `at(0)`.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: ServerName::parse(name).unwrap(),
            keys: BTreeMap::new(),
            old_keys: BTreeMap::new(),
            valid_until: at(DAY),
            filler: 0,
        }
    }

    /// Adds a key that follows from the server's name and the key's ID.
    pub(crate) fn add_key(&mut self, id: &str) -> VerifyKey {
        let mut seed = [7_u8; 32];
        for (at, byte) in self.name.as_str().bytes().chain(id.bytes()).enumerate() {
            let place = &mut seed[at % 32];
            *place = place.wrapping_mul(31).wrapping_add(byte);
        }
        self.add_seed(id, seed)
    }

    /// Adds a key with the given seed.
    pub(crate) fn add_seed(&mut self, id: &str, seed: [u8; 32]) -> VerifyKey {
        self.keys.insert(id.to_owned(), seed);
        SigningKey::from_seed(&seed).verify_key()
    }

    /// Moves a key to the retired ones.
    pub(crate) fn retire(&mut self, id: &str, expired_ts: Timestamp) {
        let seed = self.keys.remove(id).unwrap();
        self.old_keys.insert(id.to_owned(), (seed, expired_ts));
    }

    pub(crate) fn unsigned(&self) -> Value {
        let public = |seed| SigningKey::from_seed(seed).verify_key().to_base64();
        let keys: BTreeMap<_, _> =
            self.keys.iter().map(|(id, seed)| (id, json!({ "key": public(seed) }))).collect();
        let old_keys: BTreeMap<_, _> = self
            .old_keys
            .iter()
            .map(|(id, (seed, ts))| (id, json!({"key": public(seed), "expired_ts": ts.as_ms()})))
            .collect();
        json!({
            "server_name": self.name.as_str(),
            "verify_keys": keys,
            "old_verify_keys": old_keys,
            "valid_until_ts": self.valid_until.as_ms(),
            "org.example.filler": "x".repeat(self.filler),
        })
    }

    /// The document, signed with all current keys.
    pub(crate) fn document(&self) -> Vec<u8> {
        let mut document = serde_json::to_vec(&self.unsigned()).unwrap();
        for id in self.keys.keys() {
            document = self.sign(&document, id);
        }
        document
    }

    /// `object` signed with the key `id`.
    pub(crate) fn sign(&self, object: &[u8], id: &str) -> Vec<u8> {
        let key = SigningKey::from_seed(&self.keys[id]);
        sign_json(object, &self.name, &key_id(id), &key).unwrap()
    }

    /// The document, checked.
    pub(crate) fn checked(&self) -> ServerKeys {
        UnverifiedServerKeys::parse(Bytes::from(self.document()))
            .unwrap()
            .verify(&self.name, &no_bans())
            .unwrap()
    }

    /// The document as fetched at some time from some source.
    pub(crate) fn stored(&self, fetched_at: Timestamp, provenance: Provenance) -> StoredKeys {
        StoredKeys::new(self.checked(), fetched_at, source_of(provenance))
    }
}

/// A source of the given kind.
pub(crate) fn source_of(provenance: Provenance) -> Source {
    match provenance {
        Provenance::Homeserver => Source::Homeserver,
        Provenance::Notary => Source::Notary(ServerName::parse("notary.example").unwrap()),
        Provenance::Origin => Source::Origin,
    }
}

/// A request for keys of `server`, made at `at(0)`.
pub(crate) fn request(server: &TestServer, ids: &[&str]) -> KeyRequest {
    KeyRequest {
        server: server.name.clone(),
        key_ids: ids.iter().map(|id| key_id(id)).collect(),
        minimum_valid_until: at(0),
        trace: Trace::default(),
        is_known: true,
    }
}

/// A network with one answer to everything.
pub(crate) struct ScriptedTransport {
    pub(crate) answer: Result<FederationResponse, NetError>,
    pub(crate) requests: Mutex<Vec<(ServerName, FederationRequest)>>,
}

impl ScriptedTransport {
    pub(crate) fn answers(status: u16, body: Vec<u8>) -> Arc<Self> {
        let answer = Ok(FederationResponse { status, body: Bytes::from(body) });
        Arc::new(Self { answer, requests: Mutex::default() })
    }

    pub(crate) fn fails(error: NetError) -> Arc<Self> {
        Arc::new(Self { answer: Err(error), requests: Mutex::default() })
    }
}

#[async_trait]
impl FederationTransport for ScriptedTransport {
    async fn send(
        &self,
        server: &ServerName,
        request: FederationRequest,
    ) -> Result<FederationResponse, NetError> {
        self.requests.lock().unwrap().push((server.clone(), request));
        self.answer.clone()
    }
}

/// What a scripted source does when asked.
pub(crate) enum Step {
    /// It answers.
    Answer(Result<Vec<ServerKeys>, FetchError>),
    /// It answers once the semaphore has a permit.
    AnswerAfter(Arc<Semaphore>, Result<Vec<ServerKeys>, FetchError>),
    /// It never answers.
    Hang,
}

/// A source that follows a script; asked more often than that, it fails with status 599.
pub(crate) struct ScriptedFetcher {
    source: Source,
    steps: Mutex<VecDeque<Step>>,
    dropped: Arc<AtomicUsize>,
    pub(crate) asked: Mutex<Vec<KeyRequest>>,
}

impl ScriptedFetcher {
    pub(crate) fn new(provenance: Provenance, steps: Vec<Step>) -> Arc<Self> {
        Self::of(source_of(provenance), steps)
    }

    pub(crate) fn of(source: Source, steps: Vec<Step>) -> Arc<Self> {
        let steps = Mutex::new(steps.into());
        Arc::new(Self { source, steps, dropped: Arc::default(), asked: Mutex::default() })
    }

    pub(crate) fn origin(steps: Vec<Step>) -> Arc<Self> {
        Self::new(Provenance::Origin, steps)
    }

    pub(crate) fn notary(steps: Vec<Step>) -> Arc<Self> {
        Self::new(Provenance::Notary, steps)
    }

    pub(crate) fn push(&self, step: Step) {
        self.steps.lock().unwrap().push_back(step);
    }

    /// How many of its answers were not waited for.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::SeqCst)
    }

    pub(crate) fn times_asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[async_trait]
impl KeyFetcher for ScriptedFetcher {
    fn source(&self) -> &Source {
        &self.source
    }

    async fn fetch(&self, request: &KeyRequest) -> Result<Vec<ServerKeys>, FetchError> {
        self.asked.lock().unwrap().push(request.clone());
        let step = self.steps.lock().unwrap().pop_front();
        match step {
            Some(Step::Answer(answer)) => answer,
            Some(Step::AnswerAfter(gate, answer)) => {
                gate.acquire().await.unwrap().forget();
                answer
            }
            Some(Step::Hang) => {
                let _counted = CountDrop(Arc::clone(&self.dropped));
                std::future::pending().await
            }
            None => Err(FetchError::Status(599)),
        }
    }
}

/// Counts when it is dropped.
struct CountDrop(Arc<AtomicUsize>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A store in memory.
#[derive(Default)]
pub(crate) struct MapStore {
    pub(crate) records: Mutex<BTreeMap<ServerName, ServerRecord>>,
    pub(crate) histories: Mutex<BTreeMap<ServerName, Vec<Entry>>>,
    rules: Mutex<Rules>,
    failure: Mutex<Option<StoreError>>,
    is_stuck: AtomicBool,
    loads: AtomicUsize,
}

impl MapStore {
    /// From now on, everything fails.
    pub(crate) fn fail(&self, error: StoreError) {
        *self.failure.lock().unwrap() = Some(error);
    }

    /// From now on, no record is found, and none is said to be missing either.
    pub(crate) fn get_stuck(&self) {
        self.is_stuck.store(true, Ordering::SeqCst);
    }

    /// From now on, everything works again.
    pub(crate) fn mend(&self) {
        *self.failure.lock().unwrap() = None;
    }

    pub(crate) fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    fn working(&self) -> Result<(), StoreError> {
        self.failure.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl KeyStore for MapStore {
    async fn load(&self, server: &ServerName) -> Result<Option<ServerRecord>, StoreError> {
        self.working()?;
        self.loads.fetch_add(1, Ordering::SeqCst);
        if self.is_stuck.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok(self.records.lock().unwrap().get(server).cloned())
    }

    async fn save(
        &self,
        server: &ServerName,
        record: ServerRecord,
        entries: &[Entry],
    ) -> Result<Saved, StoreError> {
        self.working()?;
        self.records.lock().unwrap().insert(server.clone(), record);
        let mut histories = self.histories.lock().unwrap();
        histories.entry(server.clone()).or_default().extend_from_slice(entries);
        Ok(Saved { written: entries.len(), filled: false })
    }

    async fn forget(
        &self,
        server: &ServerName,
        at: Timestamp,
    ) -> Result<Option<Saved>, StoreError> {
        self.working()?;
        if self.records.lock().unwrap().remove(server).is_none() {
            return Ok(None);
        }
        let mut histories = self.histories.lock().unwrap();
        histories.entry(server.clone()).or_default().push(Entry::Flushed { at });
        Ok(Some(Saved { written: 1, filled: false }))
    }

    async fn history(
        &self,
        server: &ServerName,
        from: u64,
        max: usize,
    ) -> Result<Vec<KeptEntry>, StoreError> {
        self.working()?;
        let histories = self.histories.lock().unwrap();
        let kept = |(number, entry): (u64, &Entry)| KeptEntry {
            number,
            entry: Ok(entry.clone()),
            follows: true,
            hash: [0; 32],
        };
        let entries = (0..).zip(histories.get(server).into_iter().flatten());
        Ok(entries.filter(|(number, _)| *number >= from).take(max).map(kept).collect())
    }

    async fn document_of(
        &self,
        server: &ServerName,
        id: &KeyId,
        key: &VerifyKey,
    ) -> Result<Option<KeptDocument>, StoreError> {
        self.working()?;
        let histories = self.histories.lock().unwrap();
        let newest_first = histories.get(server).into_iter().flatten().rev();
        let mut documents = newest_first.filter_map(|entry| match entry {
            Entry::Shown { document, .. } => Some(document),
            Entry::Flushed { .. } | Entry::Full { .. } => None,
        });
        Ok(documents.find(|document| lists(document, id, key)).cloned())
    }

    async fn servers(
        &self,
        after: Option<&ServerName>,
        max: usize,
    ) -> Result<Vec<ServerName>, StoreError> {
        self.working()?;
        let records = self.records.lock().unwrap();
        let later = records.keys().filter(|name| after.is_none_or(|after| *name > after));
        Ok(later.take(max).cloned().collect())
    }

    async fn count(&self) -> Result<u64, StoreError> {
        self.working()?;
        Ok(self.records.lock().unwrap().len() as u64)
    }

    fn size(&self) -> StoreSize {
        let servers = self.records.lock().unwrap().len() as u64;
        StoreSize { servers, bytes: 77 * servers }
    }

    async fn load_rules(&self) -> Result<Rules, StoreError> {
        self.working()?;
        Ok(self.rules.lock().unwrap().clone())
    }

    async fn save_rules(&self, rules: &Rules) -> Result<(), StoreError> {
        self.working()?;
        *self.rules.lock().unwrap() = rules.clone();
        Ok(())
    }
}
