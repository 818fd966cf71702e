//! `fedgate keys`, with and without a fedgate that runs.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::{Files, fedgate, json, stderr, stdout, text};

/// A file of keys with one server, as a gate has left it.
pub(crate) fn kept_keys(files: &Files) -> (String, String) {
    use fedgate::keys::record::{Binding, ServerRecord, Source};
    use fedgate::keys::store::{FileStore, KeyStore as _};
    use fedgate::proto::{KeyId, ServerName, Timestamp};

    let path = files.0.path().join("keys.redb");
    let key = fedgate::proto::ed25519::SigningKey::from_seed(&[7; 32]).verify_key();
    let shown = key.to_base64();
    let binding = Binding {
        id: KeyId::parse("ed25519:1").expect("an ID"),
        key,
        learnt_from: Source::Origin.kind(),
        first_seen: Timestamp::from_ms(1_767_225_600_000),
        witnesses: [Source::Origin].into(),
        expired_ts: Some(Timestamp::from_ms(1_767_225_600_000)),
        conflict: None,
        document: None,
    };
    let record = ServerRecord { bindings: vec![binding], documents: Vec::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let store = FileStore::open(&path, Timestamp::from_ms(0)).expect("a store").store;
    let server = ServerName::parse("a.example").expect("a name");
    runtime.block_on(store.save(&server, record, &[])).expect("saved");
    let settings = format!(
        "server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:8008\"\n\
         [admin]\naddress = \"127.0.0.1:1\"\n[keys]\nstore = {:?}\n",
        path.to_str().expect("UTF-8")
    );
    (files.write("fedgate.toml", &settings), shown)
}

/// A file of keys with the history of one server, as a gate has left it: its key was seen, and later
/// seen retired. The name of the settings, and the key.
fn kept_history(files: &Files) -> (String, String) {
    use fedgate::keys::history::{Entry, Event, What};
    use fedgate::keys::record::{KeptDocument, ServerRecord, Source};
    use fedgate::keys::store::{FileStore, KeyStore as _};
    use fedgate::proto::{KeyId, ServerName, Timestamp, ed25519::SigningKey, sign::sign_json};

    let (config, _) = kept_keys(files);
    let store = FileStore::open(&files.0.path().join("keys.redb"), Timestamp::from_ms(0));
    let store = store.expect("a store").store;
    let server = ServerName::parse("old.example").expect("a name");
    let [old, new] = [7, 8].map(|seed| SigningKey::from_seed(&[seed; 32]));
    let [one, two] = ["ed25519:1", "ed25519:2"].map(|id| KeyId::parse(id).expect("an ID"));
    let shown = |at, document: serde_json::Value, signer: (&KeyId, &SigningKey), events| {
        let raw = document.to_string().into_bytes();
        let raw = sign_json(&raw, &server, signer.0, signer.1).expect("signed").into();
        let fetched_at = Timestamp::from_ms(at);
        let document = KeptDocument { raw, fetched_at, source: Source::Origin };
        Entry::Shown { document, events }
    };
    let event =
        |id: &KeyId, key: &SigningKey, what| Event { id: id.clone(), key: key.verify_key(), what };
    let first = json!({
        "server_name": "old.example", "valid_until_ts": 1_767_312_000_000_u64,
        "verify_keys": { "ed25519:1": { "key": old.verify_key().to_base64() } },
    });
    let expired_ts = 1_767_225_661_000;
    let later = json!({
        "server_name": "old.example", "valid_until_ts": 1_767_312_000_000_u64,
        "verify_keys": { "ed25519:2": { "key": new.verify_key().to_base64() } },
        "old_verify_keys": {
            "ed25519:1": { "key": old.verify_key().to_base64(), "expired_ts": expired_ts }
        },
    });
    let retired = What::Retired { expired_ts: Timestamp::from_ms(expired_ts) };
    let events = vec![event(&one, &old, retired), event(&two, &new, What::FirstSeen)];
    let entries = [
        shown(1_767_225_600_000, first, (&one, &old), vec![event(&one, &old, What::FirstSeen)]),
        shown(1_767_225_662_000, later, (&two, &new), events),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(store.save(&server, ServerRecord::default(), &entries)).expect("saved");
    (config, old.verify_key().to_base64())
}

#[test]
fn a_history_is_printed_and_checked() {
    let files = Files::new();
    let (config, key) = kept_history(&files);
    let new = fedgate::proto::ed25519::SigningKey::from_seed(&[8; 32]).verify_key().to_base64();
    let lines = |verdict: &str| {
        format!(
            "{verdict}2026-01-01 00:00:00 UTC  first_seen    ed25519:1 {key}  origin\n\
             {verdict}2026-01-01 00:01:02 UTC  retired       ed25519:1 {key}, since 2026-01-01 \
             00:01:01 UTC  origin\n\
             {verdict}2026-01-01 00:01:02 UTC  first_seen    ed25519:2 {new}  origin\n"
        )
    };
    let history = ["keys", "history", "old.example", "--config", &config];
    assert_eq!(stdout(&history, 0), lines(""));
    let verified = [&history[..], &["--verify"]].concat();
    let said = stdout(&verified, 0);
    let rest = said.strip_prefix(&lines("OK   ")).expect(&said);
    let hash = rest.strip_prefix("2 entries, all of them right; the last has the hash ");
    assert_eq!(hash.expect(&said).len(), 44, "{said}");
    let shown = json(&[&verified[..], &["--json"]].concat(), 0);
    let entry = shown.pointer("/entries/1").expect("an entry");
    assert_eq!(entry["wrong"], json!(null));
    assert_eq!(entry["hash"], hash.expect(&said).trim_end());
    assert!(text(entry, "document").contains("valid_until_ts"));
    let nothing = stdout(&["keys", "history", "b.example", "--config", &config], 1);
    assert_eq!(nothing, "nothing is recorded of b.example\n");

    // A banned key's signature counts no more, nor does the key.
    stdout(&["keys", "ban", "--key", &new, "--config", &config], 0);
    let said = stdout(&verified, 1);
    assert!(said.starts_with("OK   2026") && said.contains("\nBAD  2026"), "{said}");
    assert!(said.contains("\n     the key document carries no valid signature"), "{said}");
    assert!(said.contains("2 entries, 1 of them BAD; "), "{said}");

    let running = Running::start(&config);
    assert_eq!(running.keys(&history[1..], 0), lines(""));
    assert_eq!(running.keys(&verified[1..], 1), said);
    let flushed = ["flush", "old.example", "--config", &config];
    running.keys(&flushed, 0);
    let said = running.keys(&history[1..], 0);
    assert!(said.starts_with(&lines("")) && said.contains("  flushed       all"), "{said}");
}

#[test]
fn keys_are_listed_shown_and_flushed() {
    let files = Files::new();
    let (config, key) = kept_keys(&files);
    assert_eq!(stdout(&["keys", "list", "--config", &config], 0), "a.example\n");
    let shown = stdout(&["keys", "a.example", "--offline", "--config", &config], 1);
    for part in
        ["ed25519:1", &key, "retired 2026-01-01 00:00 UTC, ", "shown by origin", "REFUSED: "]
    {
        assert!(shown.replace('\n', " ").contains(part), "{part}: {shown}");
    }
    let more = ["--offline", "--json", "--config", &config];
    let shown = json(&[&["keys", "inspect", "a.example"][..], &more].concat(), 1);
    let kept = shown.pointer("/store/kept/keys/0").expect("a key");
    assert_eq!((text(kept, "key"), text(kept, "state")), (&*key, "retired"));
    let flushed = stdout(&["keys", "flush", "a.example", "--config", &config], 0);
    assert!(flushed.contains(&format!("ed25519:1 {key}")), "{flushed}");
    let gone = stdout(&["keys", "a.example", "--offline", "--config", &config], 1);
    assert!(gone.contains("nothing is kept of it"), "{gone}");
    assert_eq!(json(&["keys", "list", "--json", "--config", &config], 0), serde_json::json!([]));
}

#[test]
fn keys_that_a_running_gate_holds_or_that_are_nowhere_are_an_error() {
    let files = Files::new();
    let (config, _) = kept_keys(&files);
    let path = files.0.path().join("keys.redb");
    let held = fedgate::keys::store::FileStore::open(&path, fedgate::proto::Timestamp::from_ms(0));
    let held = held.expect("a store");
    let error = stderr(&["keys", "list", "--config", &config], 1);
    assert!(error.contains("keys.store") && error.contains("another"), "{error}");
    drop(held);
    std::fs::remove_file(&path).expect("removed");
    let error = stderr(&["keys", "list", "--config", &config], 1);
    assert!(error.contains("there is no such file"), "{error}");
    assert!(!path.exists(), "and none is made");
    for (arguments, cause) in [
        (&["keys", "no name"][..], "is no server name"),
        (&["keys", "a.example", "--key", "no ID"], "not a key ID"),
        (&["keys"], "<SERVER>"),
        (&["keys", "a.example", "--config", "/nonexistent.toml"], "cannot be read"),
    ] {
        let error = stderr(arguments, 2);
        assert!(error.contains(cause), "{arguments:?}: {error}");
    }
}

/// A gate that runs on free ports.
struct Running {
    child: Child,
    admin: String,
}

impl Running {
    /// Nobody reads what it logs once it is ready: that must not disturb it.
    fn start(config: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_fedgate"))
            .args(["run", "--config", config, "--listen", "127.0.0.1:0"])
            .env_clear()
            .env("FEDGATE_ADMIN__ADDRESS", "127.0.0.1:0")
            .env("FEDGATE_LOG__FORMAT", "json")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let admin = lines.map(|line| line.expect("UTF-8")).find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            line.pointer("/fields/admin")
                .or_else(|| line.get("admin"))
                .and_then(serde_json::Value::as_str)
                .map(str::to_owned)
        });
        Self { child, admin: admin.expect("it is ready") }
    }

    /// Runs a command against it.
    fn keys(&self, arguments: &[&str], code: i32) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_fedgate"))
            .arg("keys")
            .args(arguments)
            .env_clear()
            .env("FEDGATE_ADMIN__ADDRESS", &self.admin)
            .output()
            .expect("the program starts");
        let told = [&output.stdout[..], &output.stderr[..]].concat();
        let told = String::from_utf8(told).expect("UTF-8");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        told
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let metrics = metrics(&self.admin);
            assert!(metrics.contains("\nfedgate_panics_total 0\n"), "{metrics}");
        }
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has run");
    }
}

