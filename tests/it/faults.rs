//! Faults around the gate, injected one by one: in each nothing is accepted that should not be,
//! nothing is sent twice that may not be, and the first request after it has healed passes.
//!
//! `tests/faults.toml` lists every fault of the threat model with the tests that inject it.

mod answers;
mod certificates;
mod clock;
mod homeserver;
mod process;

use crate::support::raw::{RawHomeserver, RawRequest};
use crate::support::{Answer, Client, Gate, GateOptions, Origin, within};

const TARGET: &str = "/_matrix/federation/v1/send/1";
const BODY: &[u8] = br#"{"pdus":[]}"#;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

/// Patience of the gate with its homeserver, where a test has to wait for its end.
const IMPATIENT: &str = "[limits]\nhomeserver_io_timeout = \"300ms\"";

/// A gate before a homeserver, and an origin that signs.
struct World {
    homeserver: RawHomeserver,
    gate: Gate,
    origin: Origin,
}

impl World {
    async fn before(homeserver: RawHomeserver) -> Self {
        let options = GateOptions { settings: IMPATIENT, ..GateOptions::default() };
        let gate = Gate::start_before(&homeserver.url, options).await;
        let origin = gate.origin("origin.example");
        Self { homeserver, gate, origin }
    }

    /// A signed request over a connection of its own; the answer is still to be read.
    async fn send(&self, method: &str, body: &[u8]) -> Client {
        let mut client = Client::plain(self.gate.address).await;
        let content = matches!(method, "PUT" | "POST").then_some(body);
        let value = self.origin.authorize(method, TARGET, content);
        let length = content.map_or(String::new(), |b| format!("Content-Length: {}\r\n", b.len()));
        let head = format!(
            "{method} {TARGET} HTTP/1.1\r\nHost: gate.example\r\nAuthorization: {value}\r\n{length}\r\n"
        );
        client.send(head.as_bytes()).await;
        client.send(content.unwrap_or_default()).await;
        client
    }

    /// The answer to a signed request; none where the connection ends before it is whole.
    async fn ask(&self, method: &str) -> Option<Answer> {
        let mut client = self.send(method, BODY).await;
        let answer = within("an end", client.answer()).await;
        let rest = client.take_buffered();
        assert!(answer.is_none() || rest.is_empty(), "nothing follows an answer: {rest:?}");
        answer
    }

    /// The next request passes.
    async fn assert_healed(&self, context: &str) {
        let answer = self.ask("PUT").await.unwrap_or_else(|| panic!("{context}: no answer"));
        assert_eq!((answer.status, &answer.body[..]), (200, &b"{}"[..]), "{context}");
    }

    fn seen(&self) -> Vec<RawRequest> {
        self.homeserver.seen()
    }
}
