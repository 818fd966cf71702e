//! The steps without a network: default ports, and what is asked for. Every row of the table is in
//! `src/net/https/tests/discovery_rows.rs`, from packet to request.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::cache::WellKnownCache;
use super::driver::Discovery;
use super::well_known::{HttpsAnswer, HttpsGet};
use super::*;
use crate::net::dns::{AnsweredBy, Resolved};
use crate::net::trace::Trace;
use crate::net::{Dns, NetMetrics};

/// A network that knows what a test tells it, and notes what it is asked.
#[derive(Default)]
struct Network {
    well_known: BTreeMap<&'static str, &'static str>,
    srv: BTreeMap<&'static str, Vec<SrvTarget>>,
    srv_broken: bool,
    well_known_stalls: bool,
    asked: Mutex<Vec<String>>,
}

impl Network {
    fn with_well_known(mut self, host: &'static str, delegated: &'static str) -> Self {
        self.well_known.insert(host, delegated);
        self
    }

    fn with_srv(mut self, name: &'static str, host: &str, port: u16) -> Self {
        let target = SrvTarget { priority: 1, weight: 1, host: host.to_owned(), port };
        self.srv.entry(name).or_default().push(target);
        self
    }

    fn note(&self, what: String) {
        self.asked.lock().expect("unpoisoned").push(what);
    }

    async fn discover(&self, server: &str) -> Result<driver::Discovered, NetError> {
        let discovery = Discovery {
            dns: self,
            https: self,
            cache: &WellKnownCache::new(
                fastrand::Rng::with_seed(7),
                NetMetrics::new().expect("metrics"),
            ),
            ports: Ports::default(),
            well_known_timeout: Duration::from_secs(4),
            trace: &Trace::default(),
        };
        discovery.of(&name(server)).await
    }

    /// What discovery finds, and what it asked on the way.
    async fn steps(&self, server: &str) -> (Vec<Endpoint>, Vec<String>) {
        let found = self.discover(server).await.expect("endpoints");
        (found.endpoints, std::mem::take(&mut *self.asked.lock().expect("unpoisoned")))
    }
}

#[async_trait]
impl Dns for Network {
    async fn addresses(&self, host: &str) -> Result<Resolved<IpAddr>, NetError> {
        panic!("discovery asked for the addresses of {host}")
    }

    async fn srv(&self, name: &str) -> Result<Resolved<SrvTarget>, NetError> {
        self.note(format!("SRV {name}"));
        if self.srv_broken {
            return Err(NetError::Dns("SERVFAIL".to_owned()));
        }
        let records = self.srv.get(name).cloned().unwrap_or_default();
        Ok(Resolved { records, answered_by: AnsweredBy::NameServer, no_such_name: false })
    }
}

