use super::*;
use crate::keys::testing::{ScriptedTransport, TestServer, banning, request};
use crate::net::NetError;

fn server() -> TestServer {
    let mut server = TestServer::new("a.example:8448");
    server.add_key("ed25519:1");
    server
}

async fn fetch(transport: Arc<ScriptedTransport>) -> Result<Vec<ServerKeys>, FetchError> {
    let fetcher = OriginFetcher::new(transport, banning([]));
    fetcher.fetch(&request(&server(), &["ed25519:1"])).await
}

#[tokio::test]
async fn the_servers_own_document_is_fetched() {
    let transport = ScriptedTransport::answers(200, server().document());
    let documents = fetch(Arc::clone(&transport)).await.unwrap();
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0].raw(), &server().document());
    let requests = transport.requests.lock().unwrap();
    let [(asked, question)] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(asked, &server().name);
    assert_eq!(question.target, "/_matrix/key/v2/server");
    assert_eq!(question.body, None);
    assert_eq!(question.response_bytes_max, SERVER_KEYS_BYTES_MAX);
}

#[tokio::test]
async fn r48_a_banned_key_is_refused() {
    let banned = *server().checked().verify_keys().values().next().unwrap().as_bytes();
    let transport = ScriptedTransport::answers(200, server().document());
    let fetcher = OriginFetcher::new(transport, banning([banned]));
    let error = fetcher.fetch(&request(&server(), &["ed25519:1"])).await.unwrap_err();
    assert!(matches!(error, FetchError::BadAnswer(_)), "{error:?}");
}

#[tokio::test]
async fn network_errors_are_passed_on() {
    let error = NetError::BlockedAddress("a.example is at 127.0.0.1".to_owned());
    let answer = fetch(ScriptedTransport::fails(error.clone())).await;
    assert_eq!(answer.unwrap_err(), FetchError::Net(error));
}
