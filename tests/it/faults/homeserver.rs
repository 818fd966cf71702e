//! A homeserver that is away, silent, slow or killed (faults 19 to 22, 24; threats B17).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{BODY, IMPATIENT, OK, World};
use crate::support::raw::{RawHomeserver, ServerSide};
use crate::support::{Gate, GateOptions, within};

/// What a homeserver's process says before it is killed: the first so many bytes.
const RESPONSES: [&str; 2] = [
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n0123456789",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n",
];

/// Nothing is to go wrong.
const NEVER: usize = usize::MAX;

#[tokio::test]
async fn f19_a_homeserver_that_is_away_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("homeserver.sock");
    let url = format!("unix:{}", socket.display());
    let gate = Gate::start_before(&url, GateOptions::default()).await;
    let origin = gate.origin("origin.example");
    let away = World { homeserver: RawHomeserver::start(|_| async {}).await, gate, origin };
    for method in ["GET", "PUT", "POST"] {
        let answer = away.ask(method).await.expect("an answer");
        assert_eq!((answer.status, answer.errcode().as_str()), (502, "M_UNKNOWN"), "{method}");
    }
    let homeserver = RawHomeserver::start_unix(&socket, |side| side.answer_all(OK));
    let world = World { homeserver, ..away };
    world.assert_healed("it is back").await;
    assert_eq!(world.seen().len(), 1, "what was refused is not sent later");
}

#[tokio::test]
async fn f20_a_homeserver_that_takes_a_request_and_never_answers() {
    let homeserver = RawHomeserver::start(|mut side| async move {
        if side.number > 0 {
            return side.answer_all(OK).await;
        }
        side.request().await;
        side.wait_closed().await;
    })
    .await;
    let world = World::before(homeserver).await;
    let answer = world.ask("PUT").await.expect("an answer");
    assert_eq!((answer.status, answer.errcode().as_str()), (504, "M_UNKNOWN"));
    assert_eq!(world.seen().len(), 1, "it is not sent again");
    world.assert_healed("it answers").await;
}

/// Reads requests, and answers the first so many bytes of `response`; then it is gone.
async fn killed_while_answering(mut side: ServerSide, cut: Arc<AtomicUsize>, response: &str) {
    while side.request().await.is_some() {
        let cut = cut.load(Ordering::SeqCst);
        if cut != NEVER {
            side.write(&response.as_bytes()[..cut]).await;
            return;
        }
        if !side.write(OK.as_bytes()).await {
            return;
        }
    }
}

/// At every byte of its answer, on a new connection and on a kept one.
#[tokio::test]
async fn f21_a_homeserver_that_is_killed_while_it_answers() {
    for response in RESPONSES {
        let cut = Arc::new(AtomicUsize::new(NEVER));
        let shared = Arc::clone(&cut);
        let homeserver = RawHomeserver::start(move |side| {
            killed_while_answering(side, Arc::clone(&shared), response)
        })
        .await;
        let world = World::before(homeserver).await;
        let head = response.find("\r\n\r\n").unwrap() + 4;
        for at in 0..response.len() {
            for (method, kept) in [("PUT", false), ("POST", false), ("PUT", true), ("POST", true)] {
                let context = format!("{method} on a kept connection: {kept}, cut at byte {at}");
                if kept {
                    world.assert_healed(&context).await;
                }
                let before = world.seen().len();
                cut.store(at, Ordering::SeqCst);
                let answer = world.ask(method).await;
                cut.store(NEVER, Ordering::SeqCst);
                match answer {
                    Some(answer) => {
                        assert_eq!(answer.status, 502, "{context}: {answer:?}");
                        assert!(at < head, "{context}: half an answer was given for a whole one");
                    }
                    None => assert!(at >= head, "{context}: no answer"),
                }
                let times = world.seen().len() - before;
                // What may be repeated is sent once more where a kept connection ends without an answer.
                let repeated = method == "PUT" && kept && at < head;
                assert_eq!(times, if repeated { 2 } else { 1 }, "{context}: requests");
            }
        }
        world.assert_healed("it lives").await;
    }
}

