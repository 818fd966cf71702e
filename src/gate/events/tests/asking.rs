//! What is asked for before a verdict, of other servers and of the homeserver (R82, R84).

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::*;
use crate::config::Homeserver;
use crate::keys::fetch::LocalHttp;
use crate::keys::testing::{ScriptedFetcher, Step};

const ROOM: &str = "!r:one.example";

#[tokio::test]
async fn r84_the_keys_of_an_event_are_waited_for_before_it_is_judged() {
    let (one, two) = (server("one.example"), server("two.example"));
    let answers = Arc::new(Semaphore::new(0));
    let step = Step::AnswerAfter(Arc::clone(&answers), Ok(vec![two.checked()]));
    let stage =
        Stage { sources: vec![ScriptedFetcher::origin(vec![step])], head_start: Duration::ZERO };
    let (examiner, _) = examiner_of(None, vec![stage], &[&one], Duration::from_secs(60));
    let mut forged = event(&two, ROOM, "m.room.message", json!({}), 0);
    forged["depth"] = json!(8);
    let later = async {
        tokio::task::yield_now().await;
        answers.add_permits(1);
    };
    let sent = [forged];
    let (answer, ()) = tokio::join!(send(&examiner, &one, &sent), later);
    assert!(matches!(answer, Ok(Examined::Answered(_))), "{answer:?}");
}

#[tokio::test]
async fn r82_the_homeserver_is_asked_for_the_version_of_a_room_that_nobody_has_told() {
    let one = server("one.example");
    let (mut examiner, _) = examiner(&[&one], Duration::from_secs(60));
    let api = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = api.local_addr().unwrap().port();
    let homeserver = Homeserver::Tcp { host: "127.0.0.1".to_owned(), port };
    let http = LocalHttp { homeserver, host: ServerName::parse("our.example").unwrap() };
    examiner.asker = Some(RoomAsker::new(http, "secret".to_owned(), 100));
    examiner.rooms.learn("!told:one.example", "10", Authority::Homeserver);
    let sent = |room_id| event(&one, room_id, "m.room.message", json!({}), 0);
    send(&examiner, &one, &[sent("!told:one.example"), sent(ROOM)]).await.unwrap();
    let question = async {
        let (mut stream, _) = api.accept().await.unwrap();
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(line).unwrap()
    };
    let question = tokio::time::timeout(Duration::from_secs(10), question);
    let question = tokio::select! {
        () = examiner.prepare() => panic!("nobody asks any more"),
        question = question => question.expect("nobody has asked"),
    };
    let id = "%21r%3Aone%2Eexample";
    assert_eq!(question, format!("GET /_synapse/admin/v1/rooms/{id} HTTP/1.1\r\n"));
}
