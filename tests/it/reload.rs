//! New settings while requests are served: whole or not at all, and none lost.

use fedgate::config::{Config, Sources};
use rustix::process::Signal;

use crate::support::client::H2Client;
use crate::support::load::{Load, Tally};
use crate::support::process::{Process, Settings};
use crate::support::{Client, Gate, GateOptions, Homeserver, within};

/// How often settings are reloaded under load (threats 5.1).
const RELOADS: u64 = 50;

/// Requests between two reloads, at least.
const REQUESTS_BETWEEN: u64 = 10;

const VERSION: &str = "/_matrix/federation/v1/version";
const OTHER_PATH: &str = "/_matrix/client/versions";

async fn status(client: &mut Client, target: &str) -> u16 {
    within(target, client.request("GET", target, &[], None)).await.status
}

#[tokio::test]
async fn r12_open_connections_take_new_settings_with_their_next_request() {
    let (first, second) = (Homeserver::start().await, Homeserver::start().await);
    let options = GateOptions { tls: true, ..GateOptions::default() };
    let gate = Gate::start_with(&first, options).await;
    let ca = gate.ca.clone().unwrap();
    let mut http1 = Client::tls(gate.address, &ca).await;
    let mut http2 = H2Client::connect(gate.address, &ca).await;
    assert_eq!(status(&mut http1, OTHER_PATH).await, 404);
    assert_eq!(http2.request("GET", OTHER_PATH, &[], None).await.unwrap().status, 404);

    let homeserver = |port: u16| format!("http://127.0.0.1:{port}");
    gate.reload(|text| {
        text.replace(&homeserver(first.port), &homeserver(second.port))
            .replace("[listen]\n", "[listen]\nother_paths = \"forward\"\n")
    })
    .await
    .unwrap();
    assert_eq!(status(&mut http1, OTHER_PATH).await, 200);
    assert_eq!(http2.request("GET", OTHER_PATH, &[], None).await.unwrap().status, 200);
    assert_eq!((first.seen().len(), second.seen().len()), (0, 2));
}

#[tokio::test]
async fn r12_bans_and_pins_of_new_settings_count_and_rules_made_at_run_time_stay() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let target = "/_matrix/federation/v1/event/x";
    let [one, two, three] = ["a.example", "b.example", "c.example"].map(|name| gate.origin(name));
    let mut client = Client::plain(gate.address).await;
    let ban = br#"{"ban":{"server_name":"b.example"}}"#;
    let json = [("host", "127.0.0.1"), ("content-type", "application/json")];
    let mut admin = Client::plain(gate.admin).await;
    let answer = admin.request("POST", "/api/v1/rules", &json, Some(ban)).await;
    assert_eq!(answer.status, 200);

    let ban = "[keys]\nbanned_servers = [\"a.example\"]\n";
    gate.reload(|text| text.replace("[keys]\n", ban)).await.unwrap();
    for (origin, wanted) in [(&one, 401), (&two, 401), (&three, 200)] {
        let value = origin.authorize("GET", target, None);
        let answer = client.request("GET", target, &[("authorization", &value)], None).await;
        assert_eq!(answer.status, wanted, "{}", origin.name);
    }
    // The operator's hand is on the rules in force.
    let unban = br#"{"unban":{"server_name":"b.example"}}"#;
    assert_eq!(admin.request("POST", "/api/v1/rules", &json, Some(unban)).await.status, 200);
    let value = two.authorize("GET", target, None);
    let answer = client.request("GET", target, &[("authorization", &value)], None).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn r12_what_cannot_be_used_changes_nothing() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let result = gate
        .reload(|text| {
            text.replace("[listen]\n", "[listen]\nother_paths = \"forward\"\n")
                .replace("[admin]\n", "[admin]\ntoken_file = \"/nowhere/token\"\n")
        })
        .await;
    let error = result.unwrap_err().to_string();
    assert!(error.contains("/nowhere/token"), "{error}");
    let mut client = Client::plain(gate.address).await;
    assert_eq!(status(&mut client, OTHER_PATH).await, 404);
    assert_eq!(status(&mut client, VERSION).await, 200);
}

