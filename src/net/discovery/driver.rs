//! Asks the network what the steps of a discovery want to know.

use std::time::Duration;

use super::cache::{Looked, WellKnownCache};
use super::well_known::{self, HttpsGet};
use super::{Endpoint, Ports, ResolutionStep};
use crate::net::dns::SrvTarget;
use crate::net::trace::{Action, NameForm, Outcome, Trace, cut};
use crate::net::{Dns, NetError};
use crate::proto::ServerName;
use crate::proto::server_name::Host;

/// What a discovery needs.
pub struct Discovery<'a> {
    /// Resolves names.
    pub dns: &'a dyn Dns,
    /// Gets well-known documents.
    pub https: &'a dyn HttpsGet,
    /// Remembers what they said.
    pub cache: &'a WellKnownCache,
    /// The ports that are used where a name brings none.
    pub ports: Ports,
    /// Time for the well-known document, with all its redirects. Many servers have none and drop
    /// packets to 443; what this takes is missing for the rest.
    pub well_known_timeout: Duration,
    /// Takes down the steps.
    pub trace: &'a Trace,
}

/// What a discovery found.
#[derive(Debug, PartialEq, Eq)]
pub struct Discovered {
    /// The places to try, best first. Never empty.
    pub endpoints: Vec<Endpoint>,
    /// Why the well-known document was passed over, when it was asked for and is not valid.
    pub well_known_failure: Option<NetError>,
}

impl Discovery<'_> {
    /// Finds the places where `server` is to be reached. Takes at most the time for the well-known
    /// document and two SRV look-ups.
    ///
    /// # Errors
    ///
    /// [`NetError::Dns`] when an SRV look-up fails (that there are no records is not a failure).
    pub async fn of(&self, server: &ServerName) -> Result<Discovered, NetError> {
        self.trace.note(|| named(server), || Outcome::Name { form: form(server) });
        let mut well_known_failure = None;
        let mut step = ResolutionStep::start(server, self.ports)?;
        loop {
            step = match step {
                ResolutionStep::WellKnown(waiting) => {
                    let answer = self.well_known(waiting.host()).await;
                    let next = waiting.answered(answer.as_ref().ok());
                    well_known_failure = answer.err();
                    next
                }
                ResolutionStep::Srv(waiting) => {
                    let targets = self.srv(&waiting.name()).await?;
                    waiting.answered(targets, &mut fastrand::Rng::new())?
                }
                ResolutionStep::Done(endpoints) => {
                    return Ok(Discovered { endpoints, well_known_failure });
                }
            };
        }
    }

    async fn well_known(&self, host: &str) -> Result<ServerName, NetError> {
        let limit = self.well_known_timeout;
        // The time limit is within, so that its passing is remembered as well.
        let fetch = async {
            tokio::time::timeout(limit, well_known::fetch(host, self.ports.https, self.https))
                .await
                .unwrap_or_else(|_elapsed| {
                    Err(NetError::Timeout(format!("no well-known document within {limit:?}")))
                })
                .inspect_err(|error| {
                    let kind = error.kind();
                    tracing::debug!(host, kind, %error, "no valid well-known document");
                })
        };
        let step = self.trace.begin(|| Action::WellKnown { url: well_known::url(host) });
        let looked = self.cache.get(host, fetch).await;
        step.end(|| well_known_outcome(&looked));
        looked.result
    }

    async fn srv(&self, name: &str) -> Result<Vec<SrvTarget>, NetError> {
        let step = self.trace.begin(|| Action::Srv { name: name.to_owned() });
        let found = self.dns.srv(name).await;
        step.result(&found, |found| Outcome::Targets {
            targets: found.records.clone(),
            answered_by: found.answered_by,
            no_such_name: found.no_such_name,
        });
        Ok(found?.records)
    }
}

fn named(server: &ServerName) -> Action {
    Action::ServerName { name: server.to_string() }
}

fn form(server: &ServerName) -> NameForm {
    match (server.host(), server.port()) {
        (Host::Ipv4(_) | Host::Ipv6(_), _) => NameForm::Address,
        (Host::Dns(_), Some(_)) => NameForm::NameWithPort,
        (Host::Dns(_), None) => NameForm::NameAlone,
    }
}

fn well_known_outcome(looked: &Looked) -> Outcome {
    let (remembered, remaining_s) = (looked.remembered, looked.remaining.as_secs());
    match &looked.result {
        Ok(server) => Outcome::Delegated { server: server.to_string(), remembered, remaining_s },
        Err(error) => Outcome::NotDelegated { text: cut(error.text()), remembered, remaining_s },
    }
}
