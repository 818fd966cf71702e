//! Whole requests, from the head to the permit and to what is said of their events. A permit is minted
//! only for a request whose signatures hold, over exactly these bytes, by a second implementation; and
//! none is refused for its signatures or its body for which they do.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use fedgate::gate::admission::RequestHead;
use fedgate::gate::events::Examined;
use fedgate::gate::{Authorization, Gate, Judged, Permit, Refusal, Rejection};
use fedgate_fuzz::pipeline::{self, OWN, Request};
use fedgate_fuzz::x_matrix::{Header, parse};
use fedgate_fuzz::{json, paths};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A body also comes in pieces of this length.
const PIECE_BYTES: usize = 5;

thread_local! {
    static GATE: (Gate, tokio::runtime::Runtime) = {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        (pipeline::gate(), runtime)
    };
}

fuzz_target!(|data: &[u8]| {
    let Some(request) = Request::read(data) else { return };
    let Some((method, headers)) = head(&request) else { return };
    let head = RequestHead { method: &method, raw_target: &request.target, headers: &headers };
    GATE.with(|(gate, runtime)| {
        let passed = runtime.block_on(pass(gate, head, &request.body));
        match passed {
            Some(Ok(permit)) => permitted(&request, permit),
            Some(Err(refusal)) => refused(&request, &refusal),
            None => {}
        }
    });
});

/// What an HTTP parser would make of method and headers.
fn head(request: &Request) -> Option<(Method, HeaderMap)> {
    let method = Method::from_bytes(request.method.as_bytes()).ok()?;
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some((method, headers))
}

/// The steps of the proxy. None if it would not have read the body.
async fn pass(gate: &Gate, head: RequestHead<'_>, body: &[u8]) -> Option<Result<Permit, Refusal>> {
    let admitted = match gate.admit(head) {
        Ok(admitted) => admitted,
        Err(refusal) => return Some(Err(refusal)),
    };
    let keys = match gate.find_keys(&admitted.claim, CLIENT).await {
        Ok(keys) => keys,
        Err(refusal) => return Some(Err(refusal)),
    };
    if body.len() > admitted.body.bytes_max() {
        return None;
    }
    let heard = |length: usize| {
        let mut heard = gate.hear(&admitted, &keys);
        for piece in body.chunks(length) {
            heard.push(Bytes::copy_from_slice(piece), 0);
        }
        heard.end();
        heard
    };
    let (whole, pieces) = (heard(usize::MAX), heard(PIECE_BYTES));
    let judged = gate.judge(&admitted, &whole);
    let judged_in_pieces = gate.judge(&admitted, &pieces);
    assert_eq!(shown(&judged), shown(&judged_in_pieces));
    let judged = match judged {
        Ok(judged) => judged,
        Err(refusal) => return Some(Err(refusal)),
    };
    if let Ok(Examined::Answered(answer)) = gate.examine(&admitted, &judged, body, CLIENT).await {
        assert!(json::parse_object(&answer).is_some(), "{answer:?}");
    }
    Some(Ok(judged.permit))
}

fn shown(judged: &Result<Judged<'_>, Refusal>) -> String {
    format!("{:?}", judged.as_ref().map(|judged| &judged.permit))
}

fn permitted(request: &Request, permit: Permit) {
    let origin = permit.origin().cloned();
    let target = std::str::from_utf8(&request.target).unwrap();
    let path = target.split('?').next().unwrap();
    match (origin, permit.consume()) {
        (Some(origin), Authorization::Rewritten(values)) => {
            assert!(!values.is_empty());
            assert!(request.is_authentic(), "{request:?}");
            assert_eq!(values.len(), request.by_usable_keys().len());
            for value in values {
                let Header::XMatrix(header) = parse(value.as_bytes()) else { panic!("{value}") };
                let destination = header.destination.clone().unwrap();
                assert_eq!(header.origin, origin.as_str());
                assert!(OWN.contains(&destination.as_str()));
                assert!(request.verifies(&header, &destination), "{value}");
            }
        }
        (None, Authorization::AsReceived) => {
            let is_open = paths::is_open(&request.method, path);
            assert!(is_open || !paths::may_be_ours(path), "{} {path}", request.method);
        }
        (origin, authorization) => panic!("{origin:?}: {authorization:?}"),
    }
}

fn refused(request: &Request, refusal: &Refusal) {
    let is_json = || json::parse_object(&request.body).is_some();
    let is_well_formed = || request.authorization().all(|header| header != Header::Malformed);
    let is_wrong = match refusal.rejection {
        Rejection::InternalError => true,
        Rejection::BadSignature => request.is_authentic() && !request.has_unreadable_signature(),
        Rejection::BodyAmbiguous | Rejection::BodyNotJson | Rejection::BodyNotObject => is_json(),
        Rejection::HeaderMalformed => is_well_formed(),
        Rejection::HeaderMissing => {
            request.authorization().any(|header| matches!(header, Header::XMatrix(_)))
        }
        Rejection::KeyBanned
        | Rejection::KeyExpired
        | Rejection::KeyRetired
        | Rejection::KeyUnknown
        | Rejection::KeyUnavailable => !request.by_usable_keys().is_empty(),
        _ => false,
    };
    assert!(!is_wrong, "{refusal:?}: {request:?}");
}
