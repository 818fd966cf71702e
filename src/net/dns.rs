//! Name resolution, behind a trait so that tests need no resolver.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::DnsError;
use hickory_resolver::net::NetError as HickoryError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Hosts, Resolver, TokioResolver, system_conf};
use moka::future::Cache;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::metrics::Remembered;
use super::{NetError, NetMetrics};

/// Most addresses taken from an answer. Only a few of them are ever dialled; the rest would be there
/// to keep us busy.
const ADDRESSES_MAX: usize = 16;

/// Most SRV records taken from an answer, those of the best priority first. Real servers have one or
/// two.
const SRV_RECORDS_MAX: usize = 10;

/// Time for one question to one name server.
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a question is asked again after that.
const QUERY_RETRIES: usize = 1;

/// Time for all questions about a name together, with retries and other name servers.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Most answers that are remembered: four for each of a thousand servers (two kinds of addresses, two
/// SRV names). With as many records and as long names as there can be, one takes about 11 KiB.
const CACHED_ANSWERS_MAX: u64 = 4_096;

/// How long an answer is remembered at most, whatever its TTL: a server that moves is found again
/// within the hour.
const POSITIVE_TTL_MAX: Duration = Duration::from_secs(3_600);

/// How long it is remembered at least that something does not exist. Some answers bring no TTL for
/// that, and one request asks for the same thing more than once.
const NEGATIVE_TTL_MIN: Duration = Duration::from_secs(5);

/// How long it is remembered at most that something does not exist: RFC 2308 (section 5) lets it be
/// hours, in which a server that was just set up would not be found.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(300);

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// One target of an SRV record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrvTarget {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among targets of the same priority.
    pub weight: u16,
    /// The host, without the final dot. Empty says that there is no such service (RFC 2782).
    pub host: String,
    /// The port.
    pub port: u16,
}

/// What was found of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved<T> {
    /// The records. Empty when there are none.
    pub records: Vec<T>,
    /// Who knew them.
    pub answered_by: AnsweredBy,
    /// Whether the name does not exist at all (NXDOMAIN). Otherwise it may have other records.
    pub no_such_name: bool,
}

/// Who knew the answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnsweredBy {
    /// The system's hosts file.
    HostsFile,
    /// An earlier answer, which still holds.
    Memory,
    /// A name server, just now.
    NameServer,
}

/// Resolves names. Every answer comes, or fails, within a bounded time.
#[async_trait]
pub trait Dns: Send + Sync + 'static {
    /// The addresses of `host` (A, AAAA, CNAMEs followed).
    async fn addresses(&self, host: &str) -> Result<Resolved<IpAddr>, NetError>;

    /// The SRV records of `name`.
    async fn srv(&self, name: &str) -> Result<Resolved<SrvTarget>, NetError>;
}

/// A resolver that asks name servers over UDP and TCP, and looks into the system's hosts file first.
///
/// Names are asked for as they are, never with the system's search domains. Answers are remembered
/// for as long as their TTL says, within bounds; failures are not. Who asks for what is being asked
/// for waits for the same answer, which hickory sees to and the tests hold it to. Whoever dials checks
/// the addresses it got and dials those, so a remembered answer is checked like a new one.
pub struct HickoryDns {
    resolver: TokioResolver,
    answers: Cache<(Name, RecordType), Answer>,
    hosts: Hosts,
    timeout: Duration,
    metrics: NetMetrics,
}

/// The records of an answer that are made use of.
#[derive(Clone)]
struct Answer {
    records: Vec<Record>,
    no_such_name: bool,
    valid_until: Instant,
}

impl Answer {
    fn new(records: Vec<Record>, no_such_name: bool, lifetime: Duration) -> Self {
        Self { records, no_such_name, valid_until: Instant::now() + lifetime }
    }

    fn told_by(self, answered_by: AnsweredBy) -> Resolved<Record> {
        Resolved { records: self.records, answered_by, no_such_name: self.no_such_name }
    }
}

