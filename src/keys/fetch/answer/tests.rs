use super::*;
use crate::keys::fetch::testing::answer;
use crate::keys::testing::{TestServer, at, key_id, no_bans, request};

const ID: &str = "ed25519:1";

fn origin() -> TestServer {
    let mut server = TestServer::new("a.example");
    server.add_key(ID);
    server
}

fn notary() -> TestServer {
    let mut notary = TestServer::new("notary.example");
    notary.add_key("ed25519:auto");
    notary
}

fn pinned() -> Notary {
    let mut notary = notary();
    let pin = notary.add_key("ed25519:auto");
    let verify_keys = BTreeMap::from([(key_id("ed25519:auto"), pin)]);
    Notary { server_name: notary.name, verify_keys }
}

fn judge(body: &[u8]) -> Result<Judged, FetchError> {
    judge_by(&Judge { notary: Some(&pinned()), banned: &no_bans() }, body)
}

fn judge_by(judge: &Judge<'_>, body: &[u8]) -> Result<Judged, FetchError> {
    let answer = Answer::split(body, &[request(&origin(), &[ID])])?;
    judge.judge(&origin().name, &answer)
}

/// An honest answer with one document.
fn honest() -> Vec<u8> {
    notary().sign(&origin().document(), "ed25519:auto")
}

#[test]
fn r60_bad_entries_do_not_void_the_good_one() {
    let mut other = TestServer::new("b.example");
    other.add_key(ID);
    let foreign = notary().sign(&other.document(), "ed25519:auto");
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
    let sign = |document: Vec<u8>| notary().sign(&document, "ed25519:auto");
    // b's is without the notary's signature, c's contradict each other, d is not there, e was not
    // asked for.
    let mut e = TestServer::new("e.example");
    e.add_key(ID);
    let documents =
        [b.document(), sign(c.document()), sign(a.document()), sign(other_c.document())];
    let requests = [a, b, c, d].map(|server| request(server, &[ID]));
    let notary = pinned();
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
    assert!(reason.contains("no valid signature of notary.example"), "{reason}");
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
    let text = "129 documents in one answer; 128 at most".to_owned();
    assert_eq!(refused, FetchError::BadAnswer(text));
}
