//! Settings: what an operator writes, checked into types that cannot be wrong.
//!
//! [`Config::load`] gathers them from the file, the environment and the command line, and reports
//! every error at once. The table of options (`options`) is the one place where a setting has its
//! name, default and documentation; the sample file is written from it.

mod changes;
mod check;
mod diagnostic;
mod dump;
mod options;
mod policy;
mod rates;
mod sample;
mod settings;
mod sources;
mod suggest;
mod values;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::proto::ed25519::VerifyKey;
use crate::proto::validity::Provenance;
use crate::proto::{KeyId, ServerName, Timestamp};
pub(crate) use changes::Changes;
pub use diagnostic::ConfigErrors;
pub(crate) use dump::dump;
pub use policy::{
    IpLiterals, PlacedRule, Policy, PolicyFile, PolicyFileKind, PolicyRule, PolicyRuleError,
};
pub use rates::RequestRates;
pub use sample::sample;
pub(crate) use settings::Settings;
pub use sources::Sources;

/// The settings file that is read when none is named.
pub const DEFAULT_PATH: &str = "/etc/fedgate/fedgate.toml";

/// Where keys are kept unless something else is set.
const DEFAULT_STORE: &str = "/var/lib/fedgate/keys.redb";

/// How the name of every environment variable that is a setting starts.
const ENV_PREFIX: &str = "FEDGATE_";

/// Every setting, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our own server names; the first is the main one. Never empty.
    pub server_names: Vec<ServerName>,
    /// Where verified requests go.
    pub homeserver: Homeserver,
    /// Whether refusals are carried out.
    pub mode: Mode,
    /// How requests come in.
    pub listen: Listen,
    /// Bounds on requests.
    pub limits: Limits,
    /// Rates of requests.
    pub rates: RequestRates,
    /// How other servers are reached.
    pub outbound: Outbound,
    /// How keys are found.
    pub keys: Keys,
    /// Notaries that are asked for keys.
    pub notaries: Vec<Notary>,
    /// Keys that are used without asking anybody.
    pub pins: Vec<Pin>,
    /// What is answered for the homeserver's keys and for those of others.
    pub key_server: KeyServer,
    /// Which servers may federate.
    pub policy: Policy,
    /// What becomes of the events inside of requests.
    pub events: Events,
    /// Health and metrics.
    pub admin: Admin,
    /// Logs.
    pub log: Log,
}

impl Config {
    /// Reads and checks the settings. All errors are reported together.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        Self::load_with_settings(sources).map(|(config, _)| config)
    }

    /// The same, with the settings as they were written and where.
    pub(crate) fn load_with_settings(sources: &Sources) -> Result<(Self, Settings), ConfigErrors> {
        let document = sources.read().map_err(ConfigErrors::new)?;
        let (settings, errors) = Settings::gather(document.as_ref(), sources);
        match check::check(&settings, errors) {
            Ok(config) => Ok((config, settings)),
            Err(errors) => Err(ConfigErrors::new(errors)),
        }
    }
}

/// The homeserver's federation listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Homeserver {
    /// Plain HTTP over TCP.
    Tcp {
        /// A host name or an address (IPv6 without brackets).
        host: String,
        /// The port.
        port: u16,
    },
    /// Plain HTTP over a unix socket.
    Unix(PathBuf),
}

/// What happens to a request that fails a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    Enforce,
    /// It is forwarded all the same; the refusal is only counted and logged.
    Observe,
}

/// The listener for other servers.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The address; 8448 with a certificate, 8449 without, unless set.
    pub address: SocketAddr,
    /// Certificate and key, for TLS.
    pub tls: Option<TlsFiles>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What happens to paths outside federation.
    pub other_paths: OtherPaths,
    /// The socket over which a new process takes over from the one that serves.
    pub handover: Option<PathBuf>,
}

/// Certificate files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The key.
    pub private_key: PathBuf,
}

/// What happens to paths outside federation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherPaths {
    /// Forwarded as they are, unverified.
    Forward,
    /// Answered with 404.
    Refuse,
}

/// What a request takes of the memory for all requests beside its body, in bytes, at most: 64 KiB of
/// head, as much for buffers on its way, and nine times that for a long answer.
pub const BESIDE_BODY_BYTES_MAX: usize = 11 * 65_536;

/// Bounds on requests. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest request body on a signed route.
    pub body_bytes_max: usize,
    /// All requests held at one time.
    pub buffered_bytes_max: usize,
    /// The same for one client network.
    pub buffered_bytes_max_per_network: usize,
    /// Connections from other servers at one time.
    pub connections_max: usize,
    /// The same for one client network.
    pub connections_max_per_network: usize,
    /// Total time for a request's head, from its first byte (or the connection's start).
    pub head_timeout: Duration,
    /// Total time for a request's body.
    pub body_timeout: Duration,
    /// Bytes per second a body must bring on average; 0 for no such bound.
    pub body_rate_min: u32,
    /// How far it may be behind that.
    pub body_rate_grace: Duration,
    /// Time for a client to take the next part of its response.
    pub response_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// Time for a connection to the homeserver to be made.
    pub homeserver_connect_timeout: Duration,
    /// Time for the homeserver to send or take the next bytes.
    pub homeserver_io_timeout: Duration,
    /// Time for requests in flight to end after SIGTERM.
    pub drain_timeout: Duration,
}

/// How other servers are reached.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Trust these certificates instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Special-purpose ranges that may be dialled all the same.
    pub allowed_ranges: Vec<IpNet>,
    /// Name servers to ask instead of the system's (`ip:port`).
    pub dns_servers: Vec<SocketAddr>,
    /// The proxy that connections are made through.
    pub proxy: Option<OutboundProxy>,
}

