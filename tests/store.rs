//! The store of keys under what machines do to it: killed processes, full disks, directories that
//! may not be written.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use fedgate::keys::KeyStore as _;
use fedgate::keys::history::Entry;
use fedgate::keys::record::{KeptDocument, ServerRecord, Source};
use fedgate::keys::store::FileStore;
use fedgate::proto::{ServerName, Timestamp};
use futures_util::future::join_all;
use tokio::runtime::Runtime;

/// Names the child's store; a test run without it is no child.
const PATH: &str = "FEDGATE_TEST_STORE";

/// Servers the child saves records of, as many at a time.
const SERVERS: u64 = 8;

/// The same, as the distance between two records of a server.
const STEP: usize = 8;

/// How often the child is killed.
const ROUNDS: usize = 200;

/// Records the child saves before it ends by itself.
const SAVES: u64 = 4_000;

fn server(counter: u64) -> ServerName {
    ServerName::parse(&format!("s{}.example", counter % SERVERS)).expect("a name")
}

/// The `counter`-th record that is saved.
fn record(counter: u64) -> ServerRecord {
    let filler = "x".repeat(usize::try_from(counter % 3_000).expect("small"));
    let document = KeptDocument {
        raw: Bytes::from(format!("{{\"counter\":{counter},\"filler\":\"{filler}\"}}")),
        fetched_at: Timestamp::from_ms(counter),
        source: Source::Origin,
    };
    ServerRecord { bindings: Vec::new(), documents: vec![document] }
}

/// The entry that goes into the history with the `counter`-th record: every fourth of a server has
/// one, so that no history gets full.
fn entry(counter: u64) -> Option<Entry> {
    let document = KeptDocument {
        raw: Bytes::from(format!("{{\"counter\":{counter}}}")),
        fetched_at: Timestamp::from_ms(counter),
        source: Source::Origin,
    };
    (counter / SERVERS).is_multiple_of(4).then_some(Entry::Shown { document, events: Vec::new() })
}

/// The store, which is opened without anything being moved aside.
fn open(path: &Path) -> FileStore {
    let opened = FileStore::open(path, Timestamp::from_ms(0)).expect("the store opens");
    assert_eq!(opened.moved_aside, None);
    opened.store
}

/// The test program itself, to run `child_writer` on the store at `path`.
fn child(path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test program"));
    with_child_arguments(&mut command, path);
    command
}

fn with_child_arguments(command: &mut Command, path: &Path) {
    command
        .args(["--exact", "child_writer", "--nocapture", "--quiet", "--test-threads=1"])
        .env(PATH, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
}

fn spawn(command: &mut Command) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = command.spawn().expect("the child starts");
    let stdout = child.stdout.take().expect("piped");
    (child, BufReader::new(stdout).lines().map(|line| line.expect("a line")))
}

/// Not a test by itself: what the children run. Prints `saved <counter>` once a record is durable,
/// and `error <text>` when the store refuses.
#[test]
fn child_writer() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let say = |line: String| {
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{line}").and_then(|()| stdout.flush()).expect("printed");
    };
    let store = match FileStore::open(Path::new(&path), Timestamp::from_ms(0)) {
        Ok(opened) => opened.store,
        Err(error) => return say(format!("error {error}")),
    };
    Runtime::new().expect("a runtime").block_on(async {
        let mut last = 0;
        for number in 0..SERVERS {
            let found = store.load(&server(number)).await.expect("loaded");
            let counter = found.map_or(0, |record| record.documents[0].fetched_at.as_ms());
            last = last.max(counter);
        }
        // The next round of all servers. A server's records are saved one after the other, so that
        // a later one has the last word.
        let first = (last / SERVERS + 1) * SERVERS;
        let saves = (first..first + SERVERS).map(async |start| {
            for counter in (start..first + SAVES).step_by(STEP) {
                let entry = entry(counter);
                let saved = store.save(&server(counter), record(counter), entry.as_slice()).await;
                match saved {
                    Ok(_saved) => say(format!("saved {counter}")),
                    Err(error) => say(format!("error {error}")),
                }
            }
        });
        join_all(saves).await;
    });
}

/// What a child's lines acknowledge.
#[derive(Default)]
struct Acknowledged {
    /// The last record of each server.
    records: BTreeMap<ServerName, u64>,
    /// All records that came with an entry.
    entries: BTreeMap<ServerName, BTreeSet<u64>>,
}

