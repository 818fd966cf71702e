//! Keys through the whole gate: over restarts, outages and floods.

use http::Response;

use crate::support::homeserver::full;
use crate::support::{Answer, Client, Gate, GateOptions, Homeserver, Origin};

const TARGET: &str = "/_matrix/federation/v1/query/profile?user_id=%40a%3Agate.example";

/// Requests of a flood, unless FEDGATE_FLOOD says how many.
const FLOOD: usize = 3_000;

async fn ask(client: &mut Client, origin: &Origin) -> Answer {
    let signed = origin.authorize("GET", TARGET, None);
    client.request("GET", TARGET, &[("authorization", &signed)], None).await
}

#[tokio::test]
async fn r99_keys_outlive_a_restart_during_an_outage() {
    let homeserver = Homeserver::start().await;
    let files = tempfile::tempdir().unwrap();
    let store = files.path().join("keys.redb").display().to_string();
    let options = || GateOptions { store: store.clone(), ..GateOptions::default() };

    let gate = Gate::start_with(&homeserver, options()).await;
    let origin = gate.origin("origin.example");
    let mut client = Client::plain(gate.address).await;
    assert_eq!(ask(&mut client, &origin).await.status, 200);
    drop(client);
    gate.stop().await;

    // Nobody answers any more.
    let gate = Gate::start_with(&homeserver, options()).await;
    let mut client = Client::plain(gate.address).await;
    assert_eq!(ask(&mut client, &origin).await.status, 200);
    assert_eq!(gate.federation.fetches(), 0);
    let stranger = Origin::new("stranger.example");
    let answer = ask(&mut client, &stranger).await;
    assert_eq!((answer.status, answer.errcode().as_str()), (503, "M_UNKNOWN"));
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn r15_a_damaged_file_of_keys_is_moved_aside_and_the_gate_starts() {
    let homeserver = Homeserver::start().await;
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("keys.redb");
    std::fs::write(&path, b"not a store").unwrap();
    let store = path.display().to_string();
    let gate = Gate::start_with(&homeserver, GateOptions { store, ..GateOptions::default() }).await;
    let origin = gate.origin("origin.example");
    let mut client = Client::plain(gate.address).await;
    assert_eq!(ask(&mut client, &origin).await.status, 200);
    let names = std::fs::read_dir(files.path()).unwrap();
    let aside = names.filter(|entry| {
        entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("keys.redb.bad-")
    });
    assert_eq!(aside.count(), 1);
}

/// F6: a flood of made-up origins causes few look-ups, and known ones are served all the while.
#[tokio::test]
async fn f6_a_flood_of_made_up_origins_disturbs_nobody() {
    flood("in memory", String::new()).await;
}

/// The same where keys are kept on disk, which made-up names are not looked up on.
#[tokio::test]
async fn f6_a_flood_disturbs_no_store_either() {
    let files = tempfile::tempdir().unwrap();
    flood("with a store", files.path().join("keys.redb").display().to_string()).await;
}

async fn flood(what: &str, store: String) {
    let requests = std::env::var("FEDGATE_FLOOD").map_or(FLOOD, |count| count.parse().unwrap());
    let has_store = !store.is_empty();
    let homeserver = Homeserver::start().await;
    let keys = "first_seen_per_second = 1\nfirst_seen_per_second_per_network = 1";
    let options = GateOptions { keys, store, ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    let known = gate.origin("known.example");
    let mut client = Client::plain(gate.address).await;
    assert_eq!(ask(&mut client, &known).await.status, 200);
    let resident_before = gate.metric("process_resident_memory_bytes").await;
    let mut served = 0;
    // Signed once: what a flood costs its sender is not the question.
    let template = Origin::new("stranger.example").authorize("GET", TARGET, None);
    let started = tokio::time::Instant::now();
    for n in 0..requests {
        let forged = template.replace("stranger.example", &format!("s{n}.example"));
        let answer = client.request("GET", TARGET, &[("authorization", &forged)], None).await;
        assert_eq!(answer.status, 503);
        // The stand-in keeps some 9 KB of every request it sees.
        if n % 100 == 0 {
            served += 1;
            assert_eq!(ask(&mut client, &known).await.status, 200);
        }
    }
    let took = started.elapsed();
    let fetches = gate.federation.fetches();
    assert!(fetches < requests / 10, "{fetches} fetches");
    let refused = gate.metric("fedgate_key_first_seen_refused_total").await;
    assert_eq!(gate.metric("fedgate_key_store_servers").await, f64::from(u8::from(has_store)));
    println!(
        "{what}: {requests} made-up origins in {took:?}: {fetches} fetches, {refused} refused for \
         want of budget; {served} requests of a known server served; resident {resident_before} \
         bytes before, {} after",
        gate.metric("process_resident_memory_bytes").await
    );
    assert_eq!(homeserver.seen().len(), served + 1);
}

/// The homeserver behind the gate is asked at the start whether it has a key query, and for keys
/// once one is wanted.
#[tokio::test]
async fn the_homeserver_is_probed_at_the_start_and_asked_for_keys() {
    let document = Origin::new("origin.example").document();
    let (told, mut queries) = tokio::sync::mpsc::unbounded_channel();
    let homeserver = Homeserver::start_with(move |seen| {
        if seen.target != "/_matrix/key/v2/query" {
            return Response::new(full("{}"));
        }
        let body = String::from_utf8(seen.body.to_vec()).unwrap();
        let wanted = if body.contains("origin.example") { &document[..] } else { b"" };
        told.send(body).unwrap();
        Response::new(full([br#"{"server_keys":["#, wanted, b"]}"].concat()))
    })
    .await;
    let options = GateOptions { sources: "[\"homeserver\"]", ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    assert_eq!(queries.recv().await.unwrap(), r#"{"server_keys":{}}"#);
    let mut client = Client::plain(gate.address).await;
    assert_eq!(ask(&mut client, &Origin::new("origin.example")).await.status, 200);
    assert!(queries.recv().await.unwrap().starts_with(r#"{"server_keys":{"origin.example":{"#));
    assert_eq!(gate.federation.fetches(), 0);
    let answered = r#"fedgate_key_queries_total{result="answered",source="homeserver"}"#;
    assert_eq!(gate.metric(answered).await, 1.0);
}
