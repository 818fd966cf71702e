//! Key documents as texts: what is no JSON or has two meanings, numbers, and members nobody knows.

use serde_json::json;

use super::documents::document;
use super::*;

const HONEST: Verdict = Ok("ed25519:1");

const CHANGED: Verdict = Err(
    "unacceptable answer: the key document carries no valid signature of its server by a key in \
     its verify_keys",
);

const NO_TIME: Verdict =
    Err("unacceptable answer: the key document's valid_until_ts is not an integer from 0 to \
     9007199254740991");

/// The document with `valid_until_ts` written like this, and then signed.
fn valid_until(text: &str) -> Vec<u8> {
    let unsigned = origin().unsigned().to_string();
    let usual = origin().valid_until.as_ms().to_string();
    origin().sign(unsigned.replacen(&usual, text, 1).as_bytes(), ID)
}

/// The document with one more member, and then signed.
fn with_member(name: &str, value: Value) -> Vec<u8> {
    changed(|document| document[name] = value)
}

/// The document with one more member of this text, and then signed.
fn with_text(text: &str) -> Vec<u8> {
    let unsigned = origin().unsigned().to_string();
    origin().sign(unsigned.replacen('{', &format!(r#"{{"x":{text},"#), 1).as_bytes(), ID)
}

/// The document with one more member of this text, and that exchanged after it was signed.
fn with_text_exchanged(from: &str, to: &str) -> Vec<u8> {
    let signed = String::from_utf8(with_text(from)).unwrap();
    let exchanged = signed.replace(&format!(r#""x":{from}"#), &format!(r#""x":{to}"#));
    assert_ne!(exchanged, signed);
    exchanged.into_bytes()
}

/// The document with this text put in front and this behind.
fn between(before: &[u8], after: &[u8]) -> Vec<u8> {
    [before, &origin().document(), after].concat()
}

fn utf_16(text: Vec<u8>) -> Vec<u8> {
    String::from_utf8(text).unwrap().encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Arrays within arrays, so many of them.
fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

rows! { document;
    // Times (threat K6).
    no_time: changed(|d| drop(d.as_object_mut().unwrap().remove("valid_until_ts"))) =>
        unacceptable!("the key document has no valid_until_ts");
    a_time_of_zero: valid_until("0") => HONEST;
    a_time_long_past: valid_until("1") => HONEST;
    the_last_time: valid_until("9007199254740991") => HONEST;
    a_time_beyond_the_last: valid_until("9007199254740992") => NO_TIME;
    a_time_of_64_bits: valid_until("18446744073709551615") => NO_TIME;
    a_time_of_more_bits: valid_until("1000000000000000000000000000000") => NO_TIME;
    a_negative_time: valid_until("-1") => NO_TIME;
    a_time_of_minus_zero: {
        let document = String::from_utf8(valid_until("0")).unwrap();
        let exchanged = document.replace("\"valid_until_ts\":0", "\"valid_until_ts\":-0");
        assert_ne!(exchanged, document);
        exchanged.into_bytes()
    } => NO_TIME, NO_TIME, HONEST; // This notary writes what it signs anew.
    a_time_with_a_fraction: valid_until("1700086400000.0") => NO_TIME;
    a_time_with_an_exponent: valid_until("17e11") => NO_TIME;
    a_time_as_text: valid_until("\"1700086400000\"") => NO_TIME;
    a_time_that_is_null: valid_until("null") => NO_TIME;
    a_time_that_is_true: valid_until("true") => NO_TIME;
    a_time_in_a_list: valid_until("[1700086400000]") => NO_TIME;

    // Members nobody knows (R54).
    tls_fingerprints: with_member("tls_fingerprints", json!([{ "sha256": "AAAA" }])) => HONEST;
    tls_fingerprints_taken_out: {
        let document = with_member("tls_fingerprints", json!([{ "sha256": "AAAA" }]));
        let mut document: Value = serde_json::from_slice(&document).unwrap();
        document.as_object_mut().unwrap().remove("tls_fingerprints").unwrap();
        document.to_string().into_bytes()
    } => CHANGED;
    an_unknown_member: with_member("org.example.é\n", json!({ "a": [1, null, "\u{1f600}"] })) =>
        HONEST;
    an_unknown_member_put_in: tampered(|d| d["org.example.new"] = json!(1)) => CHANGED;
    an_unsigned_member_put_in: tampered(|d| d["unsigned"] = json!({ "age": 1 })) => HONEST;
    a_number_that_is_no_integer: with_text("1.50") => HONEST;
    a_number_of_many_digits: with_text("123456789012345678901234567890") => HONEST;
    a_number_with_an_exponent: with_text("1E-7") => HONEST;
    a_number_spelt_otherwise: with_text_exchanged("1.5", "15e-1") => HONEST;
    a_number_changed: with_text_exchanged("1.5", "1.51") => CHANGED;
    a_text_spelt_otherwise: with_text_exchanged("\"/\"", r#""\/""#) => HONEST;
    a_text_in_another_normal_form: with_text_exchanged("\"\u{e9}\"", "\"e\u{301}\"") => CHANGED;
    much_nesting: with_text(&nested(400)) => HONEST;

    // Other spellings of the same text.
    white_space: {
        let document: Value = serde_json::from_slice(&origin().document()).unwrap();
        serde_json::to_string_pretty(&document).unwrap().into_bytes()
    } => HONEST;
    escapes: respelt("a.example", r"a.ex\u0061mple") => HONEST;
    an_escaped_member_name: respelt("\"verify_keys\"", r#""verify\u005fkeys""#) => HONEST;
    an_escaped_key_id: respelt("\"ed25519:1\"", r#""ed25519:\u0031""#) => HONEST;
    members_in_another_order: {
        let document = String::from_utf8(origin().document()).unwrap();
        let members = document.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
        let (first, rest) = members.split_once(',').unwrap();
        format!("{{{rest},{first}}}").into_bytes()
    } => HONEST;

    // More than one meaning.
    a_name_twice: respelt("\"server_name\"", r#""server_name":"b.example","server_name""#) =>
        not_json!("a member name is repeated within one object at byte 72"),
        unacceptable!("a member name is repeated within one object at byte 88");
    a_name_twice_by_an_escape: {
        respelt("\"server_name\"", r#""server\u005fname":"b.example","server_name""#)
    } =>
        not_json!("a member name is repeated within one object at byte 77"),
        unacceptable!("a member name is repeated within one object at byte 93");
    the_same_member_twice: {
        respelt("\"old_verify_keys\":{}", r#""old_verify_keys":{},"old_verify_keys":{}"#)
    } =>
        not_json!("a member name is repeated within one object at byte 22"),
        unacceptable!("a member name is repeated within one object at byte 38");
    one_id_with_two_bodies: {
        let entry = format!(r#""verify_keys":{{"ed25519:1":{{"key":"{}"}},"#, key("ed25519:2"));
        respelt(r#""verify_keys":{"#, &entry)
    } =>
        not_json!("a member name is repeated within one object at byte 314"),
        unacceptable!("a member name is repeated within one object at byte 330");
    one_id_twice_by_an_escape: {
        let entry = format!(r#"{{"ed25519:\u0031":{{"key":"{}"}},"#, key("ed25519:2"));
        respelt(r#"{"ed25519:1":{"key""#, &(entry + r#""ed25519:1":{"key""#))
    } =>
        not_json!("a member name is repeated within one object at byte 319"),
        unacceptable!("a member name is repeated within one object at byte 335");
    one_entry_with_two_keys: respelt(r#"{"key":"#, r#"{"key":"AAAA","key":"#) =>
        not_json!("a member name is repeated within one object at byte 274"),
        unacceptable!("a member name is repeated within one object at byte 290");
    two_signatures_under_one_id: {
        respelt(r#""a.example":{"ed25519:1":"#, r#""a.example":{"ed25519:1":"AAAA","ed25519:1":"#)
    } =>
        not_json!("a member name is repeated within one object at byte 118"),
        unacceptable!("a member name is repeated within one object at byte 134");
    two_documents: between(b"", &origin().document()) =>
        not_json!("something follows the JSON value at byte 315"),
        unacceptable!("the text is not JSON at byte 331");
    a_document_and_more: between(b"", b"}") =>
        not_json!("something follows the JSON value at byte 315"),
        unacceptable!("the text is not JSON at byte 331");

    // No JSON at all, or not the kind that is wanted.
    an_empty_answer: Vec::new() => not_json!("the text is not JSON at byte 0"), Ok("");
    an_empty_object: b"{}".to_vec() => unacceptable!("the key document has no server_name");
    null: b"null".to_vec() => not_json!("the text is not a JSON object at byte 0");
    a_list_with_the_document: between(b"[", b"]") =>
        not_json!("the text is not a JSON object at byte 0");
    a_document_as_text: {
        let document = String::from_utf8(origin().document()).unwrap();
        serde_json::to_vec(&document).unwrap()
    } =>
        not_json!("the text is not a JSON object at byte 0");
    an_error_with_status_200: br#"{"errcode":"M_UNKNOWN","error":"no"}"#.to_vec() =>
        unacceptable!("the key document has no server_name");
    a_notarys_answer_where_a_document_belongs: between(br#"{"server_keys":["#, b"]}") =>
        unacceptable!("the key document has no server_name");
    html: b"<!DOCTYPE html><html><body>It works!</body></html>".to_vec() =>
        not_json!("the text is not JSON at byte 0"),
        unacceptable!("the text is not JSON at byte 16");
    a_byte_order_mark: between(b"\xef\xbb\xbf", b"") =>
        not_json!("the text starts with a byte order mark at byte 0"),
        unacceptable!("the text is not JSON at byte 16");
    utf_16_text: utf_16(origin().document()) =>
        not_json!("the text is not JSON at byte 1"),
        unacceptable!("the text is not JSON at byte 17");
    bytes_that_are_no_text: between(b"{\"x\":\"\xff\",", b"")  =>
        not_json!("the text is not UTF-8 at byte 6"),
        unacceptable!("the text is not UTF-8 at byte 22");
    half_a_surrogate_pair: respelt("{", r#"{"x":"\ud800","#) =>
        not_json!("an escape is half of a surrogate pair at byte 6"),
        unacceptable!("an escape is half of a surrogate pair at byte 22");
    a_nul: between(b"", b"\0") =>
        not_json!("something follows the JSON value at byte 315"),
        unacceptable!("the text is not JSON at byte 331");
    a_comment: between(b"/* keys */", b"") =>
        not_json!("the text is not JSON at byte 0"),
        unacceptable!("the text is not JSON at byte 16");
    a_comma_too_many: respelt("}}}", "}},}") =>
        not_json!("the text is not JSON at byte 315"),
        unacceptable!("the text is not JSON at byte 331");
    quotes_of_another_kind: respelt("\"server_name\"", "'server_name'") =>
        not_json!("the text is not JSON at byte 46"),
        unacceptable!("the text is not JSON at byte 62");
    not_a_number: respelt("{", r#"{"x":NaN,"#) =>
        not_json!("the text is not JSON at byte 5"),
        unacceptable!("the text is not JSON at byte 21");
    a_number_beyond_all_floats: respelt("{", r#"{"x":1e400,"#) =>
        not_json!("a number is too large for a 64-bit float at byte 5"),
        unacceptable!("a number is too large for a 64-bit float at byte 21");
    a_number_of_too_many_digits: {
        respelt("{", &format!(r#"{{"x":{},"#, "1".repeat(4_301)))
    } =>
        not_json!("an integer has too many digits at byte 5"),
        unacceptable!("an integer has too many digits at byte 21");
    too_much_nesting: respelt("{", &format!(r#"{{"x":{},"#, nested(500))) =>
        not_json!("arrays and objects are nested too deep at byte 504"),
        unacceptable!("arrays and objects are nested too deep at byte 518");
    half_a_document: origin().document()[..200].to_vec() =>
        not_json!("the text is not JSON at byte 200"),
        unacceptable!("the text is not JSON at byte 216");

    // Size (threat F5).
    a_document_as_large_as_can_be: filled(65_536) =>
        HONEST,
        HONEST,
        unacceptable!("the key document has 65659 bytes, the limit is 65536");
    a_document_that_is_too_large: filled(65_537) =>
        unacceptable!("the key document has 65537 bytes, the limit is 65536"),
        unacceptable!("the key document has 65537 bytes, the limit is 65536"),
        unacceptable!("the key document has 65660 bytes, the limit is 65536");
}

/// The document, made to be so many bytes long.
fn filled(length: usize) -> Vec<u8> {
    let mut origin = origin();
    origin.filler = length - origin.document().len();
    origin.document()
}
