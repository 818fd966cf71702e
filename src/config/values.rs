//! Texts into checked values. Each function says what is wrong and what to write instead.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use ipnet::IpNet;

use super::suggest;
use super::{Homeserver, OutboundProxy, ProxyCredentials, ProxyScheme};
use crate::proto::base64::decode_array;
use crate::proto::ed25519::{VerifyKey, VerifyKeyError};
use crate::proto::{KeyId, ServerName, Timestamp};

/// Longest time a setting may name: nothing here is meant to wait for a day.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Port of a name server, unless given.
const DNS_PORT: u16 = 53;

/// Longest user name and password for a SOCKS5 proxy, together in bytes: what the buffer of
/// hyper-util's handshake (262 bytes) holds beside the rest of it.
const SOCKS_CREDENTIALS_BYTES_MAX: usize = 234;

/// What is wrong with a value, and the fix.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) message: String,
    pub(super) help: String,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

/// A value read from text, or the problem with it.
pub(super) type Checked<T> = Result<T, Problem>;

/// `http://host:port` or `unix:/path`.
pub(super) fn homeserver(text: &str) -> Checked<Homeserver> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_socket(path);
    }
    if let Some(rest) = text.strip_prefix("https://") {
        return Err(Problem::new(
            "fedgate speaks plain HTTP to the homeserver, not HTTPS",
            format!(
                "name the homeserver's plain HTTP listener, as in {:?}; keep the two on one machine \
                 or one private network",
                format!("http://{rest}")
            ),
        ));
    }
    let Some(rest) = text.strip_prefix("http://") else {
        let fix = if text.contains("://") || text.is_empty() { "127.0.0.1:8008" } else { text };
        return Err(Problem::new(
            "it is neither \"http://host:port\" nor \"unix:/path\"",
            format!("write {:?}", format!("http://{fix}")),
        ));
    };
    if let Some(at) = rest.find(['/', '?', '#']) {
        let authority = rest.get(..at).unwrap_or_default();
        return Err(Problem::new(
            "a path has no place here: requests are forwarded with the path they came with",
            format!("write {:?}", format!("http://{authority}")),
        ));
    }
    let (host, port) = host_and_port(rest)?;
    Ok(Homeserver::Tcp { host, port })
}

fn unix_socket(path: &str) -> Checked<Homeserver> {
    if path.starts_with("//") {
        return Err(Problem::new(
            "a unix socket is written with one slash",
            format!("write {:?}", format!("unix:/{}", path.trim_start_matches('/'))),
        ));
    }
    absolute_path(path).map(Homeserver::Unix)
}

fn host_and_port(authority: &str) -> Checked<(String, u16)> {
    if authority.contains('@') {
        return Err(Problem::new("a user name has no place here", "write \"http://host:port\""));
    }
    // The colons of a bare IPv6 address are no port; a bracketed one ends with its bracket.
    let split = authority.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    let Some((host, port)) = split else {
        return Err(Problem::new(
            "the port is missing",
            format!("write {:?}", format!("http://{authority}:8008")),
        ));
    };
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
        Problem::new(
            format!("{port:?} is not a port"),
            "write a number from 1 to 65535 after the last colon",
        )
    })?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let valid = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        // Container networks have names with underscores, which DNS proper does not.
        None => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            !host.is_empty() && host.chars().all(allowed)
        }
    };
    if valid {
        Ok((bracketed.unwrap_or(host).to_owned(), port))
    } else {
        Err(Problem::new(
            format!("{host:?} is not a host"),
            "write a host name, an IPv4 address, or an IPv6 address in brackets",
        ))
    }
}

/// `http://[user:password@]host:port` or `socks5://[user:password@]host:port`; `None` when empty. The
/// credentials are taken as they are, without percent-encoding, and are in no [`Problem`].
pub(super) fn outbound_proxy(text: &str) -> Checked<Option<OutboundProxy>> {
    const FIX: &str = "write \"http://host:port\" or \"socks5://host:port\", with user:password@ \
         before the host if the proxy asks for it";
    if text.is_empty() {
        return Ok(None);
    }
    let http = text.strip_prefix("http://").map(|rest| (ProxyScheme::Http, rest));
    let socks = || text.strip_prefix("socks5://").map(|rest| (ProxyScheme::Socks5, rest));
    let (scheme, rest) = http.or_else(socks).ok_or_else(|| {
        Problem::new("it is neither an HTTP proxy (CONNECT) nor a SOCKS5 proxy", FIX)
    })?;
    let (credentials, authority) = match rest.rsplit_once('@') {
        Some((credentials, authority)) => (Some(credentials), authority),
        None => (None, rest),
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) =
        host_and_port(authority).map_err(|problem| Problem::new(problem.message, FIX))?;
    let credentials = credentials.map(|text| proxy_credentials(text, scheme)).transpose()?;
    Ok(Some(OutboundProxy { scheme, host, port, credentials }))
}

