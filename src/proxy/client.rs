//! Who is at the other end: the peer of the connection, or, behind a trusted proxy, whom that proxy
//! names.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The vetted client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Whether it came over TLS, here or at the trusted proxy in front.
    pub tls: bool,
}

/// Finds the client: the rightmost `X-Forwarded-For` address that is not a trusted proxy, as long as
/// each hop to the right of it is one. Anybody may write the rest of that header.
pub fn client(peer: SocketAddr, tls: bool, headers: &HeaderMap, trusted: &[IpNet]) -> Client {
    let mut address = peer.ip().to_canonical();
    if !is_trusted(address, trusted) {
        return Client { address, tls };
    }
    let values: Vec<&str> =
        headers.get_all(&X_FORWARDED_FOR).iter().filter_map(|v| v.to_str().ok()).collect();
    for hop in values.iter().rev().flat_map(|v| v.rsplit(',')) {
        let Some(ip) = parse_hop(hop.trim()) else { break };
        address = ip;
        if !is_trusted(ip, trusted) {
            break;
        }
    }
    let forwarded_tls = headers
        .get(&X_FORWARDED_PROTO)
        .map(|v| v.as_bytes().eq_ignore_ascii_case(b"https"))
        .unwrap_or(tls);
    Client { address, tls: forwarded_tls }
}

/// Whether `address` is that of a proxy in front of fedgate.
pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// An address as proxies write it: bare, with a port, or an IPv6 address in brackets.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()))
        .map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let trusted = ["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
        let found = client(peer.parse().unwrap(), false, &map, &trusted);
        format!("{} {}", found.address, found.tls)
    }

    #[test]
    fn a_stranger_cannot_name_another_client() {
        let headers = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-proto", "https")];
        assert_eq!(find("203.0.113.9:5000", &headers), "203.0.113.9 false");
    }

    #[test]
    fn a_trusted_proxy_names_the_client() {
        let headers = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-proto", "https")];
        assert_eq!(find("127.0.0.1:5000", &headers), "198.51.100.1 true");
        assert_eq!(find("[::ffff:127.0.0.1]:5000", &headers), "198.51.100.1 true");
    }

    #[test]
    fn what_stands_left_of_the_first_untrusted_hop_is_not_believed() {
        let headers =
            [("x-forwarded-for", "192.0.2.1, 198.51.100.1"), ("x-forwarded-for", "10.1.1.1")];
        assert_eq!(find("127.0.0.1:5000", &headers), "198.51.100.1 false");
    }

    #[test]
    fn ports_and_brackets_are_read_and_garbage_ends_the_walk() {
        assert_eq!(
            find("127.0.0.1:1", &[("x-forwarded-for", "[2001:db8::1]:443")]),
            "2001:db8::1 false"
        );
        assert_eq!(
            find("127.0.0.1:1", &[("x-forwarded-for", "1.2.3.4, unknown")]),
            "127.0.0.1 false"
        );
    }
}
