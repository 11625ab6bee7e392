//! Networks, as a list or as the text of an environment variable.

use ipnet::IpNet;
use serde::{Deserializer, de};

use super::{lists, units::quoted};
use crate::network;

/// Reads a list of networks, or a text that holds them separated by commas. An address alone is the
/// network of that address; bits beyond the length of a network do not count, and one of IPv4 is one
/// however it is written.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<IpNet>, D::Error> {
    let networks = lists::deserialize(deserializer)?;
    networks.iter().map(|spelled| read_network(&spelled.text).map_err(de::Error::custom)).collect()
}

fn read_network(text: &str) -> Result<IpNet, String> {
    network::parse(text.trim()).ok_or_else(|| {
        format!(
            "holds {}, which is not a network; write addresses with the length of the network, such \
             as 10.0.0.0/8 or fd00::/8, or an address alone",
            quoted(text)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Vec<String>, String> {
        let read = deserialize(&mut serde_json::Deserializer::from_str(json));
        let shown = |networks: Vec<IpNet>| networks.iter().map(IpNet::to_string).collect();
        read.map(shown).map_err(|error| error.to_string())
    }

    #[test]
    fn networks_are_a_list_or_a_text_with_commas() {
        let both = vec!["10.0.0.0/8".to_owned(), "::1/128".to_owned()];
        assert_eq!(read(r#"["10.1.2.3/8", "::1"]"#), Ok(both.clone()));
        assert_eq!(read(r#""10.0.0.0/8, ::1""#), Ok(both));
        let mapped = r#"["::ffff:10.1.2.3/104", "::ffff:192.0.2.7"]"#;
        assert_eq!(read(mapped), Ok(vec!["10.0.0.0/8".to_owned(), "192.0.2.7/32".to_owned()]));
        assert_eq!(read("\"\""), Ok(vec![]));
        for json in [r#"["proxy.example"]"#, r#""010.0.0.0/8""#, r#"["*"]"#, r#"["10.0.0.1:80"]"#] {
            assert!(read(json).unwrap_err().contains("not a network"), "{json}");
        }
        assert!(read("5").unwrap_err().contains("a list of names"));
    }
}
