//! Transactions as servers send them.

use serde_json::{Value, json};

/// What is in an event and what kind it is, of those that rooms are full of; two fifths of the bytes are
/// encrypted.
fn content(n: usize) -> (&'static str, Value) {
    let hash = "$1GUjj2khN_v_tQtw3Ps39sUA_NqtlVl9QqeLG6ElXFw";
    let html = ["<b>bold</b> &amp; more", "a > b && b < c"][n / 5 % 2];
    match n % 5 {
        0 => (
            "m.room.message",
            json!({
                "body": format!("Message {n}: grüße, \"quoted\", and a line\nbreak"),
                "format": "org.matrix.custom.html", "formatted_body": html, "m.mentions": {},
                "msgtype": "m.text",
            }),
        ),
        1 | 3 => (
            "m.room.encrypted",
            json!({
                "algorithm": "m.megolm.v1.aes-sha2",
                "ciphertext": "AwgAEnACgAkLmt6qF84IK+gC4BrcJ5CZ0k7pCFoOJoA8hQm3rIu".repeat(12 + n % 7),
                "device_id": "RJYKSTBOIE", "sender_key": "IlRMeOPX2e0MurIyfWEucYBRVOEEUMrOHqn/8mLqMjA",
                "session_id": "X3lUlvLELLYxeTx4yOVu6UDpasGEVO0Jbu+QFnm0cKQ",
            }),
        ),
        2 => (
            "m.reaction",
            json!({
                "m.relates_to": { "event_id": hash, "key": "👍", "rel_type": "m.annotation" },
            }),
        ),
        _ => (
            "m.room.member",
            json!({
                "avatar_url": "mxc://matrix.example.com/SDGdghriugerRg", "displayname": "Älice Ω",
                "membership": "join",
            }),
        ),
    }
}

fn pdu(n: usize) -> Value {
    let (kind, content) = content(n);
    json!({
        "auth_events": ["$1GUjj2khN_v_tQtw3Ps39sUA_NqtlVl9QqeLG6ElXFw",
            "$7WcXszZ6AG_VgZkyMDTNWJV04WevE_FwY8FR3lGoty4"],
        "content": content,
        "depth": 9_000 + n,
        "hashes": { "sha256": "z3hP5E6MPhgmvov7PGVgEd95j00qOa9G0jZt4PvzJXY" },
        "origin_server_ts": 1_795_298_014_459_u64 + n as u64,
        "prev_events": ["$ytCo9lV2Q-e_x9l6-KOErEitfZbwZIif8zrkcQvhkLM"],
        "room_id": "!NwYilDRAwVoKCyKNRG:matrix.example.com",
        "sender": "@alice:matrix.example.com",
        "signatures": { "matrix.example.com": { "ed25519:a_c2e256":
            "gO3yM51G5/4sw0lh3jEA+nvf8anlLffNnCm04EflXXYkfPwogIiogJsJWKQTzKWz20B9Wq4LkajTEDFHa6SfBA" } },
        "type": kind,
        "unsigned": { "age_ts": 1_795_298_014_459_u64 },
    })
}

/// A transaction of about so many bytes: events of some hundred each, and typing notices.
pub fn transaction(bytes: usize) -> Value {
    let edu = json!({ "edu_type": "m.typing", "content": { "room_id": "!a:matrix.example.com",
        "user_id": "@alice:matrix.example.com", "typing": true } });
    let (mut pdus, mut size) = (Vec::new(), 0);
    while size < bytes {
        let pdu = pdu(pdus.len());
        size += pdu.to_string().len();
        pdus.push(pdu);
    }
    json!({ "edus": [edu, edu], "origin": "matrix.example.com",
        "origin_server_ts": 1_795_298_014_493_u64, "pdus": pdus })
}
