//! `fedgate notary`: keys are made once, shown without their secrets, and what is printed works.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use super::{Files, fedgate, json, stderr, stdout, text};

/// The key of the specification's signing vectors, and another.
const FILE: &str = "ed25519 a_AbCd YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n\
                    ed25519 a_EfGh BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc\n";

const BLOCKS: &str = r#"# Synapse, homeserver.yaml:
trusted_key_servers:
  - server_name: "keys.example.org"
    verify_keys:
      "ed25519:a_AbCd": "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI"
      "ed25519:a_EfGh": "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw"

# Dendrite, dendrite.yaml:
federation_api:
  key_perspectives:
    - server_name: "keys.example.org"
      keys:
        - key_id: "ed25519:a_AbCd"
          public_key: "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI"
        - key_id: "ed25519:a_EfGh"
          public_key: "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw"

# fedgate, fedgate.toml:
[[notaries]]
server_name = "keys.example.org"
verify_keys = { "ed25519:a_AbCd" = "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI", "ed25519:a_EfGh" = "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw" }

# tuwunel, continuwuity, conduwuit. They take a name alone and check no notary's signature:
[global]
trusted_servers = ["keys.example.org"]
"#;

const NAMED: [&str; 2] = ["--server-name", "keys.example.org"];

/// A file that its owner alone may read.
fn key_file(files: &Files, text: &str) -> String {
    let path = files.write("signing.key", text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
    path
}

#[test]
fn all_keys_of_a_file_are_shown_for_every_kind_of_server() {
    let files = Files::new();
    let path = key_file(&files, FILE);
    let shown = fedgate(&[&["notary", "show", &path][..], &NAMED].concat());
    assert_eq!(String::from_utf8(shown.stdout).expect("UTF-8"), BLOCKS);
    assert_eq!(String::from_utf8(shown.stderr).expect("UTF-8"), "");

    let unnamed = stdout(&["notary", "show", &path], 0);
    let expected = BLOCKS.replace("keys.example.org", "notary.example");
    let told = "\n# notary.example stands for the notary's server name: --server-name NAME";
    assert!(unnamed.starts_with(&(expected + told)), "{unnamed}");
}

#[test]
fn programs_are_told_the_same() {
    let files = Files::new();
    let path = key_file(&files, FILE);
    let keys = json!({
        "ed25519:a_AbCd": "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI",
        "ed25519:a_EfGh": "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw",
    });
    let shown = json(&[&["notary", "show", &path, "--json"][..], &NAMED].concat(), 0);
    assert_eq!(shown["verify_keys"], keys);
    let pinned = json!([{ "server_name": "keys.example.org", "verify_keys": keys }]);
    assert_eq!(shown["settings"]["synapse"]["trusted_key_servers"], pinned);
    assert_eq!(shown["settings"]["fedgate"]["notaries"], pinned);
    let perspective = &shown["settings"]["dendrite"]["federation_api"]["key_perspectives"][0];
    assert_eq!(perspective["keys"][1]["key_id"], "ed25519:a_EfGh");
    let trusted = &shown["settings"]["tuwunel"]["global"]["trusted_servers"];
    assert_eq!(*trusted, json!(["keys.example.org"]));

    let unnamed = json(&["notary", "show", &path, "--json"], 0);
    assert_eq!(unnamed["verify_keys"], keys);
    assert!(unnamed["server_name"].is_null() && unnamed["settings"].is_null(), "{unnamed:#}");
}

#[test]
fn what_is_printed_for_fedgate_is_a_setting_of_fedgate() {
    let files = Files::new();
    let path = key_file(&files, FILE);
    let shown = stdout(&[&["notary", "show", &path][..], &NAMED].concat(), 0);
    let (_, block) = shown.split_once("# fedgate, fedgate.toml:\n").expect("a block");
    let (block, _) = block.split_once("\n\n").expect("its end");
    let settings =
        format!("server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:8008\"\n{block}\n");
    let config = files.write("fedgate.toml", &settings);
    let dumped = stdout(&["config", "dump", "--config", &config], 0);
    for part in ["keys.example.org", "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI", "a_EfGh"] {
        assert!(dumped.contains(part), "{part}: {dumped}");
    }
}

#[test]
fn a_new_key_is_its_owners_alone_and_signs_what_is_shown() {
    let files = Files::new();
    let path = files.0.path().join("notary.key");
    let path = path.to_str().expect("UTF-8");
    let made = stdout(&[&["notary", "keygen", "--out", path][..], &NAMED].concat(), 0);
    let mode = std::fs::metadata(path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let shown = stdout(&[&["notary", "show", path][..], &NAMED].concat(), 0);
    assert!(made.ends_with(&format!("\n\n{shown}")), "{made}");

    let file = std::fs::read_to_string(path).expect("a key");
    let words: Vec<&str> = file.split_ascii_whitespace().collect();
    let [algorithm, version, seed] = *words else { panic!("{} words", words.len()) };
    let id = format!("{algorithm}:{version}");
    assert!(made.contains(&format!("holds the new private key {id}.")), "{made}");
    assert!(version.len() == 8 && version.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert!(!made.contains(seed) && !shown.contains(seed), "the seed is nobody's to see");

    let shown = json(&["notary", "show", path, "--json"], 0);
    let request = ["--origin", "a", "--destination", "b", "--target", "/x", "--json"];
    let signed = json(&[&["sign", "--key-file", path][..], &request].concat(), 0);
    assert_eq!(text(&signed, "key_id"), id);
    assert_eq!(text(&signed, "verify_key"), text(&shown["verify_keys"], &id));
}

#[test]
fn a_key_that_exists_is_not_overwritten() {
    let files = Files::new();
    let path = key_file(&files, FILE);
    let told = stderr(&["notary", "keygen", "--out", &path], 2);
    assert!(told.contains("exists already") && told.contains("help: "), "{told}");
    assert_eq!(std::fs::read_to_string(&path).expect("a key"), FILE);
    let told = stderr(&["notary", "keygen", "--out", &format!("{path}/new.key")], 1);
    assert!(told.contains("cannot be written"), "{told}");
}

#[test]
fn half_a_key_is_not_left_behind() {
    let files = Files::new();
    let path = files.0.path().join("notary.key");
    // No file may get longer than nothing: the key's is made, and cannot be written.
    let full = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" notary keygen --out \"$1\""])
        .arg(env!("CARGO_BIN_EXE_fedgate"))
        .arg(&path)
        .output()
        .expect("a shell");
    let told = String::from_utf8(full.stderr).expect("UTF-8");
    assert_eq!(full.status.code(), Some(1), "{told}");
    assert!(told.contains("cannot be written: File too large"), "{told}");
    assert!(!path.exists());
}

#[test]
fn mistakes_in_a_file_are_told_with_line_and_fix_but_never_the_seed() {
    let files = Files::new();
    let path = key_file(&files, &FILE.replace("ed25519 a_EfGh ", ""));
    for arguments in [
        &["notary", "show", &*path][..],
        &["sign", "--key-file", &path, "--origin", "a", "--destination", "b", "--target", "/x"],
    ] {
        let told = stderr(arguments, 2);
        for part in ["error: ", "line 2 has not 3 words but 1", "\nhelp: ", "ed25519 a_AbCd <43"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("BwcHB"), "{told}");
    }
    let told = stderr(&["notary", "show", "/nonexistent"], 2);
    assert!(told.contains("cannot be read"), "{told}");
    let told = stderr(&["notary", "show", &path, "--server-name", "a_b"], 2);
    assert!(told.contains("--server-name"), "{told}");
}

#[test]
fn a_file_that_others_can_read_is_used_with_a_warning() {
    let files = Files::new();
    let path = key_file(&files, FILE);
    std::fs::set_permissions(Path::new(&path), std::fs::Permissions::from_mode(0o640))
        .expect("set");
    let told = stderr(&["notary", "show", &path], 0);
    assert!(told.starts_with("warning: ") && told.contains("mode 0640"), "{told}");
}
