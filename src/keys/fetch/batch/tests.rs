use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::keys::fetch::answer::Judge;
use crate::keys::testing::{TestServer, at, key_metrics, no_bans, request};

mod crowd;

const ID: &str = "ed25519:1";

/// The bounds of known servers in these tests.
const KNOWN: Bounds = Bounds { places: 4, names_max: 32 };

/// A source that writes down what it is asked, and answers when the test says so.
#[derive(Default)]
struct Desk(Mutex<Vec<Sent>>);

/// A query that has been sent.
struct Sent {
    names: Vec<String>,
    bytes_max: usize,
    reply: Option<oneshot::Sender<Result<Bytes, FetchError>>>,
}

impl Ask for Desk {
    async fn ask(&self, body: Bytes, bytes_max: usize, _: &Trace) -> Result<Bytes, FetchError> {
        let (reply, answer) = oneshot::channel();
        self.0.lock().unwrap().push(Sent { names: names(&body), bytes_max, reply: Some(reply) });
        answer.await.unwrap()
    }
}

/// The names a query asks for, in order.
fn names(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap();
    body["server_keys"].as_object().unwrap().keys().cloned().collect()
}

fn server(name: &str) -> TestServer {
    let mut server = TestServer::new(name);
    server.add_key(ID);
    server
}

