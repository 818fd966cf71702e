//! `fedgate verify-event`.

use serde_json::Value;

use super::{Files, fedgate, json, stderr, stdout, text};

const FILES: [&str; 5] = [
    "versions-1-to-5.json",
    "versions-6-to-7.json",
    "version-8.json",
    "versions-9-to-10.json",
    "versions-11-to-12.json",
];

fn vectors(name: &str) -> Value {
    let path = format!("{}/tests/vectors/events/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("the vectors")).expect("JSON")
}

fn member(value: &Value, name: &str) -> Value {
    value.get(name).expect("a member").clone()
}

struct Events {
    files: Files,
    /// The options that name the key documents and the time at which they were fetched.
    keys: Vec<String>,
}

impl Events {
    fn new() -> Self {
        let files = Files::new();
        let documents = vectors("documents.json");
        let documents = documents.as_object().expect("documents").values().enumerate();
        let mut keys =
            vec!["--fetched-at".to_owned(), member(&vectors("version-8.json"), "now").to_string()];
        for (at, document) in documents {
            let file = files.write(&format!("keys-{at}.json"), &document.to_string());
            keys.extend(["--keys".to_owned(), file]);
        }
        assert_eq!(keys.len(), 2 + 2 * 3);
        Self { files, keys }
    }

    fn arguments<'a>(&'a self, event: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec!["verify-event", event];
        arguments.extend(self.keys.iter().map(String::as_str));
        arguments.extend(more);
        arguments
    }

    fn write(&self, event: &str) -> String {
        self.files.write("event.json", event)
    }
}

/// The first vector with that verdict in that room version that somebody must have signed; of the
/// good ones, one with nothing odd.
fn vector(version: &str, verdict: &str) -> Value {
    let events = FILES.iter().flat_map(|name| member(&vectors(name), "events").as_array().cloned());
    let wanted = |event: &Value| {
        let what = text(event, "what");
        let is_plain = verdict != "good" || what.ends_with(", as it should be");
        let is_wanted = text(event, "room_version") == version && text(event, "verdict") == verdict;
        is_wanted && is_plain && what.starts_with("m.room.")
    };
    events.flatten().find(wanted).expect("a vector")
}

#[test]
fn verify_event_says_what_synapse_says() {
    let events = Events::new();
    for name in FILES {
        let vectors = vectors(name);
        // A process for each: every fourth is enough, the core sees them all.
        for vector in vectors["events"].as_array().expect("events").iter().step_by(4) {
            let verdict = text(vector, "verdict");
            let file = events.write(text(vector, "text"));
            let version = ["--json", "--full", "--room-version", text(vector, "room_version")];
            let report = json(&events.arguments(&file, &version), i32::from(verdict != "good"));
            let [only] = report["room_versions"].as_array().expect("versions").as_slice() else {
                panic!("one room version: {report}");
            };
            for report in [&report["verdict"], &only["verdict"]] {
                assert_eq!(report, verdict, "{vector}");
            }
            for member in ["event_id", "room_id", "content_hash", "reference_hash"] {
                assert_eq!(only[member], vector[member], "{member}: {vector}");
            }
            assert_eq!(only["redacted"]["text"], vector["redacted"]);
        }
    }
}

#[test]
fn verify_event_tells_people_each_step() {
    let events = Events::new();
    let file = events.write(text(&vector("10", "good"), "text"));
    let told = stdout(&events.arguments(&file, &["--room-version", "10"]), 0);
    for step in [
        "  ok   key document of one.example\n",
        "  ok   rules of room version 10\n",
        "redaction  as introduced in room version 9\n",
        "  ok   format and limits\n",
        "  ok   content hash\n",
        "event ID       $",
        ", the sender's server\n         at least one signature is valid, none is not\n",
        "effective until  2026-",
        "origin_server_ts 2026-",
        "\nredacted event, ",
        "\nGOOD: $",
    ] {
        assert!(told.contains(step), "{step:?} in {told}");
    }
    let file = events.write(text(&vector("8", "redacted"), "text"));
    let told = stdout(&events.arguments(&file, &["--room-version", "8"]), 1);
    assert!(told.contains(" FAIL  content hash\n"), "{told}");
    assert!(told.contains("\nREDACTED: $"), "{told}");
    let told = stdout(&["verify-event", &file, "--room-version", "8"], 1);
    assert!(told.contains("skipped: the key is in none of the key documents"), "{told}");
    assert!(told.contains("no --keys document of it was given"), "{told}");
}

