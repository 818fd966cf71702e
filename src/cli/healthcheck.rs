//! `fedgate healthcheck`: what a container's health check runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::out::Out;
use super::{Exit, Failure, SettingsArguments, http};
use crate::config::Homeserver;

/// `fedgate healthcheck`.
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {
    /// The address to ask, as http://host:port/path [default: /health at the setting admin.address]
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    settings: SettingsArguments,
}

pub(super) fn run(arguments: &Arguments, out: &mut Out) -> Result<Exit, Failure> {
    let (server, path) = match &arguments.url {
        Some(url) => parse(url).ok_or_else(|| {
            Failure::usage(format!("error: {url:?} is not http://host:port/path"))
        })?,
        None => (admin(arguments.settings.load()?.admin.address), "/health".to_owned()),
    };
    match http::get(&server, &path) {
        Ok(answer) if answer.status == 200 => {
            out.line("healthy")?;
            Ok(Exit::Fine)
        }
        Ok(answer) => {
            out.line(&format!("unhealthy: status {}: {}", answer.status, answer.body.trim()))?;
            Ok(Exit::Negative)
        }
        Err(error) => {
            out.line(&format!("unhealthy: no answer: {error}"))?;
            Ok(Exit::Negative)
        }
    }
}

/// Where an admin listener on `address` is reached from this machine.
pub(super) fn admin(address: SocketAddr) -> Homeserver {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    Homeserver::Tcp { host: ip.to_string(), port: address.port() }
}

fn parse(url: &str) -> Option<(Homeserver, String)> {
    let url: ::http::Uri = url.parse().ok()?;
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = url.port_u16().unwrap_or(80);
    let path = url.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    (url.scheme_str() == Some("http")).then_some((Homeserver::Tcp { host, port }, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_for_everyone_are_asked_on_loopback() {
        for (address, host) in
            [("0.0.0.0:9448", "127.0.0.1"), ("[::]:9448", "::1"), ("10.0.0.1:9448", "10.0.0.1")]
        {
            let Homeserver::Tcp { host: found, port } = admin(address.parse().expect("address"))
            else {
                panic!("TCP");
            };
            assert_eq!((found.as_str(), port), (host, 9448));
        }
    }

    #[test]
    fn only_plain_http_urls_are_taken() {
        let (server, path) = parse("http://[::1]:9448/ready?verbose").expect("a URL");
        assert_eq!(server, Homeserver::Tcp { host: "::1".to_owned(), port: 9448 });
        assert_eq!(path, "/ready?verbose");
        assert!(parse("https://localhost/health").is_none());
        assert!(parse("localhost:9448").is_none());
    }
}
