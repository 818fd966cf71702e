//! A notary that is asked for many servers at one time.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::config::Notary;
use crate::keys::fetch::NotaryFetcher;
use crate::keys::testing::{banning, key_metrics};
use crate::net::FederationTransport;
use crate::net::transport::{FederationRequest, FederationResponse};

/// The way to a notary that knows everybody's keys, valid for a day, but tries in vain to find those of
/// servers whose name begins with `made-up`, and holds back what is asked beside them.
struct ToNotary {
    notary: TestServer,
    clock: Arc<ManualClock>,
    queries: Mutex<Vec<Vec<String>>>,
}

#[async_trait::async_trait]
impl FederationTransport for ToNotary {
    async fn send(
        &self,
        _: &ServerName,
        request: FederationRequest,
    ) -> Result<FederationResponse, NetError> {
        let query: Value = serde_json::from_slice(&request.body.unwrap()).unwrap();
        let names: Vec<String> =
            query["server_keys"].as_object().unwrap().keys().cloned().collect();
        self.queries.lock().unwrap().push(names.clone());
        if names.iter().any(|name| name.starts_with("made-up")) {
            std::future::pending::<()>().await;
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let documents: Vec<Vec<u8>> = names
            .iter()
            .map(|name| {
                let mut server = TestServer::new(name);
                server.add_key(ID);
                server.valid_until = self.clock.now().plus_ms(DAY);
                self.notary.sign(&server.document(), "ed25519:notary")
            })
            .collect();
        let list = documents.join(&b","[..]);
        let body = Bytes::from([br#"{"server_keys":["#, list.as_slice(), b"]}"].concat());
        Ok(FederationResponse { status: 200, body })
    }
}

struct NotaryHouse {
    keyring: Keyring,
    clock: Arc<ManualClock>,
    way: Arc<ToNotary>,
}

impl NotaryHouse {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(at(0)));
        let mut notary = TestServer::new("notary.example");
        let pin = notary.add_key("ed25519:notary");
        let pinned = Notary {
            server_name: notary.name.clone(),
            verify_keys: BTreeMap::from([(key_id("ed25519:notary"), pin)]),
        };
        let way =
            Arc::new(ToNotary { notary, clock: Arc::clone(&clock), queries: Mutex::default() });
        let transport = Arc::clone(&way);
        let source = NotaryFetcher::new(transport, banning([]), pinned, key_metrics());
        let house = House::with(&[], |parts| {
            parts.clock = Arc::clone(&clock) as _;
            parts.stages = vec![Stage { sources: vec![Arc::new(source)], head_start: HEAD_START }];
        });
        Self { keyring: house.keyring, clock, way }
    }

    fn ask(&self, name: &str) -> JoinHandle<&'static str> {
        let (keyring, server) = (self.keyring.clone(), ServerName::parse(name).unwrap());
        tokio::spawn(
            async move { verdict(&keyring.request_keys(&server, &[key_id(ID)], CLIENT).await) },
        )
    }

    fn sizes(&self) -> Vec<usize> {
        self.way.queries.lock().unwrap().iter().map(Vec::len).collect()
    }
}

/// R60, F6: the keys of 300 known servers end at once, while made-up names that never get an answer
/// occupy the notary.
#[tokio::test(start_paused = true)]
async fn f6_renewals_go_out_together_and_past_a_flood() {
    let house = NotaryHouse::new();
    for n in 0..300 {
        assert_eq!(house.ask(&format!("s{n}.example")).await.unwrap(), "valid");
    }
    assert_eq!(house.sizes(), [1; 300], "nobody waits for company");
    let flood: Vec<_> = (0..100).map(|n| house.ask(&format!("made-up{n}.example"))).collect();
    settle().await;
    house.way.queries.lock().unwrap().clear();
    house.clock.set(at(DAY + 1));
    let started = Instant::now();
    let callers: Vec<_> = (0..300).map(|n| house.ask(&format!("s{n}.example"))).collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "valid");
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    let sizes = house.sizes();
    assert_eq!(sizes.iter().sum::<usize>(), 300);
    assert!(sizes.len() <= 20, "{sizes:?}");
    for caller in flood {
        assert_eq!(caller.await.unwrap(), "unavailable");
    }
}
