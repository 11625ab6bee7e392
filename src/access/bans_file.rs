//! A list of bans in a file, so that a restart does not free the banned.
//!
//! What a ban is, and which list of them is a good one, is for the caller to say: anything that serde
//! reads and writes. It is to hold names, never tokens. The file is replaced as a whole: written beside itself, flushed to the disk,
//! renamed. Whatever fails, the list of before is still there.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::files;

/// A file larger than this is no list of bans; reading stops here.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// The file that `admin.bans_file` names. Reading and writing block.
#[derive(Debug)]
pub struct BansFile {
    path: PathBuf,
    seen: Seen,
}

/// What was there when the file was read or written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// It has been neither yet.
    Nothing,
    /// No file.
    Absent,
    /// A file of which this is the hash.
    File([u8; 32]),
}

/// Why the file cannot be used.
#[derive(Debug)]
pub enum BansFileError {
    /// It is there and cannot be read, or the folder it is to be in is not there.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// It does not hold a list of bans.
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line at which reading stopped, from 1.
        line: usize,
        /// The byte in that line, from 1.
        column: usize,
        /// What was expected there.
        reason: String,
    },
    /// It holds something else than what was read or written last, so that writing would undo what
    /// somebody else has done.
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be written; what it held before, it holds still.
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says, such as that the disk is full.
        error: io::Error,
    },
}

impl BansFile {
    /// The file at `path`. Touches nothing yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), seen: Seen::Nothing }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bans in the file; none when there is no file yet.
    ///
    /// # Errors
    ///
    /// The file cannot be read or does not hold a list of such bans, or there is no folder for it.
    pub fn read<L: DeserializeOwned + Default>(&mut self) -> Result<L, BansFileError> {
        let Some(bytes) = self.contents()? else {
            self.seen = Seen::Absent;
            return Ok(L::default());
        };
        let bans = self.parse(&bytes)?;
        self.seen = Seen::File(hash(&bytes));
        Ok(bans)
    }

    /// The bans in the file, if somebody else has changed it since it was read or written here;
    /// what could not be written here is no change.
    ///
    /// # Errors
    ///
    /// As those of [`Self::read`]; or the file was there and is gone, which frees nobody.
    pub fn read_changed<L: DeserializeOwned>(&mut self) -> Result<Option<L>, BansFileError> {
        let bytes = match (self.contents()?, self.seen) {
            (Some(bytes), _) => bytes,
            (None, Seen::Nothing | Seen::Absent) => return Ok(None),
            (None, Seen::File(_)) => {
                let reason =
                    "it was there before and is gone; put it back, or write [] into it to \
                              free everybody"
                        .to_owned();
                return Err(BansFileError::Unreadable { path: self.path.clone(), reason });
            }
        };
        let now = Seen::File(hash(&bytes));
        if self.seen == now {
            return Ok(None);
        }
        let bans = self.parse(&bytes)?;
        self.seen = now;
        Ok(Some(bans))
    }

    /// What is in the file, if there is one.
    fn contents(&self) -> Result<Option<Vec<u8>>, BansFileError> {
        let unreadable =
            |reason: String| BansFileError::Unreadable { path: self.path.clone(), reason };
        let bytes = match files::read(&self.path, MAX_FILE_BYTES) {
            Ok(bytes) => bytes,
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && folder(&self.path).is_dir() =>
            {
                return Ok(None);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(unreadable("its folder does not exist; make it".into()));
            }
            Err(error) => return Err(unreadable(error.to_string())),
        };
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(unreadable("it is larger than 64MiB, so it is no list of bans".into()));
        }
        Ok(Some(bytes))
    }

    /// The bans that these contents of the file are.
    pub(crate) fn parse<L: DeserializeOwned>(&self, bytes: &[u8]) -> Result<L, BansFileError> {
        serde_json::from_slice(bytes).map_err(|error| BansFileError::Malformed {
            path: self.path.clone(),
            line: error.line().max(1),
            column: error.column().max(1),
            reason: without_place(&error.to_string()),
        })
    }

    /// Replaces the file by one that holds `bans`. Returns when the disk has
    /// it.
    ///
    /// Exclusive, so that of two lists the later one is the one that stays.
    ///
    /// # Errors
    ///
    /// Somebody else has changed the file since it was read or written here, or it cannot be written,
    /// because the disk is full for instance. The file is as it was before.
    pub fn write<T: Serialize>(&mut self, bans: &[T]) -> Result<(), BansFileError> {
        if self.seen != Seen::Nothing {
            let there = self.contents()?.map_or(Seen::Absent, |bytes| Seen::File(hash(&bytes)));
            if there != self.seen {
                return Err(BansFileError::Changed { path: self.path.clone() });
            }
        }
        Self::text(bans)
            .and_then(|json| {
                replace(&self.path, |file| file.write_all(&json))?;
                self.seen = Seen::File(hash(&json));
                Ok(())
            })
            .map_err(|error| BansFileError::Unwritable { path: self.path.clone(), error })
    }

    /// What the file holds for these bans.
    pub(crate) fn text<T: Serialize>(bans: &[T]) -> io::Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(bans)?;
        json.push(b'\n');
        Ok(json)
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Puts what `write` writes in the place of the file, or leaves the file as it is.
fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    // A link stays one: what it points to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let replaced = fill(&path, &beside, write).and_then(|()| fs::rename(&beside, &path));
    if replaced.is_err() {
        // It may not even have been made.
        let _ = fs::remove_file(&beside);
        return replaced;
    }
    // The new name is on the disk when its folder is. Not every file system can be asked for that,
    // and the list has been replaced in any case.
    #[cfg(unix)]
    let _ = File::open(folder(&path)).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Writes the new file, which those may read who could read the old one.
