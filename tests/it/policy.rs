//! Who may federate at all: what a refused server is told and costs, and files that change.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::client::H2Client;
use crate::support::{Answer, Client, Gate, GateOptions, Homeserver, Origin, within};

const TARGET: &str = "/_matrix/federation/v1/query/profile?user_id=%40a%3Agate.example";
const SEND: &str = "/_matrix/federation/v1/send/1";
const BODY: &[u8] = br#"{"pdus":[]}"#;

/// A folder with one file of rules, and the settings that name it.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file in place at once, as an operator should.
    fn put(&self, name: &str, text: &str) -> PathBuf {
        let (new, path) = (self.path("new"), self.path(name));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
        path
    }
}

fn settings(text: &str) -> &'static str {
    format!("[policy]\nfiles_interval = \"5ms\"\n{text}").leak()
}

fn list(setting: &str, path: &Path) -> &'static str {
    settings(&format!("{setting} = [{path:?}]"))
}

async fn gate(homeserver: &Homeserver, settings: &'static str) -> Gate {
    Gate::start_with(homeserver, GateOptions { settings, ..GateOptions::default() }).await
}

async fn ask(gate: &Gate, origin: &Origin) -> Answer {
    let mut client = Client::plain(gate.address).await;
    let value = origin.authorize("GET", TARGET, None);
    client.request("GET", TARGET, &[("authorization", &value)], None).await
}

/// Asks until the answer has this status.
async fn until(gate: &Gate, origin: &Origin, status: u16) {
    let asking = async { while ask(gate, origin).await.status != status {} };
    within("the other answer", asking).await;
}

fn denied(text: &str) -> Value {
    json!({ "errcode": "M_FORBIDDEN", "error": text })
}

#[tokio::test]
async fn k1_a_denied_server_costs_nothing_on_either_version() {
    let homeserver = Homeserver::start().await;
    let settings = settings("deny = [\"*.evil.example\"]\ntext = \"Not \\\"here\\\"\"");
    let options = GateOptions { tls: true, settings, ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    let ca = gate.ca.clone().unwrap();
    let mut http2 = H2Client::connect(gate.address, &ca).await;
    for name in ["a.evil.example", "A.b.EVIL.example:8448"] {
        let origin = gate.origin(name);
        for (method, target, body) in [("GET", TARGET, None), ("PUT", SEND, Some(BODY))] {
            let value = origin.authorize(method, target, body);
            let headers = [("authorization", value.as_str())];
            // What is left unread of a body ends the connection.
            let mut http1 = Client::tls(gate.address, &ca).await;
            let over_http1 = http1.request(method, target, &headers, body).await;
            let over_http2 = http2.request(method, target, &headers, body).await.unwrap();
            for answer in [over_http1, over_http2] {
                assert_eq!(answer.status, 403, "{name}");
                assert_eq!(answer.json(), denied("Not \"here\""), "{name}");
                assert_eq!(answer.headers.get("retry-after"), None, "{name}");
            }
        }
    }
    let refusals = gate.refusals().await;
    assert!(refusals.iter().all(|(reason, _)| reason == "policy_denied"), "{refusals:?}");
    assert_eq!(refusals.iter().map(|(_, count)| count).sum::<f64>(), 8.0);
    let mut http1 = Client::tls(gate.address, &ca).await;
    // A request for another server is that, whoever sends it.
    let foreign = Origin::new("a.evil.example").authorize_for("other.example", "GET", TARGET, None);
    let answer = http1.request("GET", TARGET, &[("authorization", &foreign)], None).await;
    assert_eq!(answer.status, 401);
    assert_eq!(gate.federation.fetches(), 0, "no key was looked for");
    assert_eq!(homeserver.connections(), 0, "and the homeserver heard nothing");

    let good = gate.origin("evil.example");
    let value = good.authorize("GET", TARGET, None);
    let headers = [("authorization", value.as_str())];
    assert_eq!(http1.request("GET", TARGET, &headers, None).await.status, 200);
    assert_eq!(http2.request("GET", TARGET, &headers, None).await.unwrap().status, 200);
    let open = http1.request("GET", "/_matrix/federation/v1/version", &[], None).await;
    assert_eq!(open.status, 200, "open routes have no origin");
}

#[tokio::test]
async fn with_an_allow_list_everybody_else_is_denied_and_deny_counts_over_it() {
    let homeserver = Homeserver::start().await;
    let text = "allow = [\"*.good.example\"]\ndeny = [\"bad.good.example\"]";
    let gate = gate(&homeserver, settings(text)).await;
    for (name, status) in
        [("a.good.example", 200), ("bad.good.example", 403), ("stranger.example", 403)]
    {
        let answer = ask(&gate, &gate.origin(name)).await;
        assert_eq!(answer.status, status, "{name}");
    }
    assert_eq!(homeserver.seen().len(), 1);
}

#[tokio::test]
async fn a_file_that_changes_is_read_again() {
    let files = Files::new();
    let path = files.put("deny.txt", "# nobody yet\n");
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, list("deny_files", &path)).await;
    let origin = gate.origin("late.example");
    assert_eq!(ask(&gate, &origin).await.status, 200);
    files.put("deny.txt", "late.example  # it is now\n*.other.example\n");
    until(&gate, &origin, 403).await;
    let rules = "fedgate_policy_rules{list=\"deny\",mode=\"enforce\"}";
    assert_eq!(gate.metric(rules).await, 2.0);
    files.put("deny.txt", "");
    until(&gate, &origin, 200).await;
    assert_eq!(gate.metric("fedgate_policy_reload_errors_total").await, 0.0);
}

