use super::*;
use crate::keys::keyring::KeyAnswer;
use crate::keys::testing::{TestServer, at, key_id};
use crate::proto::validity::Provenance;

const MODE: BindingMode = BindingMode::Enforce;

fn server(name: &str) -> TestServer {
    let mut server = TestServer::new(name);
    server.add_key("ed25519:1");
    server
}

#[tokio::test]
async fn documents_of_one_server_come_together() {
    let cache = KeyCache::new(1 << 20);
    let mut server = TestServer::new("a.example");
    let first = server.add_key("ed25519:1");
    cache.insert(server.stored(at(0), Provenance::Origin), MODE, None);
    server.keys.clear();
    server.add_key("ed25519:2");
    let inserted = cache.insert(server.stored(at(1), Provenance::Origin), MODE, None);
    assert_eq!(inserted.news.collisions, []);
    let known = cache.get(&server.name, at(2)).unwrap();
    for known in [known, inserted.known] {
        let KeyAnswer::Valid(key) = known.answer(&key_id("ed25519:1"), at(2)) else {
            panic!("the key learnt first is gone")
        };
        assert_eq!(key.key, first);
        assert!(matches!(known.answer(&key_id("ed25519:2"), at(2)), KeyAnswer::Valid(_)));
    }
    assert_eq!(cache.size().0, 1);
}

#[tokio::test]
async fn f9_the_cache_is_bounded_in_bytes() {
    let cache = KeyCache::new(64 * 1_024);
    for n in 0..500 {
        let server = server(&format!("s{n}.example"));
        cache.insert(server.stored(at(0), Provenance::Origin), MODE, None);
    }
    let (servers, bytes) = cache.size();
    assert!((1..=64).contains(&servers), "{servers} servers kept");
    assert!(bytes <= 64 * 1_024, "{bytes}");
}

#[tokio::test]
async fn f9_a_signature_that_is_kept_with_a_document_counts() {
    let cache = KeyCache::new(64 * 1_024);
    let keep = |name: &str| {
        let server = server(name);
        let inserted = cache.insert(server.stored(at(0), Provenance::Origin), MODE, None);
        Arc::clone(inserted.known.document(&key_id("ed25519:1")).unwrap())
    };
    let document = keep("a.example");
    let (_, before) = cache.size();
    let signed = Bytes::from(vec![b'x'; 5_000]);
    for text in [signed.clone(), "another".into()] {
        assert_eq!(cache.keep_countersigned(&document, text), &signed, "the first one stays");
        let counters = 3 * size_of::<usize>() as u64;
        assert_eq!(cache.size(), (1, before + 5_000 + counters));
    }
    for n in 0..50 {
        let document = keep(&format!("s{n}.example"));
        cache.keep_countersigned(&document, Bytes::from(vec![b'x'; 5_000]));
        assert!(cache.size().1 <= 64 * 1_024, "{}", cache.size().1);
    }
    assert!(cache.size().0 >= 8);
}

#[tokio::test]
async fn a_document_larger_than_the_cache_is_not_kept() {
    let cache = KeyCache::new(16_384);
    let mut server = server("large.example");
    server.filler = 40_000;
    cache.insert(server.stored(at(0), Provenance::Origin), MODE, None);
    assert_eq!(cache.size(), (0, 0));
}

/// A thousand names seen once each pass by; those in use stay.
#[tokio::test]
async fn f9_a_scan_of_made_up_names_does_not_flush_servers_in_use() {
    let cache = KeyCache::new(512 * 1_024);
    let known: Vec<_> = (0..40).map(|n| server(&format!("known{n}.example"))).collect();
    for server in &known {
        cache.insert(server.stored(at(0), Provenance::Origin), MODE, None);
    }
    let (mut hits, mut lookups) = (0, 0);
    for n in 0..1_000 {
        for server in &known {
            lookups += 1;
            hits += usize::from(cache.get(&server.name, at(1)).is_some());
        }
        let stranger = server(&format!("scan{n}.example"));
        cache.insert(stranger.stored(at(0), Provenance::Origin), MODE, None);
    }
    assert!(hits * 100 >= lookups * 99, "{hits} of {lookups}");
}

#[tokio::test]
async fn concurrent_inserts_lose_nothing() {
    let cache = KeyCache::new(1 << 20);
    let mut inserts = Vec::new();
    for n in 0..8 {
        let mut server = TestServer::new("a.example");
        server.add_key(&format!("ed25519:{n}"));
        let (cache, stored) = (cache.clone(), server.stored(at(0), Provenance::Notary));
        inserts.push(tokio::spawn(async move { cache.insert(stored, MODE, None) }));
    }
    for insert in inserts {
        insert.await.unwrap();
    }
    let known = cache.get(&TestServer::new("a.example").name, at(1)).unwrap();
    for n in 0..8 {
        let answer = known.answer(&key_id(&format!("ed25519:{n}")), at(1));
        assert!(matches!(answer, KeyAnswer::Valid(_)), "{n}: {answer:?}");
    }
}

#[tokio::test]
async fn what_the_caller_knows_is_not_lost_when_the_cache_has_let_go_of_it() {
    let mut first = server("a.example");
    first.filler = 40_000;
    let cache = KeyCache::new(16_384);
    let kept = cache.insert(first.stored(at(0), Provenance::Origin), MODE, None).known;
    assert_eq!(cache.size().0, 0);
    let mut other = TestServer::new("a.example");
    other.add_key("ed25519:2");
    let known = cache.insert(other.stored(at(1), Provenance::Origin), MODE, Some(&kept));
    assert!(matches!(known.known.answer(&key_id("ed25519:1"), at(2)), KeyAnswer::Valid(_)));
}

#[tokio::test]
async fn what_a_store_had_does_not_displace_what_is_newer() {
    let cache = KeyCache::new(1 << 20);
    let server = server("a.example");
    let inserted = cache.insert(server.stored(at(0), Provenance::Origin), MODE, None);
    cache.restore(&server.name, Arc::default(), at(1));
    assert!(Arc::ptr_eq(&cache.get(&server.name, at(2)).unwrap(), &inserted.known));
}

#[tokio::test]
async fn only_servers_in_use_are_listed() {
    let cache = KeyCache::new(1 << 20);
    for name in ["a.example", "b.example", "c.example"] {
        cache.insert(server(name).stored(at(0), Provenance::Origin), MODE, None);
    }
    cache.get(&server("a.example").name, at(5)).unwrap();
    cache.get(&server("b.example").name, at(9)).unwrap();
    let used = |since| {
        let mut names: Vec<_> =
            cache.used_since(since).into_iter().map(|(name, _)| name.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(used(at(6)), ["b.example"]);
    assert_eq!(used(at(5)), ["a.example", "b.example"]);
}
