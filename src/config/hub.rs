//! `[hub]`: the public listener, where computers connect.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{error::Problem, units};

/// The public listener.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubConfig {
    /// The address and port that computers connect to. Port 0 lets the system choose one.
    #[serde(deserialize_with = "units::address")]
    pub listen: SocketAddr,
}

impl HubConfig {
    pub(super) fn validate(&self, problems: &mut Vec<Problem>) {
        if self.listen.ip().is_multicast() {
            problems.push(units::multicast("hub.listen", self.listen));
        }
    }
}
