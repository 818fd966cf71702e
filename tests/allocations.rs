//! Judging a request must not allocate once per JSON value: a peer without a valid signature decides
//! how many of those there are.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

#[path = "../benches/common/transaction.rs"]
#[allow(unreachable_pub, clippy::indexing_slicing, reason = "a part of benchmarks")]
mod transaction;
#[path = "../benches/verify/workload.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::indexing_slicing,
    reason = "a benchmark, which uses the rest of it"
)]
mod workload;

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use fedgate::gate::admission::RequestHead;
use fedgate::proto::json::Object;
use workload::{KINDS, Wire, Workload};

/// An object with `values` members in an array, canonical or, with a blank after each comma, not.
fn body(values: usize, separator: &str) -> Vec<u8> {
    let members: Vec<String> = (0..values).map(|n| format!(r#"{{"a":{n},"b":"x"}}"#)).collect();
    format!(r#"{{"pdus":[{}]}}"#, members.join(separator)).into_bytes()
}

fn cost(text: &[u8]) -> allocation_counter::AllocationInfo {
    allocation_counter::measure(|| {
        let object = Object::scan(text).unwrap();
        let mut bytes = 0;
        object.write_canonical(&mut |piece: &[u8]| bytes += piece.len());
        assert!(bytes > 0);
    })
}

#[test]
fn a_canonical_body_costs_the_same_few_allocations_whatever_its_size() {
    let (few, many) = (cost(&body(10, ",")), cost(&body(100_000, ",")));
    assert_eq!(few.count_total, many.count_total);
    assert_eq!(few.bytes_max, many.bytes_max);
    assert!(many.bytes_max < 4_096, "{} bytes", many.bytes_max);
}

#[test]
fn any_other_body_costs_a_few_allocations_and_at_most_three_times_its_size() {
    for text in [body(100_000, ", "), unsorted(100_000)] {
        let cost = cost(&text);
        assert!(cost.count_total < 100, "{} allocations", cost.count_total);
        let bound = 3 * text.len() as u64;
        assert!(cost.bytes_max <= bound, "{} bytes for {}", cost.bytes_max, text.len());
    }
}

/// What takes most beside the text: names as short as they can be, objects out of order and much in a
/// spelling of its own, all of which is noted.
#[test]
fn the_worst_body_costs_less_than_six_times_its_size() {
    let letters: Vec<char> = ('0'..='~').filter(|letter| *letter != '\\').collect();
    let short_names = (0..20_000).rev().map(|n: usize| {
        let name: String =
            [n / 6_084, n / 78 % 78, n % 78].map(|digit| letters[digit]).iter().collect();
        format!(r#""{name}":0"#)
    });
    let bodies = [
        format!("{{{}}}", short_names.collect::<Vec<_>>().join(",")),
        format!(r#"{{"a":[0{}]}}"#, " , 0".repeat(20_000)),
        format!(r#"{{"a":[0{}]}}"#, r#",{"b":0,"a":0}"#.repeat(10_000)),
        format!(r#"{{"a":[0{}]}}"#, r#", { "b" : 0 , "a" : 0 }"#.repeat(10_000)),
        format!(r#"{{"a":"{}"}}"#, r"\/".repeat(50_000)),
    ];
    for body in bodies {
        let all = body.len() as u64 + cost(body.as_bytes()).bytes_max;
        assert!(
            all < 6 * body.len() as u64,
            "{all} bytes for {}: {}",
            body.len(),
            body.chars().take(30).collect::<String>()
        );
    }
}

/// One object with members in reverse order: the worst case of sorting.
fn unsorted(members: usize) -> Vec<u8> {
    let members: Vec<String> = (0..members).rev().map(|n| format!(r#""{n:06}":0"#)).collect();
    format!("{{{}}}", members.join(",")).into_bytes()
}

/// A server with this many keys, as its document, and as what it takes in the cache by itself.
mod cached {
    use bytes::Bytes;
    use fedgate::config::BindingMode;
    use fedgate::keys::cache::{KeyCache, StoredKeys};
    use fedgate::keys::record::Source;
    use fedgate::proto::ed25519::{BannedKeys, SigningKey};
    use fedgate::proto::server_keys::UnverifiedServerKeys;
    use fedgate::proto::sign::sign_json;
    use fedgate::proto::{KeyId, ServerName, Timestamp};
    use serde_json::{Map, Value, json};

    /// What a server publishes.
    #[derive(Clone, Copy)]
    pub(crate) struct Shape {
        pub(crate) keys: usize,
        pub(crate) old_keys: usize,
        /// Entries that are malformed.
        pub(crate) dropped: usize,
        /// Bytes of a field nobody knows.
        pub(crate) filler: usize,
    }

    fn name(number: usize) -> ServerName {
        ServerName::parse(&format!("matrix{number}.example.com")).unwrap()
    }

    fn signing_key(server: usize, key: usize) -> SigningKey {
        let mut seed = [1; 32];
        seed[..8].copy_from_slice(&server.to_le_bytes());
        seed[8..16].copy_from_slice(&key.to_le_bytes());
        SigningKey::from_seed(&seed)
    }

    /// The document of `server` that shows the keys from `first` on.
    fn document(server: usize, first: usize, shape: Shape) -> Bytes {
        let id = |key: usize| format!("ed25519:key{key}");
        let public = |key| signing_key(server, key).verify_key().to_base64();
        let mut current: Map<String, Value> = (first..first + shape.keys)
            .map(|key| (id(key), json!({ "key": public(key) })))
            .collect();
        current.extend((0..shape.dropped).map(|n| (format!("rsa:key{n}"), json!({}))));
        let old: Map<String, Value> = (10_000..10_000 + shape.old_keys)
            .map(|key| (id(key), json!({ "key": public(key), "expired_ts": 1 })))
            .collect();
        let document = json!({
            "server_name": name(server).as_str(),
            "valid_until_ts": 10_000,
            "verify_keys": current,
            "old_verify_keys": old,
            "filler": "x".repeat(shape.filler),
        });
        let first_id = KeyId::parse(&id(first)).unwrap();
        let key = signing_key(server, first);
        sign_json(document.to_string().as_bytes(), &name(server), &first_id, &key).unwrap().into()
    }

    /// Bytes that each of `servers` cached servers takes, as counted and as weighed, and those of its documents.
    pub(crate) fn per_server(
        servers: usize,
        shape: Shape,
        documents: usize,
    ) -> (usize, usize, usize) {
        let raw: Vec<Vec<Bytes>> = (0..servers)
            .map(|server| (0..documents).map(|n| document(server, n, shape)).collect())
            .collect();
        let cache = KeyCache::new(1 << 30);
        let counted = allocation_counter::measure(|| {
            for (server, raw) in raw.iter().enumerate() {
                for (time, raw) in raw.iter().enumerate() {
                    let raw = Bytes::copy_from_slice(raw);
                    let keys = UnverifiedServerKeys::parse(raw).unwrap();
                    let keys = keys.verify(&name(server), &BannedKeys::new([])).unwrap();
                    let fetched_at = Timestamp::from_ms(time as u64);
                    let stored = StoredKeys::new(keys, fetched_at, Source::Origin);
                    cache.insert(stored, BindingMode::Enforce, None);
                }
            }
            cache.size();
        });
        let (kept, weighed) = cache.size();
        assert_eq!(kept, servers as u64);
        let counted = usize::try_from(counted.bytes_current).unwrap();
        let text: usize = raw.iter().flatten().map(Bytes::len).sum();
        (counted / servers, usize::try_from(weighed).unwrap() / servers, text / servers)
    }
}

/// The bound on the cache is one only if a server counts as what it takes, whatever it publishes.
#[test]
fn f9_a_cached_server_counts_as_what_it_takes() {
    let plain = cached::Shape { keys: 1, old_keys: 0, dropped: 0, filler: 0 };
    let cases = [
        // Enough of the small ones for the cache's own tables not to count.
        ("one key", 2_000, plain, 1),
        ("one document after another", 1_000, plain, 8),
        ("two keys and old ones", 1_000, cached::Shape { keys: 2, old_keys: 5, ..plain }, 1),
        ("a large document", 100, cached::Shape { filler: 50_000, ..plain }, 1),
        (
            "as many keys as there may be",
            10,
            cached::Shape { keys: 128, old_keys: 128, ..plain },
            8,
        ),
        ("malformed entries", 1_000, cached::Shape { dropped: 120, ..plain }, 1),
    ];
    for (what, servers, shape, documents) in cases {
        let (counted, weighed, text) = cached::per_server(servers, shape, documents);
        let percent = weighed * 100 / counted;
        println!("{what}: {counted} B ({text} B of documents), weighed as {weighed}, {percent} %");
        assert!((95..=130).contains(&percent), "{what}: {counted} B, weighed as {weighed}");
    }
}

/// Servers by the ten thousand are kept; what is known of one must not be many times what it says.
#[test]
fn a_cached_server_takes_little_more_than_its_document() {
    let plain = cached::Shape { keys: 1, old_keys: 0, dropped: 0, filler: 0 };
    let (counted, _, text) = cached::per_server(2_000, plain, 1);
    assert!(counted < text + 1_200, "{counted} B with {text} B of text");
}

/// What one request allocates: for its head and keys, and from there to the verdict.
fn allocations(work: &Workload, pieces: &[Bytes]) -> [u64; 2] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (gate, keyring) = workload::gate();
    let Workload { method, target, headers, .. } = work;
    let head = RequestHead { method, raw_target: target.as_bytes(), headers };
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut counted = [u64::MAX; 2];
    for round in 0..100 {
        let mut found = None;
        let asked = allocation_counter::measure(|| {
            let admitted = gate.admit(head).unwrap();
            let keys = runtime.block_on(gate.find_keys(&admitted.claim, client)).unwrap();
            found = Some((admitted, keys));
        });
        let (admitted, keys) = found.unwrap();
        let judged = allocation_counter::measure(|| {
            let mut body = gate.hear(&admitted, &keys);
            for piece in pieces {
                body.push(piece.clone(), work.body.len());
            }
            body.end();
            assert!(gate.judge(&admitted, &body).unwrap().permit.origin().is_some());
        });
        // Steady is what comes once keys are known and hot ones have their tables.
        if round == 70 {
            assert!(keyring.hot_keys().make_one());
        }
        // Now and then a request does the cache's housekeeping: what each of them allocates is the least.
        if round > 80 {
            let [head, verdict] = counted;
            counted = [head.min(asked.count_total), verdict.min(judged.count_total)];
        }
    }
    counted
}

#[test]
fn a_request_allocates_nothing_from_its_head_to_the_verdict() {
    for kind in KINDS.iter().filter(|kind| kind.wire == Wire::Canonical) {
        let work = workload::workload(kind, workload::ORIGIN);
        let [asked, judged] = allocations(&work, std::slice::from_ref(&work.body));
        assert_eq!([asked, judged], [0, 0], "{}: head and keys, verdict", kind.name);
        // In pieces, what is kept of them is one allocation.
        let pieces: Vec<_> = work.body.chunks(16_384).map(Bytes::copy_from_slice).collect();
        let [_, judged] = allocations(&work, &pieces);
        assert_eq!(judged, u64::from(pieces.len() > 1), "{}", kind.name);
    }
}
