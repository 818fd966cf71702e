//! A disk that fails at every place where it can.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use redb::StorageBackend;

use super::*;

/// Bytes that a disk writes all or none of.
const SECTOR: usize = 512;

/// A disk in memory, of which the n-th change fails.
#[derive(Debug, Default)]
struct Disk {
    bytes: Mutex<Vec<u8>>,
    /// What was there at the last sync.
    synced: Mutex<Vec<u8>>,
    /// Changes until one fails; wraps around to never.
    until_failure: AtomicUsize,
    syncs: AtomicUsize,
    /// Whether everything fails from the failure on.
    stays_full: std::sync::atomic::AtomicBool,
}

/// The disk as redb sees it.
#[derive(Clone, Debug)]
struct Handle(Arc<Disk>);

impl Disk {
    fn change(&self) -> io::Result<()> {
        let full = || Err(io::Error::from(io::ErrorKind::StorageFull));
        match self.until_failure.load(Ordering::SeqCst) {
            0 => Ok(()),
            1 if self.stays_full.load(Ordering::SeqCst) => full(),
            left => {
                self.until_failure.store(left - 1, Ordering::SeqCst);
                if left == 1 { full() } else { Ok(()) }
            }
        }
    }

    /// The power fails: of what was not synced, each sector is there or not.
    fn cut_power(&self, random: &mut fastrand::Rng) {
        let mut bytes = self.bytes.lock().unwrap();
        let mut synced = self.synced.lock().unwrap();
        let length = if random.bool() { bytes.len() } else { synced.len() };
        bytes.resize(length, 0);
        synced.resize(length, 0);
        for (sector, before) in bytes.chunks_mut(SECTOR).zip(synced.chunks(SECTOR)) {
            if random.bool() {
                sector.copy_from_slice(before);
            }
        }
    }

