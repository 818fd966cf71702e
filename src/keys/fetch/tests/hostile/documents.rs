//! Key documents, each as the origin's own answer, the homeserver's and a notary's.

use serde_json::json;

use super::homeserver::ask_homeserver;
use super::notary::{ask_notary, signed_by_notary};
use super::*;
use crate::keys::fetch::testing::{answer, response};
use crate::proto::ed25519::Signature;

/// Judges one document from each source. The first verdict is on the origin's answer, the second on
/// the homeserver's, the third on the notary's; the last one given holds for those that follow.
pub(super) async fn document(document: Vec<u8>, verdicts: &[Verdict]) {
    let verdict = |source: usize| verdicts[source.min(verdicts.len() - 1)];
    let transport = ScriptedTransport::answers(200, document.clone());
    let fetched =
        OriginFetcher::new(transport, banning([])).fetch(&request(&origin(), &[ID])).await;
    check("origin", &fetched, verdict(0));
    kept(&fetched, &document);

    let body = answer(std::slice::from_ref(&document));
    let fetched = ask_homeserver(response("200 OK", &body)).await;
    check("homeserver", &fetched, verdict(1));
    kept(&fetched, &document);

    let document = signed_by_notary(&document);
    let fetched = ask_notary(200, answer(std::slice::from_ref(&document))).await;
    check("notary", &fetched, verdict(2));
    kept(&fetched, &document);
}

/// R54: an accepted document is kept as it came.
fn kept(fetched: &Result<Vec<ServerKeys>, FetchError>, sent: &[u8]) {
    for keys in fetched.iter().flatten() {
        assert_eq!(keys.raw(), sent);
    }
}

const HONEST: Verdict = Ok("ed25519:1");

const NOT_SELF_SIGNED: Verdict = Err(
    "unacceptable answer: the key document carries no valid signature of its server by a key in \
     its verify_keys",
);

/// The document of the server `name`, which is all right but for that.
fn of(name: &str) -> Vec<u8> {
    let mut server = TestServer::new(name);
    server.add_key(ID);
    server.document()
}

/// A document in which `id` is listed beside the good key.
fn beside(id: &str, entry: Value) -> Vec<u8> {
    changed(|document| document["verify_keys"][id] = entry)
}

/// A document in which `id` is listed alone, with the signature of the origin's key under that ID.
fn alone(id: &str, entry: Value) -> Vec<u8> {
    let signed = changed(|document| document["verify_keys"] = json!({ id: entry }));
    let mut document: Value = serde_json::from_slice(&signed).unwrap();
    let signature = document["signatures"]["a.example"][ID].take();
    document["signatures"] = json!({ "a.example": { id: signature } });
    document.to_string().into_bytes()
}

/// A document that lists a retired key.
fn with_old(id: &str, entry: Value) -> Vec<u8> {
    changed(|document| document["old_verify_keys"][id] = entry)
}

/// A document signed by each of `ids`, whether it lists them or not.
fn signed(document: &Value, ids: &[&str]) -> Vec<u8> {
    let signer = with_keys(ids);
    ids.iter().fold(document.to_string().into_bytes(), |document, id| signer.sign(&document, id))
}

/// The document with the text of its one signature exchanged.
fn with_signature(change: impl FnOnce(&str) -> String) -> Vec<u8> {
    tampered(|document| {
        let signature = &mut document["signatures"]["a.example"][ID];
        *signature = change(signature.as_str().unwrap()).into();
    })
}

