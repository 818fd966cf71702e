//! The command line as people and scripts see it: the built program, its output and its exit codes.

#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod events;
mod faults;
mod inquiry;
mod keys;
mod log;
mod notary;
mod policy;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A time within the validity of the vectors' key document, and one after it.
const WITHIN: &str = "2022-05-11T09:39:59Z";
const AFTER: &str = "2022-05-11T09:40:01Z";

fn fedgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fedgate"))
        .args(arguments)
        .env_clear()
        .output()
        .expect("the program starts")
}

#[track_caller]
fn stdout(arguments: &[&str], code: i32) -> String {
    let output = fedgate(arguments);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
fn stderr(arguments: &[&str], code: i32) -> String {
    let output = fedgate(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[track_caller]
fn json(arguments: &[&str], code: i32) -> Value {
    serde_json::from_str(&stdout(arguments, code)).expect("JSON")
}

/// A directory with the files of a test.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }
}

fn vectors() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/spec_vectors.json");
    serde_json::from_slice(&std::fs::read(path).expect("the vectors")).expect("JSON")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_else(|| panic!("no {name}"))
}

/// A vector's request as a file, with the change `edit` makes to it.
fn request(vector: &Value, edit: impl Fn(String) -> String) -> String {
    let body = match vector.get("content") {
        None | Some(Value::Null) => String::new(),
        Some(content) => content.to_string(),
    };
    let (method, uri, header) =
        (text(vector, "method"), text(vector, "uri"), text(vector, "header"));
    edit(format!("{method} {uri} HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\n\r\n{body}"))
}

struct Vectors {
    files: Files,
    keys: String,
    requests: Vec<Value>,
}

impl Vectors {
    fn new() -> Self {
        let files = Files::new();
        let vectors = vectors();
        let document = vectors.pointer("/derived_key_response_with_unknown_field/response");
        let keys = files.write("keys.json", &document.expect("a key document").to_string());
        let requests = vectors.pointer("/derived_xmatrix_requests/vectors");
        let requests = requests.and_then(Value::as_array).expect("requests").clone();
        assert!(requests.len() >= 4, "the vectors are there");
        Self { files, keys, requests }
    }

    fn verify(&self, request: &str, more: &[&str], code: i32) -> Value {
        let file = self.files.write("request.http", request);
        let mut arguments = vec!["verify", &*file, "--keys", &*self.keys, "--json"];
        arguments.extend(more);
        json(&arguments, code)
    }
}

#[test]
fn config_sample_prints_the_file_of_the_repository() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/fedgate.toml");
    let file = std::fs::read_to_string(path).expect("the sample");
    assert_eq!(stdout(&["config", "sample"], 0), file);
}

