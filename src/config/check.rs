//! Settings as written into [`Config`]: every error is found before any is reported.

mod across;
mod events;
mod key_server;
mod policy;
mod rates;
mod reader;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::diagnostic::Diagnostic;
use super::settings::{Raw, Settings};
use super::values;
use super::{
    Admin, BindingMode, Config, DEFAULT_STORE, KeySource, Keys, Limits, Listen, Log, LogFormat,
    Mode, Notary, OtherPaths, Outbound, Pin, RefusalLines, Store, TlsFiles,
};
use crate::proto::ed25519::{BannedKeys, VerifyKey};
use crate::proto::validity::Provenance;
use crate::proto::{KeyId, ServerName};
use reader::Reader;
use values::Problem;

/// Port for other servers with TLS (the port the Matrix spec gives federation).
const PORT_TLS: u16 = 8448;

/// Port for other servers without TLS, behind a proxy that has it.
const PORT_PLAIN: u16 = 8449;

/// Largest size a setting may name, in bytes.
const SIZE_MAX: u64 = 1 << 40;

/// Largest number a setting that counts may name.
const COUNT_MAX: u64 = 1_000_000_000;

const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("observe", Mode::Observe)];

const OTHER_PATHS: &[(&str, OtherPaths)] =
    &[("refuse", OtherPaths::Refuse), ("forward", OtherPaths::Forward)];

const LOG_FORMATS: &[(&str, LogFormat)] =
    &[("auto", LogFormat::Auto), ("human", LogFormat::Human), ("json", LogFormat::Json)];

const REFUSAL_LINES: &[(&str, RefusalLines)] =
    &[("limited", RefusalLines::Limited), ("all", RefusalLines::All)];

const BINDINGS: &[(&str, BindingMode)] =
    &[("enforce", BindingMode::Enforce), ("observe", BindingMode::Observe)];

/// Less memory than this would not hold the keys of the servers in one small room.
const CACHE_BYTES_MIN: u64 = 65_536;

/// More lookups per second than anybody's network or peers would like.
const RATE_MAX: u64 = 100_000;

const SOURCES: &[(&str, Provenance)] = &[
    ("homeserver", Provenance::Homeserver),
    ("origin", Provenance::Origin),
    ("notaries", Provenance::Notary),
];

/// Checks every setting; `errors` are those found so far.
pub(super) fn check(
    settings: &Settings,
    errors: Vec<Diagnostic>,
) -> Result<Config, Vec<Diagnostic>> {
    if settings.is_torn() {
        return Err(errors);
    }
    let mut reader = Reader::new(settings, errors);
    let config = read(&mut reader);
    if let Some(config) = &config {
        across::check(config, &mut reader);
    }
    match (config, reader.into_errors()) {
        (Some(config), errors) if errors.is_empty() => Ok(config),
        (_, errors) => Err(errors),
    }
}

fn read(reader: &mut Reader<'_>) -> Option<Config> {
    let server_names = server_names(reader);
    let homeserver = required(reader, "homeserver", "http://127.0.0.1:8008");
    let homeserver = homeserver.and_then(|()| reader.text("homeserver", values::homeserver));
    let mode = reader.text("mode", |text| values::choice(text, MODES));
    let listen = listen(reader);
    let outbound = outbound(reader);
    let keys = keys(reader);
    let notaries = notaries(reader);
    let pins = pins(reader);
    let key_server = key_server::read(reader);
    let policy = policy::read(reader);
    let events = events::read(reader);
    let admin = reader.text("admin.address", values::listen_address);
    let token_file = reader.optional("admin.token_file", values::absolute_path);
    let limits = limits(reader);
    let rates = rates::read(reader);
    let format = reader.text("log.format", |text| values::choice(text, LOG_FORMATS));
    let filter = reader.text("log.filter", values::log_filter);
    let refusals = reader.text("log.refusals", |text| values::choice(text, REFUSAL_LINES));
    Some(Config {
        server_names: server_names?,
        homeserver: homeserver?,
        mode: mode?,
        listen: listen?,
        limits: limits?,
        rates: rates?,
        outbound: outbound?,
        keys: keys?,
        notaries: notaries?,
        pins: pins?,
        key_server: key_server?,
        policy: policy?,
        events: events?,
        admin: Admin { address: admin?, token_file: token_file? },
        log: Log { format: format?, filter: filter?, refusals: refusals? },
    })
}

fn required(reader: &mut Reader<'_>, name: &str, example: &str) -> Option<()> {
    if reader.is_set(name) {
        return Some(());
    }
    let variable = format!("FEDGATE_{}", name.to_ascii_uppercase());
    reader.error_missing(
        format!("{name} is not set"),
        format!("write {name} = {example:?} at the top of the settings file, or set {variable}"),
    );
    None
}

