//! How the program ends: every exit code, and what it means.
//!
//! Decides nothing: who ends the program picks the code. A second SIGTERM or Ctrl-C ends it with 128
//! and the number of the signal, which is for [`shutdown`](crate::shutdown) to do.

use std::process::ExitCode;

/// An exit code. The numbers above 1 are those of sysexits, so that a script or a unit of systemd can
/// tell an error that goes away by itself from one that does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for was done; of the hub, a requested end.
    Good = 0,
    /// What was asked about is not well: `healthcheck`, `cc-config --check`.
    Bad = 1,
    /// The command line cannot be read (`EX_USAGE`).
    Usage = 64,
    /// Something that is needed is not to be had: a port, a certificate, the state folder and what is
    /// kept there, standard output (`EX_UNAVAILABLE`). Trying again may help.
    Unavailable = 69,
    /// A part of the hub has failed by a fault of its own, and the rest has stopped in order
    /// (`EX_SOFTWARE`). A new start helps.
    Fault = 70,
    /// The configuration cannot be used, that of the game which was to be checked, or the sockets that
    /// the service manager has handed over (`EX_CONFIG`).
    /// Trying again does not help.
    Configuration = 78,
}

impl Exit {
    /// All of them, from the smallest.
    pub const ALL: [Self; 6] =
        [Self::Good, Self::Bad, Self::Usage, Self::Unavailable, Self::Fault, Self::Configuration];

    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What it means, for people: half a sentence without a full stop.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Good => "all is well, or the hub ended because it was asked to",
            Self::Bad => "what was checked is not well (healthcheck, cc-config --check)",
            Self::Usage => "the command line cannot be read",
            Self::Unavailable => {
                "a port, a certificate, the state or standard output is not to be had; another try may help"
            }
            Self::Fault => "the hub has ended by a fault of its own; start it again, and report it",
            Self::Configuration => {
                "the configuration cannot be used; no other try helps before it is changed"
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_all_different_and_none_is_a_shells_own() {
        for pair in Exit::ALL.windows(2) {
            assert!(pair[0].code() < pair[1].code(), "{pair:?}");
        }
        // 2 is a wrong use of a shell's builtin, and reserved for the health checks of containers; from
        // 126 on they are a shell's.
        assert!(Exit::ALL.iter().all(|exit| exit.code() != 2 && exit.code() < 126));
    }
}
