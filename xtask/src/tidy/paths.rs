//! Files that the documents name are there.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::finding::Finding;

/// Documents that lead through the code.
const DOCUMENTS: [&str; 5] =
    ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/walks.md", "docs/fuzzing.md", "tests/README.md"];
/// From where they name files.
const BEGINNINGS: [&str; 7] = [
    "",
    "lb-common/src",
    "lb-ebpf/src",
    "lb-userspace/src",
    "lb-userspace/src/proxy",
    "tests",
    "tests/src",
];

pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for name in DOCUMENTS {
        let text = fs::read_to_string(root.join(name)).with_context(|| name.to_owned())?;
        for (at, line) in text.lines().enumerate() {
            let missing = named_files(line).filter(|file| {
                !BEGINNINGS.iter().any(|beginning| root.join(beginning).join(file).exists())
            });
            findings.extend(missing.map(|file| {
                let message = format!("`{file}` is no file here");
                Finding { file: name.into(), line: at + 1, message }
            }));
        }
    }
    Ok(findings)
}

/// What stands in backquotes and looks like a file of Rust with its folder.
fn named_files(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    quoted.filter(|text| {
        let is_path = text.chars().all(|c| c.is_alphanumeric() || "_-/.".contains(c));
        is_path && text.ends_with(".rs") && text.contains('/')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_from_other_words() {
        let line = "See `a/b.rs`, `b.rs`, `a/*.rs` and `a::b`, not a/c.rs, but `a_b/c-d.rs`.";
        assert_eq!(named_files(line).collect::<Vec<_>>(), ["a/b.rs", "a_b/c-d.rs"]);
    }
}
