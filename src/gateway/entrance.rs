//! Whom the hub lets in, and what each may do there.
//!
//! Made from the configuration: the tokens, and for each kind of client its rights, which all
//! clients of that kind share. A change of the configuration makes another entrance, which meets
//! those who connect after it; who came in by a token that the new one does not know has to go.

use crate::access::HubTokens;
use crate::config::{ChannelPattern, Config, PublicUrl, RightsConfig};
use crate::hub::{Patterns, Rights};
use poem::http::{HeaderMap, header};
use std::sync::Arc;

/// The tokens, and what clients with each of them and without one may do.
#[derive(Clone)]
pub struct Entrance {
    tokens: HubTokens,
    /// What who shows each token may do, in the order of the configuration; none is everything.
    rights: Vec<Option<Arc<Rights>>>,
    /// What who shows none may do.
    guests: Option<Arc<Rights>>,
    require_token: bool,
    /// Whose web pages may connect; none is everybody's.
    origins: Option<Vec<PublicUrl>>,
}

/// Who has shown a good token.
#[derive(Debug)]
pub(super) struct Holder<'a> {
    /// The name that the token proves.
    pub name: &'a str,
    /// What its holder may do; none is everything.
    pub rights: Option<Arc<Rights>>,
}

impl Entrance {
    /// The entrance that a configuration asks for.
    pub fn new(config: &Config) -> Self {
        let tokens = &config.hub.tokens;
        Self {
            tokens: HubTokens::new(tokens),
            rights: tokens.iter().map(|token| rights(&token.rights)).collect(),
            guests: rights(&config.guests),
            require_token: config.hub.require_token,
            origins: config.hub.allowed_origins.clone(),
        }
    }

    /// Who shows this token; none if it is not known.
    pub(super) fn holder(&self, token: &str) -> Option<Holder<'_>> {
        let (place, name) = self.tokens.find(token)?;
        Some(Holder { name, rights: self.rights[place].clone() })
    }

    /// The names whose token of this entrance does not give the same name at a newer one.
    pub(super) fn withdrawn(&self, newer: &Self) -> Vec<String> {
        self.tokens.withdrawn(&newer.tokens)
    }

    /// Whether who came in here by the token of `name` would be turned away by a newer entrance.
    pub(super) fn has_withdrawn(&self, name: &str, newer: &Self) -> bool {
        self.tokens.has_withdrawn(name, &newer.tokens)
    }

    /// Whether only a token gives this name.
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.tokens.has_name(name)
    }

    /// Whether a request comes from a web page that may connect, or from none: browsers always say
    /// from which, and the game never does.
    pub(super) fn allows_origin(&self, headers: &HeaderMap) -> bool {
        let Some(allowed) = &self.origins else { return true };
        headers.get_all(header::ORIGIN).iter().all(|origin| {
            let origin = origin.to_str().ok().and_then(|origin| origin.parse::<PublicUrl>().ok());
            origin.is_some_and(|origin| allowed.iter().any(|other| other.is_same_origin(&origin)))
        })
    }

    /// What a client without a token may do, everything being none; an outer none if nobody comes
    /// in without one.
    pub fn guest(&self) -> Option<Option<Arc<Rights>>> {
        (!self.require_token).then(|| self.guests.clone())
    }
}

/// The rights that settings give; none if that is everything.
fn rights(config: &RightsConfig) -> Option<Arc<Rights>> {
    let rights = Rights {
        read: patterns(config.read.as_deref()),
        write: patterns(config.write.as_deref()),
        hear_all: config.may_hear_all(),
        log: config.log.unwrap_or(true),
    };
    (!rights.are_everything()).then(|| Arc::new(rights))
}

fn patterns(config: Option<&[ChannelPattern]>) -> Patterns {
    let Some(config) = config else { return Patterns::every() };
    let mut patterns = Patterns::default();
    for pattern in config {
        match pattern {
            ChannelPattern::Text(text) => patterns.add_text(text),
            ChannelPattern::Number(number) => patterns.add_number(*number),
            ChannelPattern::Range(first, last) => patterns.add_range(*first, *last),
        }
    }
    patterns
}
