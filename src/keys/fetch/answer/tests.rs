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
    let (notary, verify_keys) = notary();
    let notary = Notary { server_name: notary.name, verify_keys };
    judge_by(&Judge { notary: Some(&notary), banned: &no_bans() }, body)
}

fn judge_by(judge: &Judge<'_>, body: &[u8]) -> Result<Judged, FetchError> {
    let answer = Answer::split(body, &[request(&origin(), &[ID])])?;
    judge.judge(&origin().name, &answer)
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
    assert_eq!(judge_by(&judge, &body).unwrap().accepted.len(), 1);
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
        assert_eq!(judged.refused.len(), 1, "the one in its name");
        let split = Answer::split(&answer(&documents), &[request(&origin(), &[ID])]).unwrap();
        assert_eq!(split.strays.len(), REASONS_MAX);
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
    let text = "65 documents in one answer; 64 at most".to_owned();
    assert_eq!(judge(&body).unwrap_err(), FetchError::Net(NetError::TooLarge(text)));
}

#[test]
fn r48_a_banned_key_is_refused_from_a_notary_too() {
    let banned = *origin().checked().verify_keys().values().next().unwrap().as_bytes();
    let judge = Judge { notary: None, banned: &BannedKeys::new([banned]) };
    let judged = judge_by(&judge, &answer(&[origin().document()]));
    assert!(matches!(judged, Err(FetchError::BadAnswer(_))), "{judged:?}");
}

#[test]
fn r61_a_query_names_keys_and_time() {
    let mut other = TestServer::new("b.example");
    other.add_key(ID);
    let mut later = request(&other, &[ID, "ed25519:2"]);
    later.minimum_valid_until = at(7);
    let requests =
        [request(&origin(), &["ed25519:1", "ed25519:a+b"]), later, request(&other, &[ID])];
    let query: serde_json::Value = serde_json::from_slice(&query(&requests)).unwrap();
    let criteria = |ms| serde_json::json!({ "minimum_valid_until_ts": at(ms).as_ms() });
    let expected = serde_json::json!({ "server_keys": {
        "a.example": { "ed25519:1": criteria(0), "ed25519:a+b": criteria(0) },
        // Two questions for one server ask for what serves both.
        "b.example": { "ed25519:1": criteria(7), "ed25519:2": criteria(7) },
    }});
    assert_eq!(query, expected);
}

#[test]
fn the_bound_in_bytes_grows_with_the_names() {
    let bounds = [0, 1, 2, 17, 18, 32, usize::MAX].map(answer_bytes_max);
    let mib = 1 << 20;
    assert_eq!(bounds, [mib, mib, mib + 65_536, 2 * mib, 2 * mib, 2 * mib, 2 * mib]);
}

/// R60 in an answer for several servers: each has what is its own, and no other's defect.
#[test]
fn r60_an_answer_for_several_servers_is_split_by_name() {
    let servers = ["a.example", "b.example", "c.example", "d.example"].map(|name| {
        let mut server = TestServer::new(name);
        server.add_key(ID);
        server
    });
    let [a, b, c, d] = &servers;
    let mut other_c = TestServer::new("c.example");
    other_c.add_seed(ID, [1; 32]);
    let sign = |document: Vec<u8>| notary().0.sign(&document, "ed25519:auto");
    // b's repeats a member, c's contradict each other, d is not there, e was not asked for.
    let repeated = String::from_utf8(sign(b.document())).unwrap();
    let repeated = repeated.replacen('{', r#"{"verify_keys":{},"#, 1).into_bytes();
    let mut e = TestServer::new("e.example");
    e.add_key(ID);
    let documents = [repeated, sign(c.document()), sign(a.document()), sign(other_c.document())];
    let requests = [a, b, c, d].map(|server| request(server, &[ID]));
    let (notary_server, verify_keys) = notary();
    let notary = Notary { server_name: notary_server.name, verify_keys };
    let judge = Judge { notary: Some(&notary), banned: &no_bans() };
    let answered = Answer::split(&answer(&documents), &requests).unwrap();
    let judged = |server: &TestServer| {
        judge.judge(&server.name, &answered).map(|judged| judged.accepted.len())
    };
    let text = |judged: Result<usize, FetchError>| match judged {
        Err(FetchError::BadAnswer(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(judged(a), Ok(1));
    let reason = text(judged(b));
    assert!(reason.contains("not acceptable JSON"), "{reason}");
    assert_eq!(text(judged(c)), "shows two different keys as ed25519:1 in one answer");
    assert_eq!(judged(d), Ok(0));
    assert_eq!(judged(&e), Ok(0));

    let answered = Answer::split(&answer(&[sign(e.document()), honest()]), &requests).unwrap();
    assert_eq!(answered.strays, ["a document of e.example, not asked for"]);
    assert_eq!(judge.judge(&a.name, &answered).unwrap().accepted.len(), 1);
}

#[test]
fn one_server_cannot_use_up_the_entries_of_all() {
    let mut other = TestServer::new("b.example");
    other.add_key(ID);
    let requests = [request(&origin(), &[ID]), request(&other, &[ID])];
    let judge = Judge { notary: None, banned: &no_bans() };
    let mut documents = vec![other.document(); ANSWER_ENTRIES_MAX + 1];
    documents.push(origin().document());
    let answered = Answer::split(&answer(&documents), &requests).unwrap();
    assert_eq!(judge.judge(&origin().name, &answered).unwrap().accepted.len(), 1);
    let refused = judge.judge(&other.name, &answered).unwrap_err();
    let text = "65 documents of b.example; 64 at most".to_owned();
    assert_eq!(refused, FetchError::BadAnswer(text));
    documents.resize(2 * ANSWER_ENTRIES_MAX + 1, b"{}".to_vec());
    let refused = Answer::split(&answer(&documents), &requests).unwrap_err();
    assert!(matches!(refused, FetchError::Net(NetError::TooLarge(_))), "{refused:?}");
}

#[test]
fn a_deeply_nested_entry_is_refused_alone() {
    let deep = [vec![b'['; 4_000], vec![b']'; 4_000]].concat();
    let deep_member = [br#"{"x":"#.as_slice(), &deep, b","].concat();
    let judged = judge(&answer(&[deep, honest()])).unwrap();
    assert_eq!((judged.accepted.len(), judged.refused.len()), (1, 0));
    let honest = String::from_utf8(honest()).unwrap();
    let nested = String::from_utf8(deep_member).unwrap();
    let inside = honest.replacen('{', &nested, 1).into_bytes();
    assert!(reason(&answer(&[inside])).contains("not acceptable JSON"));
}