fn proxy_credentials(text: &str, scheme: ProxyScheme) -> Checked<ProxyCredentials> {
    let Some((user, password)) = text.split_once(':').filter(|(user, _)| !user.is_empty()) else {
        return Err(Problem::new(
            "the credentials are not a user name and a password",
            "write them as user:password@ before the host, or leave them out",
        ));
    };
    if scheme == ProxyScheme::Socks5 && user.len() + password.len() > SOCKS_CREDENTIALS_BYTES_MAX {
        return Err(Problem::new(
            "the credentials are too long for a SOCKS5 proxy",
            format!("use at most {SOCKS_CREDENTIALS_BYTES_MAX} bytes for both together"),
        ));
    }
    Ok(ProxyCredentials { user: user.to_owned(), password: password.to_owned() })
}

/// An absolute path of a file.
pub(super) fn absolute_path(text: &str) -> Checked<PathBuf> {
    if Path::new(text).is_absolute() {
        Ok(PathBuf::from(text))
    } else {
        Err(Problem::new(
            "the path is not absolute",
            "write the whole path, starting with /, so that it does not depend on where fedgate \
             is started",
        ))
    }
}

/// `ip:port` to listen on; port 0 lets the system choose.
pub(super) fn listen_address(text: &str) -> Checked<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
    let fix = match (text.parse::<IpAddr>(), port) {
        (Ok(IpAddr::V6(ip)), _) => format!("[{ip}]:8448"),
        (Ok(IpAddr::V4(ip)), _) => format!("{ip}:8448"),
        (Err(_), Some(port)) if text.starts_with("localhost:") => format!("127.0.0.1:{port}"),
        (Err(_), Some(port)) => format!("0.0.0.0:{port}"),
        (Err(_), None) => "0.0.0.0:8448".to_owned(),
    };
    Err(Problem::new(
        "it is not an IP address with a port",
        format!("write {fix:?}; 0.0.0.0 means every IPv4 address of this machine, [::] every one"),
    ))
}

/// `ip` or `ip:port` of a name server.
pub(super) fn dns_server(text: &str) -> Checked<SocketAddr> {
    let with_port = text.parse().ok();
    let alone = || text.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT));
    with_port.or_else(alone).ok_or_else(|| {
        Problem::new(
            "it is not the IP address of a name server",
            "write \"9.9.9.9\" or \"9.9.9.9:53\"; IPv6 with a port as \"[2620:fe::fe]:53\"",
        )
    })
}

/// An address range, `10.0.0.0/8`, without address bits behind the prefix.
pub(super) fn range(text: &str) -> Checked<IpNet> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Err(Problem::new(
            "a range needs the length of its prefix",
            format!("for this one address, write {:?}", IpNet::from(ip).to_string()),
        ));
    }
    let range: IpNet = text.parse().ok().ok_or_else(|| {
        Problem::new("it is not an address range", "write \"10.0.0.0/8\" or \"fd00::/8\"")
    })?;
    if range.trunc() == range {
        Ok(range)
    } else {
        Err(Problem::new(
            "the address has bits behind the prefix, so it is unclear what is meant",
            format!(
                "write {:?} for the range, or the address with its full length",
                range.trunc().to_string()
            ),
        ))
    }
}

/// A time such as `10s`, above zero.
pub(super) fn duration(text: &str) -> Checked<Duration> {
    let time = match humantime::parse_duration(text) {
        Ok(time) => time,
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            return Err(Problem::new(
                "the unit is missing",
                format!("write \"{text}s\" for seconds"),
            ));
        }
        Err(_) => {
            return Err(Problem::new(
                "it is not a time",
                "write \"10s\", \"500ms\", \"2m\" or \"1h\"",
            ));
        }
    };
    if time.is_zero() || time > DURATION_MAX {
        return Err(Problem::new(
            "the time is out of bounds",
            "write a time above zero and up to \"24h\"",
        ));
    }
    Ok(time)
}

