//! The owner's token: the configured one, else one that is generated once and kept in a file that
//! its owner alone can read.
//!
//! The file is created with its final permissions and filled under its lock: of two starts at once
//! one generates and the other reads, and a start that ended in between leaves an empty file, which
//! the next one fills. Nothing here shows the token.

use std::{
    fmt::{self, Write as _},
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use super::{StateDir, StateDirError};
use crate::config::{AdminConfig, Secret};

/// The file within the state folder.
const FILE_NAME: &str = "admin-token";

/// What a generated token is made of: bytes of the system's randomness.
const TOKEN_BYTES: usize = 32;

/// A file larger than this holds no token; reading stops here.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The token that may do everything.
#[derive(Debug, Clone)]
pub struct AdminToken {
    /// The token.
    pub secret: Secret,
    /// Where it is written down.
    pub place: Place,
}

/// Where the owner's token is written down. Its text says where, and whether it was made now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the configuration.
    Configured,
    /// In a file that this program has made.
    Kept {
        /// The file.
        path: PathBuf,
        /// Whether there was none before.
        made: bool,
    },
}

/// Why there is no token for the owner.
#[derive(Debug)]
pub enum AdminTokenError {
    /// None is configured, and there is no folder to keep one in.
    State(StateDirError),
    /// None is configured, and the file that keeps one cannot be used.
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; reads on from its path.
        reason: String,
    },
}

impl AdminToken {
    /// The configured token; else the kept one, which is generated when there is none. May make the
    /// state folder and write the file.
    ///
    /// # Errors
    ///
    /// None is configured, and none can be kept: the folder or file cannot be made, read or
    /// written, the file holds no token, or others can read it.
    pub fn find(config: &AdminConfig) -> Result<Self, AdminTokenError> {
        if let Some(secret) = config.admin_token() {
            return Ok(Self { secret: secret.clone(), place: Place::Configured });
        }
        let state = StateDir::open(config.state_folder()).map_err(AdminTokenError::State)?;
        let path = state.path().join(FILE_NAME);
        match read_or_make(&path) {
            Ok((secret, made)) => Ok(Self { secret, place: Place::Kept { path, made } }),
            Err(reason) => Err(AdminTokenError::File { path, reason }),
        }
    }
}

/// The token in the file, and whether it was put there now.
fn read_or_make(path: &Path) -> Result<(Secret, bool), String> {
    // Without asking for the right to write: a token that is there may be on a disk that is read-only.
    if let Some(secret) = read_existing(path)? {
        return Ok((secret, false));
    }
    let failed = |error: io::Error| {
        format!(
            "cannot be written: {error}; give the token by admin.token_file instead, or set admin.state_dir to a folder that this user may write to"
        )
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    // Before anything secret is in it: some file systems give every file to everybody.
    check(path, &file.metadata().map_err(failed)?)?;
    file.lock().map_err(failed)?;
    if let Some(secret) = read(&mut file)? {
        return Ok((secret, false));
    }
    let token = generate()?;
    let written = writeln!(file, "{token}").and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a token must not be taken for one; if this fails too, its length gives it away.
        let _ = file.set_len(0);
        return Err(failed(error));
    }
    Ok((Secret::new(token), true))
}

/// The token in a file that may be absent or, for now, empty.
fn read_existing(path: &Path) -> Result<Option<Secret>, String> {
    let failed = |error: io::Error| format!("cannot be read: {error}");
    match fs::metadata(path) {
        // Opening a pipe would wait for ever, so the kind is asked for first.
        Ok(metadata) => check(path, &metadata)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let mut file = File::open(path).map_err(failed)?;
    check(path, &file.metadata().map_err(failed)?)?;
    read(&mut file)
}

fn read(file: &mut File) -> Result<Option<Secret>, String> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let advice = "remove the file, and a new token is made";
    match Secret::from_file(&bytes) {
        Ok(secret) if secret.is_short() => {
            Err(format!("holds a token that could be guessed, so short is it; {advice}"))
        }
        Ok(secret) => Ok(Some(secret)),
        Err(what) => Err(format!("holds a token that {what}; {advice}")),
    }
}

/// Refuses what is no file, and a file that others than its owner can use.
fn check(path: &Path, metadata: &Metadata) -> Result<(), String> {
    if !metadata.is_file() {
        return Err("is not a file; remove it, and a new token is made".into());
    }
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
        if mode & 0o077 != 0 {
            let path = path.to_string_lossy().replace('\'', r"'\''");
            return Err(format!(
                "can be read by others than its owner (its mode is {:o}); run: chmod 600 '{path}'",
                mode & 0o777
            ));
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

fn generate() -> Result<String, String> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| format!("has no token, and the system gives no randomness: {error}"))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes every text");
        text
    }))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("the owner's token is the configured one"),
            Self::Kept { path, made: true } => {
                write!(f, "a token for the owner was made and is kept in {path:?}")
            }
            Self::Kept { path, made: false } => {
                write!(f, "the owner's token is the one kept in {path:?}")
            }
        }
    }
}

