//! Pins and bans.

use super::{MINIMAL, load, shows};

const KEY: &str = "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw";

#[test]
fn pins_and_bans_are_read() {
    let config = load(
        &format!(
            "{MINIMAL}[keys]\nbanned_key_ids = [\"a.example:8448 ed25519:1\"]\nbanned_servers = \
             [\"b.example\"]\n[[pins]]\nserver_name = \"c.example\"\nverify_keys = \
             {{ \"ed25519:1\" = \"{KEY}\", \"ed25519:2\" = \"{KEY}\" }}\n"
        ),
        &[],
    )
    .expect("they are right");
    let [(server, id)] = &config.keys.banned_key_ids[..] else { panic!("one") };
    assert_eq!((server.as_str(), id.as_str()), ("a.example:8448", "ed25519:1"));
    assert_eq!(config.keys.banned_servers[0].as_str(), "b.example");
    let [pin] = &config.pins[..] else { panic!("one") };
    assert_eq!(pin.server_name.as_str(), "c.example");
    let pinned = pin.verify_keys.iter().map(|(id, key)| (id.as_str(), key.to_base64()));
    assert_eq!(
        pinned.collect::<Vec<_>>(),
        [("ed25519:1", KEY.to_owned()), ("ed25519:2", KEY.to_owned())]
    );
}

#[test]
fn bans_come_from_the_environment_too() {
    let env = [("FEDGATE_KEYS__BANNED_SERVERS", "a.example, b.example")];
    let config = load(MINIMAL, &env).expect("they are right");
    assert_eq!(config.keys.banned_servers.len(), 2);
}

#[test]
fn a_ban_of_half_a_key_id() {
    shows(
        "server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:8008\"\n[keys]\n\
         banned_key_ids = [\"ed25519:1\"]\n",
        &[],
        r#"
error: keys.banned_key_ids has "ed25519:1": it is not a server name and a key ID
  --> fedgate.toml:4:19
   |
 4 | banned_key_ids = ["ed25519:1"]
   |                   ^^^^^^^^^^^
   = help: write both with a space between, as in "example.org ed25519:auto"
"#,
    );
}

#[test]
fn a_pin_without_a_key() {
    shows(
        "server_name = \"example.org\"\nhomeserver = \"http://127.0.0.1:8008\"\n[[pins]]\n\
         server_name = \"a.example\"\n",
        &[],
        r#"
error: a pin without verify_keys: nothing is pinned
  --> fedgate.toml:3:1
   |
 3 | [[pins]]
   | ^^^^^^^^
   = help: write verify_keys = { "ed25519:auto" = "..." } with the server's key, learnt from a place you trust
"#,
    );
}

#[test]
fn pins_that_contradict_something() {
    let pin = |server: &str| {
        format!(
            "[[pins]]\nserver_name = \"{server}\"\nverify_keys = {{ \"ed25519:1\" = \"{KEY}\" }}\n"
        )
    };
    let a = pin("a.example");
    for (settings, error) in [
        (format!("{a}{a}"), "error: a.example is pinned twice"),
        (
            format!("[keys]\nbanned = [\"{KEY}\"]\n{a}"),
            "error: a key of a.example is pinned, and banned by keys.banned",
        ),
        (
            format!("[keys]\nbanned_servers = [\"a.example\"]\n{a}"),
            "error: a.example is pinned, and banned by keys.banned_servers",
        ),
    ] {
        let errors = load(&format!("{MINIMAL}{settings}"), &[]).expect_err("it is a contradiction");
        assert!(errors.to_string().starts_with(error), "{errors}");
    }
}
