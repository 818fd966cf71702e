//! The store in one file: what it keeps, when it refuses, and what it does about damage.

mod faults;
mod history;
mod inspected;

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use bytes::Bytes;
use futures_util::FutureExt as _;
use redb::ReadableTable as _;
use tempfile::TempDir;

use super::*;
use crate::keys::record::{Binding, KeptDocument, Source};
use crate::keys::testing::{TestServer, at, key_id, no_bans};
use crate::proto::validity::Provenance;

fn server(number: usize) -> ServerName {
    ServerName::parse(&format!("s{number:03}.example")).unwrap()
}

/// A record that follows from its server and `counter`.
fn record(server: &ServerName, counter: u64) -> ServerRecord {
    let source = Source::Notary(ServerName::parse("notary.example").unwrap());
    let binding = Binding {
        id: key_id("ed25519:1"),
        key: TestServer::new(server.as_str()).add_key("ed25519:1"),
        learnt_from: Provenance::Notary,
        first_seen: at(counter),
        witnesses: BTreeSet::from([source.clone()]),
        expired_ts: None,
        conflict: None,
        document: Some(0),
    };
    let raw = Bytes::from(format!("{{\"name\": \"{server}\", \"counter\": {counter}}}"));
    let document = KeptDocument { raw, fetched_at: at(counter), source };
    ServerRecord { bindings: vec![binding], documents: vec![document] }
}

/// A directory and the path of a store in it.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.redb");
    (directory, path)
}

/// The store at `path`, which is in order.
#[track_caller]
fn open(path: &Path) -> FileStore {
    let opened = FileStore::open(path, at(0)).unwrap();
    assert_eq!(opened.moved_aside, None);
    opened.store
}

/// The entry that goes with it.
fn entry(server: &ServerName, counter: u64) -> Entry {
    let document = record(server, counter).documents.remove(0);
    Entry::Shown { document, events: Vec::new() }
}

/// Saves a record with its entry.
async fn save(store: &FileStore, number: usize, counter: u64) -> Result<(), StoreError> {
    let server = &server(number);
    let entry = entry(server, counter);
    store.save(server, record(server, counter), &[entry]).await.map(drop)
}

/// The record and its entry are there, and no other entry.
async fn assert_saved(store: &FileStore, number: usize, counter: u64, told: &str) {
    let server = &server(number);
    assert_eq!(store.load(server).await, Ok(Some(record(server, counter))), "{told}");
    let history = store.history(server, 0, 9).await.unwrap();
    let entries: Vec<_> = history.iter().map(|kept| kept.entry.clone()).collect();
    assert_eq!(entries, [Ok(entry(server, counter))], "{told}");
}

/// The bytes of a store with `records` records that was closed.
async fn closed_file(path: &Path, records: usize) -> Vec<u8> {
    let store = open(path);
    for number in 0..records {
        save(&store, number, 1).await.unwrap();
    }
    store.save_rules(&rules()).await.unwrap();
    drop(store);
    std::fs::read(path).unwrap()
}

fn rules() -> Rules {
    Rules { banned_servers: BTreeSet::from([server(7)]), ..Rules::default() }
}

/// The names of the files beside `path`.
fn beside(path: &Path) -> Vec<String> {
    let files = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != "keys.redb").collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_was_saved_is_there_after_a_restart() {
    let (_directory, path) = place();
    let store = open(&path);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(store.load(&server(1)).await, Ok(None));
    assert_eq!(store.load_rules().await, Ok(Rules::default()));
    save(&store, 1, 1).await.unwrap();
    save(&store, 1, 2).await.unwrap();
    save(&store, 2, 1).await.unwrap();
    store.save_rules(&rules()).await.unwrap();
    assert_eq!(store.load(&server(1)).await, Ok(Some(record(&server(1), 2))));

    drop(store);
    let store = open(&path);
    assert_eq!(store.load(&server(1)).await, Ok(Some(record(&server(1), 2))));
    assert_eq!(store.load(&server(2)).await, Ok(Some(record(&server(2), 1))));
    assert_eq!(store.count().await, Ok(2));
    assert_eq!(store.load_rules().await, Ok(rules()));
}

#[tokio::test]
async fn what_was_forgotten_is_gone() {
    let (_directory, path) = place();
    let store = open(&path);
    save(&store, 1, 1).await.unwrap();
    save(&store, 2, 1).await.unwrap();
    assert!(store.forget(&server(1), at(1)).await.unwrap().is_some());
    assert_eq!(store.forget(&server(1), at(2)).await, Ok(None));
    drop(store);
    let store = open(&path);
    assert_eq!(store.load(&server(1)).await, Ok(None));
    assert_eq!(store.load(&server(2)).await, Ok(Some(record(&server(2), 1))));
}

