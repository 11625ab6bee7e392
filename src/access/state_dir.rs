//! The state folder: what the program keeps for itself between two runs.
//!
//! Which folder that is has been decided in the configuration; here it is made.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// The state folder, which is there.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// Why there is no state folder.
#[derive(Debug)]
pub enum StateDirError {
    /// Neither the configuration nor the environment names one.
    Unknown,
    /// It cannot be made, or something else is in its place.
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl StateDir {
    /// Makes the folder when it is not there, for its owner alone, and the folders above it.
    ///
    /// Takes [`AdminConfig::state_folder`](crate::config::AdminConfig::state_folder).
    ///
    /// # Errors
    ///
    /// There is no such setting, or the system refuses. That nothing can be written to a folder
    /// which is there shows when something is.
    pub fn open(folder: Option<&Path>) -> Result<Self, StateDirError> {
        let path = folder.ok_or(StateDirError::Unknown)?;
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let unusable = |error| StateDirError::Unusable { path: path.to_owned(), error };
        builder.create(path).map_err(unusable)?;
        Ok(Self { path: path.to_owned() })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl std::error::Error for StateDirError {}

impl fmt::Display for StateDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str(
                "no state folder is known: the environment names neither one nor a home; set \
                 admin.state_dir",
            ),
            Self::Unusable { path, error } => write!(
                f,
                "the state folder {path:?} cannot be used: {error}; make it for the user that \
                 runs this program, or set admin.state_dir to another"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_made_with_those_above_it_and_used_again() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a").join("b");
        for _ in 0..2 {
            assert_eq!(StateDir::open(Some(&path)).unwrap().path(), path);
            assert!(path.is_dir());
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_is_made_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("state");
        StateDir::open(Some(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_its_place_and_no_folder_at_all_are_errors_that_say_what_to_do() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = StateDir::open(Some(file.path())).unwrap_err().to_string();
        assert!(text.contains(file.path().to_str().unwrap()), "{text}");
        assert!(text.contains("set admin.state_dir to another"), "{text}");
        let text = StateDir::open(None).unwrap_err().to_string();
        assert!(text.contains("set admin.state_dir"), "{text}");
    }
}
