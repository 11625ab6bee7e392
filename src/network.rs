//! Networks, as the addresses of connections are compared with them.

use ipnet::{IpNet, Ipv4Net};
use std::net::IpAddr;

/// The bits of an IPv6 address before the IPv4 address that it may stand for.
const BEFORE_IPV4: u8 = 96;

/// Reads a network as CIDR writes it; an address alone is the network of that address.
///
/// Bits that do not count are dropped. What is written as a network of IPv6 and stands for one of
/// IPv4 is that one: so are the addresses of connections, and it would match none of them.
pub fn parse(text: &str) -> Option<IpNet> {
    let (address, length) = match text.split_once('/') {
        None => (text, None),
        Some((address, length)) => (address, Some(length)),
    };
    // Not by ipnet, which takes 010.0.0.0 for 10.0.0.0: others take it for 8.0.0.0.
    let address: IpAddr = address.parse().ok()?;
    let network = match length {
        None => address.into(),
        Some(length) => {
            let plain = length.bytes().all(|byte| byte.is_ascii_digit());
            let leading_zero = length.len() > 1 && length.starts_with('0');
            let length = length.parse().ok().filter(|_| plain && !leading_zero)?;
            IpNet::new(address, length).ok()?
        }
    };
    Some(canonical(network.trunc()))
}

fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(six) = network else { return network };
    let four = six.addr().to_ipv4_mapped().and_then(|address| {
        let length = six.prefix_len().checked_sub(BEFORE_IPV4)?;
        Ipv4Net::new(address, length).ok()
    });
    four.map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        parse(text).map(|network| network.to_string())
    }

    #[test]
    fn a_network_is_one_of_the_kind_that_its_addresses_are() {
        for (written, meant) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(read(written).as_deref(), Some(meant), "{written}");
        }
    }

    #[test]
    fn a_number_that_others_read_as_another_is_refused() {
        for wrong in
            ["010.0.0.0/8", "::ffff:10.00.0.0/104", "10.0.0.0/08", "10.0.0.0/+8", "10.0.0.0/33"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        for wrong in ["", "/", "10.0.0.0/", "/8", "10.0.0.0/8/8", "10.0.0.0:80", " 10.0.0.0/8"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