#[async_trait]
impl HttpsGet for Network {
    async fn get(
        &self,
        endpoint: &Endpoint,
        target: &str,
        _body_bytes_max: usize,
    ) -> Result<HttpsAnswer, NetError> {
        self.note(format!("GET {endpoint}{target}"));
        if self.well_known_stalls {
            std::future::pending::<()>().await;
        }
        let DialHost::Name(host) = &endpoint.host else { panic!("an address: {endpoint}") };
        let Some(delegated) = self.well_known.get(host.as_str()) else {
            return Err(NetError::Connect("refused".to_owned()));
        };
        let body = Bytes::from(format!(r#"{{"m.server":"{delegated}"}}"#));
        Ok(HttpsAnswer { status: 200, location: None, cache_control: None, body })
    }
}

fn name(text: &str) -> ServerName {
    ServerName::parse(text).expect("a server name")
}

fn endpoint(host: &str, port: u16, host_header: &str, tls_name: &str) -> Endpoint {
    Endpoint {
        host: host.parse().map_or_else(|_| DialHost::Name(host.to_owned()), DialHost::Ip),
        port,
        host_header: host_header.to_owned(),
        tls_name: TlsName::try_from(tls_name.to_owned()).expect("a name"),
    }
}

const WELL_KNOWN: &str = "GET example.org:443/.well-known/matrix/server";

#[tokio::test]
async fn r73_step_1_an_address_is_dialled_as_it_is() {
    for (server, host, port) in [
        ("1.2.3.4", "1.2.3.4", 8448),
        ("1.2.3.4:5", "1.2.3.4", 5),
        ("[2a01:4f8::1]", "2a01:4f8::1", 8448),
        ("[2a01:4f8::1]:443", "2a01:4f8::1", 443),
    ] {
        let (endpoints, asked) = Network::default().steps(server).await;
        assert_eq!(endpoints, [endpoint(host, port, server, host)], "{server}");
        assert_eq!(asked, [""; 0], "{server}");
    }
}

#[tokio::test]
async fn r73_step_3_1_delegation_to_an_address() {
    for (delegated, host, port) in [
        ("1.2.3.4", "1.2.3.4", 8448),
        ("1.2.3.4:5", "1.2.3.4", 5),
        ("[2a01:4f8::1]", "2a01:4f8::1", 8448),
        ("[2a01:4f8::1]:443", "2a01:4f8::1", 443),
    ] {
        let network = Network::default().with_well_known("example.org", delegated);
        let (endpoints, asked) = network.steps("example.org").await;
        assert_eq!(endpoints, [endpoint(host, port, delegated, host)], "{delegated}");
        assert_eq!(asked, [WELL_KNOWN], "{delegated}");
    }
}

#[tokio::test]
async fn r73_step_3_5_delegation_then_the_default_port() {
    let network = Network::default().with_well_known("example.org", "matrix.example.net");
    let (endpoints, asked) = network.steps("example.org").await;
    let expected = endpoint("matrix.example.net", 8448, "matrix.example.net", "matrix.example.net");
    assert_eq!(endpoints, [expected]);
    assert_eq!(asked.len(), 3);
}

#[tokio::test]
async fn r73_step_6_nothing_then_the_default_port() {
    let (endpoints, asked) = Network::default().steps("example.org").await;
    assert_eq!(endpoints, [endpoint("example.org", 8448, "example.org", "example.org")]);
    assert_eq!(asked.len(), 3);
}

#[tokio::test]
async fn r74_a_delegation_that_can_not_be_followed_is_passed_over() {
    let too_long = "a".repeat(64);
    let unusable: [&'static str; 6] = [
        "",
        "a b",
        "https://matrix.example.net",
        "matrix.example.net:99999",
        "-.example.net",
        too_long.leak(),
    ];
    for delegated in unusable {
        let network = Network::default().with_well_known("example.org", delegated);
        let (endpoints, _) = network.steps("example.org").await;
        let expected = endpoint("example.org", 8448, "example.org", "example.org");
        assert_eq!(endpoints, [expected], "{delegated:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn r74_a_well_known_that_does_not_answer_is_passed_over_in_time() {
    let network = Network { well_known_stalls: true, ..Network::default() };
    let before = tokio::time::Instant::now();
    let found = network.discover("example.org").await.expect("endpoints");
    assert_eq!(before.elapsed(), Duration::from_secs(4));
    assert_eq!(found.endpoints, [endpoint("example.org", 8448, "example.org", "example.org")]);
    assert_eq!(found.well_known_failure.map(|error| error.kind()), Some("timeout"));
}

#[tokio::test]
async fn the_failure_of_the_well_known_is_kept_for_the_log() {
    let failed = Network::default().discover("example.org").await.expect("endpoints");
    assert_eq!(failed.well_known_failure, Some(NetError::Connect("refused".to_owned())));
    let network = Network::default().with_well_known("example.org", "matrix.example.net:1");
    let valid = network.discover("example.org").await.expect("endpoints");
    assert_eq!(valid.well_known_failure, None);
}

#[tokio::test]
async fn a_failed_srv_look_up_ends_the_search() {
    let network = Network { srv_broken: true, ..Network::default() };
    let error = network.discover("example.org").await.expect_err("SERVFAIL");
    assert_eq!(error, NetError::Dns("SERVFAIL".to_owned()));
    assert_eq!(network.asked.lock().expect("unpoisoned").len(), 2, "no look-up after it");
}

#[tokio::test]
async fn an_srv_record_can_say_that_there_is_no_service() {
    let network = Network::default().with_srv("_matrix-fed._tcp.example.org", "", 0).with_srv(
        "_matrix._tcp.example.org",
        "old.example.com",
        1,
    );
    let error = network.discover("example.org").await.expect_err("no service");
    assert_eq!(error.kind(), "dns");
    assert!(error.text().contains("_matrix-fed._tcp.example.org"), "{error}");
    // Beside a real target it says nothing.
    let network = network.with_srv("_matrix-fed._tcp.example.org", "srv.example.com", 2);
    let (endpoints, _) = network.steps("example.org").await;
    assert_eq!(endpoints, [endpoint("srv.example.com", 2, "example.org", "example.org")]);
}

#[test]
fn all_srv_targets_are_kept_in_order_of_priority() {
    let start = ResolutionStep::start(&name("example.org"), Ports::default()).expect("a step");
    let ResolutionStep::WellKnown(waiting) = start else { panic!("not the well-known: {start:?}") };
    let next = waiting.answered(None);
    let ResolutionStep::Srv(waiting) = next else { panic!("not the SRV records: {next:?}") };
    let target =
        |priority, host: &str| SrvTarget { priority, weight: 0, host: host.to_owned(), port: 1 };
    let targets = vec![target(30, "c.example"), target(10, "a.example"), target(20, "b.example")];
    let done = waiting.answered(targets, &mut fastrand::Rng::with_seed(7)).expect("endpoints");
    let expected = ["a.example", "b.example", "c.example"]
        .map(|host| endpoint(host, 1, "example.org", "example.org"));
    assert_eq!(done, ResolutionStep::Done(expected.to_vec()));
}

#[test]
fn a_name_that_dns_can_not_hold_is_an_error() {
    let label = "a".repeat(64);
    for server in [format!("{label}.org"), format!("{label}.org:8448"), "-.org".to_owned()] {
        let error = ResolutionStep::start(&name(&server), Ports::default()).expect_err(&server);
        assert_eq!(error.kind(), "dns", "{server}");
        assert!(error.text().contains("is not a DNS name"), "{error}");
    }
}
