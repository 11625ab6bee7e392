//! Networks as people write them, and as addresses of clients are looked up in them.
//!
//! Where a client comes from is an IPv4 address even when the system has it in IPv6 spelling
//! (`::ffff:192.0.2.7`). A network in that spelling would be one that nobody is in, so it is turned
//! into the IPv4 network that it stands for.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

/// Bits before the IPv4 address in `::ffff:192.0.2.7`.
const BITS_BEFORE_IPV4: u8 = 96;

/// Why a text is no network; reads on from the text, such as "`x` is".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoNetwork {
    /// Neither an address nor a network.
    Unreadable,
    /// An IPv4 address in IPv6 spelling, and a length that ends before it.
    TooShort,
}

impl fmt::Display for NoNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => {
                "not a network; write addresses with the length of the network, such as 10.0.0.0/8 \
                 or fd00::/8, or an address alone"
            }
            Self::TooShort => {
                "an IPv4 address written as an IPv6 one, with a length of less than the 96 bits \
                 before it; write the IPv4 network itself, such as 10.0.0.0/8"
            }
        })
    }
}

/// Reads a network, or an address as the network of that address alone. Bits beyond the length do
/// not count.
///
/// # Errors
///
/// The text is neither, or one that nobody could be in.
pub fn parse(text: &str) -> Result<IpNet, NoNetwork> {
    let network = read(text.trim()).ok_or(NoNetwork::Unreadable)?;
    let network = match network.addr().to_canonical() {
        address @ IpAddr::V4(_) if network.addr().is_ipv6() => {
            let length = network.prefix_len().checked_sub(BITS_BEFORE_IPV4);
            IpNet::new_assert(address, length.ok_or(NoNetwork::TooShort)?)
        }
        _ => network,
    };
    Ok(network.trunc())
}

/// Reads what is written, by the standard library's addresses: ipnet takes 010.0.0.0/8 for 10.0.0.0/8,
/// where others read 010 as octal.
fn read(text: &str) -> Option<IpNet> {
    let Some((address, length)) = text.split_once('/') else {
        return text.parse::<IpAddr>().ok().map(IpNet::from);
    };
    let plain = length.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = length.len() > 1 && length.starts_with('0');
    let length = length.parse().ok().filter(|_| plain && !leading_zero)?;
    IpNet::new(address.parse().ok()?, length).ok()
}

/// Reads a network from a file that keeps it, as [`parse`] does.
///
/// # Errors
///
/// It is no text, or no network.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpNet, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(|why| de::Error::custom(format_args!("the network is {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_one_form_however_it_is_written() {
        for (written, form) in [
            ("192.0.2.7", "192.0.2.7/32"),
            (" 192.0.2.7/24 ", "192.0.2.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("fd00::7", "fd00::7/128"),
            ("fd00::7/8", "fd00::/8"),
            ("::/0", "::/0"),
            ("::1", "::1/128"),
        ] {
            assert_eq!(parse(written).unwrap().to_string(), form, "{written}");
        }
        for wrong in [
            "",
            "everybody",
            "192.0.2.0/33",
            "fd00::/129",
            "*",
            "10.0.0.1:80",
            "010.0.0.0/8",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/",
        ] {
            assert_eq!(parse(wrong), Err(NoNetwork::Unreadable), "{wrong}");
        }
    }

    #[test]
    fn an_ipv4_network_in_ipv6_spelling_is_the_ipv4_network() {
        for (written, form) in [
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7/128", "192.0.2.7/32"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("::ffff:c000:207/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
        ] {
            assert_eq!(parse(written).unwrap().to_string(), form, "{written}");
        }
        // Whoever writes this means 10.0.0.0/8; what it says is ::/8.
        for wrong in ["::ffff:10.0.0.0/8", "::ffff:10.0.0.0/95", "::ffff:0:0/0"] {
            assert_eq!(parse(wrong), Err(NoNetwork::TooShort), "{wrong}");
        }
    }
}
