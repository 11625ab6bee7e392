//! Reading the small files that an owner names: the configuration, tokens, certificates, bans.
//!
//! Whatever else a path may lead to (a pipe, a device, a socket) is refused before it is opened: opening
//! a pipe waits for somebody at its other end, and a device may have no end. Knows nothing of ours.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::Path;

/// The bytes of a regular file; of one that is longer than `most`, one byte more than that.
///
/// # Errors
/// It cannot be read, or is another kind of thing.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    check(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    // Again, as something else may be there by now.
    check(&file.metadata()?)?;
    read_from(file, most)
}

/// The same of whatever is there, were it a pipe: waits for it.
///
/// # Errors
/// It cannot be read.
pub fn read_any(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_from(File::open(path)?, most)
}

fn read_from(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn check(metadata: &Metadata) -> io::Result<()> {
    match metadata.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::other("it is not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_to_a_byte_beyond_its_limit() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "1234").unwrap();
        for (most, expected) in [(9, "1234"), (4, "1234"), (3, "1234"), (2, "123")] {
            assert_eq!(read(file.path(), most).unwrap(), expected.as_bytes());
            assert_eq!(read_any(file.path(), most).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |path: &Path| read(path, 9).unwrap_err();
        assert_eq!(refused(folder.path()).kind(), io::ErrorKind::IsADirectory);
        assert_eq!(refused(&folder.path().join("x")).kind(), io::ErrorKind::NotFound);
        #[cfg(unix)]
        {
            let socket = folder.path().join("socket");
            let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            for path in [&socket, Path::new("/dev/zero")] {
                assert_eq!(refused(path).to_string(), "it is not a regular file");
            }
        }
    }
}
