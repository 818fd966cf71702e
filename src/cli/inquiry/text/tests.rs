//! From JSON, as a running fedgate would send it.

use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_795_255_200_000;
const DAY: u64 = 86_400_000;

fn read(json: Value) -> Inquiry {
    serde_json::from_value(json).expect("an inquiry")
}

fn key(id: &str, state: &str) -> Value {
    json!({
        "key_id": id, "key": "AAAA", "state": state,
        "effective_until_ts": NOW + 5 * DAY, "effective_until": "",
        "expired_ts": null, "expired": null,
        "learnt_from": "origin", "first_seen_ts": NOW - 3 * DAY, "first_seen": "",
        "witnesses": ["origin", "notary matrix.org"], "other": null,
    })
}

fn document() -> Value {
    json!({
        "source": "origin", "fetched_at_ts": NOW, "fetched_at": "",
        "valid_until_ts": NOW + 30 * DAY, "valid_until": "",
        "effective_until_ts": NOW + 7 * DAY, "effective_until": "",
        "verify_keys": [{"key_id": "ed25519:1", "key": "AAAA", "expired_ts": null, "expired": null}],
        "old_verify_keys":
            [{"key_id": "ed25519:0", "key": "BBBB", "expired_ts": NOW - DAY, "expired": ""}],
        "signatures": [
            {"server": "a.example", "key_id": "ed25519:1", "valid": true},
            {"server": "matrix.org", "key_id": "ed25519:auto", "valid": null},
        ],
        "dropped": [{"key_id": "rsa:\u{1b}[31m", "reason": "the algorithm is not ed25519"}],
    })
}

fn step(at_ms: u64, took_ms: Option<u64>, depth: u8, action: &Value, outcome: &Value) -> Value {
    json!({"at_ms": at_ms, "took_ms": took_ms, "depth": depth, "action": action, "outcome": outcome})
}

/// One step of every kind.
fn steps() -> Vec<Value> {
    [well_known_steps(), further_steps()].concat()
}

/// The steps of getting a well-known document.
fn well_known_steps() -> Vec<Value> {
    vec![
        step(
            0,
            Some(0),
            0,
            &json!({"kind": "server_name", "name": "a.example"}),
            &json!({"kind": "name", "form": "name_alone"}),
        ),
        step(
            0,
            Some(48),
            0,
            &json!({"kind": "well_known", "url": "https://a.example/x"}),
            &json!({"kind": "delegated", "server": "matrix.example.net", "remembered": false,
                "remaining_s": 86_400}),
        ),
        step(
            1,
            Some(7),
            1,
            &json!({"kind": "addresses", "host": "a.example"}),
            &json!({"kind": "found", "addresses": ["192.0.2.1", "::1"], "answered_by": "memory", "no_such_name": false}),
        ),
        step(
            8,
            Some(9),
            1,
            &json!({"kind": "dial", "to": "192.0.2.1:443", "proxy": "the proxy socks5://p:1"}),
            &json!({"kind": "connected"}),
        ),
        step(
            17,
            Some(11),
            1,
            &json!({"kind": "tls", "name": "a.example", "sni": true}),
            &json!({"kind": "secured", "version": "TLS 1.3", "certificate": null}),
        ),
        step(
            28,
            Some(20),
            1,
            &json!({"kind": "http", "method": "GET", "host": "a.example", "target": "/x"}),
            &json!({"kind": "answer", "status": 302, "bytes": 0, "location": "https://\n"}),
        ),
    ]
}

/// One step of each other kind.
fn further_steps() -> Vec<Value> {
    let certificate = json!({
        "names": ["matrix.example.net", "\u{9b}2J"], "names_left_out": 491, "issuer": "CN=R11",
        "not_before_ts": NOW - 40 * DAY, "not_after_ts": NOW - DAY,
    });
    let target = json!({"priority": 10, "weight": 5, "host": "srv.example.com", "port": 8443});
    let none = Value::Null;
    vec![
        step(
            48,
            Some(0),
            0,
            &json!({"kind": "srv", "name": "_matrix-fed._tcp.matrix.example.net"}),
            &json!({"kind": "targets", "targets": [target], "answered_by": "name_server", "no_such_name": false}),
        ),
        step(
            49,
            Some(0),
            0,
            &json!({"kind": "judge", "address": "10.0.0.1"}),
            &json!({"kind": "blocked", "range": "10.0.0.0/8", "purpose": "private",
                "setting": "outbound.allowed_ranges"}),
        ),
        step(
            50,
            Some(30),
            0,
            &json!({"kind": "tls", "name": "192.0.2.2", "sni": false}),
            &json!({"kind": "not_secured", "text": "certificate expired", "meaning":
                "the certificate has expired", "certificate": certificate}),
        ),
        step(
            80,
            Some(0),
            0,
            &json!({"kind": "document"}),
            &json!({"kind": "refused", "text": "é"}),
        ),
        step(81, None, 0, &json!({"kind": "dial", "to": "192.0.2.3:8443", "proxy": null}), &none),
    ]
}

#[test]
fn all_there_is_is_told() {
    let mut conflict = key("ed25519:1", "conflict");
    conflict["other"] = json!({"key": "CCCC", "source": "origin", "at_ts": NOW, "at": ""});
    let told = text(&read(json!({
        "server": "a.example", "at_ts": NOW, "at": "", "took_ms": 83,
        "memory": {"keys": [key("ed25519:1", "valid")], "documents": []},
        "store": {"state": "locked", "detail": "keys.store: another process holds it", "kept": null},
        "back_off": {"reason": "failed", "remaining_s": 53, "causes": "origin: \u{202e}"},
        "sources": [
            {"source": "origin", "asked_for": [], "took_ms": 83, "steps": steps(),
                "steps_left_out": 4, "documents": [document()], "error": null},
            {"source": "notary matrix.org", "asked_for": ["ed25519:1"], "took_ms": 12, "steps": [],
                "steps_left_out": 0, "documents": [],
                "error": {"kind": "status", "text": "answered with HTTP status 404"}},
        ],
        "verdict": {"accepted": false, "summary": "no", "advice": "ask",
            "keys": [key("ed25519:2", "valid"), conflict, key("ed25519:3", "unknown")]},
    })));
    assert_eq!(told, include_str!("snapshot.txt"), "{told}");
}

#[test]
fn what_others_wrote_is_escaped_and_bounded() {
    let hostile = format!("\u{1b}]0;x\u{7}\r\n\u{9b}31m\u{202e}\u{7f}{}", "x".repeat(9_999));
    let mut inquiry = read(json!({
        "server": hostile, "at_ts": u64::MAX, "at": hostile, "took_ms": u64::MAX,
        "memory": {"keys": [key("ed25519:1", "valid")], "documents": vec![document(); 900]},
        "store": {"state": "unreadable", "detail": hostile, "kept": null},
        "back_off": {"reason": "absent", "remaining_s": 1, "causes": hostile},
        "sources": [{"source": hostile, "asked_for": [hostile], "took_ms": 0, "steps": steps(),
            "steps_left_out": 0, "documents": [], "error": {"kind": hostile, "text": hostile}}],
        "verdict": {"accepted": true, "summary": hostile, "advice": hostile,
            "keys": vec![key(&hostile, "valid"); 1_000]},
    }));
    let key = &mut inquiry.verdict.keys[0];
    key.witnesses = vec![hostile; 1_000];
    let told = text(&inquiry);
    assert!(told.chars().all(|char| char == '\n' || char == ' ' || char.is_ascii_graphic()));
    assert!(told.len() < 50_000, "{}", told.len());
    assert!(told.contains("and 984 more, which --json shows"), "{told}");
}