#[tokio::test]
async fn r12_reloads_under_load_lose_no_request() {
    let (first, second) = (Homeserver::start().await, Homeserver::start().await);
    let settings = |round: u64| Settings {
        mode: if round.is_multiple_of(2) { "enforce" } else { "observe" },
        listen: format!("trusted_proxies = [\"10.{round}.0.0/16\"]\n"),
        more: format!(
            "[limits]\nconnections_max = {}\nbuffered_bytes_max = \"{} MiB\"\n[log]\n\
             filter = \"info,fedgate::access={}\"\n",
            100 - round,
            100 + round,
            if round.is_multiple_of(3) { "warn" } else { "error" }
        ),
        ..Settings::new(if round.is_multiple_of(2) { first.port } else { second.port })
    };
    let process = Process::start(&settings(0)).await;
    let load = Load::start(process.address, &process.ca, &process.origin);
    load.more(REQUESTS_BETWEEN).await;
    for round in 1..=RELOADS {
        let mark = process.mark();
        process.write(&settings(round));
        process.signal(Signal::HUP);
        let line = process.said(mark, "settings reloaded").await;
        let changes = line["changes"].as_str().unwrap().to_owned();
        for name in ["homeserver: ", "mode: ", "trusted_proxies: ", "limits.connections_max: "] {
            assert!(changes.contains(name), "{changes}");
        }
        load.more(REQUESTS_BETWEEN).await;
    }
    let Tally { answered, lost, failures, repeated, unsent, connections } = load.stop().await;
    println!("{answered} requests over {RELOADS} reloads");
    assert_eq!((lost, failures), (0, Vec::new()));
    assert_eq!((repeated, unsent, connections), (0, 0, 4), "every connection is kept");
    assert!(answered >= RELOADS * REQUESTS_BETWEEN);
    assert!(!first.seen().is_empty() && !second.seen().is_empty());
    let applied = process.metric("fedgate_config_reloads_total{outcome=\"applied\"}").await;
    assert_eq!(applied, RELOADS as f64);
    process.stop().await;
}

#[tokio::test]
async fn r12_settings_that_are_wrong_leave_the_last_good_ones_in_force() {
    let homeserver = Homeserver::start().await;
    let good = Settings::new(homeserver.port);
    let process = Process::start(&good).await;
    let ca = process.ca.clone();
    let mut client = Client::tls(process.address, &ca).await;
    assert_eq!(process.metric("fedgate_config_last_reload_success").await, 1.0);

    let mark = process.mark();
    process.write_text(
        "server_name = \"gate.example\"\nhomeserver = \"http://127.0.0.1:1\"\nmoed = 1\n",
    );
    process.signal(Signal::HUP);
    let line = process.said(mark, "settings not reloaded").await;
    let text = line["message"].as_str().unwrap();
    assert!(text.contains("fedgate.toml:3:1") && text.contains("mode"), "{text}");
    assert_eq!(process.metric("fedgate_config_last_reload_success").await, 0.0);
    assert_eq!(process.metric("fedgate_config_reloads_total{outcome=\"refused\"}").await, 1.0);
    assert_eq!(status(&mut client, VERSION).await, 200);

    // Part of it could be changed in place; none of it is.
    let mark = process.mark();
    let more = "[log]\nformat = \"json\"\n".to_owned();
    process.write(&Settings { mode: "observe", more, ..good.clone() });
    process.signal(Signal::HUP);
    let line = process.said(mark, "settings not reloaded").await;
    assert_eq!(line["changes"], "log.format: \"auto\" -> \"json\"");
    assert_eq!(process.metric("fedgate_observe_mode").await, 0.0);
    let restart = "fedgate_config_reloads_total{outcome=\"restart_needed\"}";
    assert_eq!(process.metric(restart).await, 1.0);

    // A change of the file is enough.
    let mark = process.mark();
    process.write(&Settings { mode: "observe", ..good });
    let line = process.said(mark, "settings reloaded").await;
    assert_eq!(line["changes"], "mode: \"enforce\" -> \"observe\"");
    assert_eq!(process.metric("fedgate_observe_mode").await, 1.0);
    assert_eq!(process.metric("fedgate_config_last_reload_success").await, 1.0);
    assert_eq!(status(&mut client, VERSION).await, 200);
    process.stop().await;
}

#[tokio::test]
async fn r12_which_refusals_have_a_line_follows_the_settings() {
    const REFUSED: usize = 100;
    let homeserver = Homeserver::start().await;
    let settings = Settings::new(homeserver.port);
    let process = Process::start(&settings).await;
    let mut client = Client::tls(process.address, &process.ca).await;
    for (refusals, has_all) in [("limited", false), ("all", true)] {
        if has_all {
            let mark = process.mark();
            let more = format!("[log]\nrefusals = \"{refusals}\"\n");
            process.write(&Settings { more, ..settings.clone() });
            process.said(mark, "settings reloaded").await;
        }
        let mark = process.mark();
        for _ in 0..REFUSED {
            assert_eq!(status(&mut client, OTHER_PATH).await, 404);
        }
        // Lines come in their order: after this one all are there.
        assert_eq!(status(&mut client, VERSION).await, 200);
        process.said(mark, "forwarded").await;
        let lines = process.count(mark, "refused");
        assert_eq!(lines == REFUSED, has_all, "{refusals}: {lines} lines");
    }
    process.stop().await;
}

/// The settings of a gate, changed.
pub fn changed(path: std::path::PathBuf, change: impl FnOnce(&str) -> String) -> Config {
    let text = std::fs::read_to_string(&path).unwrap();
    let new = change(&text);
    assert_ne!(new, text, "the change changes something");
    std::fs::write(&path, new).unwrap();
    Config::load(&Sources::default().with_file(Some(path))).unwrap()
}
