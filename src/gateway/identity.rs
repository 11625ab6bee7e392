//! Who a client says it is, at the handshake.
//!
//! A client may claim a name, and the number and label of its computer, by headers or by the query
//! of its URL; anybody can. A token of the configuration proves the name it stands for, and gives the
//! rights that go with it. Tokens are compared elsewhere; here is only what the request says.

use super::entrance::Entrance;
use crate::config::is_client_name;
use crate::hub::{ClientName, Identity, Rights};
use poem::Request;
use poem::http::{HeaderName, header};
use std::sync::Arc;

/// Why a client is not who it says it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mistaken {
    /// A name, number or label is empty, too long or not printable.
    Malformed(&'static str),
    /// The token is none of the configuration's.
    BadToken,
    /// The claimed name is one that only a token proves.
    NameNeedsToken,
    /// Nobody comes in without a token.
    NoToken,
}

impl Mistaken {
    /// The reason in the close frame of who showed no good token.
    pub fn text(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::BadToken => "the token was not accepted",
            Self::NameNeedsToken => "this name needs its token",
            Self::NoToken => "this hub needs a token; ask its owner for one",
        }
    }
}

/// Who the client of a request is, and what it may do; none if that is everything.
pub(super) fn identify(
    request: &Request,
    entrance: &Entrance,
) -> Result<(Identity, Option<Arc<Rights>>), Mistaken> {
    // A query that cannot be read says nothing.
    let query: Vec<(String, String)> = request.params().unwrap_or_default();
    let given = |name: &'static str, key: &'static str| {
        let header = header_text(request, HeaderName::from_static(name));
        header.or_else(|| query.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone()))
    };
    let printable = |text: Option<String>, what| match text {
        None => Ok(None),
        Some(text) if is_client_name(&text) => Ok(Some(text.into_boxed_str())),
        Some(_) => Err(Mistaken::Malformed(what)),
    };
    let claimed = printable(given("skynet-name", "name"), "the name (Skynet-Name, or ?name=)")?;
    let computer_id = printable(
        given("skynet-computer-id", "id"),
        "the computer's number (Skynet-Computer-Id, or ?id=)",
    )?;
    let label = printable(
        given("skynet-computer-label", "label"),
        "the computer's label (Skynet-Computer-Label, or ?label=)",
    )?;
    let token = bearer(request)
        .or_else(|| query.iter().find(|(key, _)| key == "token").map(|(_, value)| value.clone()));
    let (name, rights) = match token {
        Some(token) => {
            let holder = entrance.holder(&token).ok_or(Mistaken::BadToken)?;
            (Some(ClientName::Proven(holder.name.into())), holder.rights)
        }
        None if claimed.as_deref().is_some_and(|name| entrance.has_name(name)) => {
            return Err(Mistaken::NameNeedsToken);
        }
        None => {
            let rights = entrance.guest().ok_or(Mistaken::NoToken)?;
            (claimed.map(ClientName::Claimed), rights)
        }
    };
    Ok((Identity { name, computer_id, label }, rights))
}

/// The token of an Authorization header; another scheme than Bearer is no token.
fn bearer(request: &Request) -> Option<String> {
    let header = header_text(request, header::AUTHORIZATION)?;
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn header_text(request: &Request, name: HeaderName) -> Option<String> {
    let value = request.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}
