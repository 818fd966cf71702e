//! A new process takes over from the one that serves, and none is lost; or it cannot, and nothing
//! happens.

use rustix::process::Signal;

use crate::support::load::{Load, Tally};
use crate::support::process::{Process, Settings};
use crate::support::{Client, Homeserver, within};

/// How often a new process takes over under load (threats 5.1).
const HANDOVERS: u64 = 20;

/// Requests between two handovers, at least.
const REQUESTS_BETWEEN: u64 = 20;

const VERSION: &str = "/_matrix/federation/v1/version";

#[tokio::test]
async fn r12_handovers_under_load_lose_no_request() {
    let homeserver = Homeserver::start().await;
    let quiet = "[log]\nfilter = \"info,fedgate::access=warn\"\n".to_owned();
    let settings = Settings { more: quiet, ..Settings::new(homeserver.port) };
    let mut process = Process::start(&settings).await;
    let load = Load::start(process.address, &process.ca, &process.origin);
    load.more(REQUESTS_BETWEEN).await;
    for _ in 0..HANDOVERS {
        process.hand_over().await;
        load.more(REQUESTS_BETWEEN).await;
    }
    let Tally { answered, lost, failures, repeated, unsent, connections } = load.stop().await;
    println!(
        "{answered} requests over {HANDOVERS} handovers, {connections} connections, {repeated} \
         repeated, {unsent} held back by HTTP/2 clients"
    );
    assert_eq!((lost, failures), (0, Vec::new()));
    assert_eq!(repeated, 0, "kept connections are never closed on a request");
    assert!(answered >= HANDOVERS * REQUESTS_BETWEEN);
    assert!(connections >= HANDOVERS, "clients have followed to the new processes");
    process.stop().await;
}

#[tokio::test]
async fn r12_what_was_learnt_is_handed_over_with_the_file_of_keys() {
    let homeserver = Homeserver::start().await;
    let mut process = Process::start(&Settings::new(homeserver.port)).await;
    let ban = br#"{"ban":{"server_name":"bad.example"}}"#;
    let json = [("host", "127.0.0.1"), ("content-type", "application/json")];
    let mut admin = Client::plain(process.admin).await;
    let answer = within("the ban", admin.request("POST", "/api/v1/rules", &json, Some(ban))).await;
    assert_eq!(answer.status, 200);
    drop(admin);

    process.hand_over().await;
    let rules = process.admin_get("/api/v1/rules").await.json();
    assert_eq!(rules["made"]["banned_servers"], serde_json::json!(["bad.example"]));
    // The new one can write.
    let mut admin = Client::plain(process.admin).await;
    let unban = br#"{"unban":{"server_name":"bad.example"}}"#;
    let answer =
        within("its end", admin.request("POST", "/api/v1/rules", &json, Some(unban))).await;
    assert_eq!(answer.status, 200);
    process.stop().await;
}

#[tokio::test]
async fn no_process_has_huge_pages() {
    let mut process = Process::start(&Settings::new(1)).await;
    assert!(process.status().contains("THP_enabled:\t0\n"), "{}", process.status());
    process.hand_over().await;
    assert!(process.status().contains("THP_enabled:\t0\n"), "{}", process.status());
    process.stop().await;
}

#[tokio::test]
async fn fault_31_a_new_process_that_cannot_serve_changes_nothing() {
    let homeserver = Homeserver::start().await;
    let good = Settings::new(homeserver.port);
    let mut process = Process::start(&good).await;
    let ca = process.ca.clone();
    let mut client = Client::tls(process.address, &ca).await;
    const GOES_ON: &str = "the new fedgate has ended; this one goes on";

    // Another program, none at all, one that is no program.
    for (program, told) in [
        ("/bin/false", GOES_ON),
        ("/nowhere/fedgate", "cannot start a new fedgate; this one goes on"),
        ("/etc/passwd", "cannot start a new fedgate; this one goes on"),
    ] {
        let mark = process.mark();
        process.install(program);
        process.signal(Signal::USR2);
        process.said(mark, told).await;
        let answer = client.request("GET", VERSION, &[], None).await;
        assert_eq!(answer.status, 200, "{program}");
    }
    process.install(env!("CARGO_BIN_EXE_fedgate"));

    let mark = process.mark();
    process.write_text("server_name = 1\n");
    process.signal(Signal::USR2);
    process.said(mark, GOES_ON).await;
    assert_eq!(client.request("GET", VERSION, &[], None).await.status, 200);

    // Right settings that name what is not there: it fails with the file of keys in its hands.
    let mark = process.mark();
    let more =
        "[key_server]\nqueries = \"answer\"\nnotary_key_file = \"/nowhere/key\"\n".to_owned();
    process.write(&Settings { more, ..good.clone() });
    process.signal(Signal::USR2);
    process.said(mark, "the new fedgate has not taken over; this one goes on").await;
    process.said(mark, GOES_ON).await;
    assert_eq!(client.request("GET", VERSION, &[], None).await.status, 200);

    process.write(&good);
    process.hand_over().await;
    let answer = client.request("GET", VERSION, &[], None).await;
    assert_eq!((answer.status, &answer.headers["connection"]), (200, &"close".parse().unwrap()));
    let mut client = Client::tls(process.address, &ca).await;
    assert_eq!(client.request("GET", VERSION, &[], None).await.status, 200);
    process.stop().await;
}