rows! { document;
    honest: origin().document() => HONEST;

    // The name (R51).
    another_servers_name: of("b.example") => Err(
        "unacceptable answer: the key document is b.example's, a.example's was asked for"
    ), Err("unacceptable answer: a document of b.example, not asked for");
    a_name_in_another_case: of("A.example") => Err(
        "unacceptable answer: the key document is A.example's, a.example's was asked for"
    ), Err("unacceptable answer: a document of A.example, not asked for");
    a_name_with_a_port: of("a.example:8448") => Err(
        "unacceptable answer: the key document is a.example:8448's, a.example's was asked for"
    ), Err("unacceptable answer: a document of a.example:8448, not asked for");
    a_name_of_a_subdomain: of("a.a.example") => Err(
        "unacceptable answer: the key document is a.a.example's, a.example's was asked for"
    ), Err("unacceptable answer: a document of a.a.example, not asked for");
    a_name_with_a_final_dot: changed(|d| d["server_name"] = json!("a.example.")) =>
        unacceptable!(
            "the key document's server_name is not a server name: the host has an empty \
             label (a leading, trailing or double dot)"
        );
    a_name_with_an_underscore: changed(|d| d["server_name"] = json!("a_b.example")) =>
        unacceptable!(
            "the key document's server_name is not a server name: the host has '_'; want \
             letters, digits, '-' and '.'"
        );
    a_name_with_white_space: changed(|d| d["server_name"] = json!("a.example ")) =>
        unacceptable!(
            "the key document's server_name is not a server name: the host has ' '; want \
             letters, digits, '-' and '.'"
        );
    a_name_that_is_a_url: changed(|d| d["server_name"] = json!("https://a.example")) =>
        unacceptable!(
            "the key document's server_name is not a server name: the port is not a number \
             from 1 to 65535"
        );
    an_endless_name: changed(|d| d["server_name"] = json!("a".repeat(231))) =>
        unacceptable!(
            "the key document's server_name is not a server name: the name has 231 bytes, \
             the limit is 230"
        );
    an_empty_name: changed(|d| d["server_name"] = json!("")) =>
        unacceptable!("the key document's server_name is not a server name: the host is missing");
    a_name_that_is_a_number: changed(|d| d["server_name"] = json!(1)) =>
        unacceptable!("the key document's server_name is not a string");
    a_name_that_is_a_list: changed(|d| d["server_name"] = json!(["a.example"])) =>
        unacceptable!("the key document's server_name is not a string");
    no_name: changed(|d| drop(d.as_object_mut().unwrap().remove("server_name"))) =>
        unacceptable!("the key document has no server_name");

    // Signatures (R52, R53, R55).
    signatures_that_are_no_object: tampered(|d| d["signatures"] = json!([])) =>
        unacceptable!("the key document's signatures is not an object");
    no_signatures_member: tampered(|d| drop(d.as_object_mut().unwrap().remove("signatures"))) =>
        Err("unacceptable answer: the key document has no signatures"),
        Err("unacceptable answer: the key document has no signatures"),
        NOT_SELF_SIGNED;
    no_signature_at_all: tampered(|d| d["signatures"] = json!({})) => NOT_SELF_SIGNED;
    no_signature_of_its_own: tampered(|d| d["signatures"]["a.example"] = json!({})) =>
        NOT_SELF_SIGNED;
    own_signatures_that_are_no_object: tampered(|d| d["signatures"]["a.example"] = json!("x")) =>
        NOT_SELF_SIGNED;
    only_a_foreign_signature: tampered(|d| {
        d["signatures"] = json!({ "b.example": d["signatures"]["a.example"] });
    }) => NOT_SELF_SIGNED;
    a_foreign_signature_beside: tampered(|d| {
        d["signatures"]["b.example"] = d["signatures"]["a.example"].clone();
    }) => HONEST;
    signatures_in_another_case_of_the_name: tampered(|d| {
        d["signatures"] = json!({ "A.example": d["signatures"]["a.example"] });
    }) => NOT_SELF_SIGNED;
    a_signature_by_a_key_not_listed: signed(&origin().unsigned(), &["ed25519:auto"]) =>
        NOT_SELF_SIGNED;
    a_signature_by_a_key_not_listed_beside: signed(&origin().unsigned(), &["ed25519:auto", ID]) =>
        HONEST;
    a_signature_by_an_old_key_only: {
        let mut server = with_keys(&[ID, "ed25519:0"]);
        server.retire("ed25519:0", at(0));
        signed(&server.unsigned(), &["ed25519:0"])
    } => NOT_SELF_SIGNED;
    a_signature_by_an_old_key_beside: {
        let mut server = with_keys(&[ID, "ed25519:0"]);
        server.retire("ed25519:0", at(0));
        signed(&server.unsigned(), &["ed25519:0", ID])
    } => Ok("ed25519:1, old ed25519:0");
    a_signature_by_one_of_two_keys: signed(&with_keys(&[ID, "ed25519:2"]).unsigned(), &[ID]) =>
        Ok("ed25519:1, ed25519:2");
    a_wrong_signature_beside_the_right_one: {
        let document = with_keys(&["ed25519:0", ID]).document();
        let mut document: Value = serde_json::from_slice(&document).unwrap();
        let signatures = &mut document["signatures"]["a.example"];
        signatures["ed25519:0"] = signatures[ID].clone();
        document.to_string().into_bytes()
    } => Ok("ed25519:0, ed25519:1");
    a_signature_of_another_key_under_the_listed_id: {
        let mut thief = TestServer::new("a.example");
        thief.add_seed(ID, [9; 32]);
        thief.sign(origin().unsigned().to_string().as_bytes(), ID)
    } => NOT_SELF_SIGNED;
    a_signature_under_the_id_in_capitals: tampered(|d| {
        let signature = d["signatures"]["a.example"][ID].take();
        d["signatures"] = json!({ "a.example": { "ED25519:1": signature } });
    }) => NOT_SELF_SIGNED;
    a_signature_of_an_older_document: tampered(|d| d["valid_until_ts"] = json!(LAST_MS)) =>
        NOT_SELF_SIGNED;
    a_signature_cut_short: with_signature(|text| text.split_at(84).0.to_owned()) => NOT_SELF_SIGNED;
    a_signature_with_more_behind_it: with_signature(|text| format!("{text}AAAA")) =>
        NOT_SELF_SIGNED;
    a_signature_of_zeros: with_signature(|_| "A".repeat(86)) => NOT_SELF_SIGNED;
    a_signature_whose_scalar_is_not_reduced: with_signature(malleated) => NOT_SELF_SIGNED;
    a_signature_in_hex: with_signature(|text| {
        let signature = Signature::from_base64(text).unwrap();
        signature.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }) => NOT_SELF_SIGNED;
    a_signature_with_a_line_end: with_signature(|text| format!("{text}\n")) => NOT_SELF_SIGNED;
    a_signature_that_is_a_number: tampered(|d| d["signatures"]["a.example"][ID] = json!(7)) =>
        NOT_SELF_SIGNED;
    a_signature_that_is_a_list: tampered(|d| {
        d["signatures"]["a.example"][ID] = json!([d["signatures"]["a.example"][ID]]);
    }) => NOT_SELF_SIGNED;
    a_padded_signature: with_signature(|text| format!("{text}==")) => HONEST;
    a_signature_in_the_url_safe_alphabet: with_signature(url_safe) => HONEST;
    hundreds_of_foreign_signatures: tampered(|d| {
        for n in 0..500 {
            d["signatures"][format!("{n}.example")] = json!({ "ed25519:x": "AAAA" });
        }
    }) => HONEST;
    signatures_by_what_are_no_servers: tampered(|d| {
        for name in ["", "a b", "\u{0}", "[", "a.example\n"] {
            d["signatures"][name] = json!({ ID: "AAAA" });
        }
    }) => HONEST;

    // Keys (R56).
    a_key_off_the_curve_beside: beside("ed25519:2", json!({ "key": OFF_CURVE })) => HONEST;
    a_key_off_the_curve_alone: alone(ID, json!({ "key": OFF_CURVE })) => NOT_SELF_SIGNED;
    a_key_of_small_order_beside: beside("ed25519:2", json!({ "key": "A".repeat(43) })) => HONEST;
    a_key_of_small_order_that_signs_everything: {
        let identity = [&[1][..], &[0; 31]].concat();
        let signature = [&identity[..], &[0; 32]].concat();
        tampered(|d| {
            d["verify_keys"][ID]["key"] = base64(&identity).into();
            d["signatures"]["a.example"][ID] = base64(&signature).into();
        })
    } => NOT_SELF_SIGNED;
    a_key_in_an_encoding_that_is_not_canonical: {
        beside("ed25519:2", json!({ "key": not_canonical() }))
    } => HONEST;
    a_key_of_31_bytes: beside("ed25519:2", json!({ "key": base64(&[7; 31]) })) => HONEST;
    a_key_of_33_bytes: beside("ed25519:2", json!({ "key": base64(&[7; 33]) })) => HONEST;
    a_key_with_its_private_half: beside("ed25519:2", json!({ "key": base64(&[7; 64]) })) => HONEST;
    an_empty_key: beside("ed25519:2", json!({ "key": "" })) => HONEST;
    a_key_in_hex: beside("ed25519:2", json!({ "key": "07".repeat(32) })) => HONEST;
    a_key_with_a_line_end: {
        beside("ed25519:2", json!({ "key": format!("{}\n", key("ed25519:2")) }))
    } => HONEST;
    a_key_that_is_null: beside("ed25519:2", json!({ "key": null })) => HONEST;
    a_key_without_its_object: beside("ed25519:2", json!(key("ed25519:2"))) => HONEST;
    an_entry_without_a_key: beside("ed25519:2", json!({})) => HONEST;
    a_padded_key: alone(ID, json!({ "key": format!("{}=", key(ID)) })) => HONEST;
    a_key_in_the_url_safe_alphabet: {
        beside("ed25519:2", json!({ "key": url_safe(&key("ed25519:2")) }))
    } => Ok("ed25519:1, ed25519:2");
    a_key_with_more_members: {
        alone(ID, json!({ "key": key(ID), "expires": 1, "note": { "a": [null] } }))
    } => HONEST;
    one_body_under_two_ids: beside("ed25519:2", json!({ "key": key(ID) })) =>
        Ok("ed25519:1, ed25519:2 with another body");
    a_banned_key_beside: beside("ed25519:2", json!({ "key": BANNED })) => HONEST;
    a_banned_key_alone: alone(ID, json!({ "key": BANNED })) => NOT_SELF_SIGNED;

    // Key IDs.
    an_id_with_a_plus: alone("ed25519:a+bc", json!({ "key": key(ID) })) =>
        Ok("ed25519:a+bc with another body");
    an_id_with_signs: alone("ed25519:a.b-c/d=e:f", json!({ "key": key(ID) })) =>
        Ok("ed25519:a.b-c/d=e:f with another body");
    an_id_as_long_as_can_be: alone(&long_id(128), json!({ "key": key(ID) })) =>
        Ok(LONGEST_ID);
    an_id_that_is_too_long: alone(&long_id(129), json!({ "key": key(ID) })) => NOT_SELF_SIGNED;
    an_id_without_version: alone("ed25519:", json!({ "key": key(ID) })) => NOT_SELF_SIGNED;
    an_id_without_algorithm: alone(":1", json!({ "key": key(ID) })) => NOT_SELF_SIGNED;
    an_empty_id: alone("", json!({ "key": key(ID) })) => NOT_SELF_SIGNED;
    an_id_in_capitals: alone("ED25519:1", json!({ "key": key(ID) })) => NOT_SELF_SIGNED;
    an_id_of_another_algorithm: alone("curve25519:1", json!({ "key": key(ID) })) => NOT_SELF_SIGNED;
    ids_of_other_algorithms_beside: changed(|d| {
        for id in ["curve25519:1", "rsa:1", "ed448:1", "ed25519ph:1"] {
            d["verify_keys"][id] = json!({ "key": key(ID) });
        }
    }) => HONEST;
    an_id_that_breaks_a_header: alone("ed25519:a\",sig=\"", json!({ "key": key(ID) })) =>
        NOT_SELF_SIGNED;
    an_id_that_breaks_a_log_line: alone("ed25519:a\nb", json!({ "key": key(ID) })) =>
        NOT_SELF_SIGNED;
    an_id_that_is_not_ascii: alone("ed25519:é", json!({ "key": key(ID) })) => NOT_SELF_SIGNED;

    // How many.
    no_keys: changed(|d| d["verify_keys"] = json!({})) => NOT_SELF_SIGNED;
    no_verify_keys: changed(|d| drop(d.as_object_mut().unwrap().remove("verify_keys"))) =>
        unacceptable!("the key document has no verify_keys");
    verify_keys_that_are_a_list: changed(|d| d["verify_keys"] = json!([{ "key": key(ID) }])) =>
        unacceptable!("the key document's verify_keys is not an object");
    verify_keys_that_are_null: changed(|d| d["verify_keys"] = json!(null)) =>
        unacceptable!("the key document's verify_keys is not an object");
    as_many_keys_as_can_be: many_keys("verify_keys", 127) => HONEST;
    too_many_keys: many_keys("verify_keys", 128) =>
        unacceptable!("the key document's verify_keys has more than 128 entries");
    too_many_old_keys: many_keys("old_verify_keys", 129) =>
        unacceptable!("the key document's old_verify_keys has more than 128 entries");

    // Retired keys (R40, R57).
    no_old_verify_keys: changed(|d| drop(d.as_object_mut().unwrap().remove("old_verify_keys"))) =>
        HONEST;
    old_verify_keys_that_are_null: changed(|d| d["old_verify_keys"] = json!(null)) =>
        unacceptable!("the key document's old_verify_keys is not an object");
    old_verify_keys_that_are_a_list: changed(|d| d["old_verify_keys"] = json!([])) =>
        unacceptable!("the key document's old_verify_keys is not an object");
    an_old_key: with_old("ed25519:0", json!({ "key": key("ed25519:0"), "expired_ts": 1 })) =>
        Ok("ed25519:1, old ed25519:0");
    an_old_key_that_expires_in_the_far_future: {
        with_old("ed25519:0", json!({ "key": key("ed25519:0"), "expired_ts": LAST_MS }))
    } => Ok("ed25519:1, old ed25519:0");
    an_old_key_without_expired_ts: with_old("ed25519:0", json!({ "key": key("ed25519:0") })) =>
        HONEST;
    an_old_key_with_expired_ts_as_text: {
        with_old("ed25519:0", json!({ "key": key("ed25519:0"), "expired_ts": "1" }))
    } => HONEST;
    an_old_key_with_a_negative_expired_ts: {
        with_old("ed25519:0", json!({ "key": key("ed25519:0"), "expired_ts": -1 }))
    } => HONEST;
    an_old_key_with_a_fraction_in_expired_ts: {
        with_old("ed25519:0", json!({ "key": key("ed25519:0"), "expired_ts": 1.5 }))
    } => HONEST;
    an_old_key_that_expires_beyond_the_last_time: {
        with_old("ed25519:0", json!({ "key": key("ed25519:0"), "expired_ts": LAST_MS + 1 }))
    } => HONEST;
    an_old_key_off_the_curve: with_old("ed25519:0", json!({ "key": OFF_CURVE, "expired_ts": 1 })) =>
        HONEST;
    a_current_key_that_is_also_old: {
        let mut document = with_keys(&[ID, "ed25519:2"]).unsigned();
        document["old_verify_keys"] =
            json!({ "ed25519:2": { "key": key("ed25519:2"), "expired_ts": 1 } });
        signed(&document, &[ID])
    } => Ok("ed25519:1, old ed25519:2");
    a_current_key_that_is_also_old_with_another_body: {
        let mut document = with_keys(&[ID, "ed25519:2"]).unsigned();
        document["old_verify_keys"] = json!({ "ed25519:2": { "key": key(ID), "expired_ts": 1 } });
        signed(&document, &[ID])
    } => Ok("ed25519:1, old ed25519:2 with another body");
    the_only_key_is_also_old: {
        with_old(ID, json!({ "key": key(ID), "expired_ts": LAST_MS }))
    } => NOT_SELF_SIGNED;
}

