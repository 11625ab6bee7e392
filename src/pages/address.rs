//! Where the player who asks reaches the hub: what the owner says, else what was asked for.
//!
//! `Host` is what the player typed, and the answer goes to that player alone. `X-Forwarded-Host` is
//! not read: anybody can send it, and a proxy can pass `Host` on.

use crate::config::{Authority, HubConfig, PublicUrl};
use ipnet::IpNet;
use poem::Request;
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, HeaderName, header};
use std::net::IpAddr;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const NO_HOST: &str = "The Host header must say once where this hub is: a name, an IPv4 address, or an \
    IPv6 address in brackets, and perhaps a port, such as hub.example.org:4567.\n";

/// How the address of the hub is found.
#[derive(Debug, Clone)]
pub struct Addresses {
    public: Option<PublicUrl>,
    trusted_proxies: Vec<IpNet>,
}

/// What of a request the address depends on.
pub(super) struct WhoAsks<'a> {
    headers: &'a HeaderMap,
    peer: Option<IpAddr>,
    /// Whether TLS has been spoken with the hub itself.
    secure: bool,
}

impl<'a> WhoAsks<'a> {
    pub fn of(request: &'a Request) -> Self {
        let peer = request.remote_addr().as_socket_addr().map(|peer| peer.ip().to_canonical());
        let secure = *request.scheme() == Scheme::HTTPS;
        Self { headers: request.headers(), peer, secure }
    }
}

impl Addresses {
    /// As `hub.public_url` and `hub.trusted_proxies` say.
    pub fn new(config: &HubConfig) -> Self {
        Self { public: config.public_url.clone(), trusted_proxies: config.trusted_proxies.clone() }
    }

    /// The address for whoever asks; else a sentence that says what is wrong.
    pub(super) fn of(&self, who: &WhoAsks) -> Result<PublicUrl, &'static str> {
        if let Some(public) = &self.public {
            return Ok(public.clone());
        }
        let mut hosts = who.headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok(),
            _ => None,
        };
        let authority = host.and_then(|host| host.parse::<Authority>().ok()).ok_or(NO_HOST)?;
        Ok(PublicUrl { secure: self.is_secure(who), authority })
    }

    /// Whether it was asked by `https`, by TLS or as a trusted proxy says. What else it may say counts as
    /// `http`, the first of several proxies' words included: only the nearest one is known.
    fn is_secure(&self, who: &WhoAsks) -> bool {
        let trusted = who
            .peer
            .is_some_and(|peer| self.trusted_proxies.iter().any(|network| network.contains(&peer)));
        let mut said = who.headers.get_all(X_FORWARDED_PROTO).iter();
        match (said.next(), said.next()) {
            (Some(proto), None) if trusted => proto.as_bytes().eq_ignore_ascii_case(b"https"),
            _ => who.secure,
        }
    }

    /// The headers that an answer depends on.
    pub(super) fn vary(&self) -> Option<&'static str> {
        match (&self.public, self.trusted_proxies.is_empty()) {
            (Some(_), _) => None,
            (None, true) => Some("Host"),
            (None, false) => Some("Host, X-Forwarded-Proto"),
        }
    }

    /// Who may keep an answer: what is made from a request's headers is for that player alone.
    pub(super) fn cache_control(&self) -> &'static str {
        if self.public.is_some() { "public, max-age=300" } else { "private, no-cache" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(public: Option<&str>, proxies: &[&str]) -> Addresses {
        Addresses {
            public: public.map(|url| url.parse().unwrap()),
            trusted_proxies: proxies.iter().map(|network| network.parse().unwrap()).collect(),
        }
    }

    fn asked(
        addresses: &Addresses,
        peer: &str,
        headers: &[(&'static str, &str)],
    ) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let who = WhoAsks { headers: &map, peer: peer.parse().ok(), secure: false };
        addresses.of(&who).ok().map(|address| address.to_string())
    }

    #[test]
    fn the_address_is_what_was_asked_for() {
        let any = addresses(None, &[]);
        for (host, address) in [
            ("hub.example.org", Some("http://hub.example.org")),
            ("192.168.1.5:4567", Some("http://192.168.1.5:4567")),
            ("[::1]:4567", Some("http://[::1]:4567")),
            ("", None),
            ("a/b", None),
            ("a\"..os.reboot()..\"", None),
            ("<script>", None),
        ] {
            assert_eq!(asked(&any, "10.0.0.1", &[("host", host)]).as_deref(), address, "{host:?}");
        }
        assert_eq!(asked(&any, "10.0.0.1", &[]), None, "no Host");
        assert_eq!(asked(&any, "10.0.0.1", &[("host", "a"), ("host", "a")]), None, "two of them");
    }

    #[test]
    fn the_owners_address_is_given_whatever_was_asked_for() {
        let public = addresses(Some("https://skynet.example.org:8443"), &["10.0.0.0/8"]);
        for headers in [&[][..], &[("host", "a")], &[("host", "<"), ("x-forwarded-proto", "http")]]
        {
            let address = asked(&public, "10.0.0.1", headers);
            assert_eq!(address.as_deref(), Some("https://skynet.example.org:8443"));
        }
    }

    #[test]
    fn the_scheme_is_believed_of_a_trusted_proxy_alone() {
        let proxied = addresses(None, &["10.0.0.0/8", "fd00::/8"]);
        let asked = |peer, protos: &[&str]| {
            let mut headers = vec![("host", "a")];
            headers.extend(protos.iter().map(|proto| ("x-forwarded-proto", *proto)));
            asked(&proxied, peer, &headers).unwrap()
        };
        for peer in ["10.1.2.3", "fd00::1"] {
            assert_eq!(asked(peer, &["https"]), "https://a", "{peer}");
            assert_eq!(asked(peer, &["HTTPS"]), "https://a", "{peer}");
            for protos in [&[][..], &["http"], &["ftp"], &["https, http"], &["https", "https"]] {
                assert_eq!(asked(peer, protos), "http://a", "{peer} {protos:?}");
            }
        }
        for peer in ["11.0.0.1", "127.0.0.1", "fc00::1", "nobody"] {
            assert_eq!(asked(peer, &["https"]), "http://a", "{peer}");
        }
    }

    #[test]
    fn whoever_has_spoken_tls_with_the_hub_itself_was_asked_by_https() {
        let mut map = HeaderMap::new();
        map.append("host", "a".parse().unwrap());
        let who = WhoAsks { headers: &map, peer: None, secure: true };
        let address = addresses(None, &[]).of(&who).unwrap();
        assert_eq!(address.to_string(), "https://a");
    }

    #[test]
    fn a_forwarded_host_is_never_read() {
        let proxied = addresses(None, &["0.0.0.0/0"]);
        let headers = [("host", "a"), ("x-forwarded-host", "evil"), ("forwarded", "host=evil")];
        assert_eq!(asked(&proxied, "10.0.0.1", &headers).as_deref(), Some("http://a"));
    }
}
