//! The versions of the protocol.

/// A version of the protocol: an encoding, and what is answered in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Version {
    /// JSON in text frames; every command has a reply.
    #[default]
    V1,
    /// CBOR in binary frames; only what fails has a reply.
    V2,
}

impl Version {
    /// Every version.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// Its number.
    pub fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// The version as metrics name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}
