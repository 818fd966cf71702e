//! How much anybody may ask for. Before a request is verified, by the address it comes from, and only
//! what fails is counted; afterwards, by the origin that has signed it.
//!
//! Anybody can claim any origin: what is held against a claim is held against the pair of claim and
//! address, so that a forger elsewhere shuts out nobody.

mod client;
pub mod metrics;
mod origin;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use self::client::Clients;
use self::metrics::{Limit, LimitMetrics};
use self::origin::Origins;
use super::admission::Claim;
use super::{Refusal, Rejection};
use crate::config::RequestRates;
use crate::proto::ServerName;
pub use origin::Place;

/// What everybody has left.
#[derive(Debug)]
pub struct Limits {
    clients: Clients,
    origins: Origins,
    metrics: LimitMetrics,
}

impl Limits {
    /// Full budgets. `own_clients` may ask for keys as often as they like.
    pub fn new(rates: &RequestRates, own_clients: &[IpNet], metrics: LimitMetrics) -> Self {
        Self { clients: Clients::new(rates, own_clients), origins: Origins::new(rates), metrics }
    }

    /// Whether a request from `client` may go on, before anything is done for it.
    pub(super) fn check(&self, claim: &Claim, client: IpAddr) -> Result<(), Refusal> {
        let over = match claim {
            Claim::Open => self.clients.open(client).map(|wait| (Limit::Open, wait)),
            Claim::Other => None,
            Claim::Signed(credentials) => {
                let cooling = self.clients.cooling(&credentials.origin, client);
                let failing = || self.clients.failing(client).map(|wait| (Limit::Failures, wait));
                cooling.map(|wait| (Limit::CoolDown, wait)).or_else(failing)
            }
        };
        over.map_or(Ok(()), |(limit, wait)| Err(self.refuse(limit, wait)))
    }

    /// Notes that a request from `client` was refused.
    pub(super) fn note(&self, refusal: &Refusal, client: IpAddr) {
        if !is_failure(refusal.rejection) {
            return;
        }
        self.clients.failed(client);
        if let (Rejection::BadSignature, Some(origin)) = (refusal.rejection, &refusal.origin)
            && self.clients.forged(origin, client)
        {
            self.metrics.cools();
        }
    }

    /// Waits for a place for a verified request. It can be given up at any time.
    pub(super) async fn turn(&self, origin: &ServerName) -> Result<Option<Place>, Refusal> {
        let turn = self.origins.turn(origin, &self.metrics).await;
        turn.map_err(|limit| self.refuse(limit, origin::RETRY))
    }

    fn refuse(&self, limit: Limit, wait: Duration) -> Refusal {
        self.metrics.refused(limit);
        Refusal::new(Rejection::RateLimited, limit.detail()).retry_after(wait)
    }
}

/// Whether a refusal is for something an honest server in order does not do. What is only too much or
/// too slow has limits of its own, and a server that the policy denies is to be told so.
const fn is_failure(rejection: Rejection) -> bool {
    match rejection {
        Rejection::BadSignature
        | Rejection::BodyAmbiguous
        | Rejection::BodyForbidden
        | Rejection::BodyNotJson
        | Rejection::BodyNotObject
        | Rejection::BodyTooLarge
        | Rejection::ContentEncoding
        | Rejection::DestinationMismatch
        | Rejection::ExpectationUnsupported
        | Rejection::FramingAmbiguous
        | Rejection::HeadTooLarge
        | Rejection::HeaderMalformed
        | Rejection::HeaderMissing
        | Rejection::HeadersDisagree
        | Rejection::KeyBanned
        | Rejection::KeyExpired
        | Rejection::KeyRetired
        | Rejection::KeyUnknown
        | Rejection::KeyUnsupported
        | Rejection::RequestMalformed
        | Rejection::TargetRefused => true,
        Rejection::BodyTimeout
        | Rejection::ClientGone
        | Rejection::EventRefused
        | Rejection::HeadTimeout
        | Rejection::HomeserverTimeout
        | Rejection::HomeserverUnavailable
        | Rejection::InternalError
        | Rejection::KeyQueryMalformed
        | Rejection::KeyUnavailable
        | Rejection::MembershipRefused
        | Rejection::MethodNotAllowed
        | Rejection::OtherPath
        | Rejection::Overloaded
        | Rejection::PolicyDenied
        | Rejection::RateLimited
        | Rejection::TransactionRefused
        | Rejection::UserNotOnOrigin => false,
    }
}