#[tokio::test]
async fn a_broken_file_keeps_what_it_said_before() {
    let files = Files::new();
    let event = |entity: &str| {
        json!({
            "type": "m.policy.rule.server", "state_key": "rule", "sender": "@m:room.example",
            "content": { "entity": entity, "recommendation": "m.ban", "reason": "spam" },
        })
    };
    let path = files.put("room.json", &json!([event("*.spam.example")]).to_string());
    let homeserver = Homeserver::start().await;
    let gate = gate(&homeserver, list("room_files", &path)).await;
    let (first, second) = (gate.origin("a.spam.example"), gate.origin("b.new.example"));
    assert_eq!(ask(&gate, &first).await.status, 403);
    files.put("room.json", "[{\"type\": \"m.policy.rule.server\",");
    let broken = async { while gate.metric("fedgate_policy_files_broken").await == 0.0 {} };
    within("the broken file", broken).await;
    assert_eq!(ask(&gate, &first).await.status, 403, "the last good rules stay");
    gate.reload_unrelated().await;
    assert_eq!(ask(&gate, &first).await.status, 403, "R12: under new settings too");
    assert_eq!(gate.metric("fedgate_policy_reload_errors_total").await, 1.0, "once a change");
    std::fs::remove_file(&path).unwrap();
    let gone = async { while gate.metric("fedgate_policy_reload_errors_total").await < 2.0 {} };
    within("the missing file", gone).await;
    assert_eq!(ask(&gate, &first).await.status, 403);
    files.put("room.json", &json!([event("*.new.example")]).to_string());
    until(&gate, &second, 403).await;
    assert_eq!(ask(&gate, &first).await.status, 200);
    assert_eq!(gate.metric("fedgate_policy_files_broken").await, 0.0);
}

#[tokio::test]
async fn a_rule_that_is_only_tried_out_counts_and_refuses_nothing() {
    let files = Files::new();
    let path = files.put("room.txt", "whole.example\n");
    let homeserver = Homeserver::start().await;
    let text = format!(
        "deny = [\"one.example dry-run\"]\ndeny_files = [{path:?}]\ndry_run_files = [{path:?}]"
    );
    let gate = gate(&homeserver, settings(&text)).await;
    let tried = "fedgate_policy_dry_run_total{cause=\"rule\"}";
    for (name, count) in [("one.example", 1.0), ("whole.example", 2.0), ("other.example", 2.0)] {
        assert_eq!(ask(&gate, &gate.origin(name)).await.status, 200, "{name}");
        assert_eq!(gate.metric(tried).await, count, "{name}");
    }
}

#[tokio::test]
async fn observe_mode_holds_a_denial_back() {
    let homeserver = Homeserver::start().await;
    let settings = "mode = \"observe\"\n[policy]\ndeny = [\"evil.example\"]";
    let gate = gate(&homeserver, settings).await;
    let origin = gate.origin("evil.example");
    let value = origin.authorize("GET", TARGET, None);
    assert_eq!(ask(&gate, &origin).await.status, 200);
    assert_eq!(homeserver.seen()[0].headers["authorization"], value);
    let line = "fedgate_observed_total{homeserver=\"accepted\",reason=\"policy_denied\"}";
    assert_eq!(gate.metric(line).await, 1.0);
}