impl HickoryDns {
    /// A resolver on the name servers of `/etc/resolv.conf`; without any, on the local machine's, as
    /// the C library does. It counts in `metrics`.
    ///
    /// # Errors
    ///
    /// [`NetError::Dns`] when the file can not be read or understood.
    pub fn from_system(metrics: &NetMetrics) -> Result<Self, NetError> {
        let failed = |cause: &dyn Display| {
            NetError::Dns(format!("{RESOLV_CONF}: {cause}; or set outbound.dns_servers"))
        };
        let text = match std::fs::read(RESOLV_CONF) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(&error)),
        };
        let (config, _) = system_conf::parse_resolv_conf(or_local_name_server(text))
            .map_err(|error| failed(&error))?;
        Self::new(config.name_servers().to_vec(), system_hosts(), metrics)
    }

    /// A resolver on the given name servers. It counts in `metrics`.
    ///
    /// # Errors
    ///
    /// [`NetError::Dns`] when the resolver can not be made.
    pub fn with_servers(servers: &[SocketAddr], metrics: &NetMetrics) -> Result<Self, NetError> {
        Self::new(servers.iter().map(name_server).collect(), system_hosts(), metrics)
    }

    fn new(
        servers: Vec<NameServerConfig>,
        hosts: Hosts,
        metrics: &NetMetrics,
    ) -> Result<Self, NetError> {
        let mut options = ResolverOpts::default();
        options.timeout = QUERY_TIMEOUT;
        options.attempts = QUERY_RETRIES;
        // Hickory would keep whole messages. One that is made to be large (64 KiB over TCP, its names
        // compressed) takes more than 1 MiB as records, so that a bound on their number is none.
        options.cache_size = 0;
        // The hosts file is looked into here: a name in it is not asked for at all, while hickory
        // would still ask for the kind of address the file has none of.
        options.use_hosts_file = ResolveHosts::Never;
        let config = ResolverConfig::from_name_servers(servers);
        let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| NetError::Dns(format!("the resolver can not be made: {error}")))?;
        let answers = Cache::new(CACHED_ANSWERS_MAX);
        let metrics = metrics.clone();
        Ok(Self { resolver, answers, hosts, timeout: LOOKUP_TIMEOUT, metrics })
    }

    /// The records of one type, remembered or asked for; none when the name or the type does not
    /// exist.
    async fn records(&self, name: &Name, kind: RecordType) -> Result<Resolved<Record>, NetError> {
        let question = (name.clone(), kind);
        if let Some(answer) = self.answers.get(&question).await
            && Instant::now() < answer.valid_until
        {
            self.metrics.looked_up(Remembered::Dns, true);
            return Ok(answer.told_by(AnsweredBy::Memory));
        }
        self.metrics.looked_up(Remembered::Dns, false);
        let answer = self.ask(name, kind).await?;
        self.answers.insert(question, answer.clone()).await;
        self.answers.run_pending_tasks().await;
        self.metrics.entries(Remembered::Dns, self.answers.entry_count());
        Ok(answer.told_by(AnsweredBy::NameServer))
    }

    /// Asks for the records of one type.
    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Answer, NetError> {
        let failed =
            |cause: &dyn Display| Err(NetError::Dns(format!("{kind} records of {name}: {cause}")));
        match timeout(self.timeout, self.resolver.lookup(name.clone(), kind)).await {
            Ok(Ok(lookup)) => {
                let records = of_use(lookup.answers(), kind);
                if records.is_empty() {
                    return Ok(Answer::new(records, false, NEGATIVE_TTL_MIN));
                }
                // Aliases on the way hold no longer than their own TTL.
                let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0);
                let lifetime = Duration::from_secs(ttl.into()).min(POSITIVE_TTL_MAX);
                Ok(Answer::new(records, false, lifetime))
            }
            Ok(Err(HickoryError::Dns(DnsError::NoRecordsFound(none)))) => {
                let ttl = Duration::from_secs(none.negative_ttl.unwrap_or(0).into());
                let lifetime = ttl.clamp(NEGATIVE_TTL_MIN, NEGATIVE_TTL_MAX);
                let no_such_name = none.response_code == ResponseCode::NXDomain;
                Ok(Answer::new(Vec::new(), no_such_name, lifetime))
            }
            Ok(Err(error)) => failed(&error),
            Err(_elapsed) => failed(&format_args!("no answer within {:?}", self.timeout)),
        }
    }

    fn in_hosts_file(&self, name: &Name) -> Vec<IpAddr> {
        [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .flat_map(|lookup| addresses_in(lookup.answers()))
            .take(ADDRESSES_MAX)
            .collect()
    }
}

