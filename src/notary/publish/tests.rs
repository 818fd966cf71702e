use prometheus::Registry;

use super::*;
use crate::clock::ManualClock;
use crate::keys::testing::{HOUR, at};

const SEEDS: &[u8] = b"ed25519 a_own CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk\n";

fn own(valid_for_hours: u64) -> (Arc<Publisher>, Arc<ManualClock>, Registry) {
    let (clock, registry) = (Arc::new(ManualClock::new(at(0))), Registry::new());
    let keys = Arc::new(SigningKeys::parse(SEEDS).unwrap());
    let valid_for_ms = valid_for_hours * HOUR;
    let origin = Origin::Own { keys, old: BTreeMap::new(), valid_for_ms };
    let name = ServerName::parse("our.example").unwrap();
    let metrics = NotaryMetrics::register(&registry).unwrap();
    (Arc::new(Publisher::new(name, origin, Arc::clone(&clock) as _, metrics)), clock, registry)
}

async fn made_at(publisher: &Publisher) -> Timestamp {
    publisher.document().await.unwrap().fetched_at
}

fn renewals(registry: &Registry) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|f| f.name() == "fedgate_own_keys_renewals_total").unwrap();
    family.get_metric().iter().map(|metric| metric.get_counter().get_value()).sum()
}

#[tokio::test(start_paused = true)]
async fn r71_a_document_is_made_anew_at_half_of_its_life() {
    let (publisher, clock, _) = own(24);
    let keeper = Arc::clone(&publisher);
    let keeping = tokio::spawn(async move { keeper.keep_fresh().await });
    assert_eq!(made_at(&publisher).await, at(0));
    for (now, made) in [(12 * HOUR, 0), (12 * HOUR + 1, 12 * HOUR + 1), (24 * HOUR, 12 * HOUR + 1)]
    {
        clock.set(at(now));
        sleep(LOOK_INTERVAL).await;
        assert_eq!(made_at(&publisher).await, at(made), "{now}");
    }
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn r71_nothing_is_given_that_ends_within_the_hour() {
    let (publisher, clock, _) = own(2);
    for (now, made) in [(0, 0), (HOUR, 0), (HOUR + 1, HOUR + 1), (9 * HOUR, 9 * HOUR)] {
        clock.set(at(now));
        assert_eq!(made_at(&publisher).await, at(made), "{now}");
    }
}

#[tokio::test(start_paused = true)]
async fn many_who_ask_at_one_time_make_one_renewal() {
    let (publisher, _, registry) = own(24);
    let asking = (0..100).map(|_| {
        let publisher = Arc::clone(&publisher);
        tokio::spawn(async move { publisher.document().await.unwrap() })
    });
    let documents = futures_util::future::join_all(asking).await;
    assert!(
        documents
            .iter()
            .all(|found| Arc::ptr_eq(found.as_ref().unwrap(), documents[0].as_ref().unwrap()))
    );
    assert_eq!(renewals(&registry), 1.0);
}
