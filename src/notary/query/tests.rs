use super::*;

fn post(body: &str) -> Result<Vec<Wanted>, String> {
    of_post(body.as_bytes(), 3).map_err(|error| error.to_string())
}

fn get(target: &str) -> Result<Wanted, String> {
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    of_get(path, query).map_err(|error| error.to_string())
}

fn name(text: &str) -> ServerName {
    ServerName::parse(text).unwrap()
}

fn key(id: &str, minimum: Option<u64>) -> WantedKey {
    let minimum_valid_until = minimum.map(Timestamp::from_ms);
    WantedKey { id: KeyId::parse(id).unwrap(), minimum_valid_until }
}

#[test]
fn a_get_names_a_server_perhaps_a_key_and_a_time() {
    let plain = get("/_matrix/key/v2/query/a.example").unwrap();
    assert_eq!(
        (plain.server, plain.keys, plain.minimum_valid_until),
        (name("a.example"), vec![], None)
    );
    let late = get("/_matrix/key/v2/query/a.example?minimum_valid_until_ts=5").unwrap();
    assert_eq!(late.minimum_valid_until, Some(Timestamp::from_ms(5)));
    let one = get("/_matrix/key/v2/query/a.example:8448/ed25519:1?minimum_valid_until_ts=5");
    assert_eq!(one.unwrap().keys, [key("ed25519:1", Some(5))]);
    let escaped = get("/_matrix/key/v2/query/%5B::1%5D%3A8448/ed25519%3Aa%2Bb?x=y").unwrap();
    assert_eq!(
        (escaped.server, &escaped.keys[..]),
        (name("[::1]:8448"), &[key("ed25519:a+b", None)][..])
    );
    assert_eq!(get("/_matrix/key/v2/query/a.example/").unwrap().keys, []);
}

#[test]
fn a_malformed_get_is_refused_with_the_reason() {
    for (target, reason) in [
        ("/_matrix/key/v2/query/", "is no server name"),
        ("/_matrix/key/v2/query/a%00b", "is no server name"),
        ("/_matrix/key/v2/query/a%ffb", "not UTF-8"),
        ("/_matrix/key/v2/query/a/ed25519", "not a key ID"),
        ("/_matrix/key/v2/query/a?minimum_valid_until_ts=", "not an integer"),
        ("/_matrix/key/v2/query/a?minimum_valid_until_ts=-1", "not an integer"),
        ("/_matrix/key/v2/query/a?minimum_valid_until_ts=1e3", "not an integer"),
        ("/_matrix/key/v2/query/a?minimum_valid_until_ts=9007199254740992", "not an integer"),
        ("/_matrix/key/v2/query/a?minimum_valid_until_ts=99999999999999999999", "not an integer"),
        ("/_matrix/key/v2/query/a?minimum_valid_until_ts=1&minimum_valid_until_ts=2", "twice"),
    ] {
        let error = get(target).unwrap_err();
        assert!(error.contains(reason), "{target}: {error}");
    }
}

#[test]
fn r64_r65_a_post_asks_for_servers_and_keys() {
    assert_eq!(post(r#"{"server_keys":{}}"#), Ok(vec![]));
    let wanted = post(
        r#"{"server_keys":{"a.example":{},"b.example":{"ed25519:1":{},
            "ed25519:2":{"minimum_valid_until_ts":0,"x":[]}}},"y":1}"#,
    );
    let wanted = wanted.unwrap();
    assert_eq!((&wanted[0].server, &wanted[0].keys[..]), (&name("a.example"), &[][..]));
    assert_eq!(wanted[1].keys, [key("ed25519:1", None), key("ed25519:2", Some(0))]);
}

#[test]
fn a_malformed_post_is_refused_with_the_reason() {
    let deep = format!(r#"{{"server_keys":{{"a":{}1{}}}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let long = format!(r#"{{"server_keys":{{"{}":{{}}}}}}"#, "x".repeat(5_000));
    for (body, reason) in [
        ("", "not"),
        ("[]", "not a JSON object"),
        ("{}", "server_keys is missing"),
        (r#"{"server_keys":[]}"#, "not a JSON object"),
        (r#"{"server_keys":{"a":[]}}"#, "not a JSON object"),
        (r#"{"server_keys":{"a":{"ed25519:1":1}}}"#, "not a JSON object"),
        (r#"{"server_keys":{"a":{},"a":{}}}"#, "repeated"),
        (r#"{"server_keys":{"a b":{}}}"#, "\"a b\" is no server name"),
        (r#"{"server_keys":{"a\u0000":{}}}"#, "is no server name"),
        (r#"{"server_keys":{"a":{"1":{}}}}"#, "not a key ID"),
        (r#"{"server_keys":{"a":{"ed25519:1":{"minimum_valid_until_ts":"1"}}}}"#, "not an integer"),
        (r#"{"server_keys":{"a":{"ed25519:1":{"minimum_valid_until_ts":1.0}}}}"#, "not an integer"),
        (r#"{"server_keys":{"a":{"ed25519:1":{"minimum_valid_until_ts":-1}}}}"#, "not an integer"),
        (r#"{"server_keys":{"a":{},"b":{},"c":{},"d":{}}}"#, "more than 3 servers"),
        (&deep, "nested too deep"),
        (&long, "is no server name"),
    ] {
        let error = post(body).unwrap_err();
        assert!(error.contains(reason), "{body:.80}: {error}");
        assert!(error.len() < 400, "bounded: {}", error.len());
    }
    assert!(of_post(&[0xff, 0xfe], 1).is_err());
}
