//! The well-known document: redirects, the document, and how long what it says is remembered.

#![no_main]

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fedgate::net::discovery::Endpoint;
use fedgate::net::discovery::cache::WellKnownCache;
use fedgate::net::discovery::well_known::{HttpsAnswer, HttpsGet, WELL_KNOWN_BYTES_MAX, fetch};
use fedgate::net::{NetError, NetMetrics};
use fedgate_fuzz::input::Input;
use fedgate_fuzz::{json, names};
use libfuzzer_sys::fuzz_target;

const STATUSES: [u16; 8] = [200, 301, 302, 303, 307, 308, 404, 204];
/// A document and five redirects.
const QUESTIONS_MAX: usize = 6;

/// Answers one after the other, each a line of the input: a byte for the status, and what is the
/// `Location` of a redirect and the body of anything else.
struct Scripted<'a> {
    left: Mutex<Input<'a>>,
    questions: Mutex<Vec<String>>,
}

#[async_trait]
impl HttpsGet for Scripted<'_> {
    async fn get(
        &self,
        endpoint: &Endpoint,
        target: &str,
        bytes_max: usize,
    ) -> Result<HttpsAnswer, NetError> {
        assert_eq!(bytes_max, WELL_KNOWN_BYTES_MAX);
        assert!(target.starts_with('/') || target.starts_with('?'), "{target}");
        assert!(names::server_name(&endpoint.host_header).is_some(), "{endpoint:?}");
        self.questions.lock().unwrap().push(format!("{}{target}", endpoint.host_header));
        let mut left = self.left.lock().unwrap();
        if left.is_empty() {
            return Err(NetError::Connect("nobody".to_owned()));
        }
        let status = STATUSES[left.below(STATUSES.len())];
        let text = Bytes::copy_from_slice(left.until(b'\n'));
        let is_redirect = status / 100 == 3;
        Ok(HttpsAnswer {
            status,
            location: is_redirect.then(|| text.clone()).filter(|text| !text.is_empty()),
            cache_control: Some(text.clone()),
            body: if is_redirect { Bytes::new() } else { text },
        })
    }
}

fuzz_target!(|data: &[u8]| {
    let scripted = Scripted { left: Mutex::new(Input(data)), questions: Mutex::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let cache = WellKnownCache::new(fastrand::Rng::with_seed(1), NetMetrics::new().unwrap());
    let looked = runtime.block_on(cache.get("one.example", fetch("one.example", 443, &scripted)));
    let questions = scripted.questions.into_inner().unwrap();
    assert!((1..=QUESTIONS_MAX).contains(&questions.len()));
    for (at, question) in questions.iter().enumerate() {
        assert!(!questions[..at].contains(question), "asked twice: {question}");
    }
    assert!(looked.remaining >= Duration::from_secs(60), "{looked:?}");
    assert!(looked.remaining <= Duration::from_secs(60 * 3_600), "{looked:?}");
    let body = last_body(data, questions.len());
    let told = body
        .and_then(|body| json::parse_object(body)?.member("m.server")?.text().map(str::to_owned));
    match looked.result {
        // What serde reads may be more than what is unambiguous: names that repeat beside m.server.
        Ok(server) => assert!(told.is_none_or(|told| told == server.as_str())),
        Err(error) => {
            let _text = error.to_string();
            assert!(!told.is_some_and(|told| names::server_name(&told).is_some()), "{error}");
        }
    }
});

/// The body of the last answer, if that was a document.
fn last_body(data: &[u8], questions: usize) -> Option<&[u8]> {
    let mut input = Input(data);
    let mut last = None;
    for _ in 0..questions {
        let is_document = STATUSES[input.below(STATUSES.len())] == 200;
        last = Some(input.until(b'\n')).filter(|_| is_document);
    }
    last
}
