//! Who is refused, for how long, and who is not.

use std::sync::Arc;

use futures_util::FutureExt as _;
use prometheus::Registry;

use super::*;
use crate::config::{Config, Sources};
use crate::gate::admission::Credentials;

const FORGER: &str = "198.51.100.66";
const HONEST: &str = "203.0.113.7";

pub(super) fn rates_of(settings: &str) -> RequestRates {
    let text = format!(
        "server_name = \"own.example\"\nhomeserver = \"http://127.0.0.1:1\"\n[limits]\n{settings}\n"
    );
    Config::load(&Sources::from_text("test.toml", text)).unwrap().rates
}

fn limits_of(settings: &str) -> Limits {
    counted(settings).0
}

/// The same, with what is counted of them.
fn counted(settings: &str) -> (Limits, Registry) {
    let own = ["192.0.2.1/32".parse().unwrap()];
    let registry = Registry::new();
    let metrics = LimitMetrics::register(&registry).unwrap();
    (Limits::new(&rates_of(settings), &own, metrics), registry)
}

fn name(text: &str) -> ServerName {
    ServerName::parse(text).unwrap()
}

fn signed(origin: &str) -> Claim {
    let (destinations, signatures) = Default::default();
    Claim::Signed(Credentials { origin: name(origin), destinations, signatures })
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn wait(limits: &Limits, claim: &Claim, client: &str) -> Option<Duration> {
    let refusal = limits.check(claim, ip(client)).err()?;
    assert_eq!(refusal.rejection, Rejection::RateLimited);
    refusal.retry_after
}

fn forge(limits: &Limits, origin: &str, client: &str, times: usize) {
    let refusal = Refusal::new(Rejection::BadSignature, "").of_origin(&name(origin));
    for _ in 0..times {
        limits.note(&refusal, ip(client));
    }
}

fn fail(limits: &Limits, client: &str, times: usize) {
    for _ in 0..times {
        limits.note(&Refusal::new(Rejection::HeaderMissing, ""), ip(client));
    }
}

#[tokio::test(start_paused = true)]
async fn r5_a_forger_cools_down_and_shuts_out_nobody_else() {
    let limits = limits_of("");
    forge(&limits, "victim.example", FORGER, 3);
    assert_eq!(wait(&limits, &signed("victim.example"), FORGER), None);
    forge(&limits, "victim.example", FORGER, 1);
    let cool_down = Duration::from_secs(10);
    for spelling in ["victim.example", "VICTIM.example:8448"] {
        assert_eq!(wait(&limits, &signed(spelling), FORGER), Some(cool_down), "{spelling}");
    }
    assert_eq!(wait(&limits, &signed("victim.example"), HONEST), None, "the honest server");
    assert_eq!(wait(&limits, &signed("other.example"), FORGER), None, "another name");
    tokio::time::advance(cool_down - Duration::from_millis(1)).await;
    let left = wait(&limits, &signed("victim.example"), FORGER);
    assert_eq!(left, Some(Duration::from_millis(1)));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(wait(&limits, &signed("victim.example"), FORGER), None);
}

#[tokio::test(start_paused = true)]
async fn nothing_but_bad_signatures_cools_anybody_down() {
    let limits = limits_of("");
    let refusal = Refusal::new(Rejection::KeyUnknown, "").of_origin(&name("a.example"));
    for _ in 0..10 {
        limits.note(&refusal, ip(FORGER));
    }
    assert_eq!(wait(&limits, &signed("a.example"), FORGER), None);
}

#[tokio::test(start_paused = true)]
async fn a_bad_signature_now_and_then_cools_nobody_down() {
    let limits = limits_of("");
    for _ in 0..100 {
        forge(&limits, "a.example", FORGER, 1);
        assert_eq!(wait(&limits, &signed("a.example"), FORGER), None);
        tokio::time::advance(Duration::from_millis(400)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_fails_too_often_waits_and_good_requests_cost_nothing() {
    let limits = limits_of("failures_per_second = 2");
    for _ in 0..1_000 {
        assert_eq!(wait(&limits, &signed("a.example"), FORGER), None);
    }
    fail(&limits, FORGER, 19);
    assert_eq!(wait(&limits, &signed("a.example"), FORGER), None);
    fail(&limits, FORGER, 100);
    let half = Some(Duration::from_millis(500));
    assert_eq!(wait(&limits, &signed("a.example"), FORGER), half);
    assert_eq!(wait(&limits, &signed("a.example"), "198.51.100.67"), None, "his neighbour");
    assert_eq!(wait(&limits, &Claim::Open, FORGER), None, "which has a rate of its own");
    tokio::time::advance(Duration::from_millis(500)).await;
    assert_eq!(wait(&limits, &signed("a.example"), FORGER), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_clients_fault_is_not_held_against_it() {
    let limits = limits_of("failures_per_second = 1");
    for rejection in [
        Rejection::KeyUnavailable,
        Rejection::Overloaded,
        Rejection::PolicyDenied,
        Rejection::RateLimited,
        Rejection::HomeserverUnavailable,
    ] {
        for _ in 0..100 {
            limits.note(&Refusal::new(rejection, ""), ip(FORGER));
        }
        assert_eq!(wait(&limits, &signed("a.example"), FORGER), None, "{rejection:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_ipv6_network_is_one_client_and_addresses_of_ones_own_are_none() {
    let limits = limits_of("failures_per_second = 1");
    fail(&limits, "2001:db8::1", 20);
    assert!(wait(&limits, &signed("a.example"), "2001:db8::ffff:1").is_some());
    assert_eq!(wait(&limits, &signed("a.example"), "2001:db8:0:1::1"), None);
    fail(&limits, "::ffff:198.51.100.66", 20);
    assert!(wait(&limits, &signed("a.example"), FORGER).is_some());
    for own in
        ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.18.0.2", "100.64.0.1", "::1", "fd00::1"]
    {
        fail(&limits, own, 100);
        forge(&limits, "a.example", own, 100);
        assert_eq!(wait(&limits, &signed("a.example"), own), None, "{own}");
    }
}

#[tokio::test(start_paused = true)]
async fn b7_open_routes_have_a_rate_and_the_own_homeserver_none() {
    let limits = limits_of("open_per_second = 4");
    for _ in 0..40 {
        assert_eq!(wait(&limits, &Claim::Open, FORGER), None);
    }
    assert_eq!(wait(&limits, &Claim::Open, FORGER), Some(Duration::from_millis(250)));
    assert_eq!(wait(&limits, &Claim::Open, HONEST), None);
    for _ in 0..1_000 {
        assert_eq!(wait(&limits, &Claim::Open, "192.0.2.1"), None, "key_server.own_clients");
    }
    tokio::time::advance(Duration::from_millis(250)).await;
    assert_eq!(wait(&limits, &Claim::Open, FORGER), None);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_forgotten_before_his_time_however_many_others_there_are() {
    let limits = limits_of("failures_per_second = 1");
    forge(&limits, "victim.example", FORGER, 4);
    // He cools down for longer than it takes until he might forge again.
    tokio::time::advance(Duration::from_secs(2)).await;
    fail(&limits, "198.51.100.67", 20);
    for number in 0..1_100 {
        let other = format!("100.0.{}.{}", number / 256, number % 256);
        forge(&limits, "a.example", &other, 1);
    }
    assert!(wait(&limits, &signed("victim.example"), FORGER).is_some());
    assert!(wait(&limits, &signed("b.example"), "198.51.100.67").is_some());
}

const NARROW: &str = "origin_concurrent = 1\norigin_queue = 1\norigin_queue_timeout = \"3s\"";

#[tokio::test(start_paused = true)]
async fn an_origin_has_its_places_and_a_queue_for_them() {
    let limits = limits_of(NARROW);
    let turn = |origin| {
        let origin = name(origin);
        let limits = &limits;
        async move { limits.turn(&origin).await }
    };
    let first = turn("a.example").await.unwrap().expect("a place");
    let mut second = Box::pin(turn("A.example:8448"));
    assert!(second.as_mut().now_or_never().is_none(), "it waits");
    let began = tokio::time::Instant::now();
    let refusal = turn("a.example").await.unwrap_err();
    assert!(began.elapsed().is_zero(), "the queue is full");
    assert_eq!(refusal.rejection, Rejection::RateLimited);
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(1)));
    assert!(turn("b.example").await.unwrap().is_some(), "other origins have places of their own");
    drop(second);
    let mut third = Box::pin(turn("a.example"));
    assert!(third.as_mut().now_or_never().is_none(), "whoever gives up leaves the queue");
    drop(first);
    assert!(third.await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_longer_than_the_time_for_it() {
    let limits = limits_of(NARROW);
    let origin = name("a.example");
    let _first = limits.turn(&origin).await.unwrap();
    let began = tokio::time::Instant::now();
    let refusal = limits.turn(&origin).await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::from_secs(3));
    assert_eq!(refusal.rejection, Rejection::RateLimited);
    assert!(refusal.detail.contains("origin_queue_timeout"), "{}", refusal.detail);
}

#[tokio::test(start_paused = true)]
async fn beyond_its_rate_an_origin_is_delayed_not_refused() {
    let limits = limits_of("origin_per_second = 10");
    let origin = name("a.example");
    let began = tokio::time::Instant::now();
    for _ in 0..10 {
        limits.turn(&origin).await.unwrap();
    }
    assert!(began.elapsed().is_zero());
    limits.turn(&origin).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_millis(250));
}

/// Whatever Synapse by itself takes from one origin, with its defaults (3 at one time, 10 a second
/// before it delays by half a second, more than 50 waiting refused), comes through here.
#[tokio::test(start_paused = true)]
async fn what_synapse_takes_is_never_refused() {
    let limits = Arc::new(limits_of(""));
    // 54 at one time, and 100 a second for a minute, each of them half a second at the homeserver.
    let mut running = Vec::new();
    for n in 0..6_000 {
        let limits = Arc::clone(&limits);
        running.push(tokio::spawn(async move {
            let place = limits.turn(&name("big.example")).await.expect("not refused");
            tokio::time::sleep(Duration::from_millis(500)).await;
            drop(place);
        }));
        if n >= 54 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    for request in running {
        request.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_and_delayed_for_being_too_much_is_counted() {
    let rates = "failures_per_second = 1\nopen_per_second = 1\norigin_per_second = 1";
    let (limits, registry) = counted(&format!("{rates}\n{NARROW}"));
    let value = |label, name| {
        let families = registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let is_it = |metric: &&prometheus::proto::Metric| {
            metric.get_label().iter().all(|pair| pair.value() == label)
        };
        let metric = family.get_metric().iter().find(is_it).unwrap();
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    };
    forge(&limits, "a.example", FORGER, 3);
    assert_eq!(value("", "fedgate_limits_cool_downs_total"), 0.0);
    forge(&limits, "a.example", FORGER, 1);
    assert_eq!(value("", "fedgate_limits_cool_downs_total"), 1.0);
    assert!(wait(&limits, &signed("a.example"), FORGER).is_some());
    fail(&limits, HONEST, 10);
    assert!(wait(&limits, &signed("a.example"), HONEST).is_some());
    assert_eq!((0..11).filter_map(|_| wait(&limits, &Claim::Open, HONEST)).count(), 1);
    let origin = name("a.example");
    let place = limits.turn(&origin).await.unwrap();
    let mut second = Box::pin(limits.turn(&origin));
    assert!(second.as_mut().now_or_never().is_none());
    assert_eq!(value("", "fedgate_limits_waiting"), 1.0);
    assert_eq!(value("", "fedgate_limits_delayed_total"), 1.0);
    assert!(limits.turn(&origin).await.is_err(), "the queue is full");
    assert!(second.await.is_err(), "it has not come to its turn");
    assert_eq!(value("", "fedgate_limits_waiting"), 0.0);
    drop(place);
    for label in ["cool_down", "failures", "open", "origin_queue", "origin_wait"] {
        assert_eq!(value(label, "fedgate_limits_refused_total"), 1.0, "{label}");
    }
}