/// The last time that JSON can carry everywhere.
const LAST_MS: u64 = (1 << 53) - 1;

/// `y = 2` has no `x`.
const OFF_CURVE: &str = "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The key of CVE-2026-24044.
const BANNED: &str = "l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og";

const LONGEST_ID: &str = concat!(
    "ed25519:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa with another body",
);

fn long_id(length: usize) -> String {
    format!("ed25519:{}", "a".repeat(length - 8))
}

fn base64(bytes: &[u8]) -> String {
    crate::proto::base64::encode(bytes)
}

fn url_safe(text: &str) -> String {
    let exchanged = text.replace('+', "-").replace('/', "_");
    assert_ne!(exchanged, text, "not a case in point");
    exchanged
}

/// A document with so many entries in `field` beside the good key, none of them a key.
fn many_keys(field: &str, count: usize) -> Vec<u8> {
    changed(|document| {
        for n in 0..count {
            document[field][format!("k:{n}")] = json!({});
        }
    })
}

/// A point's encoding with `p` added to its coordinate, for a coordinate that has a point.
fn not_canonical() -> String {
    let with_point = (2..19).find(|y| {
        let mut bytes = [0; 32];
        bytes[0] = *y;
        VerifyKey::from_bytes(&bytes).is_ok()
    });
    let mut bytes = [0xff; 32];
    bytes[0] = 0xed + with_point.unwrap();
    bytes[31] = 0x7f;
    base64(&bytes)
}

/// The same signature with the group's order added to its scalar: it solves the same equation.
fn malleated(signature: &str) -> String {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut bytes = *Signature::from_base64(signature).unwrap().as_bytes();
    let mut carry = 0;
    for (byte, order) in bytes[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    base64(&bytes)
}