#[test]
fn config_dump_can_be_read_again() {
    let files = Files::new();
    let minimal = "server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:8008\"\n\
                   [[notaries]]\nserver_name = \"matrix.org\"\n\
                   verify_keys = { \"ed25519:auto\" = \"Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw\" }\n";
    let first = files.write("a.toml", minimal);
    let listen = ["--listen", "127.0.0.1:8449"];
    let dumped = stdout(&[&["config", "dump", "--config", &first][..], &listen].concat(), 0);
    assert!(dumped.contains(&format!("homeserver = \"http://127.0.0.1:8008\"  # {first}:2:14\n")));
    assert!(dumped.contains("address = \"127.0.0.1:8449\"  # command line --listen"), "{dumped}");
    let again = files.write("b.toml", &dumped);
    let values = |text: &str| {
        text.lines()
            .map(|line| line.split("  # ").next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let dumped_again = stdout(&["config", "dump", "--config", &again], 0);
    assert_eq!(values(&dumped_again), values(&dumped));
}

#[test]
fn verify_accepts_every_signed_vector() {
    let vectors = Vectors::new();
    for vector in &vectors.requests {
        let report = vectors.verify(&request(vector, |file| file), &["--at", WITHIN, "--full"], 0);
        assert_eq!(text(&report, "verdict"), "accepted");
        assert_eq!(text(&report, "origin"), "domain");
        let signed = report.pointer("/signed/text").and_then(Value::as_str);
        assert_eq!(signed, Some(text(vector, "signed_bytes_text")));
    }
}

/// A change to the file of a request.
type Edit<'a> = &'a dyn Fn(String) -> String;

#[test]
fn verify_refuses_what_is_altered_late_or_for_others() {
    let vectors = Vectors::new();
    let vector = vectors.requests.first().expect("a vector");
    let unchanged = |file: String| file;
    let altered = |file: String| file.replace("field=displayname", "field=avatar_url");
    let unsigned = |file: String| file.replace("X-Matrix", "Bearer");
    let dotted = |file: String| file.replace("/query/", "/./query/");
    let broken = |file: String| file.replace("origin=", "origin");
    let foreign = ["--at", WITHIN, "--destination", "other.example"];
    let own = ["--at", WITHIN, "--destination", "destination.example"];
    let cases: [(Edit<'_>, &[&str], &str); 7] = [
        (&unchanged, &["--at", AFTER], "key_expired"),
        (&unchanged, &foreign, "destination_mismatch"),
        (&altered, &own, "bad_signature"),
        (&unsigned, &own, "header_missing"),
        (&dotted, &own, "target_refused"),
        (&broken, &own, "header_malformed"),
        (&unchanged, &["--at", WITHIN, "--fetched-at", "2022-05-01T00:00:00Z"], "key_expired"),
    ];
    for (edit, more, reason) in cases {
        let report = vectors.verify(&request(vector, edit), more, 1);
        assert_eq!(text(&report, "verdict"), "refused");
        assert_eq!(text(&report, "reason"), reason, "{report:#}");
    }
    vectors.verify(&request(vector, unchanged), &own, 0);
}

#[test]
fn verify_refuses_a_body_two_parsers_could_read_differently() {
    let vectors = Vectors::new();
    let put = vectors.requests.iter().find(|vector| text(vector, "method") == "PUT");
    let doubled = |file: String| file.replace("{\"edus\"", "{\"edus\":1,\"edus\"");
    let report = vectors.verify(&request(put.expect("a PUT"), doubled), &["--at", WITHIN], 1);
    assert_eq!(text(&report, "reason"), "body_ambiguous");
}

#[test]
fn verify_tells_people_each_step() {
    let vectors = Vectors::new();
    let vector = vectors.requests.first().expect("a vector");
    let file = vectors.files.write("request.http", &request(vector, |file| file));
    let told = stdout(&["verify", &file, "--keys", &vectors.keys, "--at", WITHIN], 0);
    for part in [
        "X-Matrix header 1",
        "key document",
        "valid_until_ts   2022-05-11T09:40:00.000Z (1652262000000)",
        "effective until",
        "1s left",
        "{\"destination\":\"destination.example\",\"method\":\"GET\"",
        "ACCEPTED: signed by domain with ed25519:1 for destination.example",
    ] {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
}

#[test]
fn what_is_signed_verifies() {
    let vectors = Vectors::new();
    let seed = "ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n";
    let key_file = vectors.files.write("signing.key", seed);
    let body = vectors.files.write("body.json", "{ \"pdus\": [], \"a\": 1.50 }");
    let target = "/_matrix/federation/v1/send/1";
    let names = ["--origin", "domain", "--destination", "destination.example"];
    let common = ["sign", "--key-file", &*key_file, "--method", "PUT", "--target", target];
    let common = [&common[..], &names, &["--body", &*body]].concat();
    let signed = stdout(&[&common[..], &["--http"]].concat(), 0);
    let report = vectors.verify(&signed, &["--at", WITHIN], 0);
    assert_eq!(text(&report, "destination"), "destination.example");

    let as_json = json(&[&common[..], &["--json"]].concat(), 0);
    let header = stdout(&common, 0);
    assert_eq!(header.trim_end(), format!("Authorization: {}", text(&as_json, "authorization")));
    assert!(signed.contains(header.trim_end()));
    assert_eq!(text(&as_json, "verify_key"), "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI");
}

#[test]
fn mistakes_in_the_command_exit_with_2() {
    let vectors = Vectors::new();
    let key = vectors.files.write("signing.key", "not a key");
    let no_key =
        ["sign", "--key-file", &*key, "--origin", "a", "--destination", "b", "--target", "/x"];
    let torn = vectors.files.write("torn.http", "GET /x HTTP/1.1\r\nHost: x\r\n");
    for (arguments, cause) in [
        (&["nonsense"][..], "unrecognized subcommand"),
        (&["verify", "/nonexistent", "--keys", "/nonexistent"], "cannot be read"),
        (&["verify", &torn, "--keys", &vectors.keys], "no empty line"),
        (&["verify", &torn, "--keys", &vectors.keys, "--at", "noon"], "milliseconds since 1970"),
        (&no_key, "not a signing key file"),
        (&["man", "nonsense"], "no command"),
        (&["healthcheck", "--url", "https://x"], "http://host:port/path"),
        (&["check", "--config", "/nonexistent.toml"], "cannot be read"),
        (&["run", "--config", "/nonexistent.toml"], "cannot be read"),
    ] {
        let told = stderr(arguments, 2);
        assert!(told.contains(cause), "{arguments:?}: {told}");
    }
}

#[test]
fn wrong_settings_are_all_reported_and_exit_with_2() {
    let files = Files::new();
    let path = files.write("f.toml", "server_nam = \"x\"\nhomeserver = \"https://h\"\n");
    let told = stderr(&["check", "--config", &path], 2);
    for part in ["did you mean server_name", "plain HTTP", "2:14", "3 errors"] {
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
    let report = json(&["check", "--json", "--config", &path], 2);
    assert_eq!(text(&report, "result"), "fail");
}

/// Answers one connection after the other, always the same.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a request");
                head.extend(byte);
            }
            stream.write_all(answer.as_bytes()).expect("answered");
        }
    });
    format!("http://{address}")
}

