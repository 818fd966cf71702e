//! Settings that are well written but wrong, and the whole of what the operator is told.

use super::shows;

#[test]
fn https_to_the_homeserver() {
    shows(
        r#"server_name = "example.org"
homeserver = "https://127.0.0.1:8448"
"#,
        &[],
        r#"
error: homeserver = "https://127.0.0.1:8448": fedgate speaks plain HTTP to the homeserver, not HTTPS
  --> fedgate.toml:2:14
   |
 2 | homeserver = "https://127.0.0.1:8448"
   |              ^^^^^^^^^^^^^^^^^^^^^^^^
   = help: name the homeserver's plain HTTP listener, as in "http://127.0.0.1:8448"; keep the two on one machine or one private network
"#,
    );
}

#[test]
fn a_path_after_the_homeserver() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008/"
"#,
        &[],
        r#"
error: homeserver = "http://127.0.0.1:8008/": a path has no place here: requests are forwarded with the path they came with
  --> fedgate.toml:2:14
   |
 2 | homeserver = "http://127.0.0.1:8008/"
   |              ^^^^^^^^^^^^^^^^^^^^^^^^
   = help: write "http://127.0.0.1:8008"
"#,
    );
}

#[test]
fn a_homeserver_without_a_port() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://synapse"
"#,
        &[],
        r#"
error: homeserver = "http://synapse": the port is missing
  --> fedgate.toml:2:14
   |
 2 | homeserver = "http://synapse"
   |              ^^^^^^^^^^^^^^^^
   = help: write "http://synapse:8008"
"#,
    );
}

#[test]
fn a_url_for_a_server_name() {
    shows(
        r#"server_name = "https://example.org/"
homeserver = "http://127.0.0.1:8008"
"#,
        &[],
        r#"
error: server_name = "https://example.org/": it is not a server name
  --> fedgate.toml:1:15
   |
 1 | server_name = "https://example.org/"
   |               ^^^^^^^^^^^^^^^^^^^^^^
   = help: write the part after the colon in user IDs, nothing else, as in "example.org"
"#,
    );
}

#[test]
fn a_certificate_without_its_key() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
[listen]
tls_certificate = "/etc/fedgate/tls/fullchain.pem"
"#,
        &[],
        r#"
error: listen.tls_certificate is set, but listen.tls_private_key is not
  --> fedgate.toml:4:19
   |
 4 | tls_certificate = "/etc/fedgate/tls/fullchain.pem"
   |                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: set listen.tls_private_key too, or neither to listen without TLS behind a proxy
"#,
    );
}

#[test]
fn a_notary_without_a_pinned_key() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
[[notaries]]
server_name = "matrix.org"
"#,
        &[],
        r#"
error: a notary without verify_keys: anyone could answer in its name
  --> fedgate.toml:3:1
   |
 3 | [[notaries]]
   | ^^^^^^^^^^^^
   = help: write verify_keys = { "ed25519:auto" = "..." } with the key the notary publishes at /_matrix/key/v2/server, learnt from a place you trust
"#,
    );
}

#[test]
fn a_notary_key_that_is_cut_short() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
[[notaries]]
server_name = "matrix.org"
verify_keys = { "ed25519:auto" = "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uY" }
"#,
        &[],
        r#"
error: notaries.verify_keys = "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uY": it is not the base64 of a 32-byte key
  --> fedgate.toml:5:34
   |
 5 | verify_keys = { "ed25519:auto" = "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uY" }
   |                                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   = help: copy the key exactly as the server publishes it, 43 characters
"#,
    );
}

#[test]
fn the_homeserver_is_fedgate_itself() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8449"
"#,
        &[],
        r#"
error: homeserver is fedgate's own listen.address 0.0.0.0:8449: requests would go in circles
  --> fedgate.toml:2:14
   |
 2 | homeserver = "http://127.0.0.1:8449"
   |              ^^^^^^^^^^^^^^^^^^^^^^^
   = help: name the port of the homeserver's own listener, as in "http://127.0.0.1:8008"
