//! Hostile and odd key documents, notary answers and servers: a test for each row of the tables, by
//! which it is accepted with exactly these keys or refused with exactly this text.

/// One test for each row. `judge` gets what is given and the verdicts on it.
macro_rules! rows {
    ($judge:ident; $($name:ident: $given:expr => $($verdict:expr),+;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                $judge($given, &[$($verdict),+]).await;
            }
        )+
    };
}

/// The verdict on an answer that is refused for this reason.
macro_rules! unacceptable {
    ($($reason:literal),+) => {
        Err(concat!("unacceptable answer: ", $($reason),+))
    };
}

/// The verdict on a document that is refused for this reason.
macro_rules! not_json {
    ($reason:literal) => {
        unacceptable!("the key document is not acceptable JSON: ", $reason)
    };
}

mod documents;
mod homeserver;
mod json;
mod notary;
mod rebinding;
mod transport;

use serde_json::Value;

use super::*;
use crate::keys::testing::{
    ScriptedTransport, TestServer, at, banning, key_id, key_metrics, request,
};
use crate::proto::ed25519::VerifyKey;

/// The key of the origin that most documents list and are signed with.
const ID: &str = "ed25519:1";

/// What a source's answer comes to: the keys of each accepted document, or the text of the refusal.
type Verdict = Result<&'static str, &'static str>;

/// The server whose keys are asked for.
fn origin() -> TestServer {
    with_keys(&[ID])
}

/// The same with these keys.
fn with_keys(ids: &[&str]) -> TestServer {
    let mut origin = TestServer::new("a.example");
    for id in ids {
        origin.add_key(id);
    }
    origin
}

/// The origin's key of that ID, in base64.
fn key(id: &str) -> String {
    TestServer::new("a.example").add_key(id).to_base64()
}

/// The origin's document after a change, then signed.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut document = origin().unsigned();
    change(&mut document);
    origin().sign(document.to_string().as_bytes(), ID)
}

/// The origin's document, changed after it was signed.
fn tampered(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut document = serde_json::from_slice(&origin().document()).unwrap();
    change(&mut document);
    document.to_string().into_bytes()
}

/// The origin's signed document with one piece of its text exchanged.
fn respelt(from: &str, to: &str) -> Vec<u8> {
    let document = String::from_utf8(origin().document()).unwrap();
    let changed = document.replacen(from, to, 1);
    assert_ne!(changed, document, "{from}");
    changed.into_bytes()
}

/// What was fetched, in the words of a [`Verdict`]: the key IDs, those of retired keys marked, and
/// marked as well where a body is not the one that the origin has under this ID.
fn outcome(fetched: &Result<Vec<ServerKeys>, FetchError>) -> Result<String, String> {
    let documents = fetched.as_ref().map_err(FetchError::to_string)?;
    let shown = |id: &KeyId, body: &VerifyKey| {
        let usual = body.to_base64() == key(id.as_str());
        format!("{id}{}", if usual { "" } else { " with another body" })
    };
    let documents = documents.iter().map(|keys| {
        assert_eq!(keys.server_name().as_str(), "a.example");
        let current = keys.verify_keys().iter().map(|(id, key)| shown(id, key));
        let old = keys.old_verify_keys().iter().map(|(id, old)| shown(id, &old.key));
        let old = old.map(|old| format!("old {old}"));
        current.chain(old).collect::<Vec<_>>().join(", ")
    });
    Ok(documents.collect::<Vec<_>>().join(" | "))
}

/// Holds what was fetched against the verdict.
fn check(source: &str, fetched: &Result<Vec<ServerKeys>, FetchError>, verdict: Verdict) {
    let expected = verdict.map(str::to_owned).map_err(str::to_owned);
    assert_eq!(outcome(fetched), expected, "from the {source}");
}
