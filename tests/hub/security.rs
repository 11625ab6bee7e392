//! `SECURITY.md` names a test for each attack, and each of them is there.

use std::{fs, path::Path};

/// The tests that the page names, as file and function, line by line of its tables.
fn named(page: &str) -> Vec<(&str, Vec<(&str, &str)>)> {
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| attack"));
    rows.map(|row| {
        let quoted = row.split('`').skip(1).step_by(2);
        (row, quoted.filter_map(|text| text.split_once("::")).collect())
    })
    .collect()
}

#[test]
fn each_attack_of_the_page_has_a_test_that_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("SECURITY.md")).expect("the page");
    let rows = named(&page);
    assert!(rows.len() > 30, "{} rows", rows.len());
    for (row, tests) in rows {
        assert!(!tests.is_empty(), "no test is named: {row}");
        for (path, name) in tests {
            let file = fs::read_to_string(root.join(path));
            let file = file.unwrap_or_else(|error| panic!("{path}, of {row}: {error}"));
            match path.ends_with(".py") {
                true => is_called(&file, path, name),
                false => is_a_test(&file, path, name),
            }
        }
    }
}

fn is_a_test(file: &str, path: &str, name: &str) {
    let (before, _) = file
        .split_once(&format!("fn {name}("))
        .unwrap_or_else(|| panic!("{path} has no test {name}, which the page names"));
    let attributes = before.rsplit("\n\n").next().unwrap_or_default();
    assert!(
        ["test]", "test(", "proptest!"].iter().any(|attribute| attributes.contains(attribute)),
        "{name} of {path} is a function, not a test"
    );
}

/// Of what Python runs, that it is there and run.
fn is_called(file: &str, path: &str, name: &str) {
    assert!(
        file.contains(&format!("\ndef {name}(")),
        "{path} has no test {name}, which the page names"
    );
    assert!(file.matches(name).count() > 1, "{path} does not run {name}");
}
