//! Where the system keeps the state of programs, read out of the environment.
//!
//! Decides on a path and touches nothing: whether it can be used is seen where something is kept.

use std::{ffi::OsString, path::PathBuf};

/// The folder below that of the system.
const FOLDER: &str = "skynet";

/// The state folder when none is configured: what the service manager gives, else the system's usual
/// place below the user's own folder; `None` when the environment names neither.
pub(super) fn usual(variables: &[(OsString, OsString)]) -> Option<PathBuf> {
    usual_on(std::env::consts::OS, variables)
}

fn usual_on(system: &str, variables: &[(OsString, OsString)]) -> Option<PathBuf> {
    let value = |name: &str| {
        variables.iter().find(|(variable, _)| variable == name).map(|(_, value)| value)
    };
    // A relative path would mean another folder whenever the program is started elsewhere.
    let folder = |name| Some(PathBuf::from(value(name)?)).filter(|path| path.has_root());
    // A systemd unit may have several; the first one is its own.
    let given = value("STATE_DIRECTORY").and_then(|list| std::env::split_paths(list).next());
    if let Some(given) = given.filter(|path| path.has_root()) {
        return Some(given);
    }
    let base = match system {
        "windows" => folder("LOCALAPPDATA")?,
        "macos" => folder("HOME")?.join("Library").join("Application Support"),
        _ => folder("XDG_STATE_HOME")
            .or_else(|| Some(folder("HOME")?.join(".local").join("state")))?,
    };
    Some(base.join(FOLDER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(system: &str, variables: &[(&str, &str)]) -> Option<String> {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        usual_on(system, &variables).map(|path| path.to_string_lossy().replace('\\', "/"))
    }

    #[test]
    fn what_the_service_manager_gives_comes_first() {
        let home = ("HOME", "/home/o");
        for system in ["linux", "macos", "freebsd"] {
            let folder = on(system, &[home, ("STATE_DIRECTORY", "/var/lib/hub")]);
            assert_eq!(folder.as_deref(), Some("/var/lib/hub"));
            let folder = on(system, &[home, ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b")]);
            assert_eq!(folder.as_deref(), Some("/var/lib/a"));
        }
    }

    #[test]
    fn each_system_has_its_usual_place() {
        let home = ("HOME", "/home/o");
        assert_eq!(on("linux", &[home]).unwrap(), "/home/o/.local/state/skynet");
        assert_eq!(on("linux", &[home, ("XDG_STATE_HOME", "/s")]).unwrap(), "/s/skynet");
        let expected = "/home/o/Library/Application Support/skynet";
        assert_eq!(on("macos", &[home, ("XDG_STATE_HOME", "/s")]).unwrap(), expected);
        assert_eq!(on("windows", &[home, ("LOCALAPPDATA", "/l")]).unwrap(), "/l/skynet");
    }

    #[test]
    fn nothing_relative_or_empty_is_taken() {
        assert_eq!(on("linux", &[]), None);
        assert_eq!(on("linux", &[("HOME", "")]), None);
        assert_eq!(on("windows", &[("HOME", "/home/o")]), None);
        let variables = [("STATE_DIRECTORY", ""), ("XDG_STATE_HOME", "s"), ("HOME", "/h")];
        assert_eq!(on("linux", &variables).unwrap(), "/h/.local/state/skynet");
    }
}
