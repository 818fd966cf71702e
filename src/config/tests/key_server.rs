//! What fedgate answers as a key server.

use std::time::Duration;

use super::super::{Publish, Queries};
use super::{MINIMAL, load, shows};
use crate::proto::Timestamp;

const KEY: &str = "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw";

fn with(lines: &str) -> String {
    format!("{MINIMAL}[key_server]\n{lines}\n")
}

#[test]
fn unless_asked_the_homeserver_answers() {
    let config = load(MINIMAL, &[]).expect("right").key_server;
    assert_eq!((config.publish, config.queries), (Publish::Forward, Queries::Forward));
    assert_eq!(config.valid_for, Duration::from_secs(86_400));
    assert_eq!(config.fetches_per_query_max, 100);
}

#[test]
fn everything_is_read() {
    let text = with(&format!(
        "publish = \"own\"\nqueries = \"answer\"\nsigning_key_file = \"/k\"\nvalid_for = \"2h\"\n\
         own_clients = [\"127.0.0.0/8\"]\nfetches_per_query_max = 0\n\
         old_verify_keys = {{ \"ed25519:old\" = \"{KEY} 1576767829750\" }}\n\
         [keys]\nsources = [\"origin\"]"
    ));
    let config = load(&text, &[]).expect("right").key_server;
    assert_eq!((config.publish, config.queries), (Publish::Own, Queries::Answer));
    assert_eq!(config.signing_key_file, Some("/k".into()));
    assert_eq!((config.own_clients.len(), config.fetches_per_query_max), (1, 0));
    let (id, (key, expired_ts)) = config.old_verify_keys.first_key_value().expect("one");
    assert_eq!((id.as_str(), key.to_base64()), ("ed25519:old", KEY.to_owned()));
    assert_eq!(*expired_ts, Timestamp::from_ms(1_576_767_829_750));
}

#[test]
fn a_notary_without_a_key() {
    shows(
        &with("queries = \"answer\""),
        &[],
        r#"
error: key_server.queries = "answer" needs a key to sign with
  --> fedgate.toml:4:11
   |
 4 | queries = "answer"
   |           ^^^^^^^^
   = help: make one with `fedgate notary keygen` and set key_server.notary_key_file
"#,
    );
}

/// Nobody finds a key by asking whoever asks him for it.
#[test]
fn the_homeserver_cannot_be_asked_by_the_fedgate_it_asks() {
    let lines = |own_clients| {
        let queries = "queries = \"answer\"\nnotary_key_file = \"/k\"";
        with(&format!("{queries}\nown_clients = {own_clients}"))
    };
    shows(
        &lines("[\"127.0.0.1/32\"]"),
        &[],
        r#"
error: the homeserver asks fedgate for keys, and fedgate the homeserver: questions would go in circles
  --> fedgate.toml:6:15
   |
 6 | own_clients = ["127.0.0.1/32"]
   |               ^^^^^^^^^^^^^^^^
   = help: set keys.sources to ["origin", "notaries"], without "homeserver"
"#,
    );
    load(&lines("[]"), &[]).expect("a notary of others alone may ask the homeserver");
}

#[test]
fn mistakes_are_told() {
    for (lines, told) in [
        ("publish = \"own\"", "needs the homeserver's signing keys"),
        ("valid_for = \"1h\"", "others would have to ask too often"),
        ("valid_for = \"25h\"", "out of bounds"),
        ("old_verify_keys = { \"ed25519:1\" = \"x 1\" }", "not the base64 of a 32-byte key"),
        (&format!("old_verify_keys = {{ \"ed25519:1\" = \"{KEY}\" }}"), "the time of its end"),
        (&format!("old_verify_keys = {{ \"ed25519:1\" = \"{KEY} x\" }}"), "not a time"),
        (&format!("old_verify_keys = {{ \"rsa:1\" = \"{KEY} 1\" }}"), "not the ID"),
        ("old_verify_keys = { \"ed25519:1\" = 1 }", "names and values in braces"),
        ("publish = \"chached\"", "did you mean \"cached\""),
    ] {
        let errors = load(&with(lines), &[]).expect_err(lines).to_string();
        assert!(errors.contains(told), "{lines}: {errors}");
    }
}

#[test]
fn several_names_have_no_one_document() {
    let text = "server_names = [\"a.example\", \"b.example\"]\n\
                homeserver = \"http://127.0.0.1:8008\"\n[key_server]\npublish = \"cached\"\n";
    let errors = load(text, &[]).expect_err("two names").to_string();
    assert!(errors.contains("each of the server names has keys of its own"), "{errors}");
}
