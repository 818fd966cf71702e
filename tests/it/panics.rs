//! A panic ends one request: it is counted, its connection or stream ends, the gate lives on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fedgate::app::panics;
use fedgate::clock::{Clock, ManualClock};
use fedgate::proto::Timestamp;

use crate::support::client::H2Client;
use crate::support::{Client, Gate, GateOptions, Homeserver, NOW_MS, within};

const TARGET: &str = "/_matrix/federation/v1/event/x";

/// A clock that breaks.
struct Faulty {
    clock: ManualClock,
    is_broken: AtomicBool,
}

impl Clock for Faulty {
    fn now(&self) -> Timestamp {
        assert!(!self.is_broken.load(Ordering::SeqCst), "injected\nfault");
        self.clock.now()
    }
}

#[tokio::test]
async fn r14_a_panic_is_counted_and_ends_only_its_request() {
    let homeserver = Homeserver::start().await;
    let clock = ManualClock::new(Timestamp::from_ms(NOW_MS));
    let clock = Arc::new(Faulty { clock, is_broken: AtomicBool::new(false) });
    let options =
        GateOptions { tls: true, clock: Some(Arc::clone(&clock) as _), ..GateOptions::default() };
    let gate = Gate::start_with(&homeserver, options).await;
    let ca = gate.ca.clone().unwrap();
    let value = gate.origin("origin.example").authorize("GET", TARGET, None);
    let headers = [("authorization", value.as_str())];
    let mut http1 = Client::tls(gate.address, &ca).await;
    let mut http2 = H2Client::connect(gate.address, &ca).await;
    let before = panics::count();
    assert_eq!(http1.request("GET", TARGET, &headers, None).await.status, 200);

    clock.is_broken.store(true, Ordering::SeqCst);
    let request =
        format!("GET {TARGET} HTTP/1.1\r\nHost: gate.example\r\nAuthorization: {value}\r\n\r\n");
    http1.send(request.as_bytes()).await;
    assert!(within("the end of the connection", http1.answer()).await.is_none());
    let reset = within("the end of the stream", http2.request("GET", TARGET, &headers, None)).await;
    assert!(reset.is_err(), "{reset:?}");
    clock.is_broken.store(false, Ordering::SeqCst);

    let mut http1 = Client::tls(gate.address, &ca).await;
    assert_eq!(http1.request("GET", TARGET, &headers, None).await.status, 200);
    let answer = within("the next stream", http2.request("GET", TARGET, &headers, None)).await;
    assert_eq!(answer.unwrap().status, 200);
    assert!(panics::count() >= before + 2);
    assert!(gate.metric("fedgate_panics_total").await >= (before + 2) as f64);
    let refused =
        "fedgate_requests_total{endpoint=\"event\",reason=\"internal_error\",verdict=\"refused\"}";
    assert_eq!(gate.metric(refused).await, 2.0);
    within("the end of all requests", async {
        while gate.metric("fedgate_requests_in_flight").await != 0.0 {}
    })
    .await;
}