/// Settings under which everything but the homeserver is there.
fn settings(homeserver: &str) -> String {
    format!(
        "server_name = \"example.org\"\nhomeserver = \"{homeserver}\"\n\
         [listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
         [outbound]\ndns_servers = [\"127.0.0.1\"]\n"
    )
}

#[test]
fn check_is_content_when_everything_is_there() {
    let files = Files::new();
    let homeserver = answering(
        "HTTP/1.1 200 OK\r\n\r\n{\"server\":{\"name\":\"Synapse\",\"version\":\"1.2.3\"}}",
    );
    let path = files.write("f.toml", &settings(&homeserver));
    let told = stdout(&["check", "--config", &path], 0);
    assert!(told.contains("answers: Synapse 1.2.3"), "{told}");
    let report = json(&["check", "--json", "--config", &path], 0);
    let checks = report.get("checks").and_then(Value::as_array).expect("checks");
    assert!(checks.iter().all(|check| text(check, "result") != "fail"), "{report:#}");
}

#[test]
fn check_reads_signing_keys_and_tokens() {
    let files = Files::new();
    let seed = "ed25519 a_own CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk\n";
    let (key, token) = (files.write("own.key", seed), files.write("token", "short"));
    let settings = format!(
        "server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:2\"\n\
         [keys]\nstore = \"\"\n[admin]\naddress = \"127.0.0.1:1\"\ntoken_file = {token:?}\n\
         [key_server]\nsigning_key_file = {key:?}\nnotary_key_file = \"/nonexistent\"\n"
    );
    let config = files.write("fedgate.toml", &settings);
    let report = json(&["check", "--json", "--config", &config], 1);
    let found = |name: &str| -> Vec<(String, String)> {
        let checks = report["checks"].as_array().expect("a list").iter();
        let named = checks.filter(|check| check["name"] == name);
        named.map(|check| (text(check, "result").into(), text(check, "detail").into())).collect()
    };
    let keys = found("signing keys");
    assert!(keys[0].1.contains("ed25519:a_own"), "{keys:?}");
    assert_eq!(keys[1].0, "fail");
    assert!(keys.iter().all(|(_, detail)| !detail.contains("CQkJ")), "{keys:?}");
    let tokens = found("admin token");
    assert!(tokens[0].0 == "fail" && tokens[0].1.contains("fewer than 20"), "{tokens:?}");
}

#[test]
fn check_looks_at_the_file_of_keys_and_leaves_it() {
    let files = Files::new();
    keys::kept_keys(&files);
    let path = files.0.path().join("keys.redb");
    let homeserver = answering("HTTP/1.1 200 OK\r\n\r\n{\"server\":{\"name\":\"Synapse\"}}");
    let store = format!("[keys]\nstore = {:?}\n", path.to_str().expect("UTF-8"));
    let config = files.write("fedgate.toml", &(settings(&homeserver) + &store));
    let before = std::fs::read(&path).expect("the file");
    let found = || {
        let report = json(&["check", "--json", "--config", &config], 0);
        let checks = report["checks"].as_array().expect("checks").clone();
        let is_store = |check: &Value| text(check, "name") == "key store";
        checks.into_iter().find(is_store).expect("the check of the store")
    };
    let check = found();
    assert_eq!(text(&check, "result"), "ok");
    assert!(text(&check, "detail").contains("servers kept: 1"), "{check}");
    assert!(std::fs::read(&path).expect("the file") == before, "it was changed");
    let time = fedgate::proto::Timestamp::from_ms(0);
    let running = fedgate::keys::store::FileStore::open(&path, time).expect("a store");
    assert!(text(&found(), "detail").contains("held by the fedgate that is running"));
    drop(running);
    let names = std::fs::read_dir(files.0.path()).expect("the folder").count();
    assert_eq!(names, 2, "the settings and the file");
}

#[test]
fn check_fails_when_the_homeserver_is_away() {
    let files = Files::new();
    // A port that nobody listens on: it was free a moment ago, and belongs to no one else.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let path = files.write("f.toml", &settings(&format!("http://{address}")));
    let told = stdout(&["check", "--config", &path], 1);
    assert!(told.contains("does not answer"), "{told}");
    assert!(told.contains("FAIL"), "{told}");
}

#[test]
fn healthcheck_is_the_status() {
    let healthy = answering("HTTP/1.1 200 OK\r\n\r\nok");
    let failing = answering("HTTP/1.1 503 Service Unavailable\r\n\r\nno");
    assert_eq!(stdout(&["healthcheck", "--url", &format!("{healthy}/health")], 0), "healthy\n");
    let told = stdout(&["healthcheck", "--url", &format!("{failing}/health")], 1);
    assert_eq!(told, "unhealthy: status 503: no\n");
}

#[test]
fn completions_and_manual_pages_are_there() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert!(stdout(&["completions", shell], 0).contains("healthcheck"), "{shell}");
    }
    assert!(stdout(&["man"], 0).contains(".TH fedgate"));
    for command in ["check", "completions", "healthcheck", "man", "run", "sign", "verify"] {
        let page = stdout(&["man", command], 0);
        assert!(page.contains(&format!("fedgate\\-{command}")), "{command}: {page}");
    }
    assert!(stdout(&["man", "config", "dump"], 0).contains("server\\-name"));
}

#[test]
fn help_and_version_exit_with_0() {
    assert!(stdout(&["--help"], 0).contains("verify"));
    let version = format!("fedgate {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(stdout(&["--version"], 0), version);
}
