//! What the program listens on: binds the listeners, or takes those that were bound for it, and reads
//! their certificates. Serves nothing.

use super::StartError;
use crate::config::{Config, ListenAddress, TlsConfig};
use crate::http::{Certificates, Inherited, Listener, TlsFiles};
use std::net::SocketAddr;

/// The listeners, bound, and what is spoken on them.
pub(super) struct Listening {
    pub hub: Listener,
    pub hub_address: SocketAddr,
    pub hub_certificates: Option<Certificates>,
    /// The owner's own listener, unless it is the hub's.
    pub admin: Option<(Listener, ListenAddress)>,
    pub admin_certificates: Option<Certificates>,
}

impl Listening {
    /// Binds what is not among `inherited`.
    pub fn bind(config: &Config, inherited: Inherited) -> Result<Self, StartError> {
        let hub_certificates = certificates("hub.tls", &config.hub.tls)?;
        let (hub, address) = bind("hub.listen", &config.hub.listen.into(), inherited.hub)?;
        // The hub's listener has a port in any case.
        let hub_address = address.tcp().unwrap_or(config.hub.listen);
        if config.shares_listener() {
            if inherited.admin.is_some() {
                return Err(StartError::HandedOver(
                    "a socket was handed over for admin, and admin.listen is the listener of the \
                     hub; give admin.listen a port of its own, or let the hub's socket be the only one",
                ));
            }
            let (admin, admin_certificates) = (None, None);
            return Ok(Self { hub, hub_address, hub_certificates, admin, admin_certificates });
        }
        let admin_certificates = certificates("admin.tls", &config.admin.tls)?;
        let admin = bind("admin.listen", &config.admin.listen, inherited.admin)?;
        if admin_certificates.is_some() && admin.1.tcp().is_none() {
            return Err(StartError::HandedOver(
                "a Unix socket was handed over for admin, and [admin.tls] is set: nobody but \
                 programs of this machine reaches it; leave [admin.tls] out",
            ));
        }
        let admin = Some(admin);
        Ok(Self { hub, hub_address, hub_certificates, admin, admin_certificates })
    }

    /// The certificates of all listeners, to be read anew while the program runs.
    pub fn certificates(&self) -> Vec<Certificates> {
        let all = [&self.hub_certificates, &self.admin_certificates];
        all.into_iter().flatten().cloned().collect()
    }
}

fn bind(
    setting: &'static str,
    address: &ListenAddress,
    inherited: Option<Listener>,
) -> Result<(Listener, ListenAddress), StartError> {
    let failed = |error| StartError::Listen { setting, address: address.clone(), error };
    let listener = inherited.map_or_else(|| Listener::bind(address), Ok).map_err(failed)?;
    let bound = listener.address().map_err(failed)?;
    Ok((listener, bound))
}

/// The certificate of a listener whose settings stand in `section`, if it has one.
fn certificates(
    section: &'static str,
    config: &TlsConfig,
) -> Result<Option<Certificates>, StartError> {
    let Some((certificate, key)) = config.files() else { return Ok(None) };
    let files = TlsFiles { section, certificate: certificate.into(), key: key.into() };
    Certificates::read(files).map(Some).map_err(StartError::Tls)
}
