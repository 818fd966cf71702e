//! Clients that go away before they are answered.

use super::*;

#[tokio::test]
async fn a_client_that_leaves_while_the_homeserver_works_is_counted_as_gone() {
    let homeserver = Homeserver::start().await;
    let silent = Silent::bind().await;
    let options = GateOptions { homeserver: Some(silent.setting()), ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    gate.origin("origin.example");
    let mut client = Client::plain(gate.address).await;
    client.send(&get().http1()).await;
    let _working = within("the request", silent.head()).await;
    drop(client);
    let refusals = within("the count", gate.refused()).await;
    assert_eq!(refusals, [("client_gone".to_owned(), 1.0)]);
}

#[tokio::test]
async fn a_client_that_leaves_amid_its_body_is_counted_as_gone() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    gate.origin("origin.example");
    let mut client = Client::plain(gate.address).await;
    client.send(&put(b"{}", b"{").header("content-length", "2").http1()).await;
    drop(client);
    let refusals = within("the count", gate.refused()).await;
    assert_eq!(refusals, [("client_gone".to_owned(), 1.0)]);
    assert_eq!(homeserver.connections(), 0);
}
