//! The program as a process that is killed (fault 28).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use crate::support::client::{Client, tls_stream};
use crate::support::process::{Process, Settings};
use crate::support::{Homeserver, OWN_NAME, Origin, within};

const CLIENTS: usize = 8;
const ROUNDS: usize = 5;
/// Requests that are answered before the program is killed, at least.
const ANSWERED: usize = 40;
const BODY: &[u8] = br#"{"edus":[],"pdus":[]}"#;

/// What the clients of one round have come to.
#[derive(Default)]
struct Round {
    answered: AtomicUsize,
    killed: AtomicBool,
}

/// Sends one transaction after the other, until the connection ends.
async fn send_all(client: &mut Client, origin: &Origin, name: &str, round: &Round) {
    for number in 0.. {
        let target = format!("/_matrix/federation/v1/send/{name}-{number}");
        let value = origin.authorize("PUT", &target, Some(BODY));
        let head = format!(
            "PUT {target} HTTP/1.1\r\nHost: {OWN_NAME}\r\nAuthorization: {value}\r\n\
             Content-Length: {}\r\n\r\n",
            BODY.len()
        );
        client.send(&[head.as_bytes(), BODY].concat()).await;
        match client.answer().await {
            Some(answer) => assert_eq!(answer.status, 200, "{answer:?}"),
            None => break,
        }
        round.answered.fetch_add(1, Ordering::SeqCst);
    }
    assert!(round.killed.load(Ordering::SeqCst), "the connection ended before the program did");
}

/// Has clients send until the program is killed; returns how many requests were answered.
async fn kill_under_load(process: &mut Process, number: usize) -> usize {
    let round = Arc::new(Round::default());
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let stream = tls_stream(process.address, &process.ca, b"http/1.1").await.unwrap();
        let (round, name) = (Arc::clone(&round), format!("{number}-{client}"));
        clients.spawn(async move {
            let origin = Origin::new("origin.example");
            send_all(&mut Client::over(Box::new(stream)), &origin, &name, &round).await;
        });
    }
    within("answers", async {
        while round.answered.load(Ordering::SeqCst) < ANSWERED {
            tokio::task::yield_now().await;
        }
    })
    .await;
    round.killed.store(true, Ordering::SeqCst);
    process.kill_and_restart().await;
    while let Some(ended) = within("the end of the clients", clients.join_next()).await {
        ended.unwrap();
    }
    round.answered.load(Ordering::SeqCst)
}

/// Whoever had an answer had it of the homeserver, which got nothing but whole requests that were
/// signed, and each once; the program starts again on its files, and serves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f28_killed_under_load_and_started_again() {
    let homeserver = Homeserver::start().await;
    let mut process = Process::start(&Settings::new(homeserver.port)).await;
    let mut answered = 0;
    for number in 0..ROUNDS {
        answered += kill_under_load(&mut process, number).await;
    }
    let seen = homeserver.seen();
    assert!(seen.len() >= answered, "{} of {answered}", seen.len());
    assert!(seen.len() <= answered + ROUNDS * CLIENTS, "no more than were under way besides");
    let mut targets: Vec<_> = seen.iter().map(|request| &request.target).collect();
    targets.sort();
    targets.dedup();
    assert_eq!(targets.len(), seen.len(), "none was sent twice");
    for request in &seen {
        let signed = process.origin.authorize("PUT", &request.target, Some(BODY));
        assert_eq!((&request.body[..], &request.headers["authorization"]), (BODY, &*signed));
    }
    let stream = tls_stream(process.address, &process.ca, b"http/1.1").await.unwrap();
    let value = process.origin.authorize("PUT", "/_matrix/federation/v1/send/last", Some(BODY));
    let mut client = Client::over(Box::new(stream));
    let headers = [("authorization", value.as_str())];
    let asked = client.request("PUT", "/_matrix/federation/v1/send/last", &headers, Some(BODY));
    assert_eq!(within("an answer", asked).await.status, 200);
    assert_eq!(process.find(0, "the file of keys"), None, "its file was never found damaged");
    process.stop().await;
}