#[test]
fn a_running_gate_is_asked() {
    let files = Files::new();
    let (config, key) = kept_keys(&files);
    let running = Running::start(&config);
    assert_eq!(running.keys(&["list", "--config", &config], 0), "a.example\n");
    let shown = running.keys(&["a.example", "--offline", "--config", &config], 1);
    assert!(shown.contains("kept on disk") && shown.contains(&key), "{shown}");
    assert!(!shown.contains("another process"), "the gate itself has looked: {shown}");
    let inquiry = running.keys(&["a.invalid", "--config", &config], 1);
    assert!(inquiry.contains("origin") && inquiry.contains("REFUSED"), "{inquiry}");
    let flushed = running.keys(&["flush", "a.example", "--config", &config], 0);
    assert!(flushed.contains(&format!("ed25519:1 {key}")), "{flushed}");
    let gone = running.keys(&["flush", "a.example", "--config", &config], 1);
    assert_eq!(gone, "nothing is kept of a.example\n");
    let pin = ["pin", "a.example", "ed25519:1", &key, "--config", &config];
    assert_eq!(running.keys(&pin, 0), "pinned\n");
    assert_eq!(running.keys(&pin, 0), "nothing to do: pinned already\n");
    let rules = running.keys(&["rules", "--config", &config], 0);
    assert_eq!(rules, format!("pin a.example ed25519:1 {key}  (made at run time)\n"));
    let refresh = running.keys(&["refresh", "a.invalid", "--config", &config], 1);
    assert!(refresh.contains("no source of keys could be asked"), "{refresh}");
}

