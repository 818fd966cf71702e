//! The rules about servers, where a request comes to them.

use super::*;
use crate::gate::policy::metrics::PolicyMetrics;

impl House {
    /// The same with rules about servers, by these settings of theirs.
    fn ruled(mut self, settings: &str) -> Self {
        let text = format!(
            "server_name = \"our.example\"\nhomeserver = \"http://127.0.0.1:1\"\n[policy]\n{settings}\n"
        );
        let config = Config::load(&Sources::from_text("test.toml", text)).unwrap();
        let metrics = PolicyMetrics::register(&Registry::new()).unwrap();
        let own = &self.gate.settings.server_names;
        let policy = Policy::load(&config.policy, own, metrics, Arc::clone(&self.clock) as _);
        self.gate = self.gate.with_policy(policy.unwrap().into());
        self
    }
}

#[tokio::test]
async fn k1_who_may_not_federate_is_refused_by_the_name_he_claims() {
    let house = enforcing().ruled("deny = [\"one.example\"]");
    let header = house.signed_by("ed25519:1", "");
    assert_eq!(house.refusal(&[header], "").await, Rejection::PolicyDenied);
    let house = enforcing().ruled("deny = [\"two.example\"]");
    let header = house.signed_by("ed25519:1", "");
    assert!(house.judge(&[header], "").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn k1_files_of_rules_are_looked_at_for_as_long_as_the_gate_prepares() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let house =
        enforcing().ruled(&format!("deny_files = [{:?}]\nfiles_interval = \"10s\"", file.path()));
    let header = house.signed_by("ed25519:1", "");
    assert!(house.judge(std::slice::from_ref(&header), "").await.is_ok());
    std::fs::write(file.path(), "one.example").unwrap();
    // The clock stands still while a file is read.
    let prepared = tokio::time::timeout(Duration::from_secs(15), house.gate.prepare()).await;
    assert!(prepared.is_err(), "it goes on");
    assert_eq!(house.refusal(&[header], "").await, Rejection::PolicyDenied);
}
