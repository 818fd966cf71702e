//! What settings must agree on with each other.

use std::net::{IpAddr, SocketAddr};

use super::super::{BESIDE_BODY_BYTES_MAX, Config, Homeserver, Publish, Queries};
use super::policy;
use super::reader::Reader;
use crate::proto::ed25519::VerifyKey;
use crate::proto::validity::Provenance;

/// Notes every disagreement.
pub(super) fn check(config: &Config, reader: &mut Reader<'_>) {
    addresses(config, reader);
    bodies(config, reader);
    notaries(config, reader);
    agreement(config, reader);
    pins(config, reader);
    key_server(config, reader);
    policy::own_names(config, reader);
}

/// There must be as many witnesses as are asked for.
fn agreement(config: &Config, reader: &mut Reader<'_>) {
    let of = |kind| match kind {
        Provenance::Homeserver => 0,
        Provenance::Notary => config.notaries.len(),
        Provenance::Origin => 1,
    };
    let witnesses: usize = config.keys.sources.iter().map(|source| of(source.kind)).sum();
    let wanted = config.keys.agreement;
    if wanted > 1 && wanted > witnesses {
        reader.error_at(
            "keys.agreement",
            format!("keys.agreement asks for {wanted} witnesses, and there are {witnesses}"),
            "add [[notaries]] sections, or ask for less: the server itself and each notary count \
             as one"
                .to_owned(),
        );
    }
}

fn addresses(config: &Config, reader: &mut Reader<'_>) {
    let (listen, admin) = (config.listen.address, config.admin.address);
    if overlap(listen, admin) {
        reader.error_at(
            "admin.address",
            format!("admin.address {admin} and listen.address {listen} overlap"),
            "give admin another port, as in \"127.0.0.1:9448\": it must not be public".to_owned(),
        );
    }
    let Homeserver::Tcp { host, port } = &config.homeserver else { return };
    let own = [("listen.address", listen), ("admin.address", admin)];
    if let Some((name, address)) = own.iter().find(|(_, own)| is_same(host, *port, *own)) {
        reader.error_at(
            "homeserver",
            format!("homeserver is fedgate's own {name} {address}: requests would go in circles"),
            "name the port of the homeserver's own listener, as in \"http://127.0.0.1:8008\""
                .to_owned(),
        );
    }
}

/// Whether both cannot be listened on at one time.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let same_family = a.is_ipv4() == b.is_ipv4();
    let covers = |x: IpAddr| x.is_unspecified() && (same_family || x.is_ipv6());
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || covers(a.ip()) || covers(b.ip()))
}

/// Whether `host:port`, as far as can be said without asking the DNS, leads to `own`.
fn is_same(host: &str, port: u16, own: SocketAddr) -> bool {
    let ip =
        if host == "localhost" { Some(IpAddr::from([127, 0, 0, 1])) } else { host.parse().ok() };
    let reaches = |ip: IpAddr| ip == own.ip() || (own.ip().is_unspecified() && ip.is_loopback());
    port == own.port() && ip.is_some_and(reaches)
}

fn bodies(config: &Config, reader: &mut Reader<'_>) {
    let limits = &config.limits;
    let body = limits.body_bytes_max;
    let budgets = [
        ("limits.buffered_bytes_max", limits.buffered_bytes_max),
        ("limits.buffered_bytes_max_per_network", limits.buffered_bytes_max_per_network),
    ];
    let least = body.saturating_add(BESIDE_BODY_BYTES_MAX);
    for (name, buffered) in budgets.into_iter().filter(|(_, buffered)| *buffered < least) {
        reader.error_at(
            name,
            format!(
                "{name} ({buffered} bytes) is less than limits.body_bytes_max ({body} bytes) and \
                 {BESIDE_BODY_BYTES_MAX} bytes for a request's head and buffers: the largest requests \
                 could never pass"
            ),
            format!("set {name} to {least} or more"),
        );
    }
}

fn notaries(config: &Config, reader: &mut Reader<'_>) {
    let kinds: Vec<Provenance> = config.keys.sources.iter().map(|source| source.kind).collect();
    let asked = kinds.contains(&Provenance::Notary);
    if config.notaries.is_empty() && kinds == [Provenance::Notary] {
        reader.error_at(
            "keys.sources",
            "keys.sources names only the notaries, and there are none".to_owned(),
            "add a [[notaries]] section, or another source".to_owned(),
        );
    }
    for (index, notary) in config.notaries.iter().enumerate() {
        let name = &notary.server_name;
        let earlier = config.notaries.iter().take(index);
        let (message, help) = if !asked {
            (
                format!(
                    "the notary {name} is never asked: keys.sources does not name \"notaries\""
                ),
                "add \"notaries\" to keys.sources, or take the [[notaries]] section out".to_owned(),
            )
        } else if config.server_names.contains(name) {
            (
                format!("the notary {name} is the own server"),
                "take it out: the own homeserver is the source \"homeserver\"".to_owned(),
            )
        } else if earlier.clone().any(|other| other.server_name == *name) {
            (
                format!("the notary {name} is listed twice"),
                "put all its keys into the verify_keys of one section".to_owned(),
            )
        } else {
            continue;
        };
        reader.error_at_repeated("notaries", index, message, help);
    }
}

fn pins(config: &Config, reader: &mut Reader<'_>) {
    for (index, pin) in config.pins.iter().enumerate() {
        let name = &pin.server_name;
        let banned = |key: &VerifyKey| config.keys.banned.contains(key.as_bytes());
        let (message, help) = if config.pins.iter().take(index).any(|o| o.server_name == *name) {
            (format!("{name} is pinned twice"), "put all its keys into one section".to_owned())
        } else if pin.verify_keys.values().any(banned) {
            (
                format!("a key of {name} is pinned, and banned by keys.banned"),
                "take it out of one of the two".to_owned(),
            )
        } else if config.keys.banned_servers.contains(name) {
            (
                format!("{name} is pinned, and banned by keys.banned_servers"),
                "take it out of one of the two".to_owned(),
            )
        } else {
            continue;
        };
        reader.error_at_repeated("pins", index, message, help);
    }
}

/// A document of keys is one server's.
fn key_server(config: &Config, reader: &mut Reader<'_>) {
    if config.key_server.publish != Publish::Forward && config.server_names.len() > 1 {
        reader.error_at(
            "key_server.publish",
            "each of the server names has keys of its own, which only the homeserver can tell apart"
                .to_owned(),
            "leave key_server.publish at \"forward\"".to_owned(),
        );
    }
    let asks_us =
        config.key_server.queries == Queries::Answer && !config.key_server.own_clients.is_empty();
    // Synapse, asked for a key it lacks, asks the origin itself: each key would be fetched twice, and
    // one of a server that is down be waited for on two ways. Others may ask their notary: fedgate.
    if asks_us && config.keys.sources.iter().any(|source| source.kind == Provenance::Homeserver) {
        reader.error_at(
            "key_server.own_clients",
            "the homeserver asks fedgate for keys, and fedgate the homeserver: questions would go in \
             circles"
                .to_owned(),
            "set keys.sources to [\"origin\", \"notaries\"], without \"homeserver\"".to_owned(),
        );
    }
}
