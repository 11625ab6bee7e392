//! Fuzzing of the handshake: what a client says of itself before it is one.

use super::entrance::Entrance;
use super::handshake;
use super::identity::{self, Mistaken};
use crate::config::{Config, HubToken, Secret, is_client_name};
use crate::hub::ClientName;
use poem::Request;
use poem::http::{HeaderName, HeaderValue, Uri};
use std::sync::LazyLock;

const TOKEN: &str = "a-token-of-24-characters";
const NAME: &str = "reactor";

static ENTRANCE: LazyLock<Entrance> = LazyLock::new(|| {
    let mut config = Config::default();
    config.hub.tokens = vec![HubToken::new(NAME, Secret::new(TOKEN))];
    Entrance::new(&config)
});

/// Reads a request, its path in the first line and a header in each of the others: whoever it is
/// from, its name is a name, and the one of a token is given for that token alone.
///
/// # Panics
/// That does not hold.
pub fn handshake(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let Some(uri) = lines.next().and_then(|path| Uri::try_from(path).ok()) else { return };
    let mut request = Request::builder().uri(uri).finish();
    for line in lines {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    let _ = handshake::check(&request);
    let agent = handshake::user_agent(&request);
    assert!(agent.is_none_or(|agent| agent.chars().count() <= 128));
    match identity::identify(&request, &ENTRANCE) {
        Ok((identity, rights)) => {
            assert!(rights.is_none(), "nobody's rights are bounded here");
            let texts = [&identity.computer_id, &identity.label];
            assert!(texts.into_iter().flatten().all(|text| is_client_name(text)));
            match identity.name {
                Some(ClientName::Proven(name)) => {
                    assert_eq!(&*name, NAME);
                    assert!(says_the_token(&request), "nobody has shown the token");
                }
                Some(ClientName::Claimed(name)) => {
                    assert!(is_client_name(&name) && &*name != NAME, "{name:?} needs its token");
                }
                None => {}
            }
        }
        Err(mistaken) => {
            assert_ne!(mistaken, Mistaken::NoToken, "none is needed");
            assert!(!mistaken.text().is_empty());
        }
    }
}

/// Whether the token stands in the request, percent-encoded or not.
fn says_the_token(request: &Request) -> bool {
    let header = request
        .headers()
        .values()
        .any(|value| value.as_bytes().windows(TOKEN.len()).any(|bytes| bytes == TOKEN.as_bytes()));
    let query: Vec<(String, String)> = request.params().unwrap_or_default();
    header || query.iter().any(|(key, value)| key == "token" && value == TOKEN)
}