"#,
    );
}

#[test]
fn admin_on_the_public_port() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
[admin]
address = "0.0.0.0:8449"
"#,
        &[],
        r#"
error: admin.address 0.0.0.0:8449 and listen.address 0.0.0.0:8449 overlap
  --> fedgate.toml:4:11
   |
 4 | address = "0.0.0.0:8449"
   |           ^^^^^^^^^^^^^^
   = help: give admin another port, as in "127.0.0.1:9448": it must not be public
"#,
    );
}

#[test]
fn a_misspelt_choice() {
    shows(
        r#"mode = "enforced"
server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
"#,
        &[],
        r#"
error: mode = "enforced": there is no such choice
  --> fedgate.toml:1:8
   |
 1 | mode = "enforced"
   |        ^^^^^^^^^^
   = help: did you mean "enforce"? write one of "enforce", "observe"
"#,
    );
}

#[test]
fn a_bad_value_in_a_variable() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
"#,
        &[("FEDGATE_LISTEN__TRUSTED_PROXIES", "10.0.0.0/8,192.168.1.1")],
        r#"
error: listen.trusted_proxies has "192.168.1.1": a range needs the length of its prefix
  --> environment variable FEDGATE_LISTEN__TRUSTED_PROXIES="10.0.0.0/8,192.168.1.1"
   = help: for this one address, write "192.168.1.1/32"
"#,
    );
}

#[test]
fn a_range_with_bits_behind_the_prefix() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
[outbound]
allowed_ranges = ["10.1.2.3/8"]
"#,
        &[],
        r#"
error: outbound.allowed_ranges has "10.1.2.3/8": the address has bits behind the prefix, so it is unclear what is meant
  --> fedgate.toml:4:19
   |
 4 | allowed_ranges = ["10.1.2.3/8"]
   |                   ^^^^^^^^^^^^
   = help: write "10.0.0.0/8" for the range, or the address with its full length
"#,
    );
}

#[test]
fn more_witnesses_than_there_are() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
[keys]
agreement = 2
store = "keys.redb"
"#,
        &[],
        r#"
error: keys.store = "keys.redb": the path is not absolute
  --> fedgate.toml:5:9
   |
 5 | store = "keys.redb"
   |         ^^^^^^^^^^^
   = help: write the whole path, starting with /, so that it does not depend on where fedgate is started
"#,
    );
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
[keys]
agreement = 2
"#,
        &[],
        r#"
error: keys.agreement asks for 2 witnesses, and there are 1
  --> fedgate.toml:4:13
   |
 4 | agreement = 2
   |             ^
   = help: add [[notaries]] sections, or ask for less: the server itself and each notary count as one
"#,
    );
}

#[test]
fn buffers_smaller_than_one_body() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
[limits]
buffered_bytes_max = "1 MiB"
"#,
        &[],
        r#"
error: limits.buffered_bytes_max (1048576 bytes) is less than limits.body_bytes_max (13107200 bytes) and 720896 bytes for a request's head and buffers: the largest requests could never pass
  --> fedgate.toml:4:22
   |
 4 | buffered_bytes_max = "1 MiB"
   |                      ^^^^^^^
   = help: set limits.buffered_bytes_max to 13828096 or more
"#,
    );
}

#[test]
fn notaries_that_are_never_asked() {
    shows(
        r#"server_name = "example.org"
homeserver = "http://127.0.0.1:8008"
[keys]
sources = ["origin"]
[[notaries]]
server_name = "matrix.org"
verify_keys = { "ed25519:auto" = "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw" }
"#,
        &[],
        r#"
error: the notary matrix.org is never asked: keys.sources does not name "notaries"
  --> fedgate.toml:5:1
   |
 5 | [[notaries]]
   | ^^^^^^^^^^^^
   = help: add "notaries" to keys.sources, or take the [[notaries]] section out
"#,
    );
}