fn fill(
    path: &Path,
    beside: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    // Left by a process that ended half way.
    match fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::create_new(beside)?;
    match fs::metadata(path) {
        Ok(metadata) => file.set_permissions(metadata.permissions())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    write(&mut file)?;
    file.sync_all()
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The parser's words without the place, which is told before them.
fn without_place(message: &str) -> String {
    message.rsplit_once(" at line ").map_or(message, |(words, _)| words).to_owned()
}

impl std::error::Error for BansFileError {}

impl fmt::Display for BansFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, reason } => {
                write!(f, "the file of bans {path:?} (admin.bans_file) cannot be read: {reason}")
            }
            Self::Malformed { path, line, column, reason } => write!(
                f,
                "the file of bans {path:?} (admin.bans_file), line {line}, column {column}: this \
                 is no list of bans: {reason}; mend it, or move it away to start without bans"
            ),
            Self::Changed { path } => write!(
                f,
                "the file of bans {path:?} (admin.bans_file) has been changed since this hub read or \
                 wrote it, by hand or by another hub; have the settings read again, so that the bans \
                 in the file take the place of the hub's, and then make the change once more"
            ),
            Self::Unwritable { path, error } => {
                write!(f, "the file of bans {path:?} (admin.bans_file) cannot be written: {error}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use tempfile::TempDir;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Ban {
        name: String,
        until: Option<u64>,
    }

    type List = Vec<Ban>;

    fn ban(name: &str) -> Ban {
        Ban { name: name.into(), until: Some(5) }
    }

    fn in_folder() -> (TempDir, BansFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = BansFile::new(folder.path().join("bans.json"));
        (folder, file)
    }

    /// The names of all that is in the folder.
    fn names(folder: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_is_written_is_read_again_and_nothing_else_is_left() {
        let (folder, mut file) = in_folder();
        assert_eq!(file.read::<List>().unwrap(), []);
        let bans = [ban("a\n\"ü\""), Ban { name: "b".into(), until: None }];
        file.write(&bans).unwrap();
        assert_eq!(file.read::<List>().unwrap(), bans);
        file.write::<Ban>(&[]).unwrap();
        assert_eq!(file.read::<List>().unwrap(), []);
        assert_eq!(names(&folder), ["bans.json"]);
    }

    #[test]
    fn a_change_by_somebody_else_is_told_from_what_was_written_here() {
        let (folder, mut file) = in_folder();
        assert_eq!(file.read::<List>().unwrap(), []);
        assert_eq!(file.read_changed::<List>().unwrap(), None);
        file.write(&[ban("a")]).unwrap();
        assert_eq!(file.read_changed::<List>().unwrap(), None);
        // What could not be written is in the caller's memory alone, and the file has not changed.
        fs::create_dir(folder.path().join("bans.json.new")).unwrap();
        file.write(&[ban("b")]).unwrap_err();
        assert_eq!(file.read_changed::<List>().unwrap(), None);
        fs::write(file.path(), r#"[{"name": "c", "until": 5}]"#).unwrap();
        assert_eq!(file.read_changed::<List>().unwrap(), Some(vec![ban("c")]));
        assert_eq!(file.read_changed::<List>().unwrap(), None);
        fs::write(file.path(), "[").unwrap();
        for _ in 0..2 {
            file.read_changed::<List>().unwrap_err();
        }
        fs::remove_file(file.path()).unwrap();
        for _ in 0..2 {
            let text = file.read_changed::<List>().unwrap_err().to_string();
            assert!(text.contains("is gone; put it back"), "{text}");
        }
        fs::write(file.path(), "[]").unwrap();
        assert_eq!(file.read_changed::<List>().unwrap(), Some(vec![]));
    }

    #[test]
    fn what_somebody_else_has_changed_is_not_written_over_until_it_has_been_read() {
        let (_folder, mut file) = in_folder();
        assert_eq!(file.read::<List>().unwrap(), []);
        let mut another = BansFile::new(file.path());
        assert_eq!(another.read::<List>().unwrap(), []);
        another.write(&[ban("theirs")]).unwrap();
        for _ in 0..2 {
            let text = file.write(&[ban("ours")]).unwrap_err().to_string();
            assert!(text.contains("has been changed since this hub read"), "{text}");
        }
        assert_eq!(file.read_changed::<List>().unwrap(), Some(vec![ban("theirs")]));
        file.write(&[ban("theirs"), ban("ours")]).unwrap();
        fs::remove_file(file.path()).unwrap();
        file.write(&[ban("ours")]).unwrap_err();
        assert!(!file.path().exists());
    }

    #[test]
    fn what_a_process_left_half_way_is_in_nobodys_way() {
        let (folder, mut file) = in_folder();
        fs::write(folder.path().join("bans.json.new"), "[{\"na").unwrap();
        assert_eq!(file.read::<List>().unwrap(), []);
        file.write(&[ban("a")]).unwrap();
        assert_eq!(file.read::<List>().unwrap(), [ban("a")]);
        assert_eq!(names(&folder), ["bans.json"]);
    }

    #[test]
    fn when_the_disk_is_full_the_old_list_stays() {
        let (folder, mut file) = in_folder();
        file.write(&[ban("a")]).unwrap();
        let error = replace(file.path(), |file| {
            file.write_all(b"[{")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.read::<List>().unwrap(), [ban("a")]);
        assert_eq!(names(&folder), ["bans.json"]);
    }

    #[test]
    fn a_list_that_cannot_be_written_is_an_error_that_names_the_file() {
        let (folder, mut file) = in_folder();
        file.write(&[ban("a")]).unwrap();
        let in_the_way = folder.path().join("bans.json.new");
        fs::create_dir(&in_the_way).unwrap();
        let text = file.write(&[ban("b")]).unwrap_err().to_string();
        assert!(text.contains("bans.json\" (admin.bans_file) cannot be written"), "{text}");
        assert_eq!(file.read::<List>().unwrap(), [ban("a")]);
        assert!(in_the_way.is_dir());
    }

    #[test]
    fn a_malformed_list_is_refused_with_file_and_line() {
        let (_folder, mut file) = in_folder();
        for (contents, line, reason) in [
            ("", 1, "EOF"),
            ("[\n{\"name\": \"a\", \"until\": 5},\n{\"name\": 5}\n]", 3, "invalid type"),
            ("[{\"name\": \"a\"},\n{\"label\": \"b\"}]", 2, "unknown field `label`"),
            ("{\"bans\": []}", 1, "invalid type: map"),
            ("[]\n[]", 2, "trailing"),
            ("[\n\u{1}]", 2, "expected value"),
        ] {
            fs::write(file.path(), contents).unwrap();
            let text = file.read::<List>().unwrap_err().to_string();
            let place = format!("bans.json\" (admin.bans_file), line {line}, column ");
            assert!(text.contains(&place), "{contents:?}: {text}");
            assert!(text.contains(reason), "{contents:?}: {text}");
            assert!(!text.contains(" at line "), "{text}");
        }
        fs::write(file.path(), b"[\"\xff\"]").unwrap();
        assert!(file.read::<Vec<String>>().unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn a_file_that_cannot_be_read_or_has_no_folder_is_refused_by_name() {
        let (folder, _) = in_folder();
        let text = BansFile::new(folder.path()).read::<List>().unwrap_err().to_string();
        assert!(text.contains("cannot be read"), "{text}");
        let missing = folder.path().join("missing").join("bans.json");
        let text = BansFile::new(&missing).read::<List>().unwrap_err().to_string();
        assert!(text.contains("its folder does not exist"), "{text}");
        assert!(text.contains(missing.to_str().unwrap()), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_and_the_permissions_of_the_file_stay() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, mut file) = in_folder();
        let target = folder.path().join("elsewhere.json");
        fs::write(&target, "[]").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&target, file.path()).unwrap();
        file.write(&[ban("a")]).unwrap();
        assert!(fs::symlink_metadata(file.path()).unwrap().is_symlink());
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(file.read::<List>().unwrap(), [ban("a")]);
    }
}
