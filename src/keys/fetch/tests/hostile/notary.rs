//! What a notary may answer (R58 to R60), and what it may not.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::config::Notary;
use crate::keys::fetch::testing::answer;
use crate::proto::ed25519::SigningKey;
use crate::proto::sign::sign_json;

/// The notary's two pinned keys. It has retired the second itself.
const PINNED: [&str; 2] = ["ed25519:auto", "ed25519:retired"];

fn notary() -> TestServer {
    let mut notary = TestServer::new("notary.example");
    for id in PINNED {
        notary.add_key(id);
    }
    notary
}

/// The document with the notary's signature, or as it is where it is no object to sign.
pub(super) fn signed_by_notary(document: &[u8]) -> Vec<u8> {
    signed_as("notary.example", PINNED[0], &notary().keys[PINNED[0]], document)
}

fn signed_as(server: &str, id: &str, seed: &[u8; 32], document: &[u8]) -> Vec<u8> {
    let server = ServerName::parse(server).unwrap();
    let key = SigningKey::from_seed(seed);
    sign_json(document, &server, &key_id(id), &key).unwrap_or_else(|_| document.to_vec())
}

/// Asks a notary that answers like this.
pub(super) async fn ask_notary(status: u16, body: Vec<u8>) -> Result<Vec<ServerKeys>, FetchError> {
    let keys = PINNED.map(|id| (key_id(id), notary().add_key(id)));
    let pinned = Notary { server_name: notary().name, verify_keys: BTreeMap::from(keys) };
    let transport = ScriptedTransport::answers(status, body);
    let fetcher = NotaryFetcher::new(transport, banning([]), pinned, key_metrics());
    fetcher.fetch(&request(&origin(), &[ID])).await
}

/// Judges an answer's body.
async fn body(body: Vec<u8>, verdicts: &[Verdict]) {
    check("notary", &ask_notary(200, body).await, verdicts[0]);
}

/// Judges an answer with these documents.
async fn documents(documents: Vec<Vec<u8>>, verdicts: &[Verdict]) {
    body(answer(&documents), verdicts).await;
}

async fn status(status: u16, verdicts: &[Verdict]) {
    let body = answer(&[signed_by_notary(&origin().document())]);
    check("notary", &ask_notary(status, body).await, verdicts[0]);
}

/// An honest document.
fn honest() -> Vec<u8> {
    signed_by_notary(&origin().document())
}

/// Another server's document, honest too.
fn foreign() -> Vec<u8> {
    let mut other = TestServer::new("b.example");
    other.add_key(ID);
    signed_by_notary(&other.document())
}

/// A document of the origin with another body under the same ID, by somebody who has that key.
fn contradicting(retired: bool) -> Vec<u8> {
    let mut other = with_keys(&["ed25519:2"]);
    other.add_seed(ID, [1; 32]);
    if retired {
        other.retire(ID, at(1));
    }
    signed_by_notary(&other.document())
}

/// A document with all the rights but the origin's signature, which the notary made up.
fn made_up() -> Value {
    let mut liar = TestServer::new("a.example");
    liar.add_seed("ed25519:liar", [1; 32]);
    liar.unsigned()
}

const HONEST: Verdict = Ok("ed25519:1");

const NOT_BY_NOTARY: Verdict =
    Err("unacceptable answer: no valid signature of notary.example by its configured keys \
     (ed25519:auto, ed25519:retired)");

const NOT_BY_ORIGIN: Verdict = Err(
    "unacceptable answer: the key document carries no valid signature of its server by a key in \
     its verify_keys",
);