#[async_trait]
impl Dns for HickoryDns {
    async fn addresses(&self, host: &str) -> Result<Resolved<IpAddr>, NetError> {
        let name = absolute(host)?;
        let listed = self.in_hosts_file(&name);
        if !listed.is_empty() {
            let (records, answered_by) = (listed, AnsweredBy::HostsFile);
            return Ok(Resolved { records, answered_by, no_such_name: false });
        }
        let (v4, v6) =
            future::join(self.records(&name, RecordType::A), self.records(&name, RecordType::AAAA))
                .await;
        let both = |v4: &[Record], v6: &[Record]| alternate(addresses_in(v4), addresses_in(v6));
        match (v4, v6) {
            (Ok(v4), Ok(v6)) => Ok(Resolved {
                records: both(&v4.records, &v6.records),
                // What was asked for anew says more than what was remembered beside it.
                answered_by: v4.answered_by.max(v6.answered_by),
                no_such_name: v4.no_such_name && v6.no_such_name,
            }),
            // One kind is enough to go on with.
            (Ok(found), Err(_)) | (Err(_), Ok(found)) if !found.records.is_empty() => {
                let records = both(&found.records, &[]);
                Ok(Resolved { records, answered_by: found.answered_by, no_such_name: false })
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        }
    }

    async fn srv(&self, name: &str) -> Result<Resolved<SrvTarget>, NetError> {
        let found = self.records(&absolute(name)?, RecordType::SRV).await?;
        let Resolved { records, answered_by, no_such_name } = found;
        let records = records.iter().filter_map(srv_target).collect();
        Ok(Resolved { records, answered_by, no_such_name })
    }
}

/// `host` as an absolute name, which no search domain is ever appended to.
fn absolute(host: &str) -> Result<Name, NetError> {
    let mut name = Name::from_ascii(host)
        .map_err(|error| NetError::Dns(format!("{host} can not be asked for: {error}")))?;
    name.set_fqdn(true);
    Ok(name)
}

/// The records of type `kind`, as many as are made use of, best first.
fn of_use(records: &[Record], kind: RecordType) -> Vec<Record> {
    let mut records: Vec<Record> =
        records.iter().filter(|record| record.record_type() == kind).cloned().collect();
    if kind == RecordType::SRV {
        records.sort_by_key(|record| srv_target(record).map(|target| target.priority));
        records.truncate(SRV_RECORDS_MAX);
    } else {
        records.truncate(ADDRESSES_MAX);
    }
    records.shrink_to_fit();
    records
}

fn addresses_in(records: &[Record]) -> Vec<IpAddr> {
    records.iter().filter_map(|record| record.data.ip_addr()).collect()
}

fn srv_target(record: &Record) -> Option<SrvTarget> {
    let RData::SRV(srv) = &record.data else { return None };
    let mut target = srv.target.clone();
    // The root stays the empty name.
    target.set_fqdn(false);
    Some(SrvTarget {
        priority: srv.priority,
        weight: srv.weight,
        host: target.to_ascii(),
        port: srv.port,
    })
}

/// Takes from both in turn, so that the first few hold both kinds. IPv4 leads: every server has it,
/// while IPv6 on our side may be a black hole, which costs a whole connect timeout.
fn alternate(v4: Vec<IpAddr>, v6: Vec<IpAddr>) -> Vec<IpAddr> {
    let (mut v4, mut v6) = (v4.into_iter(), v6.into_iter());
    let mut all = Vec::new();
    while all.len() < ADDRESSES_MAX {
        let before = all.len();
        all.extend(v4.next());
        all.extend(v6.next());
        if all.len() == before {
            break;
        }
    }
    all.truncate(ADDRESSES_MAX);
    all
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

/// The configuration, with the name server that resolv.conf(5) says is used when none is listed.
fn or_local_name_server(mut text: Vec<u8>) -> Vec<u8> {
    if !text.split(|b| *b == b'\n').any(|line| line.trim_ascii_start().starts_with(b"nameserver")) {
        text.extend_from_slice(b"\nnameserver 127.0.0.1\n");
    }
    text
}

/// The hosts file; one that can not be read is taken as empty, as the C library does.
fn system_hosts() -> Hosts {
    Hosts::from_system().unwrap_or_else(|error| {
        tracing::warn!(%error, "the hosts file can not be read and is not used");
        Hosts::default()
    })
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
