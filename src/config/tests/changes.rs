//! What is said of a reload.

use super::MINIMAL;
use crate::config::changes::{Changes, NEED_RESTART};
use crate::config::{Config, Sources, options};

fn between(before: &str, after: &str) -> (String, String) {
    let [before, after] = [before, after].map(|text| {
        let sources = Sources::from_text("fedgate.toml", format!("{MINIMAL}{text}"));
        Config::load_with_settings(&sources).expect("they are right").1
    });
    let changes = Changes::between(&before, &after);
    (changes.to_string(), changes.needing_restart().to_string())
}

#[test]
fn r12_changes_are_named_with_both_values() {
    let (changes, restart) = between(
        "mode = \"observe\"\n[limits]\nhead_timeout = \"5s\"\n",
        "[keys]\nbanned_servers = [\"a.example\"]\n[events]\nadmin_api = \"http://h:1\"\n",
    );
    assert_eq!(
        changes,
        "mode: \"observe\" -> \"enforce\"; keys.banned_servers: [] -> [\"a.example\"]; \
         events.admin_api: unset -> \"http://h:1\"; limits.head_timeout: \"5s\" -> \"10s\""
    );
    assert_eq!(restart, "");
    assert_eq!(between("mode = \"enforce\"\n", "# nothing\n"), (String::new(), String::new()));
}

#[test]
fn r12_what_cannot_be_changed_in_place_is_told_apart() {
    let (_, restart) = between(
        "[listen]\naddress = \"127.0.0.1:1\"\nother_paths = \"forward\"\n",
        "[outbound]\nallowed_ranges = [\"10.0.0.0/8\"]\n[log]\nfilter = \"debug\"\n",
    );
    assert_eq!(
        restart,
        "listen.address: \"127.0.0.1:1\" -> unset; outbound.allowed_ranges: [] -> [\"10.0.0.0/8\"]"
    );
    let tls = |dir: &str| {
        format!(
            "[listen]\ntls_certificate = \"/{dir}/c.pem\"\ntls_private_key = \"/{dir}/k.pem\"\n"
        )
    };
    assert_eq!(between(&tls("a"), &tls("b")).1, "", "other files are read in place");
    assert_ne!(between("", &tls("b")).1, "", "TLS is switched on at a start");
}

#[test]
fn r12_credentials_are_not_shown_and_long_values_are_cut() {
    let proxy = |password: &str| {
        format!("[outbound]\nproxy = \"http://me:{password}@proxy.example:3128\"\n")
    };
    let (changes, _) = between(&proxy("secret1"), &proxy("secret2"));
    assert_eq!(
        changes,
        "outbound.proxy: \"http://***@proxy.example:3128\" -> \"http://***@proxy.example:3128\""
    );
    let names: Vec<String> = (0..50).map(|n| format!("\"s{n}.example\"")).collect();
    let (changes, _) = between("", &format!("[keys]\nbanned_servers = [{}]\n", names.join(",")));
    assert!(changes.ends_with("...") && changes.len() < 200, "{changes}");
}

#[test]
fn r12_repeated_sections_are_compared_whole() {
    const KEY: &str = "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw";
    let pin = |name: &str| {
        format!(
            "[[pins]]\nserver_name = \"{name}\"\nverify_keys = {{ \"ed25519:1\" = \"{KEY}\" }}\n"
        )
    };
    let (changes, restart) = between(&pin("a.example"), &pin("b.example"));
    assert!(changes.starts_with("pins: [{ server_name = \"a.example\""), "{changes}");
    assert_eq!(restart, "");
    assert_eq!(between(&pin("a.example"), &pin("a.example")).0, "");
}

#[test]
fn every_name_that_needs_a_restart_is_a_setting() {
    for name in NEED_RESTART {
        let is_there = options::single().any(|(section, option)| {
            let full = section.full_name(option);
            full == name || (name.ends_with('.') && full.starts_with(name))
        });
        assert!(is_there, "{name}");
    }
}