/// The answer with the documents of these servers.
fn documents(names: &[String]) -> Bytes {
    let documents: Vec<Vec<u8>> = names.iter().map(|name| server(name).document()).collect();
    Bytes::from([br#"{"server_keys":["#, documents.join(&b","[..]).as_slice(), b"]}"].concat())
}

fn judge(request: &KeyRequest, answer: &Answer) -> Result<Judged, FetchError> {
    Judge { notary: None, banned: &no_bans() }.judge(&request.server, answer)
}

type Fetched = Result<Vec<ServerKeys>, FetchError>;

/// A batcher, and the desk its queries end up on.
#[derive(Clone)]
struct House {
    batcher: Arc<Batcher<Desk>>,
    desk: Arc<Desk>,
}

impl House {
    fn new() -> Self {
        Self::with(key_metrics())
    }

    fn with(metrics: KeyMetrics) -> Self {
        let desk = Arc::new(Desk::default());
        let mut batcher = Batcher::new(Arc::clone(&desk), Source::Homeserver, metrics);
        batcher.known = Lane::new(KNOWN);
        Self { batcher: Arc::new(batcher), desk }
    }

    fn ask(&self, request: KeyRequest) -> JoinHandle<Fetched> {
        let batcher = Arc::clone(&self.batcher);
        tokio::spawn(async move { batcher.fetch(&request, |answer| judge(&request, answer)).await })
    }

    /// Asks for the keys of a known server.
    fn known(&self, name: &str) -> JoinHandle<Fetched> {
        self.ask(request(&server(name), &[ID]))
    }

    fn first_seen(&self, name: &str) -> JoinHandle<Fetched> {
        self.ask(KeyRequest { is_known: false, ..request(&server(name), &[ID]) })
    }

    /// Asks for so many known servers with a name that begins so.
    async fn many(&self, prefix: &str, count: usize) -> Vec<JoinHandle<Fetched>> {
        let mut callers = Vec::new();
        for n in 0..count {
            callers.push(self.known(&format!("{prefix}{n:05}.example")));
        }
        settle().await;
        callers
    }

    /// How many names went into each query so far.
    fn sizes(&self) -> Vec<usize> {
        self.desk.0.lock().unwrap().iter().map(|sent| sent.names.len()).collect()
    }

    fn names(&self, query: usize) -> Vec<String> {
        self.desk.0.lock().unwrap()[query].names.clone()
    }

    /// Answers the query so.
    async fn reply(&self, query: usize, answer: Result<Bytes, FetchError>) {
        let reply = self.desk.0.lock().unwrap()[query].reply.take().unwrap();
        reply.send(answer).unwrap();
        settle().await;
    }

    /// Answers it with all it asks for.
    async fn answer(&self, query: usize) {
        let documents = documents(&self.names(query));
        self.reply(query, Ok(documents)).await;
    }

    /// Whether nobody waits for the query any more.
    fn is_given_up(&self, query: usize) -> bool {
        self.desk.0.lock().unwrap()[query].reply.as_ref().unwrap().is_closed()
    }

    fn waiting(&self) -> usize {
        let lanes = [&self.batcher.known, &self.batcher.first_seen];
        lanes.iter().map(|lane| lane.lock().waiting.len()).sum()
    }

    /// Occupies the places of known servers with queries 0 to 3.
    async fn occupy(&self) -> Vec<JoinHandle<Fetched>> {
        let callers = self.many("first", KNOWN.places).await;
        assert_eq!(self.sizes(), [1; 4]);
        callers
    }
}

/// Lets every other task go as far as it can.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

async fn is_found(caller: JoinHandle<Fetched>) -> bool {
    caller.await.unwrap().unwrap().len() == 1
}

#[tokio::test(start_paused = true)]
async fn a_lone_question_goes_out_at_once() {
    let house = House::new();
    let started = Instant::now();
    let caller = house.known("a.example");
    settle().await;
    assert_eq!(house.names(0), ["a.example"]);
    assert_eq!(house.desk.0.lock().unwrap()[0].bytes_max, 1 << 20);
    house.answer(0).await;
    assert!(is_found(caller).await);
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_waits_goes_out_together() {
    let house = House::new();
    let mut callers = house.occupy().await;
    callers.extend(house.many("later", 70).await);
    assert_eq!((house.sizes().len(), house.waiting()), (4, 70));
    for query in 0..7 {
        house.answer(query).await;
    }
    assert_eq!(house.sizes(), [1, 1, 1, 1, 32, 32, 6]);
    // In the order of their arrival.
    assert_eq!(house.names(6)[0], "later00064.example");
    assert_eq!(house.desk.0.lock().unwrap()[4].bytes_max, 2 << 20);
    for caller in callers {
        assert!(is_found(caller).await);
    }
    assert_eq!(house.batcher.known.places.available_permits(), KNOWN.places);
}

#[tokio::test(start_paused = true)]
async fn r60_one_bad_entry_is_one_servers() {
    let house = House::new();
    let first = house.occupy().await;
    let [good, absent, changed] = ["good", "absent", "changed"].map(|name| house.known(name));
    settle().await;
    house.answer(0).await;
    let stranger = "not-asked-for.example".to_owned();
    let answer = documents(&["changed".to_owned(), "good".to_owned(), stranger]);
    let answer = String::from_utf8(answer.to_vec()).unwrap();
    let answer = answer.replacen(r#""valid_until_ts":1"#, r#""valid_until_ts":2"#, 1);
    house.reply(4, Ok(Bytes::from(answer))).await;
    assert!(is_found(good).await);
    for (caller, text) in [
        (changed, "no valid signature of its server"),
        (absent, "a document of not-asked-for.example, not asked for"),
    ] {
        let Err(FetchError::BadAnswer(reason)) = caller.await.unwrap() else { panic!("{text}") };
        assert!(reason.contains(text), "{reason}");
    }
    assert_eq!(house.sizes(), [1, 1, 1, 1, 3]);
    drop(first);
}

/// Whoever hangs up, and be it the one who sent the query, the others have their answer.
#[tokio::test(start_paused = true)]
async fn who_hangs_up_takes_nothing_from_the_others() {
    for dropped in 0..5 {
        let house = House::new();
        let first = house.occupy().await;
        let mut callers = house.many("later", 5).await;
        house.answer(2).await;
        assert_eq!(house.sizes(), [1, 1, 1, 1, 5]);
        callers.remove(dropped).abort();
        settle().await;
        assert!(!house.is_given_up(4));
        house.answer(4).await;
        for caller in callers {
            assert!(is_found(caller).await);
        }
        drop(first);
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_ends_with_the_last_who_waits_for_it() {
    let house = House::new();
    let first = house.occupy().await;
    let callers = house.many("later", 5).await;
    house.answer(0).await;
    for caller in &callers {
        assert!(!house.is_given_up(4));
        caller.abort();
        settle().await;
    }
    assert!(house.is_given_up(4));
    // And its place is free again.
    let next = house.known("next.example");
    settle().await;
    assert_eq!(house.names(5), ["next.example"]);
    drop((first, next));
}

#[tokio::test(start_paused = true)]
async fn a_question_nobody_waits_for_is_not_sent() {
    let house = House::new();
    let first = house.occupy().await;
    let callers = house.many("later", 10).await;
    for caller in callers.iter().step_by(2) {
        caller.abort();
    }
    settle().await;
    assert_eq!(house.waiting(), 5);
    house.answer(0).await;
    assert_eq!(house.sizes(), [1, 1, 1, 1, 5]);
    assert!(house.names(4).contains(&"later00001.example".to_owned()));
    for caller in callers.iter().skip(1).step_by(2) {
        caller.abort();
    }
    settle().await;
    house.answer(1).await;
    assert_eq!(house.sizes().len(), 5, "nothing is left to send");
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_holds_its_places_for_a_second() {
    let house = House::new();
    let started = Instant::now();
    let first = house.occupy().await;
    let later = house.many("later", 40).await;
    tokio::time::advance(PATIENCE - Duration::from_millis(1)).await;
    settle().await;
    assert_eq!(house.sizes(), [1; 4]);
    tokio::time::advance(Duration::from_millis(1)).await;
    settle().await;
    assert_eq!(house.sizes(), [1, 1, 1, 1, 32, 8]);
    // An answer that comes late is one all the same.
    house.answer(4).await;
    for (n, caller) in first.into_iter().chain(later).enumerate() {
        let fetched = caller.await.unwrap();
        if (4..36).contains(&n) {
            assert_eq!(fetched.unwrap().len(), 1);
        } else {
            let text = "no answer to a key query within 15s".to_owned();
            assert_eq!(fetched.unwrap_err(), FetchError::Net(NetError::Timeout(text)));
        }
    }
    assert_eq!(started.elapsed(), PATIENCE + QUERY_TIMEOUT);
    assert_eq!(house.batcher.known.places.available_permits(), KNOWN.places);
}

/// F6: a flood of made-up names that hang is no hindrance for servers that are known.
#[tokio::test(start_paused = true)]
async fn f6_first_seen_servers_hold_up_no_known_one() {
    let house = House::new();
    let flood: Vec<_> = (0..100).map(|n| house.first_seen(&format!("x{n}.example"))).collect();
    settle().await;
    assert_eq!(house.sizes(), [1; 8]);
    let started = Instant::now();
    let caller = house.known("a.example");
    settle().await;
    assert_eq!(house.names(8), ["a.example"]);
    house.answer(8).await;
    assert!(is_found(caller).await);
    assert_eq!(started.elapsed(), Duration::ZERO);
    // Nor do they share a query once both wait.
    let occupied = house.many("first", KNOWN.places).await;
    assert_eq!(house.sizes(), [1; 13]);
    let known = house.many("later", 3).await;
    tokio::time::advance(PATIENCE).await;
    settle().await;
    let sizes = house.sizes();
    assert_eq!(sizes[13..].iter().filter(|size| **size == 8).count(), 8);
    let known_query = (13..sizes.len()).find(|query| sizes[*query] == 3).unwrap();
    assert!(house.names(known_query).iter().all(|name| name.starts_with("later")));
    drop((flood, occupied, known));
}

/// What may be the fault of one name does not cost the others their answer.
#[tokio::test(start_paused = true)]
async fn after_a_failure_that_may_be_of_one_each_is_asked_for_alone() {
    let too_large = FetchError::Net(NetError::TooLarge("more than 2 MiB".to_owned()));
    for failure in [
        Err(too_large),
        Err(FetchError::Status(400)),
        Err(FetchError::Status(500)),
        Ok(Bytes::from_static(b"<html>")),
    ] {
        let house = House::new();
        let first = house.occupy().await;
        let mut callers = house.many("later", 3).await;
        house.answer(0).await;
        house.reply(4, failure.clone()).await;
        // One has the free place; a new question waits behind the others.
        callers.push(house.known("new.example"));
        settle().await;
        assert_eq!(house.sizes(), [1, 1, 1, 1, 3, 1]);
        house.reply(5, failure.clone()).await;
        for query in 6..9 {
            house.answer(query).await;
        }
        assert_eq!(house.sizes(), [1, 1, 1, 1, 3, 1, 1, 1, 1]);
        let mut found = 0;
        for caller in callers {
            found += usize::from(caller.await.unwrap().is_ok());
        }
        assert_eq!(found, 3, "a failure alone is final");
        drop(first);
    }
}

#[tokio::test(start_paused = true)]
async fn who_must_go_alone_is_not_taken_along() {
    let house = House::new();
    let mut callers = house.occupy().await;
    callers.extend(house.many("later", 3).await);
    house.answer(0).await;
    tokio::time::advance(PATIENCE).await;
    callers.extend(house.many("more", KNOWN.places).await);
    callers.extend(house.many("new", 2).await);
    house.reply(4, Err(FetchError::Status(400))).await;
    assert_eq!((house.sizes(), house.waiting()), (vec![1, 1, 1, 1, 3, 1, 1, 1, 1], 5));
    for query in (1..4).chain(5..13) {
        house.answer(query).await;
    }
    assert_eq!(house.sizes()[9..], [2, 1, 1, 1]);
    for caller in callers {
        assert!(is_found(caller).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_source_is_everybodys() {
    let net = |error: fn(String) -> NetError| FetchError::Net(error("cause".to_owned()));
    for error in [
        FetchError::Status(404),
        FetchError::Status(429),
        FetchError::Status(503),
        FetchError::NotServed,
        net(NetError::Connect),
        net(NetError::Timeout),
    ] {
        let house = House::new();
        let first = house.occupy().await;
        let callers = house.many("later", 3).await;
        house.answer(0).await;
        house.reply(4, Err(error.clone())).await;
        for caller in callers {
            assert_eq!(caller.await.unwrap().unwrap_err(), error);
        }
        assert_eq!(house.sizes(), [1, 1, 1, 1, 3]);
        drop(first);
    }
}

#[tokio::test(start_paused = true)]
async fn two_questions_for_one_server_are_both_answered() {
    let house = House::new();
    let first = house.occupy().await;
    let one = house.known("a.example");
    let other = house.ask(KeyRequest {
        minimum_valid_until: at(9),
        ..request(&server("a.example"), &["ed25519:2"])
    });
    settle().await;
    house.answer(0).await;
    assert_eq!(house.names(4), ["a.example"]);
    house.answer(4).await;
    assert!(is_found(one).await && is_found(other).await);
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_questions_are_bounded() {
    let house = House::new();
    let callers = house.many("s", 10_000).await;
    assert_eq!((house.sizes().len(), house.waiting()), (KNOWN.places, WAITING_MAX));
    let mut query = 0;
    while query < house.sizes().len() {
        assert!(house.sizes().len() - query <= KNOWN.places);
        house.answer(query).await;
        query += 1;
    }
    assert_eq!(query, KNOWN.places + WAITING_MAX / KNOWN.names_max);
    let mut busy = 0;
    for caller in callers {
        match caller.await.unwrap() {
            Ok(documents) => assert_eq!(documents.len(), 1),
            Err(error) => {
                assert_eq!(error, FetchError::Busy);
                busy += 1;
            }
        }
    }
    assert_eq!(busy, 10_000 - KNOWN.places - WAITING_MAX);
    assert_eq!(house.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn queries_are_counted() {
    let registry = prometheus::Registry::new();
    let house = House::with(KeyMetrics::new(&registry).unwrap());
    let callers = house.occupy().await;
    let later = house.many("later", 3).await;
    house.reply(0, Err(FetchError::Status(503))).await;
    house.reply(4, Err(FetchError::Status(400))).await;
    for query in [1, 2, 3, 5, 6, 7] {
        house.answer(query).await;
    }
    drop((callers, later));
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    for line in [
        r#"fedgate_key_queries_total{result="answered",source="homeserver"} 6"#,
        r#"fedgate_key_queries_total{result="failed",source="homeserver"} 1"#,
        r#"fedgate_key_queries_total{result="split",source="homeserver"} 1"#,
        r#"fedgate_key_queries_total{result="split",source="notary"} 0"#,
        r#"fedgate_key_query_names_total{source="homeserver"} 10"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
