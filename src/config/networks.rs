//! Networks, as a list or as the text of an environment variable.

use ipnet::IpNet;
use serde::{Deserializer, de};

use super::{lists, units::quoted};
use crate::network;

/// Reads a list of networks, or a text that holds them separated by commas.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<IpNet>, D::Error> {
    let networks = lists::deserialize(deserializer)?;
    let networks = networks.iter().map(|spelled| {
        network::parse(&spelled.text).map_err(|why| {
            de::Error::custom(format_args!("holds {}, which is {why}", quoted(&spelled.text)))
        })
    });
    networks.collect()
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
        assert_eq!(read("\"\""), Ok(vec![]));
        assert_eq!(read(r#"["::ffff:10.1.2.3/104"]"#), Ok(vec!["10.0.0.0/8".to_owned()]));
        let short = read(r#""::ffff:10.0.0.0/8""#).unwrap_err();
        assert!(short.contains("/8\", which is an IPv4 address written as"), "{short}");
        for json in [r#"["proxy.example"]"#, r#""10.0.0.0/33""#, r#"["*"]"#, r#"["10.0.0.1:80"]"#] {
            assert!(read(json).unwrap_err().contains("not a network"), "{json}");
        }
        assert!(read("5").unwrap_err().contains("a list of names"));
    }
}
