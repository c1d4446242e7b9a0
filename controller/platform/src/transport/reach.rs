//! Which addresses may be connected to. A server out there can name any host, and any name can stand for any address: what
//! counts is the address that is connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a connection may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedAddresses {
    /// Anywhere: people have named this server themselves.
    Anywhere,
    /// To this host only.
    Loopback,
    /// To public addresses, and to those of the same special range as this one: to where a server at this address may send.
    Beside(IpAddr),
}

impl AllowedAddresses {
    /// Whether it may lead to an address.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Loopback => range(address) == Some(LOOPBACK),
            Self::Beside(from) => range(address).is_none_or(|special| range(from) == Some(special)),
        }
    }
}

const LOOPBACK: &str = "loopback";

/// The special range that an address is in: loopback, private, link-local, shared and the like; nothing for a public one.
/// Source: IANA's special-purpose address registries.
pub fn range(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => of_v4(address),
        IpAddr::V6(address) => of_v6(address),
    }
}

fn of_v4(address: Ipv4Addr) -> Option<&'static str> {
    let whole = u32::from(address);
    // The range, its first address and how many bits are its own.
    let ranges: [(&str, [u8; 4], u32); 16] = [
        ("0.0.0.0/8", [0, 0, 0, 0], 8),
        ("10.0.0.0/8", [10, 0, 0, 0], 8),
        ("100.64.0.0/10", [100, 64, 0, 0], 10),
        (LOOPBACK, [127, 0, 0, 0], 8),
        ("169.254.0.0/16", [169, 254, 0, 0], 16),
        ("172.16.0.0/12", [172, 16, 0, 0], 12),
        ("192.0.0.0/24", [192, 0, 0, 0], 24),
        ("192.0.2.0/24", [192, 0, 2, 0], 24),
        ("192.88.99.0/24", [192, 88, 99, 0], 24),
        ("192.168.0.0/16", [192, 168, 0, 0], 16),
        ("198.18.0.0/15", [198, 18, 0, 0], 15),
        ("198.51.100.0/24", [198, 51, 100, 0], 24),
        ("203.0.113.0/24", [203, 0, 113, 0], 24),
        ("224.0.0.0/4", [224, 0, 0, 0], 4),
        ("240.0.0.0/4", [240, 0, 0, 0], 4),
        ("255.255.255.255", [255, 255, 255, 255], 32),
    ];
    let is_in = |first: [u8; 4], bits: u32| (whole ^ u32::from(Ipv4Addr::from(first))) >> (32 - bits) == 0;
    ranges.into_iter().find(|(_, first, bits)| is_in(*first, *bits)).map(|(name, _, _)| name)
}

fn of_v6(address: Ipv6Addr) -> Option<&'static str> {
    let whole = u128::from(address);
    if address == Ipv6Addr::LOCALHOST {
        return Some(LOOPBACK);
    }
    // Addresses that stand for one of IPv4, which is what is reached.
    let low = u32::try_from(whole & 0xffff_ffff).unwrap_or_default();
    let sixteenth = u32::try_from((whole >> 80) & 0xffff_ffff).unwrap_or_default();
    let within = |first: u128, bits: u32| (whole ^ first) >> (128 - bits) == 0;
    // Unspecified and compatible, mapped, NAT64.
    if within(0, 96) || within(0xffff_u128 << 32, 96) || within(0x0064_ff9b_u128 << 96, 96) {
        return of_v4(Ipv4Addr::from(low));
    }
    // 6to4.
    if within(0x2002_u128 << 112, 16) {
        return of_v4(Ipv4Addr::from(sixteenth));
    }
    let ranges: [(&str, u128, u32); 9] = [
        ("64:ff9b:1::/48", 0x0064_ff9b_0001_u128 << 80, 48),
        ("100::/64", 0x0100_u128 << 112, 64),
        ("2001::/23", 0x2001_u128 << 112, 23),
        ("2001:db8::/32", 0x2001_0db8_u128 << 96, 32),
        ("3fff::/20", 0x3fff_u128 << 112, 20),
        ("fc00::/7", 0xfc00_u128 << 112, 7),
        ("fe80::/10", 0xfe80_u128 << 112, 10),
        ("fec0::/10", 0xfec0_u128 << 112, 10),
        ("ff00::/8", 0xff00_u128 << 112, 8),
    ];
    ranges.into_iter().find(|(_, first, bits)| within(*first, *bits)).map(|(name, _, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<&'static str> {
        range(text.parse().expect(text))
    }

    #[test]
    fn special_ranges_are_known_in_all_their_spellings() {
        for (address, expected) in [
            ("127.0.0.1", "loopback"),
            ("127.255.0.9", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::127.0.0.1", "loopback"),
            ("64:ff9b::7f00:1", "loopback"),
            ("2002:7f00:1::1", "loopback"),
            ("0.0.0.0", "0.0.0.0/8"),
            ("::", "0.0.0.0/8"),
            ("10.1.2.3", "10.0.0.0/8"),
            ("::ffff:10.1.2.3", "10.0.0.0/8"),
            ("2002:0a01:0203::", "10.0.0.0/8"),
            ("172.16.0.1", "172.16.0.0/12"),
            ("172.31.255.255", "172.16.0.0/12"),
            ("192.168.1.1", "192.168.0.0/16"),
            ("169.254.169.254", "169.254.0.0/16"),
            ("100.64.0.1", "100.64.0.0/10"),
            ("100.127.255.255", "100.64.0.0/10"),
            ("224.0.0.1", "224.0.0.0/4"),
            ("255.255.255.255", "240.0.0.0/4"),
            ("fd00:ec2::254", "fc00::/7"),
            ("fe80::1", "fe80::/10"),
            ("ff02::1", "ff00::/8"),
            ("64:ff9b:1::a00:1", "64:ff9b:1::/48"),
            ("2001::1", "2001::/23"),
        ] {
            assert_eq!(of(address), Some(expected), "{address}");
        }
        for address in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "128.0.0.1", "2606:4700::1111", "64:ff9b::101:101"] {
            assert_eq!(of(address), None, "{address}");
        }
    }

    #[test]
    fn a_server_may_send_to_public_addresses_and_to_its_own_range() {
        let allows = |from: &str, to: &str| AllowedAddresses::Beside(from.parse().unwrap()).allows(to.parse().unwrap());
        assert!(allows("1.1.1.1", "8.8.8.8") && allows("10.0.0.1", "8.8.8.8") && allows("127.0.0.1", "::1"));
        assert!(allows("10.0.0.1", "10.9.9.9") && allows("::ffff:10.0.0.1", "10.9.9.9"));
        for (from, to) in [
            ("1.1.1.1", "127.0.0.1"),
            ("1.1.1.1", "::ffff:127.0.0.1"),
            ("1.1.1.1", "10.0.0.1"),
            ("1.1.1.1", "169.254.169.254"),
            ("10.0.0.1", "127.0.0.1"),
            ("10.0.0.1", "192.168.0.1"),
            ("127.0.0.1", "10.0.0.1"),
            ("1.1.1.1", "0.0.0.0"),
        ] {
            assert!(!allows(from, to), "{from} {to}");
        }
        assert!(AllowedAddresses::Loopback.allows(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert!(!AllowedAddresses::Loopback.allows("10.0.0.1".parse().unwrap()));
    }
}
