use prometheus::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::*;
use crate::config::Homeserver;
use crate::gate::events::rooms::Standing;
use crate::proto::ServerName;
use crate::proto::event::RoomVersion;

const ROOM: &str = "!room:one.example";

/// A homeserver's admin API, and who asks it.
struct House {
    api: TcpListener,
    asker: RoomAsker,
    rooms: Arc<RoomVersions>,
    metrics: EventMetrics,
}

impl House {
    async fn new() -> Self {
        let api = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = api.local_addr().unwrap().port();
        let homeserver = Homeserver::Tcp { host: "127.0.0.1".to_owned(), port };
        let http = LocalHttp { homeserver, host: ServerName::parse("our.example").unwrap() };
        let asker = RoomAsker::new(http, "secret".to_owned(), 10_000);
        let metrics = EventMetrics::register(&Registry::new()).unwrap();
        Self { api, asker, rooms: Arc::new(RoomVersions::new(10_000)), metrics }
    }

    /// Lets `asker` ask until `until` is done.
    async fn ask_until<T>(&self, until: impl Future<Output = T>) -> T {
        tokio::select! {
            () = self.asker.run(&self.rooms, &self.metrics) => panic!("the asker has ended"),
            done = until => done,
        }
    }

    /// The next question, and where its answer is expected.
    async fn question(&self) -> (String, TcpStream) {
        let (mut stream, _) = self.api.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (String::from_utf8(head).unwrap(), stream)
    }

    async fn answers(&self, status: &str, body: &str) -> String {
        let (question, mut stream) = self.question().await;
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // Who asks may have let go of an answer that is too long.
        drop(stream.write_all(body.as_bytes()).await);
        question
    }
}

fn version(number: &str) -> String {
    format!(r#"{{"room_id":"{ROOM}","version":"{number}"}}"#)
}

#[tokio::test]
async fn r82_a_room_is_asked_for_with_the_token_and_once() {
    let house = House::new().await;
    for _ in 0..3 {
        house.asker.want(ROOM);
    }
    house.asker.want("!other:one.example");
    let told = house.ask_until(async {
        let first = house.answers("200 OK", &version("10")).await;
        // By the time the next is asked for, the first answer has been read.
        let (second, _) = house.question().await;
        (first, second)
    });
    let (first, second) = told.await;
    assert!(first.starts_with("GET /_synapse/admin/v1/rooms/%21room%3Aone%2Eexample HTTP/1.1"));
    assert!(first.contains("authorization: Bearer secret\r\n"), "{first}");
    assert!(second.contains("%21other"), "the same room was asked for twice: {second}");
    assert_eq!(house.rooms.standing(ROOM), Standing::Known(RoomVersion::V10));
}

#[tokio::test]
async fn r82_answers_that_tell_nothing_stop_nobody() {
    let house = House::new().await;
    let long = format!(r#"{{"version":"10","topic":"{}"}}"#, "x".repeat(ANSWER_BYTES_MAX));
    let bad = [
        ("401 Unauthorized", version("10")),
        ("403 Forbidden", version("10")),
        ("404 Not Found", version("10")),
        ("500 Internal Server Error", version("10")),
        ("200 OK", "[]".to_owned()),
        ("200 OK", r#"{"version":10}"#.to_owned()),
        ("200 OK", long),
    ];
    let names: Vec<_> = (0..bad.len()).map(|number| format!("!{number}:one.example")).collect();
    names.iter().for_each(|name| house.asker.want(name));
    house.asker.want(ROOM);
    house.asker.want("!last:one.example");
    house
        .ask_until(async {
            for (status, body) in &bad {
                house.answers(status, body).await;
            }
            house.answers("200 OK", &version("11")).await;
            house.question().await;
        })
        .await;
    for name in &names {
        assert_eq!(house.rooms.standing(name), Standing::Open(None), "{name}");
    }
    assert_eq!(house.rooms.standing(ROOM), Standing::Known(RoomVersion::V11));
}

#[tokio::test]
async fn r82_rooms_that_wait_are_bounded_and_one_that_had_no_place_comes_again() {
    let house = House::new().await;
    let name = |number: usize| format!("!{number}:one.example");
    (0..WAITING_MAX + 1).for_each(|number| house.asker.want(&name(number)));
    house.asker.want(&format!("!{}:one.example", "x".repeat(EVENT_FIELD_BYTES_MAX)));
    let mut waiting = house.asker.next.lock().await;
    assert_eq!(waiting.len(), WAITING_MAX);
    assert_eq!(waiting.recv().await, Some(name(0)));
    house.asker.want(&name(0));
    house.asker.want(&name(WAITING_MAX));
    let mut last = None;
    while let Ok(room) = waiting.try_recv() {
        last = Some(room);
    }
    assert_eq!(last, Some(name(WAITING_MAX)), "not the one that has been asked for");
}

#[tokio::test]
async fn r82_a_silent_homeserver_is_given_up_and_rooms_are_asked_for_at_a_pace() {
    let house = House::new().await;
    let others = (0..3).map(|number| format!("!{number}:one.example"));
    ["!silent:one.example".to_owned()]
        .into_iter()
        .chain(others)
        .for_each(|id| house.asker.want(&id));
    house
        .ask_until(async {
            let started = Instant::now();
            let (_, silent) = house.question().await;
            // From here on time passes as soon as everybody waits.
            tokio::time::pause();
            let (question, _) = house.question().await;
            assert!(question.contains("%210"), "{question}");
            assert!(started.elapsed() >= ANSWER_TIMEOUT, "{:?}", started.elapsed());
            let started = Instant::now();
            house.question().await;
            house.question().await;
            assert!(started.elapsed() >= ASK_PACE, "{:?}", started.elapsed());
            drop(silent);
        })
        .await;
}
