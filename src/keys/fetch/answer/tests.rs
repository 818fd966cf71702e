use super::*;
use crate::keys::testing::{TestServer, at, no_bans, request};
use crate::proto::ed25519::SigningKey;
use crate::proto::sign::sign_json;

const ID: &str = "ed25519:1";

fn origin() -> TestServer {
    let mut server = TestServer::new("a.example");
    server.add_key(ID);
    server
}

/// The notary, with a current key and one that it has retired; both are pinned.
fn notary() -> (TestServer, BTreeMap<KeyId, VerifyKey>) {
    let mut notary = TestServer::new("notary.example");
    let pins = ["ed25519:auto", "ed25519:retired"].map(|id| {
        let key = notary.add_key(id);
        (KeyId::parse(id).unwrap(), key)
    });
    (notary, BTreeMap::from(pins))
}

fn answer(documents: &[Vec<u8>]) -> Vec<u8> {
    let documents: Vec<&str> =
        documents.iter().map(|document| std::str::from_utf8(document).unwrap()).collect();
    format!(r#"{{"server_keys":[{}]}}"#, documents.join(",")).into_bytes()
}

fn judge(body: &[u8]) -> Result<Judged, FetchError> {
    let (notary, pins) = notary();
    let judge = Judge { notary: Some((&notary.name, &pins)), banned: &no_bans() };
    judge.judge(&origin().name, body)
}

fn reason(body: &[u8]) -> String {
    match judge(body) {
        Err(FetchError::BadAnswer(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// An honest answer with one document.
fn honest() -> Vec<u8> {
    notary().0.sign(&origin().document(), "ed25519:auto")
}

#[test]
fn an_honest_answer_is_accepted() {
    let judged = judge(&answer(&[honest()])).unwrap();
    assert_eq!(judged.accepted.len(), 1);
    assert_eq!(judged.accepted[0].server_name(), &origin().name);
    assert_eq!(judged.refused, Vec::<String>::new());
}

#[test]
fn an_empty_answer_is_no_error() {
    let judged = judge(br#"{"server_keys":[]}"#).unwrap();
    assert!(judged.accepted.is_empty() && judged.refused.is_empty());
}

#[test]
fn r54_the_document_is_kept_byte_for_byte() {
    let pretty: serde_json::Value = serde_json::from_slice(&honest()).unwrap();
    let mut raw = serde_json::to_string_pretty(&pretty).unwrap();
    raw = raw.replace("a.example", r"a.ex\u0061mple");
    let body = format!("{{ \"x\": 1, \"server_keys\" : [ \n{raw}\t ] }}");
    let judged = judge(body.as_bytes()).unwrap();
    assert_eq!(judged.accepted[0].raw(), raw.as_bytes());
}

#[test]
fn r59_a_pinned_key_counts_although_the_notary_has_retired_it() {
    let signed = notary().0.sign(&origin().document(), "ed25519:retired");
    assert_eq!(judge(&answer(&[signed])).unwrap().accepted.len(), 1);
}

#[test]
fn r58_a_document_without_the_notarys_signature_is_refused() {
    let reason = reason(&answer(&[origin().document()]));
    assert!(reason.contains("no valid signature of notary.example"), "{reason}");
    assert!(reason.contains("ed25519:auto, ed25519:retired"), "{reason}");
}

#[test]
fn r58_the_homeserver_behind_us_need_not_sign() {
    let judge = Judge { notary: None, banned: &no_bans() };
    let body = answer(&[origin().document()]);
    assert_eq!(judge.judge(&origin().name, &body).unwrap().accepted.len(), 1);
}

#[test]
fn r58_a_signature_by_a_key_that_is_not_pinned_is_refused() {
    let (mut notary, _) = notary();
    notary.add_key("ed25519:other");
    let signed = notary.sign(&origin().document(), "ed25519:other");
    assert!(reason(&answer(&[signed])).contains("no valid signature of notary.example"));
}

#[test]
fn r58_a_pinned_id_with_another_key_is_refused() {
    let (mut notary, _) = notary();
    notary.add_seed("ed25519:auto", [1; 32]);
    let signed = notary.sign(&origin().document(), "ed25519:auto");
    assert!(reason(&answer(&[signed])).contains("no valid signature of notary.example"));
}

#[test]
fn r58_a_signature_in_the_name_of_another_notary_is_refused() {
    let (notary, _) = notary();
    let key = SigningKey::from_seed(&notary.keys["ed25519:auto"]);
    let id = KeyId::parse("ed25519:auto").unwrap();
    let other = ServerName::parse("other.example").unwrap();
    let signed = sign_json(&origin().document(), &other, &id, &key).unwrap();
    assert!(reason(&answer(&[signed])).contains("no valid signature of notary.example"));
}

#[test]
fn r51_a_document_of_another_server_is_refused() {
    let mut other = TestServer::new("b.example");
    other.add_key(ID);
    let signed = notary().0.sign(&other.document(), "ed25519:auto");
    assert_eq!(reason(&answer(&[signed])), "a document of b.example, not asked for");
}

#[test]
fn r51_names_are_compared_byte_for_byte() {
    let mut other = TestServer::new("A.example");
    other.add_key(ID);
    let signed = notary().0.sign(&other.document(), "ed25519:auto");
    assert_eq!(reason(&answer(&[signed])), "a document of A.example, not asked for");
}

#[test]
fn r52_a_document_the_notary_made_up_is_refused() {
    // The origin's name, a key of the notary's choice, and no signature by it.
    let unsigned = serde_json::to_vec(&origin().unsigned()).unwrap();
    let signed = notary().0.sign(&unsigned, "ed25519:auto");
    assert!(reason(&answer(&[signed])).contains("no valid signature of its server"));
}

#[test]
fn r52_a_document_the_notary_changed_is_refused() {
    let (notary, _) = notary();
    for (from, to) in [
        (r#""ed25519:1":{"key""#, r#""ed25519:2":{"key""#),
        (r#""valid_until_ts":1"#, r#""valid_until_ts":2"#),
        (r#""old_verify_keys":{}"#, r#""old_verify_keys":{"ed25519:0":{}}"#),
        ("org.example.filler", "org.example.killer"),
    ] {
        let document = String::from_utf8(origin().document()).unwrap();
        let changed = document.replacen(from, to, 1);
        assert_ne!(changed, document, "{from}");
        let signed = notary.sign(changed.as_bytes(), "ed25519:auto");
        let reason = reason(&answer(&[signed]));
        assert!(reason.contains("no valid signature of its server"), "{from}: {reason}");
    }
}

#[test]
fn r58_a_document_changed_after_the_notary_signed_it_is_refused() {
    let document = String::from_utf8(honest()).unwrap();
    let changed = document.replacen(r#""valid_until_ts":1"#, r#""valid_until_ts":2"#, 1);
    assert!(reason(&answer(&[changed.into_bytes()])).contains("no valid signature of notary"));
}

#[test]
fn r60_bad_entries_do_not_void_the_good_one() {
    let mut other = TestServer::new("b.example");
    other.add_key(ID);
    let foreign = notary().0.sign(&other.document(), "ed25519:auto");
    let bad = [b"{}".to_vec(), b"null".to_vec(), b"[1]".to_vec(), origin().document(), foreign];
    for at in 0..=bad.len() {
        let mut documents = bad.to_vec();
        documents.insert(at, honest());
        let judged = judge(&answer(&documents)).unwrap();
        assert_eq!(judged.accepted.len(), 1, "{at}");
        assert_eq!(judged.accepted[0].server_name(), &origin().name);
        assert_eq!(judged.refused.len(), REASONS_MAX);
    }
}

#[test]
fn one_key_id_with_two_keys_in_one_answer_refuses_the_answer() {
    let mut other = TestServer::new("a.example");
    other.add_seed(ID, [1; 32]);
    let other_current = notary().0.sign(&other.document(), "ed25519:auto");
    other.add_key("ed25519:2");
    other.retire(ID, at(1));
    let other_old = notary().0.sign(&other.document(), "ed25519:auto");
    for other in [other_current, other_old] {
        let reason = reason(&answer(&[honest(), other]));
        assert_eq!(reason, "shows two different keys as ed25519:1 in one answer");
    }
}

#[test]
fn several_documents_of_the_server_are_accepted() {
    let mut rotated = origin();
    rotated.add_key("ed25519:2");
    rotated.retire(ID, at(1));
    let rotated = notary().0.sign(&rotated.document(), "ed25519:auto");
    assert_eq!(judge(&answer(&[honest(), rotated])).unwrap().accepted.len(), 2);
}

#[test]
fn an_answer_that_is_no_unambiguous_object_is_refused() {
    let honest = String::from_utf8(answer(&[honest()])).unwrap();
    let cases = [
        String::new(),
        "<html>".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        r#"{"server_keys":{}}"#.to_owned(),
        r#"{"server_keys":null}"#.to_owned(),
        r#"{"server_keys":[],"server_keys":[]}"#.to_owned(),
        r#"{"server_keys":[],"server_\u006beys":[]}"#.to_owned(),
        honest.replacen(r#""server_name""#, r#""server_name":"a.example","server_name""#, 1),
        format!("{honest}{honest}"),
        honest.strip_suffix('}').unwrap().to_owned(),
    ];
    for body in cases {
        reason(body.as_bytes());
    }
}

#[test]
fn entries_are_bounded() {
    let body = answer(&vec![honest(); ANSWER_ENTRIES_MAX]);
    assert_eq!(judge(&body).unwrap().accepted.len(), ANSWER_ENTRIES_MAX);
    let body = answer(&vec![honest(); ANSWER_ENTRIES_MAX + 1]);
    assert_eq!(reason(&body), "65 documents in one answer; 64 at most");
}

#[test]
fn r48_a_banned_key_is_refused_from_a_notary_too() {
    let banned = *origin().checked().verify_keys().values().next().unwrap().as_bytes();
    let judge = Judge { notary: None, banned: &BannedKeys::new([banned]) };
    let judged = judge.judge(&origin().name, &answer(&[origin().document()]));
    assert!(matches!(judged, Err(FetchError::BadAnswer(_))), "{judged:?}");
}

#[test]
fn r61_a_query_names_keys_and_time() {
    let request = request(&origin(), &["ed25519:1", "ed25519:a+b"]);
    let query: serde_json::Value = serde_json::from_slice(&query(&request)).unwrap();
    let criteria = serde_json::json!({ "minimum_valid_until_ts": at(0).as_ms() });
    let expected = serde_json::json!({ "server_keys": { "a.example": {
        "ed25519:1": criteria,
        "ed25519:a+b": criteria,
    }}});
    assert_eq!(query, expected);
}

#[test]
fn a_deeply_nested_entry_is_refused_alone() {
    let deep = [vec![b'['; 400], vec![b']'; 400]].concat();
    let judged = judge(&answer(&[deep, honest()])).unwrap();
    assert_eq!((judged.accepted.len(), judged.refused.len()), (1, 1));
}
