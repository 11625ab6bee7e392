//! The corpus in `fuzz/corpus`, and the inputs that once failed in `fuzz/failures`, tried by every
//! test run.

use super::{TARGETS, Target};
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// What a folder holds, in order.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut entries: Vec<PathBuf> = read.map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    entries
}

/// Tries every input in a folder; returns how many there are.
fn try_all(target: Target, folder: &Path) -> usize {
    let inputs = entries(folder);
    for input in &inputs {
        let bytes = fs::read(input).expect("an input");
        let tried = catch_unwind(|| target(&bytes));
        assert!(tried.is_ok(), "{} fails; the panic above says why", input.display());
    }
    inputs.len()
}

#[test]
fn every_kept_input_passes_its_target() {
    for (name, target) in TARGETS {
        let tried = try_all(target, &fuzz().join("corpus").join(name));
        assert!(tried > 10, "{name} has a corpus");
    }
}

#[test]
fn every_input_that_once_failed_passes_its_target() {
    for folder in entries(&fuzz().join("failures")) {
        let name = folder.file_name().expect("a name");
        let (_, target) = TARGETS.into_iter().find(|(known, _)| name == *known).expect("a target");
        assert!(try_all(target, &folder) > 0, "{} is not empty", folder.display());
    }
}

#[test]
fn every_target_is_a_program_of_fuzz_and_has_its_folder_of_the_corpus() {
    let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    let stems = |folder: &str| -> Vec<String> {
        let stem = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
        entries(&fuzz().join(folder)).into_iter().map(stem).collect()
    };
    assert_eq!(stems("targets"), names);
    assert_eq!(stems("corpus"), names);
    for name in stems("dictionaries") {
        assert!(names.contains(&&*name), "a dictionary of {name}, which is no target");
    }
}
