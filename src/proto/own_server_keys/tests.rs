use super::*;
use crate::proto::ed25519::SigningKey;
use crate::proto::limits::KEYS_PER_DOCUMENT_MAX;
use crate::proto::test_vectors::{id, name, spec_key};

const ONE: &str = "ed25519 a_new YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n";
const TWO: &str = "ed25519 a_new YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n\
                   ed25519 a_old BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc\n";
const VALID_UNTIL: Timestamp = Timestamp::from_ms(1_652_262_000_000);

/// Old keys: their IDs and when they expired.
fn old(keys: &[(&str, u64)]) -> BTreeMap<KeyId, OldVerifyKey> {
    let key = SigningKey::from_seed(&[9; 32]).verify_key();
    keys.iter()
        .map(|(key_id, ms)| {
            let expired_ts = Timestamp::from_ms(*ms);
            (id(key_id), OldVerifyKey { key: key.clone(), expired_ts })
        })
        .collect()
}

fn document(
    file: &str,
    old_verify_keys: &BTreeMap<KeyId, OldVerifyKey>,
    valid_until_ts: Timestamp,
) -> Result<ServerKeys, OwnServerKeysError> {
    OwnServerKeys {
        server_name: &name("domain"),
        signing_keys: &SigningKeys::parse(file.as_bytes()).unwrap(),
        old_verify_keys,
        valid_until_ts,
    }
    .sign()
}

/// Both documents were made with Synapse's `response_json_object` (`local_key_resource.py`) on
/// signedjson 1.1.4 and canonicaljson 2.0.0.
#[test]
fn the_document_is_synapses_byte_for_byte() {
    let made = document(ONE, &old(&[]), VALID_UNTIL).unwrap();
    let synapses = br#"{"old_verify_keys":{},"server_name":"domain","signatures":{"domain":{"ed25519:a_new":"H+nLy1zqMbgjhGDPaINSyIWBA+PHO3uLMLKodhzaoNlFkE2DRsn+9h9mYF1Okckiq8iiO9p2KoquVnMMvzkpDg"}},"valid_until_ts":1652262000000,"verify_keys":{"ed25519:a_new":{"key":"XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI"}}}"#;
    assert_eq!(made.raw(), &synapses[..]);

    let made = document(TWO, &old(&[("ed25519:a_gone", 1_600_000_000_000)]), VALID_UNTIL).unwrap();
    let synapses = br#"{"old_verify_keys":{"ed25519:a_gone":{"expired_ts":1600000000000,"key":"/RckOFqgx1tk+3jNYC+h2ZH96/drE8WO1wLqyDXp9hg"}},"server_name":"domain","signatures":{"domain":{"ed25519:a_new":"NQPMPv9/puBqmztIyYhQIMwg36u9Ds5FlIX7L+U/Tsf7d3gF4WEx2Lqx5hBuIVb6bX9xE7U1aBfs6BqcIPk8AA","ed25519:a_old":"RFwYsimlTYCLc8R+5L4TE5TqRKG0aH2uA+m8Cvae6WMeMF5kEHf6a+aTzvCp3AVzsBHpH7jljbI2t3DeTQusBw"}},"valid_until_ts":1652262000000,"verify_keys":{"ed25519:a_new":{"key":"XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI"},"ed25519:a_old":{"key":"6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw"}}}"#;
    assert_eq!(made.raw(), &synapses[..]);
}

#[test]
fn r71_what_was_put_in_is_read_out_and_every_current_key_has_signed() {
    let retired = old(&[("ed25519:gone", 5), ("ed25519:i+b2", 0)]);
    let made = document(TWO, &retired, VALID_UNTIL).unwrap();
    assert_eq!(made.server_name(), &name("domain"));
    assert_eq!(made.valid_until_ts(), VALID_UNTIL);
    assert!(made.old_verify_keys().iter().eq(&retired));
    assert_eq!(made.verify_keys().len(), 2);
    assert_eq!(made.verify_keys()[&id("ed25519:a_new")], spec_key().verify_key());
    let received = UnverifiedServerKeys::parse(made.raw().clone()).unwrap();
    for (key_id, key) in made.verify_keys().iter() {
        assert!(received.is_signed_by(&name("domain"), key_id, key), "{key_id}");
    }
}

#[test]
fn what_others_would_not_believe_is_not_published() {
    let refused = |retired: &[(&str, u64)], valid_until_ts| {
        document(TWO, &old(retired), valid_until_ts).unwrap_err()
    };
    let both = OwnServerKeysError::CurrentAndOld(id("ed25519:a_old"));
    assert_eq!(refused(&[("ed25519:a_old", 5)], VALID_UNTIL), both);
    assert!(both.to_string().contains("does not come back"));
    let foreign = OwnServerKeysError::NotEd25519(id("rsa:1"));
    assert_eq!(refused(&[("rsa:1", 5)], VALID_UNTIL), foreign);

    let late = Timestamp::MAX.plus_ms(1);
    let endless = OwnServerKeysError::Refused(ServerKeysError::InvalidValidUntil);
    assert_eq!(refused(&[], late), endless);
    let dropped = refused(&[("ed25519:x", late.as_ms())], VALID_UNTIL);
    assert!(matches!(dropped, OwnServerKeysError::Dropped(key, _) if key == "ed25519:x"));

    let many: Vec<String> = (0..=KEYS_PER_DOCUMENT_MAX).map(|n| format!("ed25519:{n}")).collect();
    let many: Vec<(&str, u64)> = many.iter().map(|key_id| (&**key_id, 5)).collect();
    let too_many = ServerKeysError::TooManyKeys("old_verify_keys");
    assert_eq!(refused(&many, VALID_UNTIL), OwnServerKeysError::Refused(too_many));
    assert!(document(TWO, &old(&many[1..]), VALID_UNTIL).is_ok());
}
