//! Which addresses may be dialled.
//!
//! Any stranger can make us look for their keys, and so chooses a name for us to connect to. The
//! check is made on the address that is actually dialled, after every resolution (R49).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Decides which addresses may be dialled: all that are public, and the ranges the operator allows.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

/// An address that is not dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The address as it was to be dialled.
    pub ip: IpAddr,
    /// The range it is in.
    pub range: IpNet,
    /// What the range is for.
    pub purpose: &'static str,
}

impl AddressPolicy {
    /// A policy that dials public addresses and those in the `allowed` ranges.
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether `ip` may be dialled.
    ///
    /// An IPv6 address that stands for an IPv4 one (IPv4-mapped, NAT64) is judged by the latter,
    /// since that is where the packets go.
    pub fn check(&self, ip: IpAddr) -> Result<(), Blocked> {
        let judged = embedded_ipv4(ip).map_or(ip, IpAddr::V4);
        if self.allowed.iter().any(|range| range.contains(&ip) || range.contains(&judged)) {
            return Ok(());
        }
        match special_range(judged) {
            None => Ok(()),
            Some((range, purpose)) => Err(Blocked { ip, range, purpose }),
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is in {} ({})", self.ip, self.range, self.purpose)
    }
}

impl std::error::Error for Blocked {}

/// The IPv4 address that packets to `ip` end up at, for the two forms with which that is legitimate:
/// IPv4-mapped, and the well-known NAT64 prefix, by which an IPv6-only host reaches everybody else.
fn embedded_ipv4(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = ip else { return None };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return Some(v4);
    }
    let [.., a, b, c, d] = v6.octets();
    NAT64.contains(&v6).then(|| Ipv4Addr::new(a, b, c, d))
}

/// The special-purpose range that `ip` is in, the most telling one first.
fn special_range(ip: IpAddr) -> Option<(IpNet, &'static str)> {
    match ip {
        IpAddr::V4(ip) => IPV4_SPECIAL
            .iter()
            .find(|(range, _)| range.contains(&ip))
            .map(|(range, purpose)| (IpNet::V4(*range), *purpose)),
        IpAddr::V6(ip) => IPV6_SPECIAL
            .iter()
            .find(|(range, _)| range.contains(&ip))
            .map(|(range, purpose)| (IpNet::V6(*range), *purpose))
            .or_else(|| {
                (!GLOBAL_UNICAST.contains(&ip)).then_some((IpNet::V6(EVERYTHING), OUTSIDE))
            }),
    }
}

/// Every [`Blocked::purpose`] there is; some more than once.
pub(super) fn purposes() -> impl Iterator<Item = &'static str> {
    let v4 = IPV4_SPECIAL.iter().map(|(_, purpose)| *purpose);
    let v6 = IPV6_SPECIAL.iter().map(|(_, purpose)| *purpose);
    v4.chain(v6).chain([OUTSIDE])
}

const OUTSIDE: &str = "outside global unicast 2000::/3";

/// RFC 6052: IPv6 in front of all of IPv4.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// The only part of IPv6 from which public unicast addresses are given out (RFC 4291, 2.4).
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

const EVERYTHING: Ipv6Net = v6([0; 8], 0);

/// IANA's special-purpose registry for IPv4, the entries that are not globally reachable, with
/// multicast and the deprecated 6to4 relays.
const IPV4_SPECIAL: [(Ipv4Net, &str); 17] = [
    (v4([0, 0, 0, 0], 32), "unspecified"),
    (v4([0, 0, 0, 0], 8), "this network"),
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "carrier-grade NAT"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "IETF protocol assignments"),
    (v4([192, 0, 2, 0], 24), "documentation"),
    (v4([192, 88, 99, 0], 24), "6to4 relay"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([198, 18, 0, 0], 15), "benchmarking"),
    (v4([198, 51, 100, 0], 24), "documentation"),
    (v4([203, 0, 113, 0], 24), "documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([255, 255, 255, 255], 32), "broadcast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
];

/// The same for IPv6. 6to4 and Teredo are refused as a whole: they tunnel to an IPv4 address of the
/// sender's choice, and no homeserver lives there.
const IPV6_SPECIAL: [(Ipv6Net, &str); 18] = [
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "IPv4-compatible"),
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), "IPv4-translated"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "local NAT64"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "discard"),
    (v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64), "dummy prefix"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "Teredo"),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), "benchmarking"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "IETF protocol assignments"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "documentation"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "6to4"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "documentation"),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), "segment routing"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "unique local"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "site-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

#[cfg(test)]
mod tests;