impl Acknowledged {
    /// Whether the line was an acknowledgement.
    fn read(&mut self, line: &str) -> bool {
        // The harness writes on the same line before the first.
        let Some((_, counter)) = line.split_once("saved ") else { return false };
        let counter = counter.parse().expect("a number");
        if entry(counter).is_some() {
            self.entries.entry(server(counter)).or_default().insert(counter);
        }
        let last = self.records.entry(server(counter)).or_default();
        *last = counter.max(*last);
        true
    }

    /// All of it is in the store, or something later of the same server.
    fn check(&self, runtime: &Runtime, store: &FileStore) {
        for (name, last) in &self.records {
            let found = runtime.block_on(store.load(name)).expect("loaded").expect("kept");
            let counter = found.documents[0].fetched_at.as_ms();
            assert!(counter >= *last, "{name}: {counter} where {last} was acknowledged");
            assert_eq!(server(counter), *name);
            assert_eq!(found, record(counter));
            let history = runtime.block_on(history(store, name));
            assert!(history.is_sorted_by(|one, next| one < next), "{name}: {history:?}");
            let acknowledged = self.entries.get(name).into_iter().flatten();
            let mut lost = acknowledged.filter(|counter| !history.contains(counter));
            assert_eq!(lost.next(), None, "{name}: {history:?}");
            // A record and its entry are there together or not at all.
            let newest = history.last().copied().unwrap_or_default();
            assert!(if entry(counter).is_some() { newest == counter } else { newest < counter });
        }
    }
}

/// The counters in the history of a server, whose every entry is sound and follows the one before.
async fn history(store: &FileStore, name: &ServerName) -> Vec<u64> {
    let mut counters = Vec::new();
    loop {
        let from = counters.len() as u64;
        let page = store.history(name, from, 100).await.expect("read");
        if page.is_empty() {
            return counters;
        }
        for (number, kept) in (from..).zip(page) {
            assert!(kept.number == number && kept.follows, "{kept:?}");
            let found = kept.entry.expect("sound");
            let counter = found.at().as_ms();
            assert_eq!(Some(found), entry(counter));
            counters.push(counter);
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_it_is_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("keys.redb");
    let runtime = Runtime::new().expect("a runtime");
    let mut random = fastrand::Rng::with_seed(9);
    let mut acknowledged = Acknowledged::default();
    for _ in 0..ROUNDS {
        let (mut child, mut lines) = spawn(&mut child(&path));
        let mut left = random.usize(..60);
        while left > 0 {
            let line = lines.next().expect("the child goes on");
            left -= usize::from(acknowledged.read(&line));
        }
        child.kill().expect("killed");
        // Acknowledged before the kill, read after it.
        for line in lines {
            // The kill may have cut the last one short.
            if line.ends_with(|c: char| c.is_ascii_digit()) {
                acknowledged.read(&line);
            }
        }
        child.wait().expect("gone");
        acknowledged.check(&runtime, &open(&path));
    }
    assert_eq!(acknowledged.records.len(), usize::try_from(SERVERS).expect("small"));
}

#[test]
fn nothing_acknowledged_is_lost_when_the_disk_is_full() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("keys.redb");
    let runtime = Runtime::new().expect("a runtime");
    drop(open(&path));
    // A little more than the file has now, in the shell's blocks of 512 bytes.
    let blocks = path.metadata().expect("a file").len() / 512 + 8;
    let mut command = Command::new("sh");
    command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    command.arg(std::env::current_exe().expect("the test program"));
    with_child_arguments(&mut command, &path);
    let (mut child, lines) = spawn(&mut command);
    let mut acknowledged = Acknowledged::default();
    let mut errors = Vec::new();
    for line in lines {
        if !acknowledged.read(&line) && line.contains("error ") {
            errors.push(line);
        }
    }
    assert!(child.wait().expect("ended").success(), "it does not crash");
    let first = errors.first().expect("the disk was full");
    assert!(first.contains("File too large") && first.contains("make room"), "{first}");
    assert!(!acknowledged.records.is_empty());
    acknowledged.check(&runtime, &open(&path));
}

#[test]
fn a_directory_that_may_not_be_written_is_an_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("keys.redb");
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o555)).expect("set");
    let mut command = child(&path);
    // The superuser may write anywhere.
    if std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
    {
        command.uid(65_534);
    }
    let (mut child, lines) = spawn(&mut command);
    let lines: Vec<_> = lines.collect();
    assert!(child.wait().expect("ended").success(), "it does not crash");
    let error = lines.iter().find(|line| line.contains("error ")).expect("an error");
    assert!(error.contains("Permission denied") && error.contains("fedgate runs as"), "{error}");
    assert!(!path.exists());
}