/// A size such as `12.5 MiB`, in bytes.
pub(super) fn size(text: &str) -> Checked<u64> {
    text.parse::<ByteSize>().ok().map(|size| size.as_u64()).ok_or_else(|| {
        Problem::new(
            "it is not a size",
            "write a number of bytes, or a text with a unit: \"12.5 MiB\", \"256 MiB\", \"1 GiB\"",
        )
    })
}

/// A server name of Matrix's grammar.
pub(super) fn server_name(text: &str) -> Checked<ServerName> {
    ServerName::parse(text).ok().ok_or_else(|| {
        let bare = text.rsplit("://").next().unwrap_or(text).trim_end_matches('/');
        let bare = bare
            .rsplit_once(':')
            .map_or(bare, |(before, after)| if before.starts_with('@') { after } else { bare });
        let example = if ServerName::parse(bare).is_ok() { bare } else { "example.org" };
        Problem::new(
            "it is not a server name",
            format!("write the part after the colon in user IDs, nothing else, as in {example:?}"),
        )
    })
}

/// A key ID of Ed25519.
pub(super) fn key_id(text: &str) -> Checked<KeyId> {
    KeyId::parse(text).ok().filter(KeyId::is_ed25519).ok_or_else(|| {
        Problem::new(
            format!("the name {text:?} is not the ID of an Ed25519 key"),
            "write it as its server publishes it, as in \"ed25519:auto\"",
        )
    })
}

/// A server name and a key ID of its, with a space between.
pub(super) fn server_key_id(text: &str) -> Checked<(ServerName, KeyId)> {
    let parsed = text
        .split_once(' ')
        .and_then(|(server, id)| Some((ServerName::parse(server).ok()?, KeyId::parse(id).ok()?)));
    parsed.ok_or_else(|| {
        Problem::new(
            "it is not a server name and a key ID",
            "write both with a space between, as in \"example.org ed25519:auto\"",
        )
    })
}

/// A public key in base64.
pub(super) fn verify_key(text: &str) -> Checked<VerifyKey> {
    VerifyKey::from_base64(text).map_err(|error| {
        let message = match error {
            VerifyKeyError::Encoding => "it is not the base64 of a 32-byte key",
            VerifyKeyError::NotAPoint => "these 32 bytes are not an Ed25519 public key",
            VerifyKeyError::Weak => "this key would verify signatures nobody made",
        };
        Problem::new(message, "copy the key exactly as the server publishes it, 43 characters")
    })
}

/// The 32 bytes of a public key in base64, of whatever quality: to refuse it, not to use it.
pub(super) fn key_bytes(text: &str) -> Checked<[u8; 32]> {
    decode_array(text.as_bytes()).ok().ok_or_else(|| {
        Problem::new(
            "it is not the base64 of a 32-byte key",
            "copy the key exactly as it was published, 43 characters",
        )
    })
}

/// A public key in base64 and a time in milliseconds since 1970, with a space between.
pub(super) fn old_verify_key(text: &str) -> Checked<(VerifyKey, Timestamp)> {
    let Some((key, expired_ts)) = text.split_once(' ') else {
        return Err(Problem::new(
            "the time of its end is missing",
            "write the key, a space, and when it ended in milliseconds since 1970",
        ));
    };
    let key = verify_key(key)?;
    let expired_ts = expired_ts.parse().ok().map(Timestamp::from_ms);
    let expired_ts = expired_ts.filter(|at| *at <= Timestamp::MAX).ok_or_else(|| {
        Problem::new(
            "what follows the key is not a time in milliseconds since 1970",
            "write it as Synapse's old_signing_keys has it in expired_ts, as in 1767225600000",
        )
    })?;
    Ok((key, expired_ts))
}

/// One of a few words.
pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Checked<T> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
    let hint = suggest::closest(text, choices.iter().map(|(word, _)| *word))
        .map(|word| format!("did you mean {word:?}? "))
        .unwrap_or_default();
    Err(Problem::new("there is no such choice", format!("{hint}write one of {}", words.join(", "))))
}

/// A tracing filter.
pub(super) fn log_filter(text: &str) -> Checked<String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(Problem::new(
            "it is not a log filter",
            "write \"error\", \"warn\", \"info\", \"debug\" or \"trace\", or by module as in \
             \"info,fedgate::keys=debug\"",
        )),
    }
}
