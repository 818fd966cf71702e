//! What finding a server's keys costs, in memory and on disk, beside the least that could do it.
//!
//! Each figure stands beside a baseline of the same run: only how the two compare means anything on
//! another machine. The counting allocator is in place for every contender alike.
//!
//! `cargo bench --bench keys` prints the table; `cargo bench --bench keys -- 10000` stores that many
//! servers instead of 100,000.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark: it reads the clock, prints, and may stop at the first mistake"
)]

use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ed25519_dalek::{Signer as _, Verifier as _};
use fedgate::clock::{Clock, ManualClock};
use fedgate::config::BindingMode;
use fedgate::keys::cache::{KeyCache, StoredKeys};
use fedgate::keys::history::{Entry, Event, What};
use fedgate::keys::keyring::{KeyPolicy, Keyring, KeyringParts};
use fedgate::keys::record::{Binding, KeptDocument, ServerRecord, Source};
use fedgate::keys::rules::Rulebook;
use fedgate::keys::store::FileStore;
use fedgate::keys::{KeyAnswer, KeyMetrics, KeyStore, KnownKeys};
use fedgate::proto::ed25519::{BannedKeys, SigningKey};
use fedgate::proto::server_keys::UnverifiedServerKeys;
use fedgate::proto::sign::sign_json;
use fedgate::proto::validity::Provenance;
use fedgate::proto::{KeyId, ServerName, Timestamp};
use futures_util::future::join_all;
use moka::sync::Cache;
use prometheus::Registry;
use serde_json::json;
use tokio::runtime::Runtime;

/// Whoever sends.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const NOW: Timestamp = Timestamp::from_ms(1_767_225_600_000);

/// Servers whose keys are in memory.
const CACHED: usize = 30_000;

/// Servers whose keys are on disk, unless the command line says otherwise.
const KEPT: usize = 100_000;

/// Saves at one time.
const SAVES: usize = 4_096;

/// Servers that are read from disk, at random.
const READ: usize = 1_000;

/// Lookups per thread and turn, and turns of each contender.
const LOOKUPS: usize = 100_000;
const TURNS: usize = 9;

/// Signature checks that lookups are compared with, and the length of what is signed, in bytes.
const CHECKS: usize = 10_000;
const MESSAGE_BYTES: usize = 250;

/// How often the store is opened.
const OPENS: usize = 5;

fn server(number: usize) -> ServerName {
    ServerName::parse(&format!("matrix{number}.example.com")).unwrap()
}

fn key_id() -> KeyId {
    KeyId::parse("ed25519:a_c2e256").unwrap()
}

/// The key of one server; each has its own.
fn signing_key(number: usize) -> SigningKey {
    let mut seed = [42; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    SigningKey::from_seed(&seed)
}

/// The document a server publishes of its key.
fn document(number: usize) -> Bytes {
    let (server, key_id, key) = (server(number), key_id(), signing_key(number));
    let document = json!({
        "server_name": server.as_str(),
        "valid_until_ts": NOW.as_ms() + 86_400_000,
        "verify_keys": { key_id.as_str(): { "key": key.verify_key().to_base64() } },
        "old_verify_keys": {},
    });
    sign_json(document.to_string().as_bytes(), &server, &key_id, &key).unwrap().into()
}

/// What is kept of a server on disk.
fn record(number: usize) -> ServerRecord {
    let binding = Binding {
        id: key_id(),
        key: signing_key(number).verify_key(),
        learnt_from: Provenance::Origin,
        first_seen: NOW,
        witnesses: BTreeSet::from([Source::Origin]),
        expired_ts: None,
        conflict: None,
        document: Some(0),
    };
    let document = KeptDocument { raw: document(number), fetched_at: NOW, source: Source::Origin };
    ServerRecord { bindings: vec![binding], documents: vec![document] }
}

/// What its history tells of the first sight of its key.
fn first_sight(record: &ServerRecord) -> Entry {
    let (document, binding) = (record.documents[0].clone(), &record.bindings[0]);
    let (id, key) = (binding.id.clone(), binding.key.clone());
    Entry::Shown { document, events: vec![Event { id, key, what: What::FirstSeen }] }
}

fn stored(raw: &[u8], server: &ServerName) -> StoredKeys {
    let keys = UnverifiedServerKeys::parse(Bytes::copy_from_slice(raw)).unwrap();
    let keys = keys.verify(server, &BannedKeys::new([])).unwrap();
    StoredKeys::new(keys, NOW, Source::Origin)
}

/// A keyring that asks nobody.
fn keyring(cache: KeyCache, store: Option<Arc<dyn KeyStore>>) -> Keyring {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW));
    Keyring::new(KeyringParts {
        cache,
        store,
        stages: Vec::new(),
        clock,
        metrics: KeyMetrics::new(&Registry::new()).unwrap(),
        policy: KeyPolicy::default(),
        rules: Rulebook::default(),
    })
}

