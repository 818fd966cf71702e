use prometheus::Registry;
use tokio::sync::Semaphore;

use super::*;
use crate::clock::ManualClock;
use crate::keys::cache::KeyCache;
use crate::keys::fetch::{FetchError, KeyRequest};
use crate::keys::testing::{DAY, HOUR, ScriptedFetcher, Step, TestServer, at, key_id};
use crate::net::NetError;
use crate::proto::server_keys::ServerKeys;

mod bounds;
mod sharing;
mod verdicts;

/// A keyring with scripted sources.
struct House {
    keyring: Keyring,
    clock: Arc<ManualClock>,
    registry: Registry,
    store: KeyCache,
}

impl House {
    fn new(fetchers: &[&Arc<ScriptedFetcher>]) -> Self {
        Self::with_cache(fetchers, 1_000)
    }

    fn with_cache(fetchers: &[&Arc<ScriptedFetcher>], entries_max: u64) -> Self {
        let clock = Arc::new(ManualClock::new(at(0)));
        let registry = Registry::new();
        let store = KeyCache::new(entries_max);
        let keyring = Keyring::new(KeyringParts {
            store: store.clone(),
            fetchers: fetchers.iter().map(|&fetcher| Arc::clone(fetcher) as _).collect(),
            clock: Arc::clone(&clock) as _,
            metrics: KeyMetrics::new(&registry).unwrap(),
            fetch_timeout: Duration::from_secs(8),
        });
        Self { keyring, clock, registry, store }
    }

    async fn ask(&self, ids: &[&str]) -> Result<Vec<KeyAnswer>, KeysUnavailable> {
        let ids: Vec<KeyId> = ids.iter().map(|id| key_id(id)).collect();
        self.keyring.request_keys(&server().name, &ids).await
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

fn verdict(answers: &Result<Vec<KeyAnswer>, KeysUnavailable>) -> &'static str {
    match answers.as_deref() {
        Ok([KeyAnswer::Valid(_)]) => "valid",
        Ok([KeyAnswer::Expired { .. }]) => "expired",
        Ok([KeyAnswer::Retired { .. }]) => "retired",
        Ok([KeyAnswer::Unknown]) => "unknown",
        Ok(other) => panic!("{other:?}"),
        Err(_) => "unavailable",
    }
}

const ID: &str = "ed25519:1";

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
