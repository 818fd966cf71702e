use prometheus::Registry;
use tokio::sync::Semaphore;

use super::*;
use crate::clock::ManualClock;
use crate::keys::cache::KeyCache;
use crate::keys::fetch::{FetchError, KeyRequest};
use crate::keys::record::Source;
use crate::keys::testing::{DAY, HOUR, ScriptedFetcher, Step, TestServer, at, banning, key_id};
use crate::net::NetError;
use crate::proto::server_keys::ServerKeys;
use crate::proto::validity::Provenance;

mod agreement;
mod bounds;
mod event_keys;
mod hedging;
mod history;
mod querying;
mod refreshing;
mod ruled;
mod sharing;
mod simulated;
mod stored;
mod verdicts;

/// A keyring with scripted sources.
struct House {
    keyring: Keyring,
    clock: Arc<ManualClock>,
    registry: Registry,
    cache: KeyCache,
}

impl House {
    fn new(fetchers: &[&Arc<ScriptedFetcher>]) -> Self {
        Self::with(fetchers, |_| {})
    }

    /// A stage per source, save that notaries in a row are asked together.
    fn with(fetchers: &[&Arc<ScriptedFetcher>], change: impl FnOnce(&mut KeyringParts)) -> Self {
        let clock = Arc::new(ManualClock::new(at(0)));
        let registry = Registry::new();
        let cache = KeyCache::new(4 << 20);
        let is_notary = |f: &&Arc<ScriptedFetcher>| matches!(f.source(), Source::Notary(_));
        let stages = fetchers
            .chunk_by(|one, next| is_notary(one) && is_notary(next))
            .map(|sources| Stage {
                sources: sources.iter().map(|&source| Arc::clone(source) as _).collect(),
                head_start: HEAD_START,
            })
            .collect();
        let mut parts = KeyringParts {
            cache: cache.clone(),
            store: None,
            stages,
            clock: Arc::clone(&clock) as _,
            metrics: KeyMetrics::new(&registry).unwrap(),
            rules: banning([]),
            policy: policy(),
        };
        change(&mut parts);
        Self { cache: parts.cache.clone(), keyring: Keyring::new(parts), clock, registry }
    }

    async fn ask(&self, ids: &[&str]) -> Result<KeyAnswers, KeysUnavailable> {
        let ids: Vec<KeyId> = ids.iter().map(|id| key_id(id)).collect();
        self.keyring.request_keys(&server().name, &ids, CLIENT).await
    }

    /// Asks for one key and gives the verdict in one word.
    async fn verdict(&self, id: &str) -> &'static str {
        verdict(&self.ask(&[id]).await)
    }

    /// The value of a counter or gauge with these label values.
    fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        let metric = family.get_metric().iter().find(|metric| {
            let mut found: Vec<&str> = metric.get_label().iter().map(|l| l.value()).collect();
            found.sort_unstable();
            found == labels
        });
        let metric = metric.unwrap();
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    }
}

fn verdict(answers: &Result<KeyAnswers, KeysUnavailable>) -> &'static str {
    match answers.as_deref() {
        Ok([KeyAnswer::Valid(_)]) => "valid",
        Ok([KeyAnswer::Banned(_)]) => "banned",
        Ok([KeyAnswer::Expired { .. }]) => "expired",
        Ok([KeyAnswer::Retired { .. }]) => "retired",
        Ok([KeyAnswer::Unknown]) => "unknown",
        Ok(other) => panic!("{other:?}"),
        Err(_) => "unavailable",
    }
}

const ID: &str = "ed25519:1";

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

const HEAD_START: Duration = Duration::from_secs(1);

fn policy() -> KeyPolicy {
    KeyPolicy { first_seen: Rates { in_all: 10_000, per_network: 10_000 }, ..KeyPolicy::default() }
}

fn server() -> TestServer {
    let mut server = TestServer::new("a.example");
    server.add_key(ID);
    server
}

fn gives(server: &TestServer) -> Step {
    Step::Answer(Ok(vec![server.checked()]))
}

fn refused() -> FetchError {
    FetchError::Net(NetError::Connect("a.example: connection refused".to_owned()))
}

fn fails() -> Step {
    Step::Answer(Err(refused()))
}

/// An answer that is given once the gate has a permit for it.
fn gated(answer: Result<Vec<ServerKeys>, FetchError>) -> (Arc<Semaphore>, Step) {
    let gate = Arc::new(Semaphore::new(0));
    (Arc::clone(&gate), Step::AnswerAfter(gate, answer))
}

/// Lets every other task go as far as it can.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}
