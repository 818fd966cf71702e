//! What one client may do before anything it says has been verified: by the address it comes from, for
//! nothing else about it can be believed yet.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::Instant;

use super::table::{Fades, Table};
use crate::config::RequestRates;
use crate::keys::budget::Bucket;
use crate::proto::ServerName;
use crate::proto::client_network::is_on_internet;
use crate::proto::server_glob::policy_identity;

/// Addresses kept account of; each takes some hundred bytes.
const CLIENTS_MAX: usize = 65_536;

/// Pairs of claimed origin and address kept account of.
const PAIRS_MAX: usize = 65_536;

/// What can be saved up of failures and of open requests, in seconds' worth: a server whose key has
/// just ended sends what it has in its queue, and looks only then.
const BURST: Duration = Duration::from_secs(10);

/// The bits of an IPv6 address that a machine is told apart by: the rest it chooses itself. Refusing
/// takes the smallest network there is, unlike the budgets for strangers (an IPv4 /24, an IPv6 /56):
/// the neighbours of somebody who forges requests may be honest.
const IPV6_PREFIX_BITS: u32 = 64;

/// An address as clients are told apart by: an IPv4 address, or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ClientKey(IpAddr);

impl ClientKey {
    /// None for addresses that are not on the Internet.
    fn of(client: IpAddr) -> Option<Self> {
        is_on_internet(client).then(|| match client.to_canonical() {
            IpAddr::V4(ip) => Self(IpAddr::V4(ip)),
            IpAddr::V6(ip) => {
                let mask = u128::MAX << (u128::BITS - IPV6_PREFIX_BITS);
                Self(IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask)))
            }
        })
    }
}

impl Fades for Bucket {
    fn is_faded(&self) -> bool {
        self.is_full()
    }
}

/// Who forges: bad signatures in one origin's name from one address.
#[derive(Debug)]
struct Forger {
    bucket: Bucket,
    cool_until: Option<Instant>,
}

impl Fades for Forger {
    fn is_faded(&self) -> bool {
        self.left().is_none() && self.bucket.is_full()
    }
}

impl Forger {
    fn left(&self) -> Option<Duration> {
        let left = self.cool_until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

/// What all clients have left.
#[derive(Debug)]
pub(super) struct Clients {
    rates: RequestRates,
    /// Who has questions to a notary of his own and is not counted.
    own: Vec<IpNet>,
    failures: Table<ClientKey, Bucket>,
    open: Table<ClientKey, Bucket>,
    forgers: Table<(Box<str>, ClientKey), Forger>,
}

impl Clients {
    pub(super) fn new(rates: &RequestRates, own: &[IpNet]) -> Self {
        Self {
            rates: rates.clone(),
            own: own.to_vec(),
            failures: Table::new(CLIENTS_MAX),
            open: Table::new(CLIENTS_MAX),
            forgers: Table::new(PAIRS_MAX),
        }
    }

    /// How long a client that fails too often has to wait; none if it does not.
    pub(super) fn failing(&self, client: IpAddr) -> Option<Duration> {
        let key = ClientKey::of(client)?;
        self.failures.look(|| key, |bucket| bucket.wait(1)).flatten()
    }

    /// How long requests in the name of `origin` from `client` have to wait.
    pub(super) fn cooling(&self, origin: &ServerName, client: IpAddr) -> Option<Duration> {
        let key = ClientKey::of(client)?;
        self.forgers
            .look(|| (policy_identity(origin).into(), key), |forger| forger.left())
            .flatten()
    }

    /// Counts a request without signature; or says how long there is none for the client.
    pub(super) fn open(&self, client: IpAddr) -> Option<Duration> {
        if self.own.iter().any(|net| net.contains(&client)) {
            return None;
        }
        let rate = self.rates.open_per_second;
        let bucket = || Bucket::new(rate, BURST);
        self.open.with(ClientKey::of(client)?, bucket, |bucket| bucket.take(1).err()).flatten()
    }

    /// Counts a request that has failed.
    pub(super) fn failed(&self, client: IpAddr) {
        let Some(key) = ClientKey::of(client) else { return };
        let bucket = || Bucket::new(self.rates.failures_per_second, BURST);
        // What is over the budget is refused before it can fail.
        let _counted = self.failures.with(key, bucket, |bucket| bucket.take(1));
    }

    /// Counts a bad signature; whether requests like it have to wait from now on.
    pub(super) fn forged(&self, origin: &ServerName, client: IpAddr) -> bool {
        let Some(key) = ClientKey::of(client) else { return false };
        let bucket = || Bucket::new(self.rates.bad_signatures_per_second, Duration::from_secs(1));
        let forger = || Forger { bucket: bucket(), cool_until: None };
        let key = (policy_identity(origin).into(), key);
        let cools = self.forgers.with(key, forger, |forger| {
            let is_over = forger.bucket.take(1).is_err();
            if is_over {
                forger.cool_until = Some(Instant::now() + self.rates.cool_down);
            }
            is_over
        });
        cools.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::rates_of;
    use super::*;

    const RATES: &str = "failures_per_second = 1\nopen_per_second = 1\nbad_signatures_per_second = 1\n\
                         cool_down = \"60s\"";

    /// Whom clients have made us remember, with one more that comes after `rest`.
    async fn remembered(rest: Duration) -> [usize; 3] {
        let clients = Clients::new(&rates_of(RATES), &[]);
        let origin = ServerName::parse("victim.example").unwrap();
        let come = |number: u16| {
            let [high, low] = number.to_be_bytes();
            let client = IpAddr::from([100, 0, high, low]);
            clients.failed(client);
            clients.open(client);
            clients.forged(&origin, client);
            clients.forged(&origin, client);
        };
        // As many as are there before a table is looked through.
        (0..1_024).for_each(come);
        tokio::time::advance(rest).await;
        come(1_024);
        [clients.failures.len(), clients.open.len(), clients.forgers.len()]
    }

    #[tokio::test(start_paused = true)]
    async fn what_clients_did_is_forgotten_once_it_counts_no_more_and_not_before() {
        assert_eq!(remembered(Duration::from_millis(999)).await, [1_025; 3]);
        // Forgers still cool down.
        assert_eq!(remembered(Duration::from_secs(59)).await, [1, 1, 1_025]);
        assert_eq!(remembered(Duration::from_secs(60)).await, [1; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_bad_signature_is_remembered_until_it_counts_no_more() {
        let origin = ServerName::parse("victim.example").unwrap();
        for (rest, left) in [(999, 1_025), (1_000, 1)] {
            let clients = Clients::new(&rates_of(RATES), &[]);
            let forge = |number: u16| {
                let [high, low] = number.to_be_bytes();
                assert!(!clients.forged(&origin, IpAddr::from([100, 0, high, low])));
            };
            (0..1_024).for_each(forge);
            tokio::time::advance(Duration::from_millis(rest)).await;
            forge(1_024);
            assert_eq!(clients.forgers.len(), left);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_clients_are_kept_account_of_as_there_is_memory_for() {
        let clients = Clients::new(&rates_of(RATES), &[]);
        let origin = ServerName::parse("victim.example").unwrap();
        for number in 0..=65_536_u32 {
            let [_, high, middle, low] = number.to_be_bytes();
            let client = IpAddr::from([11, high, middle, low]);
            clients.failed(client);
            clients.open(client);
            clients.forged(&origin, client);
        }
        let held = [clients.failures.len(), clients.open.len(), clients.forgers.len()];
        assert_eq!(held, [65_536; 3]);
    }
}
