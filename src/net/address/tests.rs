use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is not an address"))
}

/// The purpose by which the default policy refuses `text`, or "" when it may be dialled.
fn purpose(text: &str) -> &'static str {
    AddressPolicy::default().check(ip(text)).map_or_else(|blocked| blocked.purpose, |()| "")
}

#[test]
fn r49_special_ipv4_addresses_are_not_dialled() {
    let table = [
        ("0.0.0.0", "unspecified"),
        ("0.0.0.1", "this network"),
        ("0.255.255.255", "this network"),
        ("10.0.0.0", "private"),
        ("10.0.0.1", "private"),
        ("10.255.255.255", "private"),
        ("100.64.0.0", "carrier-grade NAT"),
        ("100.127.255.255", "carrier-grade NAT"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("169.254.0.1", "link-local"),
        ("169.254.169.254", "link-local"),
        ("172.16.0.0", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.1", "IETF protocol assignments"),
        ("192.0.0.170", "IETF protocol assignments"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "6to4 relay"),
        ("192.168.0.1", "private"),
        ("192.168.255.255", "private"),
        ("198.18.0.1", "benchmarking"),
        ("198.19.255.255", "benchmarking"),
        ("198.51.100.7", "documentation"),
        ("203.0.113.255", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.254", "reserved"),
        ("255.255.255.255", "broadcast"),
    ];
    for (address, expected) in table {
        assert_eq!(purpose(address), expected, "{address}");
    }
}

#[test]
fn r49_special_ipv6_addresses_are_not_dialled() {
    let table = [
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::2", "IPv4-compatible"),
        ("::127.0.0.1", "IPv4-compatible"),
        ("::8.8.8.8", "IPv4-compatible"),
        ("::ffff:0:10.0.0.1", "IPv4-translated"),
        ("64:ff9b:1::1", "local NAT64"),
        ("100::1", "discard"),
        ("100:0:0:1::1", "dummy prefix"),
        ("2001::1", "Teredo"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
        ("2001:2::1", "benchmarking"),
        ("2001:1::1", "IETF protocol assignments"),
        ("2001:10::1", "IETF protocol assignments"),
        ("2001:20::1", "IETF protocol assignments"),
        ("2001:1ff:ffff::1", "IETF protocol assignments"),
        ("2001:db8::1", "documentation"),
        ("2002::1", "6to4"),
        ("2002:7f00:1::1", "6to4"),
        ("2002:808:808::1", "6to4"),
        ("3fff::1", "documentation"),
        ("5f00::1", "segment routing"),
        ("fc00::1", "unique local"),
        ("fd12:3456:789a::1", "unique local"),
        ("fe80::1", "link-local"),
        ("febf:ffff::1", "link-local"),
        ("fec0::1", "site-local"),
        ("feff::1", "site-local"),
        ("ff02::1", "multicast"),
        ("ff0e::1", "multicast"),
        ("200::1", "outside global unicast 2000::/3"),
        ("1fff::1", "outside global unicast 2000::/3"),
        ("4000::1", "outside global unicast 2000::/3"),
        ("e000::1", "outside global unicast 2000::/3"),
    ];
    for (address, expected) in table {
        assert_eq!(purpose(address), expected, "{address}");
    }
}

#[test]
fn r49_ipv4_inside_ipv6_is_judged_as_ipv4() {
    let table = [
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:10.1.2.3", "private"),
        ("::ffff:169.254.169.254", "link-local"),
        ("::ffff:0.0.0.0", "unspecified"),
        ("::ffff:a9fe:a9fe", "link-local"),
        ("::ffff:8.8.8.8", ""),
        ("64:ff9b::127.0.0.1", "loopback"),
        ("64:ff9b::192.168.1.1", "private"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("64:ff9b::8.8.8.8", ""),
    ];
    for (address, expected) in table {
        assert_eq!(purpose(address), expected, "{address}");
    }
}

#[test]
fn public_addresses_are_dialled() {
    let public = [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "203.0.112.255",
        "203.0.114.0",
        "223.255.255.255",
        "2000::1",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2003::1",
        "2606:4700:4700::1111",
        "2a01:4f8::1",
        "3ffe::1",
        "3fff:1000::1",
    ];
    for address in public {
        assert_eq!(purpose(address), "", "{address}");
    }
}

#[test]
fn allowed_ranges_are_dialled_and_nothing_beside_them() {
    let ranges = ["127.0.0.0/8", "10.1.0.0/16", "fd00::/8", "192.168.7.7/32"];
    let policy =
        AddressPolicy::new(ranges.iter().map(|r| r.parse().expect("a range")).collect::<Vec<_>>());
    for allowed in ["127.9.9.9", "10.1.255.1", "fd00::1", "192.168.7.7", "::ffff:127.0.0.1"] {
        assert_eq!(policy.check(ip(allowed)), Ok(()), "{allowed}");
    }
    for blocked in ["10.2.0.1", "fc00::1", "192.168.7.8", "::1", "::127.0.0.1", "::ffff:10.2.0.1"] {
        assert!(policy.check(ip(blocked)).is_err(), "{blocked}");
    }
    // A range written over the mapped form counts too.
    let mapped = AddressPolicy::new(vec!["::ffff:10.0.0.0/104".parse().expect("a range")]);
    assert_eq!(mapped.check(ip("::ffff:10.0.0.1")), Ok(()));
    assert!(mapped.check(ip("10.0.0.1")).is_err());
}

#[test]
fn the_text_names_address_range_and_purpose() {
    let blocked = AddressPolicy::default().check(ip("::ffff:10.0.0.1")).expect_err("private");
    assert_eq!(blocked.to_string(), "::ffff:10.0.0.1 is in 10.0.0.0/8 (private)");
}
