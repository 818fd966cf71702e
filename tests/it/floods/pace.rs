//! What strangers can begin thousands of at one time has a pace, for all of them together (threat R5): it
//! must take at least as long as that, however fast the machine is. That of long answers is faster than
//! this build can be; its test stands beside it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::Instant;

use super::{NO_PROXIES, asks_signed, gate, send_request, until_metric};
use crate::support::client::client_hello;
use crate::support::{Client, Gate, GateOptions, Homeserver, within};

#[tokio::test]
async fn r5_bodies_of_strangers_have_one_pace() {
    const BYTES: usize = 12 << 20;
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, NO_PROXIES, "").await;
    let origin = gate.origin("origin.example");
    let (head, body) = send_request(&origin, BYTES);
    let begin = Instant::now();
    let mut clients = Vec::new();
    for source in ["127.1.0.1", "127.2.0.1"] {
        clients.push(Client::plain_from(source, gate.address).await);
    }
    // All but the last byte: nothing is verified meanwhile. Memory for the whole is taken once 8 MiB are there.
    let most = [&head[..], &body[..BYTES - 1]].concat();
    join_all(clients.iter_mut().map(|client| client.send(&most))).await;
    until_metric(&gate, "fedgate_request_body_bytes", 2.0 * (BYTES - 1) as f64).await;
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(450), "16 MiB of 32 MiB a second in {took:?}");
    for client in &mut clients {
        client.send(b"}").await;
        assert_eq!(within("an answer", client.answer()).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn r5_known_networks_do_not_wait_for_the_handshakes_of_strangers() {
    const STRANGERS: usize = 250;
    let homeserver = Homeserver::start().await;
    let options = GateOptions { tls: true, listen: NO_PROXIES, ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    let (address, ca) = (gate.address, gate.ca.clone().unwrap());
    let origin = gate.origin("origin.example");
    let mut known = Client::tls_from("127.1.0.1", address, &ca).await;
    assert_eq!(asks_signed(&mut known, &origin).await, 200);
    // Strangers only ask for a handshake: the gate's part of it is all there is to do.
    let hello = client_hello(&ca);
    let begin = Instant::now();
    let mut strangers = Vec::new();
    for _ in 0..STRANGERS {
        let mut stranger = Client::plain_from("127.2.0.1", address).await;
        stranger.send(&hello).await;
        strangers.push(stranger);
    }
    let shaken = AtomicUsize::new(0);
    let shake = join_all(strangers.iter_mut().map(|stranger| async {
        assert!(stranger.fill().await, "each has its turn");
        shaken.fetch_add(1, Ordering::SeqCst);
    }));
    let ask_again = async {
        let mut again = Client::tls_from("127.1.0.2", address, &ca).await;
        assert_eq!(asks_signed(&mut again, &origin).await, 200);
        shaken.load(Ordering::SeqCst)
    };
    let (before, _) = within("the strangers", join(ask_again, shake)).await;
    assert!(before < STRANGERS, "all of them came first");
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(480), "250 of 500 a second in {took:?}");
}