#[test]
fn rules_made_while_no_gate_runs_are_those_of_the_next_one() {
    let files = Files::new();
    let (config, key) = kept_keys(&files);
    let keys = |arguments: &[&str]| {
        let told = [&["keys"], arguments, &["--config", &config]].concat();
        stdout(&told, 0)
    };
    assert_eq!(keys(&["ban", "b.example"]), "banned\n");
    assert_eq!(keys(&["ban", "a.example", "ed25519:2"]), "banned\n");
    assert_eq!(keys(&["ban", "--key", &key]), "banned\n");
    assert_eq!(keys(&["ban", "c.example"]), "banned\n");
    assert_eq!(keys(&["unban", "c.example"]), "no longer banned\n");
    let rules = format!(
        "ban b.example  (made at run time)\nban a.example ed25519:2  (made at run time)\n\
         ban --key {key}  (made at run time)\n"
    );
    assert_eq!(keys(&["rules"]), rules);
    let running = Running::start(&config);
    assert_eq!(running.keys(&["rules", "--config", &config], 0), rules);
    let made = running.keys(&["rules", "--json", "--config", &config], 0);
    let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
    assert_eq!(made["made"]["banned_servers"], json!(["b.example"]));
}

#[test]
fn what_cannot_be_done_says_why() {
    let files = Files::new();
    let (config, key) = kept_keys(&files);
    let error = |arguments: &[&str], code| {
        stderr(&[&["keys"], arguments, &["--config", &config]].concat(), code)
    };
    let said = error(&["pin", "a.example", "rsa:1", &key], 2);
    assert!(said.contains("not the ID of an Ed25519 key"), "{said}");
    let said = error(&["ban"], 2);
    assert!(said.contains("required"), "{said}");
    stdout(&["keys", "ban", "--key", &key, "--config", &config], 0);
    let said = error(&["pin", "a.example", "ed25519:1", &key], 1);
    assert!(said.contains("this key is banned"), "{said}");
    let memory = files.write(
        "memory.toml",
        "server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:8008\"\n\
         [keys]\nstore = \"\"\n[admin]\naddress = \"127.0.0.1:1\"\n",
    );
    let output = fedgate(&["keys", "rules", "--config", &memory]);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(said.contains("no fedgate runs"), "{said}");
}

/// What `/metrics` answers there.
fn metrics(admin: &str) -> String {
    let mut client = std::net::TcpStream::connect(admin).expect("it listens");
    let request = b"GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
    client.write_all(request).expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    answer
}
