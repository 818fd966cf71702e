//! Hostile HTTP as data: every file below `tests/corpus/` is one input with the verdict it must get,
//! sent over real sockets (threats B1 to B15). `tests/corpus/README.md` says how they are written.
//!
//! For each: nothing of what is refused reaches the homeserver, the answer and the count are the
//! expected ones, a request sent right behind is not smuggled, and the gate serves on. What passes
//! arrives as exactly the one request that was signed.
//!
//! `FEDGATE_CORPUS=b05` runs only the files whose path contains that.

mod case;
mod insertions;
mod json_suite;
mod lane;
mod over_http1;
mod over_http2;
mod routes;
mod signing;
mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use case::{Case, Kind, Verdict};
use lane::Lane;

/// The classes, each a folder: those of the threat model that are about what a request looks like.
const CLASSES: [&str; 17] = [
    "b01-lengths",
    "b02-chunks",
    "b03-http2",
    "b04-upgrade",
    "b05-targets",
    "b06-paths",
    "b07-open-routes",
    "b08-authorization",
    "b09-json",
    "b10-numbers",
    "b11-encodings",
    "b12-trailers",
    "b13-names",
    "b14-destination",
    "b15-expect",
    "heads",
    "methods",
];

/// Hostile files in each class, and inputs of all, at least.
const HOSTILE_PER_CLASS_MIN: usize = 5;
const HOSTILE_MIN: usize = 500;

/// Cases run beside each other, each lane with gates and a homeserver of its own.
const LANES: usize = 4;

/// A case that takes longer than this fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// How much there is of a class.
#[derive(Debug, Default)]
struct Count {
    files: usize,
    /// Inputs, by what becomes of them: a file may be sent over both versions, and signed in several
    /// ways.
    refused: usize,
    passed: usize,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")
}

fn sorted_entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// Every case, in order; fails when one cannot be read.
fn cases() -> Vec<Case> {
    let folders = sorted_entries(&root()).into_iter().filter(|path| path.is_dir());
    let (mut cases, mut broken) = (Vec::new(), Vec::new());
    for path in folders.flat_map(|folder| sorted_entries(&folder)) {
        match Case::read(&path) {
            Ok(case) => cases.push(case),
            Err(error) => broken.push(format!("{}: {error}", path.display())),
        }
    }
    assert!(broken.is_empty(), "cases that cannot be read:\n{}", broken.join("\n"));
    cases
}

/// Counts inputs by class, and prints them.
fn count(cases: &[Case]) -> BTreeMap<String, Count> {
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    for case in cases {
        let count = counts.entry(case.class.clone()).or_default();
        count.files += 1;
        for (_, verdict) in case.runs() {
            let of = if verdict.passes() { &mut count.passed } else { &mut count.refused };
            *of += case.variants().len();
        }
    }
    for (class, Count { files, refused, passed }) in &counts {
        println!("{class}: {files} files, {refused} inputs refused, {passed} passed");
    }
    counts
}

#[test]
fn every_class_has_its_members_and_something_that_passes() {
    let cases = cases();
    let counts = count(&cases);
    assert_eq!(counts.keys().map(String::as_str).collect::<Vec<_>>(), CLASSES);
    for (class, count) in &counts {
        assert!(count.refused >= HOSTILE_PER_CLASS_MIN, "{class} has few members: {count:?}");
        assert!(count.passed > 0, "{class}: nothing shows that a good request of its form passes");
    }
    let refused: usize = counts.values().map(|count| count.refused).sum();
    println!("{refused} hostile inputs");
    assert!(refused >= HOSTILE_MIN, "{refused} hostile inputs");
}

async fn run_lane(cases: &[Case], next: &AtomicUsize, failures: &Mutex<Vec<String>>) {
    let mut lane = Lane::start().await;
    let fail = |what: String| failures.lock().unwrap().push(what);
    while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
        for (kind, verdict) in case.runs() {
            for variant in case.variants() {
                let context = format!("{} over {kind:?}, {}", case.name, variant.shown());
                let run = async {
                    match kind {
                        Kind::Http1 => over_http1::run(&mut lane, case, &variant, verdict).await,
                        Kind::Http2 => over_http2::run(&mut lane, case, &variant, verdict).await,
                    }
                };
                match tokio::time::timeout(PATIENCE, run).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        fail(format!("{context}: {error}"));
                        lane.settle().await;
                    }
                    Err(_) => {
                        fail(format!("{context}: nothing came of it"));
                        lane.settle().await;
                    }
                }
            }
        }
    }
    if let Err(error) = lane.stop().await {
        fail(error);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_input_meets_its_verdict_and_nothing_refused_reaches_the_homeserver() {
    let wanted = std::env::var("FEDGATE_CORPUS").unwrap_or_default();
    let cases: Vec<_> = cases().into_iter().filter(|case| case.name.contains(&wanted)).collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::default());
    let lanes = (0..LANES).map(|_| run_lane(&cases, &next, &failures));
    futures_util::future::join_all(lanes).await;
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

/// Paths that another router might take for one of ours are refused, not forwarded as other ones.
#[tokio::test]
async fn b6_no_spelling_hides_where_other_paths_are_forwarded() {
    let mut lane = Lane::start_with("trusted_proxies = []\nother_paths = \"forward\"").await;
    let refused = Verdict::refused("target_refused", true);
    let cases = cases().into_iter().filter(|case| case.class == "b06-paths");
    let mut count = 0;
    for case in cases.filter(|case| case.runs().any(|(_, verdict)| *verdict == refused)) {
        let variant = &case.variants()[0];
        let run = over_http1::run(&mut lane, &case, variant, &refused).await;
        run.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        count += 1;
    }
    assert!(count > 30, "{count}");
}

/// The runner can fail: a verdict that is wrong is noticed, in either direction and version.
#[tokio::test]
async fn a_wrong_verdict_is_noticed() {
    let mut lane = Lane::start().await;
    let passes = Case::parse("x", "http", PASSES).unwrap();
    let refused = Case::parse("x", "http", REFUSED).unwrap();
    for (case, verdict) in [
        (&passes, Verdict::refused("target_refused", true)),
        (&refused, Verdict::PASSES),
        (&refused, Verdict::refused("other_path", true)),
    ] {
        let variant = &case.variants()[0];
        assert!(over_http1::run(&mut lane, case, variant, &verdict).await.is_err(), "{verdict:?}");
        lane.settle().await;
        assert!(over_http2::run(&mut lane, case, variant, &verdict).await.is_err(), "{verdict:?}");
        lane.settle().await;
    }
}

const PASSES: &str = "why: it is good\nexpect: 200\n\
    signed: GET /_matrix/federation/v1/event/x\n\n\
    GET /_matrix/federation/v1/event/x\nAuthorization: <auth>\n";
const REFUSED: &str = "why: a dot segment\nexpect: 400 target_refused closed\n\
    signed: GET /_matrix/federation/v1/../v1/event/x\n\n\
    GET /_matrix/federation/v1/../v1/event/x\nAuthorization: <auth>\n";