impl std::error::Error for AdminTokenError {}

impl fmt::Display for AdminTokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no token for the owner is configured, and none can be kept: ")?;
        match self {
            Self::State(error) => error.fmt(f),
            Self::File { path, reason } => write!(f, "{path:?} {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use super::*;
    use crate::config::Config;

    fn config(folder: &Path) -> AdminConfig {
        let mut config = Config::default().admin;
        config.state_dir = Some(folder.to_owned());
        config
    }

    fn kept(folder: &Path) -> (String, bool) {
        let token = AdminToken::find(&config(folder)).unwrap();
        let Place::Kept { path, made } = token.place else { panic!("{:?}", token.place) };
        assert_eq!(path, folder.join(FILE_NAME));
        (token.secret.expose().to_owned(), made)
    }

    /// The complaint about a file with these contents.
    fn refused(contents: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        fs::write(&path, contents).unwrap();
        for_owner_alone(&path);
        let text = AdminToken::find(&config(folder.path())).unwrap_err().to_string();
        assert!(text.contains(FILE_NAME), "{text}");
        text
    }

    fn for_owner_alone(path: &Path) {
        #[cfg(unix)]
        set_mode(path, 0o600);
        #[cfg(not(unix))]
        let _ = path;
    }

    #[cfg(unix)]
    fn set_mode(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_configured_token_needs_no_folder() {
        let mut config = Config::default().admin;
        config.token = Some(Secret::new("of-the-owner"));
        let token = AdminToken::find(&config).unwrap();
        assert_eq!(token.secret.expose(), "of-the-owner");
        assert_eq!(token.place, Place::Configured);
    }

    #[test]
    fn a_token_is_made_once_and_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let (token, made) = kept(&state);
        assert!(made);
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        assert!(token.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(kept(&state), (token.clone(), false));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(kept(other.path()).0, token);
    }

    #[test]
    fn an_empty_file_of_a_start_that_ended_early_is_filled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        File::create(&path).unwrap();
        for_owner_alone(&path);
        let (token, made) = kept(folder.path());
        assert!(made);
        assert_eq!(kept(folder.path()), (token, false));
    }

    #[test]
    fn of_many_starts_at_once_one_makes_the_token_and_all_have_it() {
        const STARTS: usize = 8;
        let folder = tempfile::tempdir().unwrap();
        let barrier = Arc::new(Barrier::new(STARTS));
        let starts: Vec<_> = (0..STARTS)
            .map(|_| {
                let (barrier, path) = (barrier.clone(), folder.path().to_owned());
                std::thread::spawn(move || {
                    barrier.wait();
                    kept(&path)
                })
            })
            .collect();
        let found: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
        assert_eq!(found.iter().filter(|(_, made)| *made).count(), 1);
        assert!(found.iter().all(|(token, _)| *token == found[0].0));
    }

    #[test]
    fn a_file_that_holds_no_usable_token_is_refused_and_not_shown() {
        assert!(refused(b"hunter2\n").contains("could be guessed"));
        assert!(!refused(b"hunter2\n").contains("hunter2"));
        assert!(refused(b"two words of a passphrase").contains("spaces"));
        assert!(refused(b"\n").contains("is empty"));
        assert!(refused(b"\xff").contains("not text"));
    }

    #[test]
    fn a_folder_in_the_place_of_the_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(FILE_NAME)).unwrap();
        let text = AdminToken::find(&config(folder.path())).unwrap_err().to_string();
        assert!(text.contains("is not a file"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_for_its_owner_alone_and_refused_when_others_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let (token, _) = kept(folder.path());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o644, 0o660] {
            set_mode(&path, mode);
            let text = AdminToken::find(&config(folder.path())).unwrap_err().to_string();
            assert!(text.contains(&format!("chmod 600 '{}'", path.display())), "{text}");
            assert!(text.contains(&format!("its mode is {mode:o}")), "{text}");
            assert!(!text.contains(&token), "{text}");
        }
        set_mode(&path, 0o400);
        assert_eq!(kept(folder.path()), (token, false));
    }

    #[test]
    fn where_the_token_is_can_be_told_without_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let token = AdminToken::find(&config(folder.path())).unwrap();
        let told = format!("{token:?} {}", token.place);
        assert!(told.contains(FILE_NAME), "{told}");
        assert!(!told.contains(token.secret.expose()), "{told}");
    }

    #[test]
    fn without_a_folder_the_error_says_what_to_set() {
        let text = AdminToken::find(&Config::default().admin).unwrap_err().to_string();
        assert!(text.contains("none can be kept: no state folder is known"), "{text}");
    }
}
