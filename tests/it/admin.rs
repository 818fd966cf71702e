//! The operator's API, over a socket.

use serde_json::{Value, json};

use crate::support::{Answer, Client, Gate, GateOptions, Homeserver, Origin};

const TARGET: &str = "/_matrix/federation/v1/query/profile?user_id=%40a%3Agate.example";

const HOST: (&str, &str) = ("host", "127.0.0.1");

const JSON: (&str, &str) = ("content-type", "application/json");

async fn api(gate: &Gate, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let body = body.map(ToString::to_string);
    let mut client = Client::plain(gate.admin).await;
    let body = body.as_ref().map(String::as_bytes);
    client.request(method, &format!("/api/v1{path}"), &[HOST, JSON], body).await
}

async fn amend(gate: &Gate, change: Value) -> Value {
    let answer = api(gate, "POST", "/rules", Some(&change)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["changed"].clone()
}

/// A signed request of `origin`, and what becomes of it.
async fn ask(gate: &Gate, origin: &Origin) -> Answer {
    let signed = origin.authorize("GET", TARGET, None);
    let mut client = Client::plain(gate.address).await;
    client.request("GET", TARGET, &[("authorization", &signed)], None).await
}

#[tokio::test]
async fn a_pinned_key_passes_while_its_server_is_gone() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let origin = Origin::new("origin.example");
    let key = origin.key.verify_key().to_base64();
    let pin = json!({
        "pin": { "server_name": "origin.example", "key_id": origin.key_id.as_str(), "key": key }
    });
    assert_eq!(amend(&gate, pin.clone()).await, true);
    assert_eq!(amend(&gate, pin).await, false, "it is so already");
    assert_eq!(ask(&gate, &origin).await.status, 200);
    assert_eq!(gate.federation.fetches(), 0);
    let rules = api(&gate, "GET", "/rules", None).await.json();
    assert_eq!(rules["made"]["pins"]["origin.example"][origin.key_id.as_str()], key);
    assert_eq!(rules["settings"]["pins"], json!({}));
    let unpin =
        json!({ "unpin": { "server_name": "origin.example", "key_id": origin.key_id.as_str() } });
    assert_eq!(amend(&gate, unpin).await, true);
    assert_eq!(ask(&gate, &origin).await.status, 503);
}

#[tokio::test]
async fn a_ban_holds_from_then_on_and_over_a_restart() {
    let homeserver = Homeserver::start().await;
    let files = tempfile::tempdir().unwrap();
    let store = files.path().join("keys.redb").display().to_string();
    let options = || GateOptions { store: store.clone(), ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options()).await;
    let origin = gate.origin("origin.example");
    assert_eq!(ask(&gate, &origin).await.status, 200);
    let key = json!({ "key": origin.key.verify_key().to_base64() });
    assert_eq!(amend(&gate, json!({ "ban": key })).await, true);
    let answer = ask(&gate, &origin).await;
    assert_eq!((answer.status, &*answer.errcode()), (401, "M_UNAUTHORIZED"));
    assert_eq!(gate.refused().await, [("key_banned".to_owned(), 1.0)]);
    gate.stop().await;

    let gate = Gate::start_with(&homeserver, options()).await;
    let origin = gate.origin("origin.example");
    assert_eq!(ask(&gate, &origin).await.status, 401);
    assert_eq!(amend(&gate, json!({ "unban": key })).await, true);
    assert_eq!(ask(&gate, &origin).await.status, 200);
}

