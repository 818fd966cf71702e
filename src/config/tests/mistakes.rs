//! Mistakes in the form of the settings, and the whole of what the operator is told.

use super::shows;

#[test]
fn nothing_is_set() {
    shows(
        r#""#,
        &[],
        r#"
error: server_name is not set
  --> fedgate.toml
   = help: write server_name = "example.org" at the top of the settings file, or set FEDGATE_SERVER_NAME

error: homeserver is not set
  --> fedgate.toml
   = help: write homeserver = "http://127.0.0.1:8008" at the top of the settings file, or set FEDGATE_HOMESERVER
"#,
    );
}

#[test]
fn an_unknown_setting_is_refused_with_the_likely_one() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
[listen]
adress = "0.0.0.0:8448"
"#,
        &[],
        r#"
error: unknown setting adress in [listen]
  --> fedgate.toml:4:1
   |
 4 | adress = "0.0.0.0:8448"
   | ^^^^^^
   = help: did you mean address? known here: address, tls_certificate, tls_private_key, trusted_proxies, other_paths, handover
"#,
    );
}

#[test]
fn a_setting_in_the_wrong_section_is_sent_home() {
    shows(
        r#"homeserver = "http://127.0.0.1:8008"
[listen]
server_name = "example.org"
"#,
        &[],
        r#"
error: unknown setting server_name in [listen]
  --> fedgate.toml:3:1
   |
 3 | server_name = "example.org"
   | ^^^^^^^^^^^
   = help: server_name belongs at the top of the file, before the first [section]; known here: address, tls_certificate, tls_private_key, trusted_proxies, other_paths, handover

error: server_name is not set
  --> fedgate.toml
   = help: write server_name = "example.org" at the top of the settings file, or set FEDGATE_SERVER_NAME
"#,
    );
}

#[test]
fn an_unknown_section_is_refused_with_the_known_ones() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
[prometheus]
address = "0.0.0.0:9090"
"#,
        &[],
        r#"
error: unknown setting or section prometheus at the top of the file
  --> fedgate.toml:3:2
   |
 3 | [prometheus]
   |  ^^^^^^^^^^
   = help: known here: server_name, server_names, homeserver, mode, listen, outbound, keys, notaries, pins, key_server, policy, events, admin, limits, log
"#,
    );
}

#[test]
fn both_forms_of_the_own_name() {
    shows(
        r#"server_names = ["example.org", "example.net"]
server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
"#,
        &[],
        r#"
error: server_name and server_names are both set
  --> fedgate.toml:1:16
   |
 1 | server_names = ["example.org", "example.net"]
   |                ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: keep one: server_name for a single name, server_names for several
"#,
    );
}

#[test]
fn a_number_for_a_time() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
[keys]
fetch_timeout = 8
"#,
        &[],
        r#"
error: keys.fetch_timeout = 8: it must be a text in quotes
  --> fedgate.toml:4:17
   |
 4 | fetch_timeout = 8
   |                 ^
   = help: write fetch_timeout = "8s" for seconds
"#,
    );
}

#[test]
fn a_time_without_a_unit() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
"#,
        &[("FEDGATE_LIMITS__HEAD_TIMEOUT", "10")],
        r#"
error: limits.head_timeout = "10": the unit is missing
  --> environment variable FEDGATE_LIMITS__HEAD_TIMEOUT="10"
   = help: write "10s" for seconds
"#,
    );
}

#[test]
fn a_misspelt_variable() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
"#,
        &[("FEDGATE_LISTEN_ADDRESS", "0.0.0.0:8448")],
        r#"
error: unknown environment variable FEDGATE_LISTEN_ADDRESS
  --> environment variable FEDGATE_LISTEN_ADDRESS="0.0.0.0:8448"
   = help: did you mean FEDGATE_LISTEN__ADDRESS? Otherwise unset it
"#,
    );
}

#[test]
fn a_text_without_quotes() {
    shows(
        r#"server_name = example.org
homeserver = "http://127.0.0.1:8008"
"#,
        &[],
        r#"
error: not valid TOML: string values must be quoted, expected literal string
  --> fedgate.toml:1:15
   |
 1 | server_name = example.org
   |               ^^^^^^^^^^^
   = help: texts need quotes, lists [brackets], and each name may appear once
"#,
    );
}

#[test]
fn a_section_as_a_setting() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
listen = "0.0.0.0:8448"
"#,
        &[],
        r#"
error: listen is a section, not a setting
  --> fedgate.toml:3:10
   |
 3 | listen = "0.0.0.0:8448"
   |          ^^^^^^^^^^^^^^
   = help: write [listen] on a line of its own and its settings, such as address, below it
"#,
    );
}

#[test]
fn several_mistakes_are_reported_at_once() {
    shows(
        r#"server_name = "example.org"
homeserver = "127.0.0.1:8008"

[listen]
address = "8448"
trusted_proxy = ["10.0.0.0/8"]

[limits]
body_bytes_max = "12 monkeys"
connections_max = 0
"#,
        &[("FEDGATE_LOG__FORMAT", "text")],
        r#"
error: homeserver = "127.0.0.1:8008": it is neither "http://host:port" nor "unix:/path"
  --> fedgate.toml:2:14
   |
 2 | homeserver = "127.0.0.1:8008"
   |              ^^^^^^^^^^^^^^^^
   = help: write "http://127.0.0.1:8008"

error: listen.address = "8448": it is not an IP address with a port
  --> fedgate.toml:5:11
   |
 5 | address = "8448"
   |           ^^^^^^
   = help: write "0.0.0.0:8448"; 0.0.0.0 means every IPv4 address of this machine, [::] every one

error: unknown setting trusted_proxy in [listen]
  --> fedgate.toml:6:1
   |
 6 | trusted_proxy = ["10.0.0.0/8"]
   | ^^^^^^^^^^^^^
   = help: did you mean trusted_proxies? known here: address, tls_certificate, tls_private_key, trusted_proxies, other_paths, handover

error: limits.body_bytes_max = "12 monkeys": it is not a size
  --> fedgate.toml:9:18
   |
 9 | body_bytes_max = "12 monkeys"
   |                  ^^^^^^^^^^^^
   = help: write a number of bytes, or a text with a unit: "12.5 MiB", "256 MiB", "1 GiB"

error: limits.connections_max = 0: the number is out of bounds
  --> fedgate.toml:10:19
    |
 10 | connections_max = 0
    |                   ^
    = help: write a number from 1 to 1000000000

error: log.format = "text": there is no such choice
  --> environment variable FEDGATE_LOG__FORMAT="text"
   = help: write one of "auto", "human", "json"
"#,
    );
}

#[test]
fn a_key_source_twice() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
[keys]
sources = ["origin", "homeserver", "origin"]
"#,
        &[],
        r#"
error: keys.sources has "origin" twice
  --> fedgate.toml:4:36
   |
 4 | sources = ["origin", "homeserver", "origin"]
   |                                    ^^^^^^^^
   = help: leave one of the two out
"#,
    );
}
