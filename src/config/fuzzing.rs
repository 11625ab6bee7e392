//! Fuzzing of the configuration: what the owner's file may say.

use super::load::lay;
use super::{Effective, Loaded, Origin, Secret, Sources, file};
use std::path::Path;

/// Reads a text as a configuration: it is refused in words, or what `check-config` prints of it is
/// a configuration that says the same.
///
/// # Panics
/// That does not hold.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(loaded) = load(text) else { return };
    assert!(loaded.config.validate().is_ok());
    for warning in loaded.config.warnings() {
        assert!(!warning.is_empty());
    }
    let printed = loaded.effective.to_string();
    // A token is masked there, and its mask is no token.
    if printed.contains(&format!("{:?}", Secret::new(""))) {
        return;
    }
    let again = load(&printed).expect("what is printed can be read");
    assert_eq!(values(&again.effective), values(&loaded.effective));
}

fn values(effective: &Effective) -> Vec<Option<&str>> {
    effective.settings().iter().map(|setting| setting.value.as_deref()).collect()
}

/// The configuration of a file with this text; none if it is refused, or names a file of a token:
/// no input is to have just any file read.
fn load(text: &str) -> Option<Loaded> {
    let path = Path::new("skynet.toml");
    let origin = |line| Origin::File { path: path.to_owned(), line };
    let given = match file::parse(text, path, origin) {
        Ok(given) => given,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return None;
        }
    };
    if given.iter().any(|given| format!("{:?}{:?}", given.key, given.value).contains("_file")) {
        return None;
    }
    match lay(given, &Sources::default()) {
        Ok(loaded) => Some(loaded),
        Err(error) => {
            assert!(error.to_string().contains("skynet.toml"), "{error}");
            None
        }
    }
}