#[tokio::test]
async fn the_history_of_a_server_is_told() {
    let homeserver = Homeserver::start().await;
    let files = tempfile::tempdir().unwrap();
    let store = files.path().join("keys.redb").display().to_string();
    let gate = Gate::start_with(&homeserver, GateOptions { store, ..GateOptions::default() }).await;
    let origin = gate.origin("origin.example");
    assert_eq!(ask(&gate, &origin).await.status, 200);
    let path = "/keys/origin.example/history";
    let history = api(&gate, "GET", &format!("{path}?from=0&verify=true"), None).await.json();
    let entry = &history["entries"][0];
    let event = json!([{
        "event": "first_seen",
        "key_id": origin.key_id.as_str(),
        "key": origin.key.verify_key().to_base64(),
    }]);
    assert_eq!((&entry["events"], &entry["wrong"]), (&event, &Value::Null), "{history:#}");
    assert_eq!((&entry["source"], &entry["number"]), (&json!("origin"), &json!(0)));
    assert_eq!(history["next"], 1);
    let end = api(&gate, "GET", &format!("{path}?from=1"), None).await.json();
    assert_eq!(end, json!({ "server_name": "origin.example", "entries": [], "next": null }));
    for (method, path, status) in [
        ("GET", "/keys/b.example/history", 404),
        ("GET", "/keys/origin.example/history?from=x", 400),
        ("GET", "/keys/origin.example/history?verify=perhaps", 400),
        ("DELETE", "/keys/origin.example/history", 405),
    ] {
        let answer = api(&gate, method, path, None).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn keys_are_listed_flushed_and_refreshed() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let origin = gate.origin("origin.example");
    assert_eq!(ask(&gate, &origin).await.status, 200);
    let list = api(&gate, "GET", "/keys", None).await.json();
    assert_eq!(list, json!({ "servers": ["origin.example"], "next": null }));
    let list = api(&gate, "GET", "/keys?after=origin.example", None).await.json();
    assert_eq!(list["servers"], json!([]));

    let refreshed = api(&gate, "POST", "/keys/origin.example/refresh", Some(&json!({}))).await;
    assert_eq!(refreshed.json(), json!({ "server_name": "origin.example", "valid_keys": 1 }));
    assert_eq!(gate.federation.fetches(), 2);
    let inquiry = api(&gate, "POST", "/keys/origin.example/inquiry", Some(&json!({}))).await.json();
    assert_eq!(inquiry["verdict"]["accepted"], true, "{inquiry:#}");
    assert_eq!(inquiry["memory"]["keys"][0]["key_id"], origin.key_id.as_str());
    assert_eq!(gate.federation.fetches(), 3, "a look, but it asks");
    let offline = Some(&json!({ "offline": true }));
    let look = api(&gate, "POST", "/keys/origin.example/inquiry", offline).await.json();
    assert_eq!((&look["sources"], &look["verdict"]["accepted"]), (&json!([]), &json!(true)));
    assert_eq!(gate.federation.fetches(), 3);
    let nobody = api(&gate, "POST", "/keys/gone.example/refresh", Some(&json!({}))).await;
    assert_eq!(nobody.status, 502);
    assert!(nobody.json()["error"].as_str().unwrap().contains("origin: "), "{nobody:?}");

    let history = api(&gate, "GET", "/keys/origin.example/history?verify=true", None).await;
    assert_eq!(history.status, 503, "there is no store: {history:?}");
    let flushed = api(&gate, "DELETE", "/keys/origin.example", None).await.json();
    assert_eq!(flushed["flushed"][0]["key_id"], origin.key_id.as_str());
    let again = api(&gate, "DELETE", "/keys/origin.example", None).await;
    assert_eq!(again.status, 404, "{again:?}");
    assert_eq!(api(&gate, "GET", "/keys", None).await.json()["servers"], json!([]));
}

#[tokio::test]
async fn what_is_not_asked_properly_is_refused_with_the_reason() {
    let homeserver = Homeserver::start().await;
    let gate = Gate::start(&homeserver).await;
    let ban = json!({ "ban": { "server_name": "a.example" } }).to_string();
    let long = format!("\"{}\"", "x".repeat(20_000));
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cases: [(&str, &str, Headers<'_>, &str, u16, &str); 14] = [
        ("GET", "/nothing", &[HOST], "", 404, "here are"),
        ("PUT", "/rules", &[HOST, JSON], &ban, 405, "GET, POST only"),
        ("GET", "/keys/a.example", &[HOST], "", 405, "DELETE only"),
        ("GET", "/keys/a.example/refresh", &[HOST], "", 405, "POST only"),
        ("GET", "/keys?before=a", &[HOST], "", 400, "after=SERVER_NAME"),
        ("DELETE", "/keys/a%20b", &[HOST], "", 400, "server name"),
        ("POST", "/rules", &[HOST, JSON], "{", 400, "EOF"),
        ("POST", "/rules", &[HOST, JSON], r#"{"ban":{}}"#, 400, "a ban is of"),
        ("POST", "/rules", &[HOST, JSON], &long, 413, "bytes"),
        ("POST", "/keys/a/inquiry", &[HOST, JSON], r#"{"key_ids":["x"]}"#, 400, "not a key ID"),
        ("POST", "/keys/a/inquiry", &[HOST, JSON], r#"{"ids":[]}"#, 400, "unknown field"),
        ("POST", "/rules", &[HOST], &ban, 415, "application/json"),
        ("POST", "/rules", &[HOST, JSON, ("origin", "null")], &ban, 403, "browsers"),
        ("POST", "/rules", &[("host", "evil.example"), JSON], &ban, 403, "Host"),
    ];
    for (method, path, headers, body, status, text) in cases {
        let mut client = Client::plain(gate.admin).await;
        let body = (!body.is_empty()).then_some(body.as_bytes());
        let answer = client.request(method, &format!("/api/v1{path}"), headers, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(text), "{method} {path}: {error}");
        assert_eq!(answer.headers.contains_key("allow"), status == 405);
    }
    let rules = api(&gate, "GET", "/rules", None).await.json();
    assert_eq!(rules["made"]["banned_servers"], json!([]), "nothing has come of it");
}

#[tokio::test]
async fn with_a_token_nobody_else_is_served() {
    let homeserver = Homeserver::start().await;
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("token");
    std::fs::write(&path, "0123456789abcdef0123\n").unwrap();
    let token_file = Some(path.display().to_string());
    let gate =
        Gate::start_with(&homeserver, GateOptions { token_file, ..GateOptions::default() }).await;
    let mut client = Client::plain(gate.admin).await;
    let without = client.request("GET", "/api/v1/rules", &[HOST], None).await;
    assert_eq!(without.status, 401);
    assert_eq!(without.headers["www-authenticate"], "Bearer");
    let bearing = ("authorization", "Bearer 0123456789abcdef0123");
    let with = client.request("GET", "/api/v1/rules", &[("host", "fedgate"), bearing], None).await;
    assert_eq!(with.status, 200);
    assert_eq!(client.request("GET", "/metrics", &[HOST], None).await.status, 200);
}
