use prometheus::Registry;

use super::*;
use crate::clock::ManualClock;
use crate::keys::cache::KeyCache;
use crate::keys::keyring::{KeyPolicy, KeyringParts, WantedKey};
use crate::keys::metrics::KeyMetrics;
use crate::keys::rules::Rulebook;
use crate::keys::testing::{DAY, TestServer, at, key_id};
use crate::proto::validity::Provenance;

const SEEDS: &[u8] = b"ed25519 a_own CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk\n";

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// A notary that can ask nobody, and what it has in memory.
fn notary() -> (Notary, KeyCache) {
    let cache = KeyCache::new(64 << 20);
    let keyring = Keyring::new(KeyringParts {
        cache: cache.clone(),
        store: None,
        stages: Vec::new(),
        clock: Arc::new(ManualClock::new(at(0))),
        metrics: KeyMetrics::new(&Registry::new()).unwrap(),
        policy: KeyPolicy::default(),
        rules: Rulebook::default(),
    });
    let notary = Notary::new(NotaryParts {
        server_name: ServerName::parse("our.example").unwrap(),
        keys: Arc::new(SigningKeys::parse(SEEDS).unwrap()),
        keyring,
        publisher: None,
        own_clients: Vec::new(),
        fetches_per_query_max: 100,
        timeout: Duration::from_secs(10),
        metrics: NotaryMetrics::register(&Registry::new()).unwrap(),
    });
    (notary, cache)
}

fn keep(cache: &KeyCache, server: &TestServer) {
    cache.insert(server.stored(at(0), Provenance::Origin), Default::default(), None);
}

fn server(name: &str) -> TestServer {
    let mut server = TestServer::new(name);
    server.add_key("ed25519:1");
    server
}

fn wanted(name: &str) -> Wanted {
    let keys = vec![WantedKey { id: key_id("ed25519:1"), minimum_valid_until: None }];
    Wanted { server: ServerName::parse(name).unwrap(), keys, minimum_valid_until: None }
}

fn names(answer: &[u8]) -> Vec<String> {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap();
    let documents = answer["server_keys"].as_array().unwrap().iter();
    documents.map(|document| document["server_name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_question_without_what_there_is_not() {
    let (notary, cache) = notary();
    for name in ["a.example", "c.example", "b.example"] {
        keep(&cache, &server(name));
    }
    let question = ["c.example", "gone.example", "a.example", "b.example"].map(wanted);
    let answer = notary.answer(question.to_vec(), CLIENT).await.unwrap().body;
    assert_eq!(names(&answer), ["c.example", "a.example", "b.example"]);
    assert_eq!(&notary.answer(Vec::new(), CLIENT).await.unwrap().body[..], b"{\"server_keys\":[]}");
}

#[tokio::test]
async fn a_document_is_signed_once_and_its_successor_anew() {
    let (notary, cache) = notary();
    let mut server = server("a.example");
    keep(&cache, &server);
    let first = notary.answer(vec![wanted("a.example")], CLIENT).await.unwrap().body;
    let again = notary.answer(vec![wanted("a.example")], CLIENT).await;
    assert_eq!(again.unwrap().body, first);
    server.valid_until = at(2 * DAY);
    keep(&cache, &server);
    let second = notary.answer(vec![wanted("a.example")], CLIENT).await.unwrap().body;
    assert_ne!(second, first);
}

#[tokio::test]
async fn k14_an_answer_has_an_end() {
    let (notary, cache) = notary();
    let mut question = Vec::new();
    for n in 0..300 {
        let mut large = server(&format!("s{n}.example"));
        large.filler = 62_000;
        keep(&cache, &large);
        question.push(wanted(&format!("s{n}.example")));
    }
    let answer = notary.answer(question.clone(), CLIENT).await.unwrap().body;
    assert!(answer.len() <= ANSWER_BYTES_MAX + 2, "{}", answer.len());
    assert!((200..300).contains(&names(&answer).len()), "{}", names(&answer).len());
}

/// Readers that take their time hold no more than that, whatever they ask for.
#[tokio::test]
async fn k14_answers_that_are_being_read_have_one_bound() {
    let (notary, cache) = notary();
    let mut large = server("a.example");
    large.filler = 62_000;
    keep(&cache, &large);
    let question = vec![wanted("a.example"); 250];
    let mut read = Vec::new();
    for _ in 0..2 {
        read.push(notary.answer(question.clone(), CLIENT).await.unwrap());
    }
    let held: usize = read.iter().map(|answer| answer.body.len()).sum();
    assert!((ANSWERS_BYTES_MAX - ANSWER_BYTES_MAX..=ANSWERS_BYTES_MAX).contains(&held), "{held}");
    let refused = notary.answer(question.clone(), CLIENT).await;
    assert_eq!(refused.unwrap_err(), KeyServerError::Full);
    read.pop();
    assert!(notary.answer(question, CLIENT).await.is_ok(), "one has been read");
}

#[tokio::test(start_paused = true)]
async fn k14_a_network_that_asks_for_too_many_is_told_to_wait() {
    let (notary, _) = notary();
    let question = vec![wanted("a.example"); NAMES_MAX / 2];
    for _ in 0..2 {
        assert!(notary.answer(question.clone(), CLIENT).await.is_ok());
    }
    let error = notary.answer(question.clone(), CLIENT).await.unwrap_err();
    let wait = Duration::from_secs(50);
    assert_eq!(error, KeyServerError::TooMany(wait));
    let elsewhere = "198.51.100.1".parse().unwrap();
    assert!(notary.answer(question.clone(), elsewhere).await.is_ok());
    tokio::time::advance(wait).await;
    assert!(notary.answer(question, CLIENT).await.is_ok());
}