fn server_names(reader: &mut Reader<'_>) -> Option<Vec<ServerName>> {
    match (reader.is_set("server_name"), reader.is_set("server_names")) {
        (true, true) => {
            reader.error_at(
                "server_names",
                "server_name and server_names are both set".to_owned(),
                "keep one: server_name for a single name, server_names for several".to_owned(),
            );
            None
        }
        (_, false) => {
            required(reader, "server_name", "example.org")?;
            reader.text("server_name", values::server_name).map(|name| vec![name])
        }
        (false, true) => {
            let names = reader.list("server_names", values::server_name)?;
            if names.is_empty() {
                let help = "list every name the homeserver answers to, the main one first";
                reader.problem("server_names", Problem::new("the list is empty", help));
                return None;
            }
            reader.no_repeats("server_names", &names)?;
            Some(names)
        }
    }
}

fn listen(reader: &mut Reader<'_>) -> Option<Listen> {
    let certificate = reader.optional("listen.tls_certificate", values::absolute_path);
    let private_key = reader.optional("listen.tls_private_key", values::absolute_path);
    let address = reader.optional("listen.address", values::listen_address);
    let trusted_proxies = reader.list("listen.trusted_proxies", values::range);
    let other_paths = reader.text("listen.other_paths", |text| values::choice(text, OTHER_PATHS));
    let handover = reader.optional("listen.handover", values::absolute_path);
    let tls = match (certificate?, private_key?) {
        (Some(certificate), Some(private_key)) => Some(TlsFiles { certificate, private_key }),
        (None, None) => None,
        (Some(_), None) => return half_of_tls(reader, "tls_certificate", "tls_private_key"),
        (None, Some(_)) => return half_of_tls(reader, "tls_private_key", "tls_certificate"),
    };
    let port = if tls.is_some() { PORT_TLS } else { PORT_PLAIN };
    let default = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    Some(Listen {
        address: address?.unwrap_or(default),
        tls,
        trusted_proxies: trusted_proxies?,
        other_paths: other_paths?,
        handover: handover?,
    })
}

fn half_of_tls<T>(reader: &mut Reader<'_>, set: &str, missing: &str) -> Option<T> {
    reader.error_at(
        &format!("listen.{set}"),
        format!("listen.{set} is set, but listen.{missing} is not"),
        format!("set listen.{missing} too, or neither to listen without TLS behind a proxy"),
    );
    None
}

fn outbound(reader: &mut Reader<'_>) -> Option<Outbound> {
    let ca_file = reader.optional("outbound.ca_file", values::absolute_path);
    let allowed_ranges = reader.list("outbound.allowed_ranges", values::range);
    let dns_servers = reader.list("outbound.dns_servers", values::dns_server);
    let proxy = reader.text("outbound.proxy", values::outbound_proxy);
    Some(Outbound {
        ca_file: ca_file?,
        allowed_ranges: allowed_ranges?,
        dns_servers: dns_servers?,
        proxy: proxy?,
    })
}

fn keys(reader: &mut Reader<'_>) -> Option<Keys> {
    let sources = key_sources(reader);
    let agreement = reader.count::<usize>("keys.agreement", 1, COUNT_MAX);
    let binding = reader.text("keys.binding", |text| values::choice(text, BINDINGS));
    let store = reader.optional("keys.store", |text| match text {
        "" => Ok(Store::Memory),
        path => values::absolute_path(path).map(Store::File),
    });
    let fetch_timeout = reader.text("keys.fetch_timeout", values::duration);
    let banned = reader.list("keys.banned", values::key_bytes);
    let banned_key_ids = reader.list("keys.banned_key_ids", values::server_key_id);
    let banned_servers = reader.list("keys.banned_servers", values::server_name);
    let cache_bytes_max = reader.size("keys.cache_bytes_max", CACHE_BYTES_MIN, SIZE_MAX);
    let in_all = reader.count("keys.first_seen_per_second", 1, RATE_MAX);
    let per_network = reader.count("keys.first_seen_per_second_per_network", 1, RATE_MAX);
    Some(Keys {
        sources: sources?,
        agreement: agreement?,
        binding: binding?,
        store: store?.unwrap_or_else(|| Store::FileIfPossible(DEFAULT_STORE.into())),
        fetch_timeout: fetch_timeout?,
        banned: banned?,
        banned_key_ids: banned_key_ids?,
        banned_servers: banned_servers?,
        cache_bytes_max: cache_bytes_max?,
        first_seen_per_second: in_all?,
        first_seen_per_second_per_network: per_network?,
    })
}

