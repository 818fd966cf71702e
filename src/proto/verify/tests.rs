use super::*;
use crate::proto::ed25519::SigningKey;
use crate::proto::json::Object;
use crate::proto::sign::sign_request;
use crate::proto::signed_request::RequestTarget;
use crate::proto::test_vectors::{self, id, name, spec_key};
use crate::proto::validity::Provenance;
use crate::proto::x_matrix::XMatrix;

const NOW: Timestamp = Timestamp::from_ms(1_000_000);

fn trusted(server: &str, key_id: &str, key: &SigningKey) -> TrustedKey {
    TrustedKey {
        server: name(server),
        id: id(key_id),
        key: key.verify_key(),
        effective_until: NOW,
        provenance: Some(Provenance::Origin),
    }
}

/// The parts of a request, owned.
#[derive(Clone)]
struct Request {
    method: &'static str,
    target: &'static str,
    origin: &'static str,
    destination: &'static str,
    content: Option<&'static str>,
}

const REQUEST: Request = Request {
    method: "PUT",
    target: "/_matrix/federation/v1/send/1?a=%40b",
    origin: "domain",
    destination: "destination.example",
    content: Some(r#"{"pdus":[],"n":1,"unsigned":{"age":1}}"#),
};

impl Request {
    fn with<T>(&self, use_it: impl FnOnce(&SignedRequest<'_>) -> T) -> T {
        let content = self.content.map(|text| Object::scan(text.as_bytes()).unwrap());
        use_it(&SignedRequest {
            method: self.method,
            target: &RequestTarget::parse(self.target.as_bytes()).unwrap(),
            origin: &name(self.origin),
            destination: &name(self.destination),
            content: content.as_ref(),
        })
    }

    fn sign(&self, key: &SigningKey) -> Signature {
        self.with(|request| sign_request(request, key))
    }

    fn verify(&self, signatures: &[(&TrustedKey, &Signature)]) -> Result<(), VerifyError> {
        self.verified(signatures).map(drop)
    }

    fn verified(
        &self,
        signatures: &[(&TrustedKey, &Signature)],
    ) -> Result<VerifiedOrigin, VerifyError> {
        let signatures: Vec<_> =
            signatures.iter().map(|(key, signature)| KeyedSignature { key, signature }).collect();
        self.with(|request| {
            let verified = verify_request(request, signatures.iter().copied(), None, NOW);
            let hot_keys = HotKeys::new(HotKeys::BYTES_MAX);
            assert_eq!(
                verify_request(request, signatures.iter().copied(), Some(&hot_keys), NOW),
                verified
            );
            let begun = SignatureChecks::before_content(signatures.iter().copied());
            if let (Some(content), Ok(mut checks)) = (request.content, begun) {
                content.write_canonical(&mut |piece: &[u8]| {
                    piece.chunks(1).for_each(|byte| checks.hear(byte));
                });
                assert_eq!(verify_heard(request, &checks, None, NOW), verified);
                assert_eq!(verify_heard(request, &checks, Some(&hot_keys), NOW), verified);
            }
            verified
        })
    }
}

#[test]
fn the_derived_requests_verify_from_their_headers() {
    let vectors = test_vectors::spec();
    let vectors = vectors["derived_xmatrix_requests"]["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 7);
    for vector in vectors {
        let header = XMatrix::parse(vector["header"].as_str().unwrap().as_bytes());
        let header = header.unwrap().unwrap();
        let text = vector["content"].to_string();
        let content = Object::scan(text.as_bytes()).ok();
        assert_eq!(content.is_some(), vector["content"].is_object());
        let request = SignedRequest {
            method: vector["method"].as_str().unwrap(),
            target: &RequestTarget::parse(vector["uri"].as_str().unwrap().as_bytes()).unwrap(),
            origin: &header.origin,
            destination: &name(&header.destination.unwrap()),
            content: content.as_ref(),
        };
        let key = trusted("domain", &header.key, &spec_key());
        let signature = Signature::from_base64(&header.sig).unwrap();
        let signatures = [KeyedSignature { key: &key, signature: &signature }];
        let verified = verify_request(&request, signatures.into_iter(), None, NOW).unwrap();
        assert_eq!(verified.origin(), &name("domain"));
        assert_eq!(verified.destination(), &name("destination.example"));
        assert!(verified.keys().eq([&id("ed25519:1")]));
        assert_eq!(verified.authorization().len(), 1);
    }
}

#[test]
fn r29_spelling_of_the_body_does_not_change_the_verdict() {
    let key = trusted("domain", "ed25519:1", &spec_key());
    let signature = REQUEST.sign(&spec_key());
    let respelt = r#" { "unsigned" : {"\u0061ge":1}, "n":1, "pdus":[ ] } "#;
    let request = Request { content: Some(respelt), ..REQUEST };
    assert_eq!(request.verify(&[(&key, &signature)]), Ok(()));
}

#[test]
fn r30_any_change_breaks_the_signature() {
    let key = trusted("domain", "ed25519:1", &spec_key());
    let other_origin = trusted("domain2", "ed25519:1", &spec_key());
    let signature = REQUEST.sign(&spec_key());
    assert_eq!(REQUEST.verify(&[(&key, &signature)]), Ok(()));
    let changed = [
        Request { method: "POST", ..REQUEST },
        Request { method: "put", ..REQUEST },
        Request { target: "/_matrix/federation/v1/send/2?a=%40b", ..REQUEST },
        Request { target: "/_matrix/federation/v1/send/1?a=@b", ..REQUEST },
        Request { target: "/_matrix/federation/v1/send/1/?a=%40b", ..REQUEST },
        Request { target: "/_matrix/federation/v1/send/1?a=%40b&", ..REQUEST },
        Request { destination: "destination2.example", ..REQUEST },
        Request { destination: "Destination.example", ..REQUEST },
        Request { content: None, ..REQUEST },
        Request { content: Some("{}"), ..REQUEST },
        Request { content: Some(r#"{"pdus":[],"n":2,"unsigned":{"age":1}}"#), ..REQUEST },
        Request { content: Some(r#"{"pdus":[],"n":1.0,"unsigned":{"age":1}}"#), ..REQUEST },
        Request { content: Some(r#"{"pdus":[],"n":"1","unsigned":{"age":1}}"#), ..REQUEST },
        Request { content: Some(r#"{"pdus":[],"n":1}"#), ..REQUEST },
    ];
    for request in changed {
        let bad = VerifyError::BadSignature(id("ed25519:1"));
        assert_eq!(request.verify(&[(&key, &signature)]), Err(bad), "{}", request.target);
    }
    let request = Request { origin: "domain2", ..REQUEST };
    let bad = VerifyError::BadSignature(id("ed25519:1"));
    assert_eq!(request.verify(&[(&other_origin, &signature)]), Err(bad));
}

#[test]
fn r22_a_request_signed_for_another_server_does_not_verify_here() {
    let key = trusted("domain", "ed25519:1", &spec_key());
    let signature = Request { destination: "other.example", ..REQUEST }.sign(&spec_key());
    let bad = VerifyError::BadSignature(id("ed25519:1"));
    assert_eq!(REQUEST.verify(&[(&key, &signature)]), Err(bad));
}

#[test]
fn r23_every_signature_must_verify() {
    let second_key = SigningKey::from_seed(&[7; 32]);
    let first = trusted("domain", "ed25519:1", &spec_key());
    let second = trusted("domain", "ed25519:2", &second_key);
    let (by_first, by_second) = (REQUEST.sign(&spec_key()), REQUEST.sign(&second_key));
    let both = REQUEST.verified(&[(&first, &by_first), (&second, &by_second)]).unwrap();
    assert!(both.keys().eq([&id("ed25519:1"), &id("ed25519:2")]));
    for (signatures, bad) in [
        ([(&first, &by_first), (&second, &by_first)], "ed25519:2"),
        ([(&first, &by_second), (&second, &by_second)], "ed25519:1"),
    ] {
        assert_eq!(REQUEST.verify(&signatures), Err(VerifyError::BadSignature(id(bad))));
    }
    // One that is refused before a byte is hashed.
    let unreduced = Signature::from_bytes([0xff; 64]);
    let bad = Err(VerifyError::BadSignature(id("ed25519:2")));
    assert_eq!(REQUEST.verify(&[(&first, &by_first), (&second, &unreduced)]), bad);
}

#[test]
fn a_request_without_signatures_does_not_verify() {
    assert_eq!(REQUEST.verify(&[]), Err(VerifyError::Unsigned));
}

#[test]
fn keys_of_another_server_are_refused() {
    let own = trusted("domain", "ed25519:1", &spec_key());
    let foreign = trusted("Domain", "ed25519:2", &spec_key());
    let signature = REQUEST.sign(&spec_key());
    let refused = Err(VerifyError::ForeignKey(id("ed25519:2")));
    assert_eq!(REQUEST.verify(&[(&own, &signature), (&foreign, &signature)]), refused);
}

#[test]
fn r41_the_key_must_be_valid_at_the_time_of_receipt() {
    let mut key = trusted("domain", "ed25519:1", &spec_key());
    let signature = REQUEST.sign(&spec_key());
    assert_eq!(REQUEST.verify(&[(&key, &signature)]), Ok(()), "the last millisecond counts");
    key.effective_until = Timestamp::from_ms(NOW.as_ms() - 1);
    let expired = KeyExpired { effective_until: key.effective_until, now: NOW };
    let refused = Err(VerifyError::Expired(id("ed25519:1"), expired));
    assert_eq!(REQUEST.verify(&[(&key, &signature)]), refused);
}
