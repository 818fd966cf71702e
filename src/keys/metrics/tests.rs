use super::*;
use crate::net::NetError;

#[test]
fn every_kind_of_error_has_its_series_from_the_start() {
    let registry = Registry::new();
    let metrics = KeyMetrics::new(&registry).unwrap();
    let text = || String::new();
    let errors = [
        FetchError::BadAnswer(text()),
        FetchError::Busy,
        FetchError::Status(404),
        FetchError::Net(NetError::BlockedAddress(text())),
        FetchError::Net(NetError::Connect(text())),
        FetchError::Net(NetError::Dns(text())),
        FetchError::Net(NetError::Http(text())),
        FetchError::Net(NetError::Timeout(text())),
        FetchError::Net(NetError::Tls(text())),
        FetchError::Net(NetError::TooLarge(text())),
    ];
    let series = |name: &str| {
        let families = registry.gather();
        families.iter().find(|f| f.name() == name).unwrap().get_metric().len()
    };
    assert_eq!(series("fedgate_key_fetch_errors_total"), 30);
    assert_eq!(series("fedgate_key_lookups_total"), 6 + 1 + 3 * 5);
    for error in &errors {
        metrics.fetch_failed(Provenance::Origin, error);
    }
    metrics.fetch_failed(Provenance::Homeserver, &FetchError::NotServed);
    assert_eq!(series("fedgate_key_fetch_errors_total"), 30, "a kind outside the list");
    for kind in ERROR_KINDS {
        let counter = metrics.fetch_errors.with_label_values(&["origin", kind]);
        assert_eq!(counter.get(), 1, "{kind}");
    }
}

#[test]
fn families_are_declared_once_per_registry() {
    let registry = Registry::new();
    KeyMetrics::new(&registry).unwrap();
    assert!(matches!(KeyMetrics::new(&registry), Err(prometheus::Error::AlreadyReg)));
}