fn key_sources(reader: &mut Reader<'_>) -> Option<Vec<KeySource>> {
    let sources = reader.list("keys.sources", |text| values::choice(text, SOURCES));
    let homeserver = reader.text("keys.homeserver_head_start", values::duration);
    let origin = reader.text("keys.origin_head_start", values::duration);
    let notaries = reader.text("keys.notaries_head_start", values::duration);
    let sources = sources?;
    if sources.is_empty() {
        let help = "name at least one of \"homeserver\", \"origin\", \"notaries\"";
        reader.problem("keys.sources", Problem::new("no key could ever be found", help));
    }
    reader.no_repeats("keys.sources", &sources)?;
    let (homeserver, origin, notaries) = (homeserver?, origin?, notaries?);
    let with_head_start = |kind| {
        let head_start = match kind {
            Provenance::Homeserver => homeserver,
            Provenance::Notary => notaries,
            Provenance::Origin => origin,
        };
        KeySource { kind, head_start }
    };
    Some(sources.into_iter().map(with_head_start).collect())
}

fn notaries(reader: &mut Reader<'_>) -> Option<Vec<Notary>> {
    let sections = keyed_sections(
        reader,
        "notaries",
        "a notary without verify_keys: anyone could answer in its name",
        "write verify_keys = { \"ed25519:auto\" = \"...\" } with the key the notary publishes at \
         /_matrix/key/v2/server, learnt from a place you trust",
    )?;
    let notary = |(server_name, verify_keys)| Notary { server_name, verify_keys };
    Some(sections.into_iter().map(notary).collect())
}

fn pins(reader: &mut Reader<'_>) -> Option<Vec<Pin>> {
    let sections = keyed_sections(
        reader,
        "pins",
        "a pin without verify_keys: nothing is pinned",
        "write verify_keys = { \"ed25519:auto\" = \"...\" } with the server's key, learnt from a \
         place you trust",
    )?;
    let pin = |(server_name, verify_keys)| Pin { server_name, verify_keys };
    Some(sections.into_iter().map(pin).collect())
}

/// A server and keys of its.
type Keyed = (ServerName, BTreeMap<KeyId, VerifyKey>);

/// The repeated sections called `name`, each of a server name and its keys; what to say where the
/// keys are missing.
fn keyed_sections(
    reader: &mut Reader<'_>,
    name: &str,
    without: &str,
    fix: &str,
) -> Option<Vec<Keyed>> {
    let mut read = Vec::new();
    let mut complete = true;
    let sections: Vec<_> = reader.repeated(name).collect();
    for section in sections {
        let mut within = reader.within(section);
        let server_name = within.required_text("server_name", values::server_name);
        let verify_keys = verify_keys(&mut within, without, fix);
        reader.take_errors(within);
        match (server_name, verify_keys) {
            (Some(server_name), Some(verify_keys)) => read.push((server_name, verify_keys)),
            (None, _) | (_, None) => complete = false,
        }
    }
    complete.then_some(read)
}

fn verify_keys(
    within: &mut reader::Within<'_>,
    without: &str,
    fix: &str,
) -> Option<BTreeMap<KeyId, VerifyKey>> {
    let Some(value) = within.value("verify_keys") else {
        within.error_here(without, fix);
        return None;
    };
    let Raw::Table(entries) = &value.raw else {
        within.wrong_form("verify_keys", value);
        return None;
    };
    if entries.is_empty() {
        within.error("verify_keys", value, Problem::new(without, fix));
        return None;
    }
    let banned = BannedKeys::new([]);
    let mut keys = BTreeMap::new();
    for (name, place, value) in entries {
        let id = within.name(place, values::key_id(name));
        let key = within.entry(value, |text| {
            let key = values::verify_key(text)?;
            if banned.contains(&key) {
                let message = "this key is publicly known to be compromised";
                return Err(Problem::new(message, "ask the server's operators for a new one"));
            }
            Ok(key)
        });
        if let (Some(id), Some(key)) = (id, key) {
            keys.insert(id, key);
        }
    }
    Some(keys)
}

fn limits(reader: &mut Reader<'_>) -> Option<Limits> {
    let body_bytes_max = reader.size("limits.body_bytes_max", 1, SIZE_MAX);
    let buffered_bytes_max = reader.size("limits.buffered_bytes_max", 1, SIZE_MAX);
    let connections_max = reader.count::<usize>("limits.connections_max", 1, COUNT_MAX);
    let head_timeout = reader.text("limits.head_timeout", values::duration);
    let body_timeout = reader.text("limits.body_timeout", values::duration);
    let idle_timeout = reader.text("limits.idle_timeout", values::duration);
    let connect = reader.text("limits.homeserver_connect_timeout", values::duration);
    let io = reader.text("limits.homeserver_io_timeout", values::duration);
    let drain_timeout = reader.text("limits.drain_timeout", values::duration);
    Some(Limits {
        body_bytes_max: body_bytes_max?,
        buffered_bytes_max: buffered_bytes_max?,
        connections_max: connections_max?,
        head_timeout: head_timeout?,
        body_timeout: body_timeout?,
        idle_timeout: idle_timeout?,
        homeserver_connect_timeout: connect?,
        homeserver_io_timeout: io?,
        drain_timeout: drain_timeout?,
    })
}
