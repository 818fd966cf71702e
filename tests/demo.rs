//! The demo as a newcomer runs it.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::process::Command;

fn demo(arguments: &[&str]) -> (bool, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_fedgate")).arg("demo").args(arguments).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn only_what_its_origin_signed_reaches_the_homeserver() {
    let (success, text) = demo(&["--json"]);
    assert!(success, "{text}");
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let scenes: Vec<(&str, u64, bool)> = report["scenes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|scene| {
            let sent = scene["sent"].as_str().unwrap();
            let reached = scene["reached_homeserver"].as_bool().unwrap();
            (sent, scene["status"].as_u64().unwrap(), reached)
        })
        .collect();
    assert_eq!(
        scenes,
        [
            ("signed by its origin", 200, true),
            ("forged: signed with another key", 401, false),
            ("tampered: body changed after signing", 401, false),
            ("signed with an expired key", 401, false),
            ("signed for another server", 401, false),
            ("not signed at all", 401, false),
            ("from a server that cannot be asked for its key", 503, false),
            ("signed by its origin, again", 200, true),
        ]
    );
    assert_eq!(report["homeserver_saw"].as_array().unwrap().len(), 2);
}

#[test]
fn a_person_gets_a_table_and_a_verdict() {
    let (success, text) = demo(&[]);
    assert!(success, "{text}");
    assert!(text.contains("forged: signed with another key"), "{text}");
    assert!(text.ends_with("only what its origin signed came through.\n"), "{text}");
}