    fn fail_at(&self, change: usize, stays_full: bool) {
        self.stays_full.store(stays_full, Ordering::SeqCst);
        self.until_failure.store(change, Ordering::SeqCst);
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.bytes.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let found = bytes.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.change()?;
        self.0.bytes.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.syncs.fetch_add(1, Ordering::SeqCst);
        self.0.change()?;
        self.0.synced.lock().unwrap().clone_from(&self.0.bytes.lock().unwrap());
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.change()?;
        let start = usize::try_from(offset).unwrap();
        self.0.bytes.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

impl FileStore {
    fn on_disk(disk: &Arc<Disk>) -> Result<Self, StoreError> {
        let path = Path::new("disk");
        let disk = Arc::clone(disk);
        let opener = move |check| database::prepared(Handle(Arc::clone(&disk)), check);
        let database = Database::open(path, Box::new(opener));
        Self::on(path, database.map_err(|failure| failure.explain(path))?)
    }
}

/// Saves on a disk whose `change`-th change fails. Everything acknowledged is there afterwards.
/// Whether anything failed.
async fn survives(change: usize, stays_full: bool) -> bool {
    let disk = Arc::new(Disk::default());
    drop(FileStore::on_disk(&disk).unwrap());
    disk.fail_at(change, stays_full);
    let mut acknowledged = Vec::new();
    let mut failed = false;
    match FileStore::on_disk(&disk) {
        Err(error) => {
            assert_eq!(error.kind(), "io", "{error}");
            failed = true;
        }
        Ok(store) => {
            for number in 0..12 {
                match save(&store, number, 1).await {
                    Ok(()) => acknowledged.push(number),
                    Err(error) => {
                        assert_eq!(error.kind(), "io", "{error}");
                        failed = true;
                    }
                }
            }
            if !stays_full {
                assert!(acknowledged.len() >= 11, "it works again once the disk does");
            }
            if failed {
                disk.fail_at(0, false);
                save(&store, 12, 1).await.unwrap();
                acknowledged.push(12);
            }
        }
    }
    disk.fail_at(0, false);
    let store = FileStore::on_disk(&disk).unwrap();
    for number in acknowledged {
        assert_saved(&store, number, 1, &format!("change {change}")).await;
    }
    failed
}

#[tokio::test]
async fn a_disk_that_fails_once_loses_nothing_acknowledged() {
    for change in 1..=100 {
        survives(change, false).await;
    }
    assert!(survives(40, false).await);
}

#[tokio::test]
async fn a_disk_that_stays_full_loses_nothing_acknowledged() {
    for change in 1..=100 {
        survives(change, true).await;
    }
    assert!(survives(40, true).await);
}

#[tokio::test]
async fn a_power_cut_loses_nothing_acknowledged() {
    let mut random = fastrand::Rng::with_seed(6);
    for round in 0..200 {
        let disk = Arc::new(Disk::default());
        let store = FileStore::on_disk(&disk).unwrap();
        disk.fail_at(random.usize(1..80), true);
        let mut acknowledged = Vec::new();
        for number in 0..30 {
            if save(&store, number, 1).await.is_ok() {
                acknowledged.push(number);
            }
        }
        drop(store);
        disk.fail_at(0, false);
        disk.cut_power(&mut random);
        let store = FileStore::on_disk(&disk).unwrap();
        for number in acknowledged {
            assert_saved(&store, number, 1, &format!("round {round}")).await;
        }
    }
}

#[tokio::test]
async fn damage_under_a_running_store_is_never_another_record() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut refused = 0;
    for _ in 0..50 {
        let disk = Arc::new(Disk::default());
        let store = FileStore::on_disk(&disk).unwrap();
        for number in 0..30 {
            save(&store, number, 1).await.unwrap();
        }
        // After a failure it is opened again, without a check of all of it.
        disk.fail_at(1, false);
        save(&store, 30, 1).await.unwrap_err();
        for byte in disk.bytes.lock().unwrap().iter_mut().skip(4_096) {
            if random.u32(..2_000) == 0 {
                *byte ^= random.u8(1..);
            }
        }
        for number in 0..30 {
            match store.load(&server(number)).await {
                Ok(Some(found)) => assert_eq!(found, record(&server(number), 1)),
                Ok(None) => {}
                Err(error) => {
                    assert_eq!(error.kind(), "damaged", "{error}");
                    refused += 1;
                }
            }
            for kept in store.history(&server(number), 0, 9).await.unwrap_or_default() {
                if let Ok(found) = kept.entry {
                    assert_eq!(found, entry(&server(number), 1));
                }
            }
        }
    }
    assert!(refused > 0);
}

/// Somebody puts a copy of the file back while the disk is mended.
#[tokio::test]
async fn what_another_file_has_is_found_once_that_is_opened() {
    let other = Arc::new(Disk::default());
    let store = FileStore::on_disk(&other).unwrap();
    save(&store, 2, 1).await.unwrap();
    drop(store);

    let disk = Arc::new(Disk::default());
    let store = FileStore::on_disk(&disk).unwrap();
    save(&store, 1, 1).await.unwrap();
    assert_eq!(store.load(&server(2)).now_or_never(), Some(Ok(None)));
    disk.fail_at(1, false);
    save(&store, 3, 1).await.unwrap_err();
    disk.bytes.lock().unwrap().clone_from(&other.bytes.lock().unwrap());
    assert_eq!(store.load(&server(2)).await, Ok(Some(record(&server(2), 1))));
    assert_eq!(store.load(&server(4)).now_or_never(), Some(Ok(None)));
}

#[tokio::test]
async fn a_full_disk_says_what_to_do() {
    let disk = Arc::new(Disk::default());
    let store = FileStore::on_disk(&disk).unwrap();
    disk.fail_at(1, true);
    let error = save(&store, 1, 1).await.unwrap_err();
    assert!(matches!(&error, StoreError::Io(text) if text.contains("make room")), "{error}");
}

#[tokio::test]
async fn many_saves_at_a_time_wait_for_the_disk_few_times() {
    const SAVES: usize = 2_000;
    let disk = Arc::new(Disk::default());
    let store = FileStore::on_disk(&disk).unwrap();
    let before = disk.syncs.load(Ordering::SeqCst);
    let names = (0..SAVES).map(|number| ServerName::parse(&format!("n{number}")).unwrap());
    let names: Vec<_> = names.collect();
    let saves = names.iter().map(|name| store.save(name, record(&server(0), 1), &[]));
    let mut saves = Box::pin(tokio::task::unconstrained(join_all(saves)));
    // All are queued while the disk is busy with the first of them.
    let busy = disk.bytes.lock().unwrap();
    assert_eq!(saves.as_mut().now_or_never(), None);
    drop(busy);
    assert!(saves.await.iter().all(Result::is_ok));
    assert_eq!(store.count().await, Ok(SAVES as u64));
    let syncs = disk.syncs.load(Ordering::SeqCst) - before;
    // Two transactions, in which the file grows.
    assert!(syncs <= 10, "{syncs} syncs");
}