#[test]
fn verify_event_tells_which_room_versions_fit() {
    let events = Events::new();
    let file = events.write(text(&vector("1", "good"), "text"));
    let told = stdout(&events.arguments(&file, &[]), 0);
    assert!(told.contains("\nGOOD: as of room version 1, 2; "), "{told}");
    let file = events.write(text(&vector("12", "good"), "text"));
    let report = json(&events.arguments(&file, &["--json"]), 0);
    assert_eq!(report["room_versions"].as_array().expect("versions").len(), 12);
    for version in report["room_versions"].as_array().expect("versions") {
        let is_good = version["verdict"] == "good";
        assert_eq!(is_good, version["room_version"] == "12", "{version}");
    }
    // One that is signed in no version.
    let file = events.write(text(&vector("6", "refused"), "text"));
    let told = stdout(&events.arguments(&file, &[]), 1);
    assert!(told.contains("\nREFUSED: in every room version"), "{told}");
}

#[test]
fn verify_event_does_not_judge_what_it_does_not_know() {
    let events = Events::new();
    let file = events.write(text(&vector("10", "good"), "text"));
    let told = stdout(&events.arguments(&file, &["--room-version", "org.example.13"]), 2);
    assert!(told.contains("\nNOT JUDGED: "), "{told}");
    let version = ["--json", "--room-version", "13"];
    let report = json(&events.arguments(&file, &version), 2);
    assert_eq!(report["verdict"], "unjudged");
    assert_eq!(report["room_versions"].as_array().map(Vec::len), Some(0));
}

#[test]
fn verify_event_refuses_what_is_no_event() {
    let events = Events::new();
    for text in ["", "[]", "{\"a\":1,\"a\":2}", "{}", "{\"type\":1}"] {
        let file = events.write(text);
        let report = json(&events.arguments(&file, &["--json"]), 1);
        assert_eq!(report["verdict"], "refused", "{text}");
        stdout(&events.arguments(&file, &["--room-version", "11"]), 1);
    }
    let large = format!("{{\"a\":\"{}\"}}", "a".repeat(2_000_000));
    let message = stderr(&events.arguments(&events.write(&large), &[]), 2);
    assert!(message.contains("more than 1048576 bytes"), "{message}");
}

#[test]
fn verify_event_takes_one_key_document_for_each_server() {
    let events = Events::new();
    let file = events.write(text(&vector("10", "good"), "text"));
    let again = events.keys.last().expect("a file").as_str();
    let message = stderr(&events.arguments(&file, &["--keys", again]), 2);
    assert!(message.contains("give one for each server"), "{message}");
    // One that does not hold is told, and not used.
    let forged = events.files.write("forged.json", "{}");
    let arguments = ["verify-event", &file, "--room-version", "10", "--keys", &forged];
    let told = stdout(&arguments, 1);
    assert!(told.contains(" FAIL  key document\n"), "{told}");
}

#[test]
fn verify_event_lets_nothing_through_to_the_terminal() {
    let events = Events::new();
    let evil =
        r#"{"type":"\u001b[2J","sender":"@a:b\u0007","signatures":{"\u001b]0;x":{}},"x\u009b":1}"#;
    let mut event: Value =
        serde_json::from_str(text(&vector("1", "good"), "text")).expect("an event");
    event["event_id"] = "$\u{1b}[2J\u{202e}\u{9b}:one.example".into();
    event["signatures"]["\u{1b}]0;x"] = Value::Null;
    event["signatures"]["one.example"]["\u{202e}\u{1b}"] = Value::Null;
    event["origin"] = "\u{9b}\u{2067}".into();
    for event in [evil, &event.to_string()] {
        let file = events.write(event);
        for arguments in [
            events.arguments(&file, &[]),
            events.arguments(&file, &["--json"]),
            events.arguments(&file, &["--room-version", "1"]),
            events.arguments(&file, &["--room-version", "\u{1b}"]),
        ] {
            let told = String::from_utf8(fedgate(&arguments).stdout).expect("UTF-8");
            assert!(told.len() > 100, "{told}");
            let is_hostile =
                |c: char| c != '\n' && c.is_control() || "\u{202e}\u{2067}".contains(c);
            assert!(!told.chars().any(is_hostile), "{told:?}");
        }
    }
}
