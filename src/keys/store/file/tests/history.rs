//! Histories in the file: they only grow, damage in them is seen, and they are bounded.

use std::slice::from_ref;

use super::*;
use crate::keys::history::{BYTES_PER_SERVER_MAX, ENTRIES_PER_SERVER_MAX, Entry, Event, What};
use crate::keys::store::file::history::{DOCUMENTS, ENTRIES};
use crate::keys::testing::HOUR;

const ID: &str = "ed25519:1";

/// A server's document of the hour `hour`, with `filler` bytes more.
fn document(hour: u64, filler: usize) -> KeptDocument {
    let mut server = TestServer::new("s000.example");
    server.add_key(ID);
    server.valid_until = at(hour * HOUR);
    server.filler = filler;
    let raw = Bytes::from(server.document());
    KeptDocument { raw, fetched_at: at(hour), source: Source::Origin }
}

fn shown(document: KeptDocument) -> Entry {
    let key = TestServer::new("s000.example").add_key(ID);
    let event = Event { id: key_id(ID), key, what: What::FirstSeen };
    Entry::Shown { document, events: vec![event] }
}

async fn put(store: &FileStore, entries: &[Entry]) -> Saved {
    store.save(&server(0), record(&server(0), 1), entries).await.unwrap()
}

async fn history(store: &FileStore, server: &ServerName) -> Vec<KeptEntry> {
    let mut all: Vec<KeptEntry> = Vec::new();
    loop {
        let from = all.last().map_or(0, |last| last.number + 1);
        let page = store.history(server, from, 1_000).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// The entries of the first server, which are sound.
async fn entries(store: &FileStore) -> Vec<Entry> {
    let kept = history(store, &server(0)).await;
    let numbers: Vec<_> = kept.iter().map(|kept| kept.number).collect();
    assert_eq!(numbers, (0..kept.len() as u64).collect::<Vec<_>>());
    assert!(kept.iter().all(|kept| kept.follows));
    kept.into_iter().map(|kept| kept.entry.unwrap()).collect()
}

/// How many documents the file keeps for histories.
fn documents(path: &Path) -> u64 {
    let raw = redb::Database::open(path).unwrap();
    raw.begin_read().unwrap().open_table(DOCUMENTS).unwrap().len().unwrap()
}

#[tokio::test]
async fn a_history_only_grows_and_is_there_after_a_restart() {
    let (_directory, path) = place();
    let store = open(&path);
    assert_eq!(entries(&store).await, []);
    let [one, two, three] = [1, 2, 3].map(|hour| shown(document(hour, 0)));
    assert_eq!(put(&store, from_ref(&one)).await, Saved { written: 1, filled: false });
    put(&store, &[]).await;
    put(&store, &[two.clone(), three.clone()]).await;
    store.save(&server(1), record(&server(1), 1), from_ref(&two)).await.unwrap();
    assert_eq!(entries(&store).await, [one.clone(), two.clone(), three.clone()]);
    assert!(store.forget(&server(0), at(9)).await.unwrap().is_some());
    assert_eq!(store.forget(&server(0), at(10)).await, Ok(None), "nothing to tell of");
    drop(store);

    let store = open(&path);
    let flushed = Entry::Flushed { at: at(9) };
    assert_eq!(store.load(&server(0)).await, Ok(None));
    assert_eq!(entries(&store).await, [one.clone(), two.clone(), three, flushed]);
    assert_eq!(history(&store, &server(1)).await.len(), 1);
    let page = store.history(&server(0), 1, 2).await.unwrap();
    assert!(page.iter().all(|kept| kept.follows), "{page:?}");
    assert_eq!(page.iter().map(|kept| kept.number).collect::<Vec<_>>(), [1, 2]);

    let key = TestServer::new("s000.example").add_key(ID);
    let found = store.document_of(&server(0), &key_id(ID), &key).await;
    assert_eq!(found, Ok(Some(document(3, 0))), "the newest");
    let other = TestServer::new("s001.example").add_key(ID);
    assert_eq!(store.document_of(&server(0), &key_id(ID), &other).await, Ok(None));
    assert_eq!(store.document_of(&server(0), &key_id("ed25519:2"), &key).await, Ok(None));
    assert_eq!(store.document_of(&server(2), &key_id(ID), &key).await, Ok(None));
}

#[tokio::test]
async fn a_document_is_kept_once() {
    let (_directory, path) = place();
    let store = open(&path);
    let again = KeptDocument { fetched_at: at(77), source: Source::Homeserver, ..document(1, 0) };
    let all = [shown(document(1, 0)), shown(again), shown(document(2, 0))];
    put(&store, &all).await;
    assert_eq!(entries(&store).await, all);
    drop(store);
    assert_eq!(documents(&path), 2);
}

/// After an error nobody knows whether the disk has it.
#[tokio::test]
async fn an_entry_that_is_saved_again_is_there_once() {
    let (_directory, path) = place();
    let store = open(&path);
    let [one, two, three] = [1, 2, 3].map(|hour| shown(document(hour, 0)));
    put(&store, &[one.clone(), two.clone()]).await;
    let all = [one, two, three];
    assert_eq!(put(&store, &all).await, Saved { written: 3, filled: false });
    assert_eq!(entries(&store).await, all);
}

#[tokio::test]
async fn a_full_history_says_so_once() {
    let (_directory, path) = place();
    let store = open(&path);
    // One document, so that their number is what fills it.
    let last = ENTRIES_PER_SERVER_MAX as usize - 1;
    let at = |ms| shown(KeptDocument { fetched_at: at(ms), ..document(1, 0) });
    let all: Vec<_> = (0..last as u64 + 5).map(at).collect();
    let (first, rest) = all.split_at(last - 1);
    assert_eq!(put(&store, first).await, Saved { written: last - 1, filled: false });
    assert_eq!(put(&store, rest).await, Saved { written: 1, filled: true });
    assert_eq!(put(&store, &rest[1..]).await, Saved::default());
    assert!(store.forget(&server(0), all[3].at()).await.unwrap().is_some());
    let kept = entries(&store).await;
    assert_eq!(kept.len(), last + 1);
    assert_eq!(kept[..last], all[..last]);
    assert_eq!(kept[last], Entry::Full { at: all[last].at() });
}

#[tokio::test]
async fn the_bytes_of_a_history_are_bounded() {
    let (_directory, path) = place();
    let store = open(&path);
    let mut written = 0;
    for hour in 1..40 {
        let saved = put(&store, &[shown(document(hour, 60_000))]).await;
        written += saved.written;
        assert_eq!(saved.filled, hour == written as u64 + 1);
        if saved.filled {
            break;
        }
    }
    let kept = entries(&store).await;
    assert_eq!(kept.len(), written + 1);
    let size = document(1, 60_000).raw.len() as u64;
    assert_eq!(written as u64, (BYTES_PER_SERVER_MAX - 1_000) / (size + 400));
    // Another entry of a document that is there takes no room for it; nothing follows all the same.
    assert_eq!(put(&store, &[shown(document(1, 60_000))]).await, Saved::default());
    drop(store);
    assert_eq!(documents(&path), written as u64);
}

/// Changes the rows of the first server's history by hand.
fn tamper(path: &Path, change: impl FnOnce(&mut redb::Table<'_, (&str, u64), &[u8]>)) {
    let raw = redb::Database::open(path).unwrap();
    let transaction = raw.begin_write().unwrap();
    change(&mut transaction.open_table(ENTRIES).unwrap());
    transaction.commit().unwrap();
}

/// A file with a history of five entries, and its path.
async fn five() -> (TempDir, PathBuf) {
    let (directory, path) = place();
    let store = open(&path);
    let all = [1, 2, 3, 4, 5].map(|hour| shown(document(hour, 0)));
    put(&store, &all).await;
    (directory, path)
}

/// The numbers of the entries that are not right.
async fn wrong(store: &FileStore) -> Vec<u64> {
    let kept = history(store, &server(0)).await;
    let wrong = kept.iter().filter(|kept| kept.verify(&server(0), &no_bans()).is_err());
    wrong.map(|kept| kept.number).collect()
}

#[tokio::test]
async fn what_was_done_to_a_history_is_seen() {
    let name = "s000.example";
    let (_directory, path) = five().await;
    assert_eq!(wrong(&open(&path)).await, [0_u64; 0]);
    tamper(&path, |rows| drop(rows.remove((name, 2)).unwrap()));
    assert_eq!(wrong(&open(&path)).await, [3], "one is missing");
    tamper(&path, |rows| drop(rows.remove((name, 0)).unwrap()));
    assert_eq!(wrong(&open(&path)).await, [1, 3], "so is the first");

    let (_directory, path) = five().await;
    tamper(&path, |rows| {
        let moved = rows.get((name, 1)).unwrap().unwrap().value().to_vec();
        rows.insert((name, 2), moved.as_slice()).unwrap();
    });
    assert_eq!(wrong(&open(&path)).await, [2, 3], "in another's place");

    let (_directory, path) = five().await;
    let forged = Draft::of(&Entry::Flushed { at: at(1) }).unwrap();
    tamper(&path, |rows| {
        let Ok(read) =
            encode::history::Read::of(name, 3, rows.get((name, 3)).unwrap().unwrap().value())
        else {
            panic!()
        };
        let sealed = forged.seal(name, 3, read.link).unwrap();
        rows.insert((name, 3), sealed.as_slice()).unwrap();
    });
    assert_eq!(wrong(&open(&path)).await, [4], "another entry with a good checksum");
}

#[tokio::test]
async fn damage_in_a_history_is_skipped_and_stays() {
    let name = "s000.example";
    let (_directory, path) = five().await;
    tamper(&path, |rows| {
        let mut bytes = rows.get((name, 4)).unwrap().unwrap().value().to_vec();
        bytes[50] ^= 1;
        rows.insert((name, 4), bytes.as_slice()).unwrap();
    });
    let store = open(&path);
    let key = TestServer::new("s000.example").add_key(ID);
    let found = store.document_of(&server(0), &key_id(ID), &key).await;
    assert_eq!(found, Ok(Some(document(4, 0))), "the newest that is sound");
    assert_eq!(put(&store, &[shown(document(6, 0))]).await.written, 1);
    assert_eq!(wrong(&store).await, [4]);
    assert_eq!(history(&store, &server(0)).await.len(), 6);
    drop(store);

    let raw = redb::Database::open(&path).unwrap();
    let transaction = raw.begin_write().unwrap();
    let mut rows = transaction.open_table(DOCUMENTS).unwrap();
    let hash = encode::history::hash(&document(2, 0).raw);
    rows.insert((name, &hash), &b"{}"[..]).unwrap();
    drop(rows);
    transaction.commit().unwrap();
    drop(raw);
    assert_eq!(wrong(&open(&path)).await, [1, 4]);
}

#[tokio::test]
async fn a_file_from_before_there_were_histories_has_none_and_gets_one() {
    let (_directory, path) = place();
    closed_file(&path, 1).await;
    let raw = redb::Database::open(&path).unwrap();
    let transaction = raw.begin_write().unwrap();
    assert!(transaction.delete_table(ENTRIES).unwrap());
    assert!(transaction.delete_table(DOCUMENTS).unwrap());
    transaction.commit().unwrap();
    drop(raw);
    let store = open(&path);
    assert_eq!(store.load(&server(0)).await, Ok(Some(record(&server(0), 1))));
    assert_eq!(entries(&store).await, []);
    let key = TestServer::new("s000.example").add_key(ID);
    assert_eq!(store.document_of(&server(0), &key_id(ID), &key).await, Ok(None));
    put(&store, &[shown(document(1, 0))]).await;
    assert_eq!(entries(&store).await, [shown(document(1, 0))]);
}
