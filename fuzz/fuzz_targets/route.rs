//! Method and target: what is open, what is signed, and what only looks like something else.

#![no_main]

use fedgate::gate::route::{Access, route};
use fedgate::proto::signed_request::RequestTarget;
use fedgate_fuzz::paths;
use http::Method;
use libfuzzer_sys::fuzz_target;

const METHODS: [Method; 4] = [Method::GET, Method::PUT, Method::POST, Method::DELETE];

fuzz_target!(|data: &[u8]| {
    let Some((choice, raw)) = data.split_first() else { return };
    let method = &METHODS[usize::from(*choice) % METHODS.len()];
    let Ok(target) = RequestTarget::parse(raw) else { return };
    assert_eq!(target.as_str().as_bytes(), raw);
    assert!(raw.iter().all(|byte| (b'!'..=b'~').contains(byte) && !b"#\\\"<>^`{|}".contains(byte)));
    let path = raw.split(|byte| *byte == b'?').next().unwrap_or_default();
    assert_eq!(target.path().as_bytes(), path);
    assert_eq!(target.query().map_or(path.len(), |query| path.len() + 1 + query.len()), raw.len());
    let path = target.path();
    match route(method, &target) {
        Err(_) => assert!(!paths::is_open(method.as_str(), path), "{method} {path} is refused"),
        Ok(found) => match found.access {
            Access::Open => {
                assert!(paths::is_open(method.as_str(), path), "{method} {path} is open")
            }
            Access::Other => assert!(!paths::may_be_ours(path), "{method} {path} is other"),
            Access::Signed => {
                assert!(!paths::is_open(method.as_str(), path), "{method} {path} is signed")
            }
        },
    }
});
