//! A token that is given directly or by a file: the rules that hold for every such pair of settings.
//!
//! Which settings form a pair, and what their token opens, is for the sections to say.

use std::path::{Path, PathBuf};

use super::{Secret, units};
use crate::files;

/// A token file larger than this holds no token; reading stops here.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Reads the token that a file holds, when one is set and no token stands beside it.
///
/// # Errors
///
/// What is wrong, without the token; reads on from the setting that names the file.
pub(super) fn from_file(
    token: Option<&Secret>,
    file: Option<&PathBuf>,
) -> Result<Option<Secret>, String> {
    match (token, file) {
        (None, Some(path)) => read(path).map(Some),
        _ => Ok(None),
    }
}

fn read(path: &Path) -> Result<Secret, String> {
    let shown = units::quoted(&path.to_string_lossy());
    let bytes = files::read(path, MAX_FILE_BYTES).map_err(|error| {
        let reason = units::reason(&error);
        match is_surely_a_path(path) {
            true => format!("{shown} cannot be read: {reason}"),
            false => format!(
                "names a file that cannot be read: {reason}; what it says is not shown, as it may be \
                 the token, which does not belong here"
            ),
        }
    })?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(format!(
            "{shown} is larger than {}; it may hold the token and nothing else",
            units::show_bytes(MAX_FILE_BYTES as usize)
        ));
    }
    Secret::from_file(&bytes).map_err(|what| format!("the token in {shown} {what}"))
}

/// Whether what stands in the place of a path, where no file is, is none but a path: its folder is
/// there. A token may hold slashes too, and begin with one.
fn is_surely_a_path(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.parent().is_some() && folder.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_only_when_no_token_stands_beside_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "  0042\r\n").unwrap();
        let path = file.path().to_owned();
        let read = from_file(None, Some(&path)).unwrap();
        assert_eq!(read.unwrap().expose(), "0042");
        assert!(from_file(Some(&Secret::new("x")), Some(&path)).unwrap().is_none());
        assert!(from_file(None, None).unwrap().is_none());
    }

    #[test]
    fn a_file_that_holds_no_token_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let big = vec![b'a'; MAX_FILE_BYTES as usize + 1];
        let cases: [(&str, Option<&[u8]>, &str); 5] = [
            ("missing", None, "does not exist"),
            ("empty", Some(b" \n"), "is empty"),
            ("lines", Some(b"one\ntwo\n"), "line breaks"),
            ("binary", Some(b"\xff\xfe"), "is not text"),
            ("big", Some(&big), "larger than 64KiB"),
        ];
        for (name, contents, expected) in cases {
            let path = folder.path().join(name);
            if let Some(contents) = contents {
                std::fs::write(&path, contents).unwrap();
            }
            let text = from_file(None, Some(&path)).unwrap_err();
            assert!(text.contains(name), "{text}");
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_token_in_the_place_of_its_file_is_not_shown() {
        for token in ["hunter2-0123456789", "/hunter2-0123456789", "a/hunter2/b+c=", "/a/hunter2="]
        {
            let text = from_file(None, Some(&token.into())).unwrap_err();
            assert!(text.starts_with("names a file that cannot be read: it does not"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
