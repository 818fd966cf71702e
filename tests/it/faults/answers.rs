//! Answers of the homeserver that break HTTP (fault 27): whatever they are, the client sees one
//! answer or an end, and what is left over is nobody else's answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{OK, World};
use crate::support::raw::RawHomeserver;

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is passed on, with this status and body.
    Passed(u16, &'static str),
    /// The client is told that the homeserver broke off.
    Failed,
    /// The head is passed on; then it breaks off, and so does what the client gets.
    Broken,
}
use Fate::{Broken, Failed, Passed};

#[rustfmt::skip]
const ANSWERS: &[(&str, &str, Fate)] = &[
    ("as it should be", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Passed(200, "{}")),
    ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Passed(200, "{}")),
    ("length and coding", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Passed(200, "{}")),
    ("coding and length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Passed(200, "{}")),
    ("the same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", Passed(200, "{}")),
    ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}", Failed),
    ("negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}", Failed),
    ("length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", Failed),
    ("more than its length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", Passed(200, "{}")),
    ("less than its length", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", Broken),
    ("more than its chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", Passed(200, "{}")),
    ("size of a chunk that is no number", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n0\r\n\r\n", Broken),
    ("no end of chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", Broken),
    ("body behind a 204", "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil", Passed(204, "")),
    ("body behind a 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil", Passed(304, "")),
    ("switch of protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nevil", Failed),
    ("HTTP/0.9", "{}", Failed),
    ("no status", "HTTP/1.1\r\n\r\n", Failed),
    ("status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\n{}", Failed),
    ("status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\n{}", Failed),
    ("another version", "HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", Failed),
    ("a field without a colon", "HTTP/1.1 200 OK\r\nX\r\nContent-Length: 2\r\n\r\n{}", Failed),
    ("NUL in a field", "HTTP/1.1 200 OK\r\nX: \0\r\nContent-Length: 2\r\n\r\n{}", Failed),
    ("only an interim answer", "HTTP/1.1 100 Continue\r\n\r\n", Failed),
    ("TLS", "\x15\x03\x01\0\x02\x02\x16", Failed),
];

/// Gives each answer once and hangs up; other requests get a good one.
async fn check(name: &str, answer: &'static str, fate: Fate) {
    let due = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&due);
    let homeserver = RawHomeserver::start(move |mut side| {
        let due = Arc::clone(&shared);
        async move {
            while side.request().await.is_some() {
                if due.swap(false, Ordering::SeqCst) {
                    side.write(answer.as_bytes()).await;
                    return;
                }
                side.write(OK.as_bytes()).await;
            }
        }
    })
    .await;
    let world = World::before(homeserver).await;
    for kept in [false, true] {
        if kept {
            world.assert_healed(name).await;
        }
        let before = world.seen().len();
        due.store(true, Ordering::SeqCst);
        // Nobody repeats a POST, so the answer is to exactly this request.
        let given = world.ask("POST").await;
        let given = given.as_ref().map(|a| (a.status, std::str::from_utf8(&a.body).unwrap()));
        let error = "{\"errcode\":\"M_UNKNOWN\",\"error\":\"The homeserver cannot be reached\"}";
        let wanted = match fate {
            Passed(status, body) => Some((status, body)),
            Failed => Some((502, error)),
            Broken => None,
        };
        assert_eq!(given, wanted, "{name}, on a kept connection: {kept}");
        assert_eq!(world.seen().len(), before + 1, "{name}");
        world.assert_healed(name).await;
    }
}

#[tokio::test]
async fn f27_answers_that_break_http_are_one_answer_or_an_end() {
    let mut failed = Vec::new();
    for (name, answer, fate) in ANSWERS {
        if tokio::spawn(check(name, answer, *fate)).await.is_err() {
            failed.push(name);
        }
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// The connection stays open behind an answer with something more: the rest is not the next
/// client's answer.
#[tokio::test]
async fn f27_what_is_left_over_of_an_answer_is_nobody_elses() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}\r\n",
    ] {
        let homeserver = RawHomeserver::start(move |mut side| async move {
            if side.number == 0 {
                side.request().await;
                side.write(answer.as_bytes()).await;
            }
            side.answer_all(OK).await;
        })
        .await;
        let world = World::before(homeserver).await;
        let connections = |world: &World| world.seen().iter().map(|r| r.connection).max();
        world.assert_healed("the first").await;
        for _ in 0..3 {
            world.assert_healed(answer).await;
        }
        assert_eq!(connections(&world), Some(1), "the connection was not used again");
    }
}

/// A thousand interim answers cost the client nothing.
#[tokio::test]
async fn f27_a_flood_of_interim_answers() {
    let homeserver = RawHomeserver::start(|mut side| async move {
        while side.request().await.is_some() {
            for _ in 0..1_000 {
                side.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
            }
            side.write(OK.as_bytes()).await;
        }
    })
    .await;
    let world = World::before(homeserver).await;
    for _ in 0..3 {
        world.assert_healed("an answer behind a flood").await;
    }
}