/// A proxy on the way to other servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundProxy {
    /// How it is spoken to.
    pub scheme: ProxyScheme,
    /// A host name or an address (IPv6 without brackets).
    pub host: String,
    /// The port.
    pub port: u16,
    /// What it asks for.
    pub credentials: Option<ProxyCredentials>,
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyScheme {
    /// HTTP/1.1 with CONNECT.
    Http,
    /// SOCKS5 (RFC 1928).
    Socks5,
}

/// User name and password for a proxy. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyCredentials {
    /// The user name. Never empty.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for ProxyCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyCredentials(***)")
    }
}

/// How keys are found.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The sources, in the order they are asked.
    pub sources: Vec<KeySource>,
    /// How many independent witnesses must show a key.
    pub agreement: usize,
    /// What becomes of another key under a known key ID.
    pub binding: BindingMode,
    /// Where keys are kept over restarts.
    pub store: Store,
    /// Total time for finding a key.
    pub fetch_timeout: Duration,
    /// Public keys refused everywhere, beside the shipped list.
    pub banned: Vec<[u8; 32]>,
    /// Key IDs of servers that are refused.
    pub banned_key_ids: Vec<(ServerName, KeyId)>,
    /// Servers none of whose keys are used.
    pub banned_servers: Vec<ServerName>,
    /// Memory for keys, in bytes.
    pub cache_bytes_max: usize,
    /// Lookups of servers never seen before per second, over all clients.
    pub first_seen_per_second: u32,
    /// The same for one client network.
    pub first_seen_per_second_per_network: u32,
}

/// One kind of source of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// Which.
    pub kind: Provenance,
    /// How long it is waited for before the next one is asked beside it.
    pub head_start: Duration,
}

/// What becomes of another key that a server itself shows under a key ID it has used before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindingMode {
    /// The first key stays (MSC4499); the other one is an alarm.
    #[default]
    Enforce,
    /// The server's newest word counts; the change is an alarm all the same.
    Observe,
}

/// Where keys are kept over restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In this file.
    File(PathBuf),
    /// In this file if its folder exists, else in memory: nobody has said anything.
    FileIfPossible(PathBuf),
    /// Nowhere.
    Memory,
}

/// A notary and the keys its answers must be signed with.
#[derive(Clone, Debug)]
pub struct Notary {
    /// Its server name.
    pub server_name: ServerName,
    /// Its pinned keys. Never empty.
    pub verify_keys: BTreeMap<KeyId, VerifyKey>,
}

/// Keys of a server that are used without asking anybody.
#[derive(Clone, Debug)]
pub struct Pin {
    /// The server's name.
    pub server_name: ServerName,
    /// Its keys. Never empty.
    pub verify_keys: BTreeMap<KeyId, VerifyKey>,
}

/// What fedgate answers below `/_matrix/key/v2/` itself.
#[derive(Clone, Debug)]
pub struct KeyServer {
    /// How the homeserver's own keys are published.
    pub publish: Publish,
    /// Who answers questions for the keys of others.
    pub queries: Queries,
    /// The file with the homeserver's signing keys.
    pub signing_key_file: Option<PathBuf>,
    /// The file with the keys that sign a notary's answers, where it is another one.
    pub notary_key_file: Option<PathBuf>,
    /// Keys the homeserver has used before, and when each ended.
    pub old_verify_keys: BTreeMap<KeyId, (VerifyKey, Timestamp)>,
    /// How long others may use the published keys before they ask again.
    pub valid_for: Duration,
    /// Where the own homeserver asks from.
    pub own_clients: Vec<IpNet>,
    /// How many servers one question of a stranger may make fedgate ask.
    pub fetches_per_query_max: usize,
}

/// How the homeserver's own keys are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publish {
    /// From memory, renewed by the homeserver.
    Cached,
    /// By the homeserver.
    Forward,
    /// Made here.
    Own,
}

/// Who answers questions for the keys of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queries {
    /// fedgate, as a notary.
    Answer,
    /// The homeserver.
    Forward,
}

/// What becomes of the events inside of requests.
#[derive(Clone, Debug)]
pub struct Events {
    /// Whether they are looked at, and bad ones refused.
    pub mode: EventsMode,
    /// How long one request may wait for it.
    pub time_budget: Duration,
    /// How many servers one request may make fedgate ask for keys of its events.
    pub fetches_per_request_max: usize,
    /// Rooms whose version is remembered.
    pub rooms_max: u64,
    /// The file with the access token that the homeserver's admin API is asked with for the versions
    /// of rooms; unless set, it is not asked.
    pub admin_token_file: Option<PathBuf>,
    /// Where that API is, if not where requests go.
    pub admin_api: Option<Homeserver>,
}

/// What is done about bad events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventsMode {
    /// Events are not looked at.
    Off,
    /// They are counted and logged.
    Report,
    /// They are refused, where that harms no good one.
    Enforce,
}

/// Health, metrics and the API.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The address.
    pub address: SocketAddr,
    /// The file with the secret that the API asks for.
    pub token_file: Option<PathBuf>,
}

/// Logs.
#[derive(Clone, Debug)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// What is logged, as a tracing filter ("info", "fedgate=debug").
    pub filter: String,
    /// Whether every refusal has a line.
    pub refusals: RefusalLines,
}

/// Which refusals and bad events have a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalLines {
    /// All of them.
    All,
    /// One a second for each reason once they are many, and how many were left out.
    Limited,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// For machines.
    Json,
}
