//! One setting as one source gives it: a figment provider of its own, so that its place survives the
//! merge.

use figment::{
    Metadata, Profile, Provider,
    util::nest,
    value::{Dict, Map, Value},
};

use super::Origin;

/// What the name of every environment variable of this program begins with.
pub(super) const VARIABLE_PREFIX: &str = "SKYNET_";

/// One setting as one source gives it.
pub(super) struct Given {
    /// The parts of its name.
    pub(super) key: Vec<String>,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

impl Provider for Given {
    fn metadata(&self) -> Metadata {
        self.origin.to_metadata()
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let nested = nest(&self.key.join("."), self.value.clone());
        Ok(Profile::Default.collect(nested.into_dict().unwrap_or_default()))
    }
}