/// A flood of made-up names must not read from the disk (threat F6).
#[tokio::test]
async fn f6_a_name_that_is_not_in_the_file_is_not_looked_for_there() {
    let (_directory, path) = place();
    closed_file(&path, 3).await;
    let store = open(&path);
    let at_once = |number| store.load(&server(number)).now_or_never();
    assert_eq!(at_once(3), Some(Ok(None)));
    // It is read by another thread, which may be done already.
    assert_ne!(at_once(2), Some(Ok(None)), "what is there is read");
    save(&store, 3, 1).await.unwrap();
    store.forget(&server(2), at(1)).await.unwrap();
    assert_eq!(store.load(&server(3)).await, Ok(Some(record(&server(3), 1))));
    assert_eq!(store.load(&server(2)).await, Ok(None));
    save(&store, 2, 5).await.unwrap();
    assert_eq!(store.load(&server(2)).await, Ok(Some(record(&server(2), 5))));
}

#[tokio::test]
async fn the_size_is_known() {
    let (_directory, path) = place();
    closed_file(&path, 3).await;
    let store = open(&path);
    let bytes = || path.metadata().unwrap().size();
    assert_eq!(store.size(), StoreSize { servers: 3, bytes: bytes() });
    save(&store, 3, 1).await.unwrap();
    save(&store, 3, 2).await.unwrap();
    assert_eq!(store.size(), StoreSize { servers: 4, bytes: bytes() });
    store.forget(&server(0), at(1)).await.unwrap();
    assert_eq!(store.size(), StoreSize { servers: 3, bytes: bytes() });
}

#[tokio::test]
async fn servers_come_page_by_page_in_their_order() {
    let (_directory, path) = place();
    let store = open(&path);
    assert_eq!(store.servers(None, 9).await, Ok(vec![]));
    for number in [3, 0, 4, 1, 2] {
        save(&store, number, 1).await.unwrap();
    }
    let numbered = |numbers: &[usize]| Ok(numbers.iter().copied().map(server).collect::<Vec<_>>());
    assert_eq!(store.servers(None, 2).await, numbered(&[0, 1]));
    assert_eq!(store.servers(Some(&server(1)), 2).await, numbered(&[2, 3]));
    assert_eq!(store.servers(Some(&server(3)), 2).await, numbered(&[4]));
    assert_eq!(store.servers(Some(&server(4)), 2).await, numbered(&[]));
    let unknown = ServerName::parse("s001.example.org").unwrap();
    assert_eq!(store.servers(Some(&unknown), 9).await, numbered(&[2, 3, 4]));
    assert_eq!(store.servers(None, 0).await, numbered(&[]));
}

#[tokio::test]
async fn a_second_store_on_the_file_is_refused() {
    let (_directory, path) = place();
    let store = open(&path);
    let error = FileStore::open(&path, at(0)).unwrap_err();
    assert!(matches!(&error, StoreError::Locked(text) if text.contains("another fedgate")));
    save(&store, 1, 1).await.unwrap();
    drop(store);
    assert_eq!(open(&path).count().await, Ok(1));
    assert_eq!(beside(&path), [""; 0]);
}

/// Makes the file one of a newer fedgate.
fn make_newer(path: &Path) {
    let raw = redb::Database::open(path).unwrap();
    let transaction = raw.begin_write().unwrap();
    let sealed = encode::seal(database::SCHEMA_NAME, b"2");
    let mut meta = transaction.open_table(database::META).unwrap();
    meta.insert(database::SCHEMA_NAME, sealed.as_slice()).unwrap();
    drop(meta);
    transaction.commit().unwrap();
}

#[tokio::test]
async fn a_file_of_a_newer_fedgate_is_left_as_it_is() {
    let (_directory, path) = place();
    closed_file(&path, 1).await;
    make_newer(&path);
    let before = std::fs::read(&path).unwrap();
    let error = FileStore::open(&path, at(0)).unwrap_err();
    assert!(matches!(&error, StoreError::Newer(text) if text.contains("schema 2")), "{error}");
    assert!(std::fs::read(&path).unwrap() == before, "changed");
    assert_eq!(beside(&path), [""; 0]);
}

