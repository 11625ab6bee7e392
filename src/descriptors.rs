//! The system's limit on open files, of which every client needs one.

use crate::config::Loaded;

/// Descriptors kept for the listeners, the admin API, files and the runtime itself.
const RESERVED: u64 = 256;

/// Raises this process's limit on open files as far as the system lets it, and returns the limit
/// that now applies. `None` where there is no such limit, or it cannot be read.
#[cfg(unix)]
pub fn raise() -> Option<u64> {
    rlimit::increase_nofile_limit(u64::MAX).or_else(|_| rlimit::Resource::NOFILE.get_soft()).ok()
}

/// There is no limit on sockets to raise on this system.
#[cfg(not(unix))]
pub fn raise() -> Option<u64> {
    None
}

/// The limit that applies, as [`raise`] left it. `None` where there is none, or it cannot be read.
#[cfg(unix)]
pub fn limit() -> Option<u64> {
    rlimit::Resource::NOFILE.get_soft().ok()
}

/// There is no such limit on this system.
#[cfg(not(unix))]
pub fn limit() -> Option<u64> {
    None
}

/// Lowers `limits.max_clients` to what a process may serve that is allowed `limit` open files, and
/// says so in the log and where the settings are shown.
pub fn fit(loaded: &mut Loaded, limit: u64) {
    let limits = &mut loaded.config.limits;
    let wanted = limits.max_clients;
    limits.max_clients = clamp(wanted, limit);
    if limits.max_clients < wanted {
        let value = limits.max_clients.to_string();
        loaded.effective.put("limits.max_clients", value, "the system's limit on open files");
        tracing::warn!(
            open_files = limit,
            wanted,
            max_clients = limits.max_clients,
            "the system's limit on open files lowers limits.max_clients; raise it by `ulimit -n`, \
             or LimitNOFILE in a systemd unit"
        );
    }
}

/// How many clients a process may serve that is allowed `limit` open files: `max_clients`, or what
/// is left after 256 are kept for the program itself, and never less than one.
fn clamp(max_clients: usize, limit: u64) -> usize {
    let left = usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX);
    max_clients.min(left.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_limited_to_the_open_files_that_are_left() {
        assert_eq!(clamp(10_000, 1_048_576), 10_000);
        assert_eq!(clamp(10_000, 10_256), 10_000);
        assert_eq!(clamp(10_000, 10_255), 9_999);
        assert_eq!(clamp(10_000, 1_024), 768);
        assert_eq!(clamp(10_000, u64::MAX), 10_000);
    }

    #[test]
    fn a_tiny_limit_leaves_one_client_and_not_none() {
        assert_eq!(clamp(10_000, 256), 1);
        assert_eq!(clamp(10_000, 0), 1);
        assert_eq!(clamp(1, 0), 1);
    }

    #[test]
    fn what_is_lowered_is_shown_as_it_is_in_force() {
        let mut loaded = Loaded::from(crate::config::Config::default());
        let shown = |loaded: &Loaded| {
            let mut settings = loaded.effective.settings().iter();
            let found = settings.find(|s| (s.section, s.name) == ("limits", "max_clients"));
            found.map(|found| (found.value.clone(), found.source.clone())).unwrap()
        };
        fit(&mut loaded, 20_000);
        assert_eq!(shown(&loaded), (Some("10000".into()), None));
        fit(&mut loaded, 300);
        assert_eq!(loaded.config.limits.max_clients, 44);
        let source = Some("the system's limit on open files".into());
        assert_eq!(shown(&loaded), (Some("44".into()), source));
    }

    #[cfg(unix)]
    #[test]
    fn the_limit_after_raising_is_the_hard_one() {
        let limit = raise().unwrap();
        let (soft, hard) = rlimit::getrlimit(rlimit::Resource::NOFILE).unwrap();
        assert_eq!(limit, soft);
        // macOS caps the soft limit below an unlimited hard one.
        assert!(soft == hard || cfg!(target_os = "macos"));
    }
}
