//! The bodies that JSONTestSuite calls no JSON (`tests/vectors/jsontestsuite/`), rightly signed
//! (threats B9).

use std::path::Path;

use super::Kind;
use super::lane::Lane;
use super::signing::{Meant, Signer};
use crate::support::{Client, OWN_NAME, within};

/// Inputs for one connection: after 16 refusals the next one would have to wait.
const ON_ONE_CONNECTION: usize = 10;

const TARGET: &str = "/_matrix/federation/v1/user/keys/query";

#[tokio::test]
async fn b9_no_body_that_is_no_json_reaches_the_homeserver() {
    let mut lane = Lane::start().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/jsontestsuite");
    let meant = Meant::parse(&format!("POST {TARGET} {{}}")).unwrap();
    let auth = meant.sign(Signer::One, OWN_NAME).auth;
    let headers = [("authorization", auth.as_str())];
    let mut client = Client::plain(lane.gate(Kind::Http1).address).await;
    let mut count = 0;
    for path in super::sorted_entries(&folder) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.starts_with("n_") {
            continue;
        }
        if count % ON_ONE_CONNECTION == 0 {
            client = Client::plain(lane.gate(Kind::Http1).address).await;
        }
        let body = std::fs::read(&path).unwrap();
        let asked = client.request("POST", TARGET, &headers, Some(&body));
        let answer = within(&name, asked).await;
        let code = answer.errcode();
        assert!(answer.status == 400 && code != "M_UNAUTHORIZED", "{name}: {answer:?}");
        lane.check_silence().unwrap_or_else(|error| panic!("{name}: {error}"));
        count += 1;
    }
    lane.check_serves(&mut client).await.unwrap();
    println!("{count} bodies");
    assert!(count > 150, "{count}");
}