rows! { documents;
    an_honest_answer: vec![honest()] => HONEST;
    no_document: vec![] => Ok("");

    // The notary's signature (R58, R59).
    a_document_the_notary_has_not_signed: vec![origin().document()] => NOT_BY_NOTARY;
    a_signature_by_a_pinned_key_it_has_retired: {
        vec![notary().sign(&origin().document(), "ed25519:retired")]
    } => HONEST;
    a_signature_by_a_key_that_is_not_pinned: {
        let mut notary = notary();
        notary.add_key("ed25519:new");
        vec![notary.sign(&origin().document(), "ed25519:new")]
    } => NOT_BY_NOTARY;
    a_signature_by_another_key_under_a_pinned_id: {
        vec![signed_as("notary.example", PINNED[0], &[1; 32], &origin().document())]
    } => NOT_BY_NOTARY;
    a_wrong_signature_beside_a_right_one: {
        let document = signed_as("notary.example", PINNED[0], &[1; 32], &origin().document());
        vec![notary().sign(&document, "ed25519:retired")]
    } => HONEST;
    a_signature_in_the_name_of_another_notary: {
        let seed = notary().keys[PINNED[0]];
        vec![signed_as("other.example", PINNED[0], &seed, &origin().document())]
    } => NOT_BY_NOTARY;
    a_signature_in_the_name_of_the_origin: {
        let seed = notary().keys[PINNED[0]];
        vec![signed_as("a.example", PINNED[0], &seed, &origin().document())]
    } => NOT_BY_NOTARY;
    a_padded_signature_of_the_notary: {
        let mut document: Value = serde_json::from_slice(&honest()).unwrap();
        let signature = &mut document["signatures"]["notary.example"][PINNED[0]];
        *signature = format!("{}==", signature.as_str().unwrap()).into();
        vec![document.to_string().into_bytes()]
    } => HONEST;
    a_document_changed_after_the_notary_signed: {
        let document = String::from_utf8(honest()).unwrap();
        vec![document.replacen(r#""valid_until_ts":1"#, r#""valid_until_ts":2"#, 1).into_bytes()]
    } => NOT_BY_NOTARY;

    // What the notary says of others (R51, R52).
    a_document_the_notary_made_up: {
        vec![signed_by_notary(made_up().to_string().as_bytes())]
    } => NOT_BY_ORIGIN;
    a_made_up_document_signed_by_the_notary_as_the_origin: {
        let document = made_up().to_string();
        let seed = notary().keys[PINNED[0]];
        let document = signed_as("a.example", "ed25519:liar", &seed, document.as_bytes());
        vec![signed_by_notary(&document)]
    } => NOT_BY_ORIGIN;
    a_time_the_notary_changed: {
        vec![signed_by_notary(&respelt(r#""valid_until_ts":1"#, r#""valid_until_ts":2"#))]
    } => NOT_BY_ORIGIN;
    an_id_the_notary_changed: {
        vec![signed_by_notary(&respelt(r#""ed25519:1":{"key""#, r#""ed25519:2":{"key""#))]
    } => NOT_BY_ORIGIN;
    a_key_the_notary_added: vec![signed_by_notary(&tampered(|document| {
        document["verify_keys"]["ed25519:liar"] = made_up()["verify_keys"]["ed25519:liar"].clone();
    }))] => NOT_BY_ORIGIN;
    a_key_the_notary_retired: vec![signed_by_notary(&tampered(|document| {
        document["old_verify_keys"] = json!({ "ed25519:0": { "key": key(ID), "expired_ts": 1 } });
    }))] => NOT_BY_ORIGIN;
    a_member_the_notary_took_out: vec![signed_by_notary(&tampered(|document| {
        document.as_object_mut().unwrap().remove("org.example.filler").unwrap();
    }))] => NOT_BY_ORIGIN;
    a_member_the_notary_put_in: vec![signed_by_notary(&tampered(|document| {
        document["org.example.seen_ts"] = json!(1);
    }))] => NOT_BY_ORIGIN;
    the_notarys_own_document: vec![notary().document()] =>
        Err("unacceptable answer: a document of notary.example, not asked for");
    a_server_nobody_asked_for: vec![foreign()] =>
        Err("unacceptable answer: a document of b.example, not asked for");
    a_server_nobody_asked_for_beside: vec![foreign(), honest(), foreign()] => HONEST;
    a_server_whose_name_differs_in_case: {
        let mut other = TestServer::new("A.EXAMPLE");
        other.add_key(ID);
        vec![signed_by_notary(&other.document())]
    } => Err("unacceptable answer: a document of A.EXAMPLE, not asked for");
    a_document_without_the_key_asked_for: {
        vec![signed_by_notary(&with_keys(&["ed25519:2"]).document())]
    } => Ok("ed25519:2");
    a_document_that_has_run_out: {
        let mut server = origin();
        server.valid_until = at(0);
        vec![signed_by_notary(&server.document())]
    } => HONEST;

    // Several documents (R60, MSC4499).
    the_same_document_twice: vec![honest(), honest()] => Ok("ed25519:1 | ed25519:1");
    an_older_and_a_newer_document: {
        let mut rotated = with_keys(&[ID, "ed25519:2"]);
        rotated.retire(ID, at(1));
        vec![honest(), signed_by_notary(&rotated.document())]
    } => Ok("ed25519:1 | ed25519:2, old ed25519:1");
    one_id_with_two_bodies: vec![honest(), contradicting(false)] =>
        Err("unacceptable answer: shows two different keys as ed25519:1 in one answer");
    one_id_with_two_bodies_the_other_way_round: vec![contradicting(false), honest()] =>
        Err("unacceptable answer: shows two different keys as ed25519:1 in one answer");
    one_id_with_another_body_among_the_old: vec![honest(), contradicting(true)] =>
        Err("unacceptable answer: shows two different keys as ed25519:1 in one answer");
    another_body_in_a_document_that_is_refused: {
        let mut liar = TestServer::new("a.example");
        liar.add_seed(ID, [1; 32]);
        vec![liar.document(), honest()]
    } => HONEST;
    entries_that_are_no_documents_beside: {
        let odd = ["null", "1", "\"\"", "[]", "{}", "[{}]", "true"];
        odd.iter().map(|text| text.as_bytes().to_vec()).chain([honest()]).collect()
    } => HONEST;
    a_document_within_a_list: vec![[b"[", honest().as_slice(), b"]"].concat()] =>
        not_json!("the text is not a JSON object at byte 0");
    a_document_as_text: {
        vec![serde_json::to_vec(&String::from_utf8(honest()).unwrap()).unwrap()]
    } => not_json!("the text is not a JSON object at byte 0");
    a_deeply_nested_entry_beside: {
        vec![[vec![b'['; 400], vec![b']'; 400]].concat(), honest()]
    } => HONEST;
    a_document_that_is_too_large_beside: {
        let mut large = origin();
        large.filler = 65_536;
        vec![signed_by_notary(&large.document()), honest()]
    } => HONEST;
    as_many_documents_as_can_be: vec![foreign(); 63].into_iter().chain([honest()]).collect() =>
        HONEST;
    too_many_documents: vec![honest(); 65] =>
        Err("unacceptable answer: 65 documents in one answer; 64 at most");
    many_reasons_to_refuse: vec![foreign(); 6] =>
        unacceptable!(
            "a document of b.example, not asked for; a document of b.example, not asked for; \
             a document of b.example, not asked for; a document of b.example, not asked for"
        );
}

rows! { body;
    an_answer_that_is_empty: Vec::new() => unacceptable!("the text is not JSON at byte 0");
    an_answer_that_is_html: b"<html>".to_vec() => unacceptable!("the text is not JSON at byte 0");
    an_answer_that_is_a_list: [b"[", honest().as_slice(), b"]"].concat() =>
        unacceptable!("the text is not a JSON object at byte 0");
    an_answer_that_is_one_document: honest() => unacceptable!("the member server_keys is missing");
    an_answer_without_server_keys: b"{}".to_vec() =>
        unacceptable!("the member server_keys is missing");
    an_answer_that_is_an_error: br#"{"errcode":"M_UNKNOWN","error":"x"}"#.to_vec() =>
        unacceptable!("the member server_keys is missing");
    server_keys_that_are_null: br#"{"server_keys":null}"#.to_vec() =>
        unacceptable!(
            "server_keys is no list: invalid type: null, expected a sequence at line 1 \
             column 4"
        );
    server_keys_by_name: {
        [br#"{"server_keys":{"a.example":"#, honest().as_slice(), b"}}"].concat()
    } =>
        unacceptable!(
            "server_keys is no list: invalid type: map, expected a sequence at line 1 column 0"
        );
    server_keys_twice: [br#"{"server_keys":[],"#, &answer(&[honest()])[1..]].concat() =>
        unacceptable!("a member name is repeated within one object at byte 18");
    server_keys_twice_by_an_escape: {
        [br#"{"server_\u006beys":[],"#, &answer(&[honest()])[1..]].concat()
    } => unacceptable!("a member name is repeated within one object at byte 23");
    other_members_beside: {
        [br#"{"next":[{}],"failures":{"b.example":{}},"#, &answer(&[honest()])[1..]].concat()
    } => HONEST;
    two_answers: [answer(&[honest()]), answer(&[honest()])].concat() =>
        unacceptable!("something follows the JSON value at byte 456");
    half_an_answer: answer(&[honest()])[..100].to_vec() =>
        unacceptable!("the text is not JSON at byte 100");
    a_repeated_member_in_one_of_two_documents: {
        let document = String::from_utf8(honest()).unwrap();
        let twice = r#""server_name":"a.example","server_name""#;
        answer(&[document.replacen("\"server_name\"", twice, 1).into_bytes(), honest()])
    } => unacceptable!("a member name is repeated within one object at byte 88");
    white_space_around_everything: {
        let document: Value = serde_json::from_slice(&honest()).unwrap();
        let document = serde_json::to_string_pretty(&document).unwrap();
        format!(" {{ \"server_keys\" : [ \n{document}\t ] }}\n").into_bytes()
    } => HONEST;
}

rows! { status;
    status_201: 201 => Err("answered with HTTP status 201");
    status_302: 302 => Err("answered with HTTP status 302");
    status_400: 400 => Err("answered with HTTP status 400");
    status_404: 404 => Err("answered with HTTP status 404");
    status_429: 429 => Err("answered with HTTP status 429");
    status_502: 502 => Err("answered with HTTP status 502");
}
