use std::collections::BTreeMap;

use super::*;
use crate::keys::fetch::answer::ANSWER_BYTES_MAX;
use crate::keys::fetch::testing::answer;
use crate::keys::testing::{ScriptedTransport, TestServer, banning, key_id, key_metrics, request};
use crate::net::NetError;
use crate::net::trace::{Outcome, Trace};

fn origin() -> TestServer {
    let mut server = TestServer::new("a.example");
    server.add_key("ed25519:1");
    server
}

fn notary() -> TestServer {
    let mut notary = TestServer::new("notary.example");
    notary.add_key("ed25519:auto");
    notary
}

async fn fetch(transport: Arc<ScriptedTransport>) -> Result<Vec<ServerKeys>, FetchError> {
    let verify_keys = BTreeMap::from([(key_id("ed25519:auto"), notary().add_key("ed25519:auto"))]);
    let notary = Notary { server_name: notary().name, verify_keys };
    let fetcher = NotaryFetcher::new(transport, banning([]), notary, key_metrics());
    assert_eq!(fetcher.source().to_string(), "notary notary.example");
    fetcher.fetch(&request(&origin(), &["ed25519:1"])).await
}

#[tokio::test]
async fn r61_the_notary_is_asked_by_post() {
    let signed = notary().sign(&origin().document(), "ed25519:auto");
    let transport = ScriptedTransport::answers(200, answer(std::slice::from_ref(&signed)));
    let documents = fetch(Arc::clone(&transport)).await.unwrap();
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0].raw(), &signed);
    let requests = transport.requests.lock().unwrap();
    let [(asked, question)] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(asked.as_str(), "notary.example");
    assert_eq!(question.target, "/_matrix/key/v2/query");
    assert_eq!(question.response_bytes_max, ANSWER_BYTES_MAX);
    let query = question.body.as_deref().unwrap();
    let expected =
        br#"{"server_keys":{"a.example":{"ed25519:1":{"minimum_valid_until_ts":1700000000000}}}}"#;
    assert_eq!(query, expected);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let answer = fetch(ScriptedTransport::answers(404, b"{}".to_vec())).await;
    assert_eq!(answer.unwrap_err(), FetchError::Status(404));
    let error = NetError::Dns("no such host".to_owned());
    let answer = fetch(ScriptedTransport::fails(error.clone())).await;
    assert_eq!(answer.unwrap_err(), FetchError::Net(error));
}

#[tokio::test]
async fn documents_that_were_left_out_are_told_of() {
    let signed = notary().sign(&origin().document(), "ed25519:auto");
    let documents = [signed, origin().document()];
    let trace = Trace::on();
    let asked = KeyRequest { trace: trace.clone(), ..request(&origin(), &["ed25519:1"]) };
    let verify_keys = BTreeMap::from([(key_id("ed25519:auto"), notary().add_key("ed25519:auto"))]);
    let notary = Notary { server_name: notary().name, verify_keys };
    let transport = ScriptedTransport::answers(200, answer(&documents));
    let fetcher =
        NotaryFetcher::new(Arc::clone(&transport) as _, banning([]), notary, key_metrics());
    assert_eq!(fetcher.fetch(&asked).await.unwrap().len(), 1);
    assert!(transport.requests.lock().unwrap()[0].1.trace.is_on(), "the trace goes along");
    let (steps, _) = trace.steps();
    let [step] = steps.as_slice() else { panic!("{steps:?}") };
    let Some(Outcome::Refused { text }) = &step.outcome else { panic!("{step:?}") };
    assert!(text.contains("no valid signature of notary.example"), "{text}");
}
