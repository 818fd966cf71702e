//! The network a client is counted under, where budgets are shared out among strangers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The bits of an address that one customer of a provider cannot choose, usually: a single address of
/// IPv4 costs next to nothing more within one's own /24, and whole /56 are handed out for IPv6 (the
/// threats' /24 and /56).
const IPV4_PREFIX_BITS: u32 = 24;
const IPV6_PREFIX_BITS: u32 = 56;

/// A client's network: an IPv4 /24, or an IPv6 /56. An IPv4 address that is mapped into IPv6 counts as
/// what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientNetwork(IpAddr);

impl ClientNetwork {
    /// The network that `client` belongs to.
    pub const fn of(client: IpAddr) -> Self {
        Self(match client.to_canonical() {
            IpAddr::V4(ip) => {
                let mask = u32::MAX << (u32::BITS - IPV4_PREFIX_BITS);
                IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX << (u128::BITS - IPV6_PREFIX_BITS);
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
        })
    }
}

impl std::fmt::Display for ClientNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bits = if self.0.is_ipv4() { IPV4_PREFIX_BITS } else { IPV6_PREFIX_BITS };
        write!(f, "{}/{bits}", self.0)
    }
}

/// Whether `client` is an address on the Internet. Behind one that is not, there is a proxy that nobody
/// has told us of, and so everybody, or the operator's own network.
pub const fn is_on_internet(client: IpAddr) -> bool {
    match client.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || is_shared)
        }
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(client: &str) -> String {
        ClientNetwork::of(client.parse().unwrap()).to_string()
    }

    #[test]
    fn ipv4_neighbours_are_one_network() {
        assert_eq!(network("192.0.2.1"), "192.0.2.0/24");
        assert_eq!(network("192.0.2.255"), "192.0.2.0/24");
        assert_eq!(network("192.0.3.1"), "192.0.3.0/24");
        assert_eq!(network("::ffff:192.0.2.7"), "192.0.2.0/24");
    }

    #[test]
    fn ipv6_neighbours_are_one_network() {
        assert_eq!(network("2001:db8:1:2ff::1"), "2001:db8:1:200::/56");
        assert_eq!(network("2001:db8:1:200::9"), "2001:db8:1:200::/56");
        assert_eq!(network("2001:db8:1:300::1"), "2001:db8:1:300::/56");
    }

    #[test]
    fn addresses_within_somebodys_own_network_are_not_on_the_internet() {
        let is_on = |client: &&str| is_on_internet(client.parse().unwrap());
        let own = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "::ffff:10.1.2.3",
            "::1",
            "fd00::1",
            "fe80::1",
        ];
        assert_eq!(own.iter().find(|client| is_on(client)), None);
        let others = ["192.0.2.1", "100.63.255.255", "100.128.0.1", "101.64.0.1", "2001:db8::1"];
        assert_eq!(others.iter().find(|client| !is_on(client)), None);
    }
}