/// At its first byte, within the head, behind it, within the body.
#[tokio::test]
async fn f21_a_homeserver_that_is_killed_while_it_reads() {
    const AT: [usize; 6] = [0, 1, 40, 200, 350, 4_000_000];
    let at = Arc::new(AtomicUsize::new(NEVER));
    let shared = Arc::clone(&at);
    let homeserver = RawHomeserver::start(move |mut side| {
        let at = shared.load(Ordering::SeqCst);
        async move {
            if at == NEVER {
                return side.answer_all(OK).await;
            }
            side.take(at).await;
        }
    })
    .await;
    let world = World::before(homeserver).await;
    let body = format!("{{\"pdus\":[],\"x\":\"{}\"}}", "x".repeat(8_000_000));
    for bytes in AT {
        for method in ["PUT", "POST"] {
            let context = format!("{method}, killed at byte {bytes}");
            at.store(bytes, Ordering::SeqCst);
            let mut client = world.send(method, body.as_bytes()).await;
            let answer = within(&context, client.answer()).await.expect("an answer");
            assert_eq!(answer.status, 502, "{context}");
            at.store(NEVER, Ordering::SeqCst);
        }
    }
    assert_eq!(world.seen().len(), 0, "no request came whole");
    world.assert_healed("it lives").await;
    assert_eq!(world.seen().len(), 1, "nothing is sent later");
}

#[tokio::test]
async fn f22_a_homeserver_that_fails_at_every_request() {
    const FAILING: usize = 100;
    let answered = Arc::new(AtomicUsize::new(0));
    let homeserver = RawHomeserver::start(move |mut side| {
        let answered = Arc::clone(&answered);
        async move {
            while side.request().await.is_some() {
                let fails = answered.fetch_add(1, Ordering::SeqCst) < FAILING;
                let answer = if fails {
                    "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops"
                } else {
                    OK
                };
                side.write(answer.as_bytes()).await;
            }
        }
    })
    .await;
    let world = World::before(homeserver).await;
    for _ in 0..FAILING {
        let answer = world.ask("PUT").await.expect("an answer");
        assert_eq!(
            (answer.status, &answer.body[..]),
            (500, &b"oops"[..]),
            "it is the homeserver's"
        );
    }
    world.assert_healed("it works").await;
    assert_eq!(world.seen().len(), FAILING + 1, "none was sent again");
    assert!(world.gate.refusals().await.is_empty());
}

#[tokio::test]
async fn f24_a_homeserver_that_stops_reading_amid_a_body() {
    let homeserver = RawHomeserver::start(|mut side| async move {
        if side.number > 0 {
            return side.answer_all(OK).await;
        }
        side.head().await;
        // It neither reads nor hangs up.
        std::future::pending::<()>().await;
    })
    .await;
    let world = World::before(homeserver).await;
    // More than the sockets between take.
    let body = format!("{{\"pdus\":[],\"x\":\"{}\"}}", "x".repeat(12_000_000));
    let mut client = world.send("PUT", body.as_bytes()).await;
    let answer = within("an answer", client.answer()).await.expect("an answer");
    assert_eq!((answer.status, answer.errcode().as_str()), (504, "M_UNKNOWN"));
    within("the end of its share of memory", async {
        while world.gate.metric("fedgate_request_body_bytes").await > 0.0 {}
    })
    .await;
    world.assert_healed("it reads").await;
}

/// Two at once: the homeserver is silent, and the clients who wait for it are gone.
#[tokio::test]
async fn f20_clients_that_leave_a_silent_homeserver_leave_nothing_behind() {
    let homeserver = RawHomeserver::start(|mut side| async move {
        side.request().await;
        side.wait_closed().await;
    })
    .await;
    let options = GateOptions { settings: IMPATIENT, ..GateOptions::default() };
    let gate = Gate::start_before(&homeserver.url, options).await;
    let origin = gate.origin("origin.example");
    let world = World { homeserver, gate, origin };
    for _ in 0..10 {
        drop(world.send("PUT", BODY).await);
    }
    within("the end of all", async {
        while world.gate.metric("fedgate_connections").await > 0.0
            || world.gate.metric("fedgate_request_body_bytes").await > 0.0
        {}
    })
    .await;
}
