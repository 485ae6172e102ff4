//! Addresses that an HTTP target has no business with, unless an operator says so.
//!
//! From the registries of special-purpose addresses. In IPv6 everything outside
//! the global unicast range is refused, so that the table can only be too narrow
//! inside that range.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> IpNet {
    IpNet::new_assert(IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)), prefix)
}

/// A range, and what it is for. The narrower of two ranges stands first.
const TABLE: [(IpNet, &str); 37] = [
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "shared by carriers"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local, cloud metadata"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "protocol assignments"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "6to4 relays"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmarks"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved, broadcast"),
    (IpNet::new_assert(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 128), "unspecified"),
    (IpNet::new_assert(IpAddr::V6(Ipv6Addr::LOCALHOST), 128), "loopback"),
    (v6(0, 0, 0, 96), "IPv4-compatible"),
    (v6(0x64, 0xff9b, 0, 96), "NAT64"),
    (v6(0x64, 0xff9b, 1, 48), "local NAT64"),
    (v6(0x100, 0, 0, 64), "discard"),
    (v6(0x2001, 0, 0, 32), "Teredo"),
    (v6(0x2001, 0x2, 0, 48), "benchmarks"),
    (v6(0x2001, 0x10, 0, 28), "ORCHID"),
    (v6(0x2001, 0x20, 0, 28), "ORCHIDv2"),
    (v6(0x2001, 0, 0, 23), "protocol assignments"),
    (v6(0x2001, 0xdb8, 0, 32), "documentation"),
    (v6(0x2002, 0, 0, 16), "6to4"),
    (v6(0x3fff, 0, 0, 20), "documentation"),
    (v6(0x5f00, 0, 0, 16), "segment routing"),
    (v6(0xfc00, 0, 0, 7), "unique local"),
    (v6(0xfe80, 0, 0, 10), "link-local"),
    (v6(0xfec0, 0, 0, 10), "site-local"),
    (v6(0xff00, 0, 0, 8), "multicast"),
    (v6(0, 0, 0, 3), "not global unicast"),
    (v6(0x4000, 0, 0, 2), "not global unicast"),
    (v6(0x8000, 0, 0, 1), "not global unicast"),
];

/// The range that forbids `address`, which must not be an IPv4-mapped one.
pub(super) fn forbidding(address: IpAddr) -> Option<(IpNet, &'static str)> {
    TABLE.iter().copied().find(|(net, _)| net.contains(&address))
}

/// The IPv4 addresses that traffic to `address` may end at, where it is a
/// wrapping of such: NAT64, 6to4, Teredo (client and server), IPv4-compatible,
/// ISATAP.
pub(super) fn wrapped(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let s = address.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match s {
        [0x2002, high, low, ..] => vec![pair(high, low)],
        [0x2001, 0, high, low, ..] => vec![pair(!s[6], !s[7]), pair(high, low)],
        // Those below 0.1.0.0 are the unspecified address, loopback and their like.
        [0, 0, 0, 0, 0, 0, 0, _] => Vec::new(),
        [0x64, 0xff9b, 0 | 1, ..] | [0, 0, 0, 0, 0, 0, ..] | [_, _, _, _, 0 | 0x200, 0x5efe, ..] => {
            vec![pair(s[6], s[7])]
        }
        _ => Vec::new(),
    }
}
