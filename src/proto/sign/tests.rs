use super::*;
use crate::proto::json::JsonErrorKind;
use crate::proto::signed_request::RequestTarget;
use crate::proto::test_vectors::{self, id, name, spec_key};

fn sign(object: &str) -> Result<String, JsonErrorKind> {
    sign_json(object.as_bytes(), &name("domain"), &id("ed25519:1"), &spec_key())
        .map(|signed| String::from_utf8(signed).unwrap())
        .map_err(|error| error.kind)
}

#[test]
fn the_specs_signed_json_is_reproduced() {
    let vectors = test_vectors::spec();
    let vectors = vectors["spec_signing"]["json_signing"].as_array().unwrap();
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let signed = sign(vector["input_json_text"].as_str().unwrap()).unwrap();
        let expected = vector["expected_json_text"].as_str().unwrap();
        let mut canonical = Vec::new();
        Object::scan(expected.as_bytes())
            .unwrap()
            .write_canonical(&mut |piece: &[u8]| canonical.extend_from_slice(piece));
        assert_eq!(signed.as_bytes(), canonical);
    }
}

#[test]
fn the_derived_requests_are_signed_alike() {
    let vectors = test_vectors::spec();
    for vector in vectors["derived_xmatrix_requests"]["vectors"].as_array().unwrap() {
        let content = vector["content"].to_string();
        let content = Object::scan(content.as_bytes()).ok();
        let request = SignedRequest {
            method: vector["method"].as_str().unwrap(),
            target: &RequestTarget::parse(vector["uri"].as_str().unwrap().as_bytes()).unwrap(),
            origin: &name(vector["origin"].as_str().unwrap()),
            destination: &name(vector["destination"].as_str().unwrap()),
            content: content.as_ref(),
        };
        assert_eq!(vector["content"].is_object(), content.is_some());
        assert_eq!(vector["sig"], sign_request(&request, &spec_key()).to_base64());
    }
}

#[test]
fn other_signatures_are_kept_and_an_own_one_is_replaced() {
    let bare = sign(r#"{"a":1,"unsigned":{"b":2}}"#).unwrap();
    let start = r#"{"a":1,"signatures":{"domain":{"ed25519:1":""#;
    let signature = bare.strip_prefix(start).unwrap();
    let signature = signature.strip_suffix(r#""}},"unsigned":{"b":2}}"#).unwrap();
    assert!(Signature::from_base64(signature).is_some());
    let more = r#"{"unsigned":{"b":2},"signatures":{"z":{"k:1":"x"},"domain":{"ed25519:0":"y","ed25519:1":"old"}},"a":1}"#;
    assert_eq!(
        sign(more).unwrap(),
        format!(
            "{{\"a\":1,\"signatures\":{{\"domain\":{{\"ed25519:0\":\"y\",\
             \"ed25519:1\":\"{signature}\"}},\"z\":{{\"k:1\":\"x\"}}}},\"unsigned\":{{\"b\":2}}}}"
        )
    );
}

#[test]
fn what_cannot_be_signed_is_refused() {
    for (text, kind) in [
        ("[]", JsonErrorKind::NotAnObject),
        ("{", JsonErrorKind::Syntax),
        (r#"{"a":1,"a":1}"#, JsonErrorKind::DuplicateKey),
        (r#"{"signatures":[]}"#, JsonErrorKind::NotAnObject),
        (r#"{"signatures":{"domain":1}}"#, JsonErrorKind::NotAnObject),
    ] {
        assert_eq!(sign(text), Err(kind), "{text}");
    }
}