#[tokio::test]
async fn a_file_that_is_no_store_is_moved_aside() {
    let (_directory, path) = place();
    let name = |ms: u64| format!("keys.redb.bad-{}", at(ms).as_ms());
    std::fs::write(&path, "my shopping list").unwrap();
    let opened = FileStore::open(&path, at(5)).unwrap();
    let aside = opened.moved_aside.unwrap();
    assert_eq!(aside, path.with_file_name(name(5)));
    assert_eq!(std::fs::read(&aside).unwrap(), b"my shopping list");
    save(&opened.store, 1, 1).await.unwrap();
    drop(opened.store);
    assert_eq!(open(&path).count().await, Ok(1));

    std::fs::write(&path, "another").unwrap();
    let aside = FileStore::open(&path, at(5)).unwrap().moved_aside.unwrap();
    assert_eq!(aside, path.with_file_name(name(6)), "nothing is overwritten");
    assert_eq!(beside(&path), [name(5), name(6)]);
}

#[test]
fn an_empty_file_is_a_new_store() {
    let (_directory, path) = place();
    std::fs::write(&path, "").unwrap();
    open(&path);
}

#[test]
fn a_missing_directory_is_an_error_that_names_the_setting() {
    let (directory, _path) = place();
    let path = directory.path().join("missing/keys.redb");
    let error = FileStore::open(&path, at(0)).unwrap_err();
    let StoreError::Io(text) = error else { panic!("{error}") };
    assert!(text.starts_with("keys.store = ") && text.contains("create the directory"), "{text}");
    let error = FileStore::open(directory.path(), at(0)).unwrap_err();
    assert!(matches!(&error, StoreError::Io(text) if text.contains("to a file")), "{error}");
}

#[tokio::test]
async fn a_damaged_record_is_an_error_once() {
    let (_directory, path) = place();
    closed_file(&path, 2).await;
    let raw = redb::Database::open(&path).unwrap();
    let transaction = raw.begin_write().unwrap();
    let mut servers = transaction.open_table(SERVERS).unwrap();
    let mut bytes = servers.get("s000.example").unwrap().unwrap().value().to_vec();
    bytes[50] ^= 1;
    servers.insert("s000.example", bytes.as_slice()).unwrap();
    let mut rules = transaction.open_table(RULES).unwrap();
    rules.insert(RULES_NAME, bytes.as_slice()).unwrap();
    drop((servers, rules));
    transaction.commit().unwrap();
    drop(raw);

    let store = open(&path);
    let error = store.load(&server(0)).await.unwrap_err();
    assert!(matches!(&error, StoreError::Damaged(text) if text.contains("s000.example")));
    assert_eq!(store.load(&server(0)).await, Ok(None));
    assert_eq!(store.load(&server(1)).await, Ok(Some(record(&server(1), 1))));
    for _ in 0..2 {
        let error = store.load_rules().await.unwrap_err();
        assert_eq!(error.kind(), "damaged", "rules do not go away by themselves");
    }
}

/// Opens a file with these bytes and checks that whatever is read is as it was saved. Whether it
/// was moved aside.
async fn opens_or_moves_aside(bytes: &[u8], records: usize) -> bool {
    let (_directory, path) = place();
    std::fs::write(&path, bytes).unwrap();
    let opened = FileStore::open(&path, at(0)).unwrap();
    if let Some(aside) = &opened.moved_aside {
        assert_eq!(aside.metadata().unwrap().size(), bytes.len() as u64);
        assert_eq!(opened.store.count().await, Ok(0));
    }
    for number in 0..records {
        if let Ok(Some(found)) = opened.store.load(&server(number)).await {
            assert_eq!(found, record(&server(number), 1));
        }
    }
    if let Ok(found) = opened.store.load_rules().await {
        assert!(found == rules() || found == Rules::default());
    }
    save(&opened.store, 500, 1).await.unwrap();
    opened.moved_aside.is_some()
}

#[tokio::test]
async fn no_damage_keeps_it_from_starting() {
    const RECORDS: usize = 40;
    let (_directory, path) = place();
    let good = closed_file(&path, RECORDS).await;
    assert!(!opens_or_moves_aside(&good, RECORDS).await);
    let mut random = fastrand::Rng::with_seed(4);
    let mut moved = 0;
    for round in 0..100 {
        let mut bytes = good.clone();
        match round % 4 {
            // Every 64th byte of a stretch, or of everything.
            0 => {
                let (start, step) = (random.usize(..64), 64);
                for at in (start..bytes.len()).step_by(step) {
                    bytes[at] ^= random.u8(1..);
                }
            }
            1 => bytes.truncate(random.usize(1..good.len())),
            // The header, where most depends on a byte.
            2 => bytes[random.usize(..512)] ^= random.u8(1..),
            _ => {
                let start = random.usize(..bytes.len() - 64);
                random.fill(&mut bytes[start..start + 64]);
            }
        }
        moved += usize::from(opens_or_moves_aside(&bytes, RECORDS).await);
    }
    assert!(moved > 25, "{moved} of 100 were moved aside");
}
