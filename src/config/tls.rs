//! `[hub.tls]` and `[admin.tls]`: the files of a listener's certificate.
//!
//! Says where they are; who serves the listener reads them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{error::Problem, units};

/// The files of a listener's certificate; without them it speaks no TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// A PEM file: the listener's certificate, then those between it and the one that clients
    /// trust.
    #[serde(default, deserialize_with = "units::optional_path")]
    pub certificate: Option<PathBuf>,
    /// A PEM file: the certificate's private key, not encrypted.
    #[serde(default, deserialize_with = "units::optional_path")]
    pub key: Option<PathBuf>,
}

impl TlsConfig {
    /// Whether any of it is given.
    pub fn is_set(&self) -> bool {
        self.certificate.is_some() || self.key.is_some()
    }

    /// Certificate and key; `None` when the listener speaks no TLS.
    pub fn files(&self) -> Option<(&Path, &Path)> {
        Some((self.certificate.as_deref()?, self.key.as_deref()?))
    }

    /// The settings are named as the section's.
    pub(super) fn validate(
        &self,
        certificate: &'static str,
        key: &'static str,
        problems: &mut Vec<Problem>,
    ) {
        let (given, missing) = match (&self.certificate, &self.key) {
            (Some(_), None) => (certificate, key),
            (None, Some(_)) => (key, certificate),
            _ => return,
        };
        let text = format!("is given, and {missing} is not; TLS needs both");
        problems.push(Problem::new(given, text));
    }
}