async fn look_up(keyring: &Keyring, server: &ServerName, ids: &[KeyId]) {
    let answers = keyring.request_keys(server, ids, CLIENT).await.unwrap();
    assert!(matches!(black_box(&answers[..]), [KeyAnswer::Valid(_)]));
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(what: &str, figure: f64, baseline: &str, value: f64, unit: &str) {
    let ratio = figure / value;
    println!("{what:<36} {figure:>9.1}  {baseline:<30} {value:>9.1}  {unit:<9} {ratio:>7.2}");
}

/// Nanoseconds per lookup of a random server, with this many threads at a time.
fn time(threads: usize, lookup: &(impl AsyncFn(&ServerName) + Sync), names: &[ServerName]) -> f64 {
    let work = |seed: u64| {
        let mut random = fastrand::Rng::with_seed(seed);
        runtime().block_on(async {
            for _ in 0..LOOKUPS {
                lookup(&names[random.usize(..names.len())]).await;
            }
        });
    };
    let started = Instant::now();
    std::thread::scope(|scope| {
        for seed in 0..threads {
            scope.spawn(move || work(seed as u64));
        }
    });
    started.elapsed().as_nanos() as f64 / LOOKUPS as f64
}

/// Lookups in memory, and what they need of it.
fn in_memory() {
    let names: Vec<_> = (0..CACHED).map(server).collect();
    let documents: Vec<_> = (0..CACHED).map(document).collect();
    let cache = KeyCache::new(1 << 30);
    let filled = allocation_counter::measure(|| {
        for (name, raw) in names.iter().zip(&documents) {
            cache.insert(stored(raw, name), BindingMode::Enforce, None);
        }
        cache.size();
    });
    let raw: usize = documents.iter().map(Bytes::len).sum();
    let (size, weighed) = cache.size();
    assert_eq!(size, CACHED as u64);
    let per_server = |bytes: f64| bytes / CACHED as f64;
    let allocated = per_server(filled.bytes_current as f64);
    print("bytes per cached server", allocated, "its document", per_server(raw as f64), "B");
    print("", allocated, "what the cache counts it as", per_server(weighed as f64), "B");

    let keys = keyring(cache.clone(), None);
    let known = names.iter().map(|name| cache.get(name, NOW).unwrap());
    let map: HashMap<ServerName, Arc<KnownKeys>> = names.iter().cloned().zip(known).collect();
    let bare = Cache::new(1 << 20);
    for (name, known) in &map {
        bare.insert(name.clone(), Arc::clone(known));
    }
    bare.run_pending_tasks();
    let map = RwLock::new(map);
    let ids = [key_id()];
    for threads in [1, 2] {
        let (mut of_keys, mut of_map, mut of_moka) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TURNS {
            let lookup = async |name: &ServerName| look_up(&keys, name, &ids).await;
            of_keys.push(time(threads, &lookup, &names));
            let lookup = async |name: &ServerName| {
                black_box(map.read().unwrap().get(name).cloned()).unwrap();
            };
            of_map.push(time(threads, &lookup, &names));
            let lookup = async |name: &ServerName| {
                black_box(bare.get(name)).unwrap();
            };
            of_moka.push(time(threads, &lookup, &names));
        }
        let of_keys = median(of_keys);
        let what = format!("cached key, {threads} thread(s)");
        print(&what, of_keys, "HashMap behind RwLock", median(of_map), "ns");
        print("", of_keys, "bare moka", median(of_moka), "ns");
        if threads == 1 {
            print("", of_keys, "one signature check", signature_check(), "ns");
        }
    }
}

/// Nanoseconds of the bare check of a signature, over a message as long as that of a request without a body.
fn signature_check() -> f64 {
    let (message, seed) = ([b'a'; MESSAGE_BYTES], [42; 32]);
    let key = ed25519_dalek::SigningKey::from_bytes(&seed);
    let (signature, key) = (key.sign(&message), key.verifying_key());
    let checks = (0..CHECKS).map(|_| {
        let started = Instant::now();
        key.verify(black_box(&message), &signature).unwrap();
        started.elapsed().as_nanos() as f64
    });
    median(checks.collect())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn open(path: &Path) -> FileStore {
    let opened = FileStore::open(path, NOW).unwrap();
    assert_eq!(opened.moved_aside, None);
    opened.store
}

/// Fills the store, with or without histories; how long that takes without making the records, and how long as many insertions
/// into a map take.
async fn fill(store: &FileStore, names: &[ServerName], histories: bool) -> (Duration, Duration) {
    let mut map = HashMap::new();
    let (mut saving, mut inserting) = (Duration::ZERO, Duration::ZERO);
    for start in (0..names.len()).step_by(SAVES) {
        let numbers = start..names.len().min(start + SAVES);
        let records: Vec<_> = numbers.clone().map(record).collect();
        let copies = records.clone();
        let entries: Vec<Vec<Entry>> = records
            .iter()
            .map(|record| if histories { vec![first_sight(record)] } else { Vec::new() })
            .collect();
        let started = Instant::now();
        map.extend(numbers.clone().map(|number| names[number].clone()).zip(copies));
        inserting += started.elapsed();
        let started = Instant::now();
        let saves = numbers.zip(records).zip(&entries);
        let saves = saves.map(|((number, record), news)| store.save(&names[number], record, news));
        join_all(saves).await.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
        saving += started.elapsed();
    }
    black_box(&map);
    (saving, inserting)
}

/// Fills a store at `path` and opens it again; how long both take, in ms.
fn filled(runtime: &Runtime, path: &Path, names: &[ServerName], histories: bool) -> (f64, f64) {
    let store = open(path);
    let (saving, inserting) = runtime.block_on(fill(&store, names, histories));
    let what = format!("{} saves, 4096 at a time", names.len());
    print(&what, ms(saving), "HashMap", ms(inserting), "ms");
    let started = Instant::now();
    drop(store);
    let closing = started.elapsed();
    let (mut opening, mut reading) = (Vec::new(), Vec::new());
    for _ in 0..OPENS {
        let started = Instant::now();
        let bytes = std::fs::read(path).unwrap();
        reading.push(ms(started.elapsed()));
        drop(black_box(bytes));
        let started = Instant::now();
        let store = open(path);
        opening.push(ms(started.elapsed()));
        drop(store);
    }
    let mib = path.metadata().unwrap().len() as f64 / f64::from(1 << 20);
    let (opening, reading) = (median(opening), median(reading));
    print("open", opening, &format!("fs::read of its {mib:.0} MiB"), reading, "ms");
    print("", opening, "closing after the saves", ms(closing), "ms");
    (ms(saving), opening)
}

/// A store on disk: filling it, opening it, and reading from it.
fn on_disk(count: usize) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.redb");
    let names: Vec<_> = (0..count).map(server).collect();
    let runtime = runtime();
    let alone = directory.path().join("alone.redb");
    let (saving_alone, opening_alone) = filled(&runtime, &alone, &names, false);
    let (saving, opening) = filled(&runtime, &path, &names, true);
    print("the same with histories", saving, "without", saving_alone, "ms");
    print("open with histories", opening, "without", opening_alone, "ms");
    let bytes = |path: &Path| path.metadata().unwrap().len() as f64 / count as f64;
    print("bytes of a server with its history", bytes(&path), "without", bytes(&alone), "B");

    let store: Arc<dyn KeyStore> = Arc::new(open(&path));
    let keys = keyring(KeyCache::new(1 << 30), Some(store));
    let ids = [key_id()];
    let mut random = fastrand::Rng::with_seed(1);
    let chosen: Vec<_> = random.choose_multiple(names.iter(), READ);
    let pass = || {
        let started = Instant::now();
        runtime.block_on(async {
            for name in &chosen {
                look_up(&keys, name, &ids).await;
            }
        });
        started.elapsed().as_secs_f64() * 1e6 / chosen.len() as f64
    };
    let (first, second) = (pass(), pass());
    print("a first lookup, from disk", first, "the second, from memory", second, "us");
    let documents: Vec<_> = (0..READ).map(|number| (server(number), document(number))).collect();
    let started = Instant::now();
    for (name, raw) in &documents {
        black_box(stored(raw, name));
    }
    let verifying = started.elapsed().as_secs_f64() * 1e6 / documents.len() as f64;
    print("", first, "verifying the document", verifying, "us");
}

fn main() {
    let count = std::env::args().filter_map(|arg| arg.parse::<usize>().ok()).next();
    println!(
        "{:<36} {:>9}  {:<30} {:>9}  {:<9} {:>7}",
        "what", "fedgate", "baseline", "", "unit", "ratio"
    );
    in_memory();
    on_disk(count.unwrap_or(KEPT));
}
