//! Which of several places a setting is taken from.

use super::super::{Homeserver, Sources};
use super::{MINIMAL, from, load};

fn homeserver_port(homeserver: &Homeserver) -> u16 {
    match homeserver {
        Homeserver::Tcp { port, .. } => *port,
        Homeserver::Unix(path) => panic!("not TCP: {}", path.display()),
    }
}

fn environment(env: &[(&str, &str)]) -> Sources {
    Sources::default().with_env(env.iter().map(|(name, value)| (name.into(), value.into())))
}

#[test]
fn command_line_counts_over_environment_over_file() {
    let env = [("FEDGATE_HOMESERVER", "http://127.0.0.1:2")];
    let file = from(Some(MINIMAL), &environment(&[])).expect("right");
    let env_only = from(Some(MINIMAL), &environment(&env)).expect("right");
    let flag = environment(&env).with_flag(
        "--homeserver",
        "homeserver",
        Some("http://127.0.0.1:3".to_owned()),
    );
    let flag = from(Some(MINIMAL), &flag).expect("right");
    let ports = [file, env_only, flag].map(|config| homeserver_port(&config.homeserver));
    assert_eq!(ports, [8008, 2, 3]);
}

#[test]
fn the_environment_alone_is_enough() {
    let env = environment(&[
        ("FEDGATE_SERVER_NAME", "example.org"),
        ("FEDGATE_HOMESERVER", "unix:/run/synapse/federation.sock"),
    ]);
    let config = from(None, &env).expect("right");
    assert_eq!(config.homeserver, Homeserver::Unix("/run/synapse/federation.sock".into()));
}

#[test]
fn lists_numbers_and_sizes_come_from_the_environment() {
    let env = [
        ("FEDGATE_KEYS__SOURCES", "origin, notaries"),
        ("FEDGATE_LIMITS__BODY_BYTES_MAX", "1000"),
        ("FEDGATE_LIMITS__BUFFERED_BYTES_MAX", "1.5 MiB"),
        ("FEDGATE_LIMITS__CONNECTIONS_MAX", "7"),
        ("FEDGATE_LISTEN__TRUSTED_PROXIES", ""),
        ("FEDGATE_LISTEN__ADDRESS", "[::]:1234"),
    ];
    let config = load(MINIMAL, &env).expect("right");
    assert_eq!(config.keys.sources.len(), 2);
    assert_eq!(config.limits.body_bytes_max, 1_000);
    assert_eq!(config.limits.buffered_bytes_max, 1_572_864);
    assert_eq!(config.limits.connections_max, 7);
    assert!(config.listen.trusted_proxies.is_empty());
    assert_eq!(config.listen.address.port(), 1234);
}

#[test]
fn one_own_name_in_the_environment_replaces_several_in_the_file() {
    let file = "server_names = [\"a.example\", \"b.example\"]\nhomeserver = \"http://h:1\"\n";
    let config = load(file, &[("FEDGATE_SERVER_NAME", "c.example")]).expect("right");
    let names: Vec<&str> = config.server_names.iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["c.example"]);
}

#[test]
fn variables_of_others_and_of_kubernetes_are_passed_over() {
    let env = [
        ("PATH", "/bin"),
        ("FEDGATE_SERVICE_HOST", "10.0.0.1"),
        ("FEDGATE_SERVICE_PORT", "8448"),
        ("FEDGATE_SERVICE_PORT_FEDERATION", "8448"),
        ("FEDGATE_PORT", "tcp://10.0.0.1:8448"),
        ("FEDGATE_PORT_8448_TCP", "tcp://10.0.0.1:8448"),
        ("FEDGATE_PORT_8448_TCP_ADDR", "10.0.0.1"),
    ];
    load(MINIMAL, &env).expect("right");
}

#[test]
fn the_file_may_be_named_by_a_variable_but_a_flag_counts_more() {
    let named = || environment(&[("FEDGATE_CONFIG", "/nonexistent/variable.toml")]);
    let errors = super::Config::load(&named()).expect_err("no such file").to_string();
    assert!(errors.contains("/nonexistent/variable.toml"), "{errors}");
    for sources in [
        named().with_file(Some("/nonexistent/flag.toml".into())),
        Sources::default()
            .with_file(Some("/nonexistent/flag.toml".into()))
            .with_env([("FEDGATE_CONFIG".into(), "/nonexistent/variable.toml".into())]),
    ] {
        let errors = super::Config::load(&sources).expect_err("no such file").to_string();
        assert!(errors.contains("/nonexistent/flag.toml"), "{errors}");
    }
}

#[test]
fn tls_decides_the_port() {
    let tls = "[listen]\ntls_certificate = \"/c.pem\"\ntls_private_key = \"/k.pem\"\n";
    let config = load(&format!("{MINIMAL}{tls}"), &[]).expect("right");
    assert_eq!(config.listen.address.to_string(), "0.0.0.0:8448");
}
