//! How many files a folder may have, how wide a line may be, and how often a type's name may be
//! given.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{finding::Finding, source::Source};

const FILES: usize = 15;
/// What rustfmt keeps to wherever it may break a line: comments and long texts are ours to break.
const COLUMNS: usize = 100;

/// What holds of all sources together.
pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = full_folders(sources);
    findings.extend(repeated_types(sources));
    findings.extend(sources.iter().flat_map(long_lines));
    findings
}

fn full_folders(sources: &[Source]) -> Vec<Finding> {
    let mut folders = BTreeMap::<&Path, Vec<&Source>>::new();
    for source in sources {
        folders.entry(source.path.parent().unwrap_or(&source.path)).or_default().push(source);
    }
    // Cargo finds a test program by its file there.
    folders.remove(Path::new("tests/tests"));
    let full = folders.into_iter().filter(|(_, files)| files.len() > FILES);
    full.map(|(folder, files)| {
        let message = format!("{} files; part a folder of more than {FILES}", files.len());
        Finding { file: folder.join(""), line: 1, message }
    })
    .collect()
}

/// A literal and an address stay whole, however long they are.
fn long_lines(source: &Source) -> impl Iterator<Item = Finding> {
    let lines = source.text.lines().zip(source.code.lines()).enumerate();
    lines.filter_map(|(at, (line, code))| {
        let columns = line.chars().count();
        let indent = line.len() - line.trim_start().len();
        let without_literals: usize = code.split_whitespace().map(|word| word.len() + 1).sum();
        let is_literal = line.contains('"') && indent + without_literals <= COLUMNS;
        let is_comment = line.trim_start().starts_with("//");
        let is_whole = if is_comment { line.contains("://") } else { is_literal };
        (columns > COLUMNS && !is_whole).then(|| {
            source
                .finding(at + 1, format!("{columns} columns; break a line of more than {COLUMNS}"))
        })
    })
}

/// A type that other files can see has a name that no other such type of its crate has.
fn repeated_types(sources: &[Source]) -> Vec<Finding> {
    let mut seen = BTreeMap::<(PathBuf, &str), (PathBuf, usize)>::new();
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| !is_unit_test(source)) {
        let mut parts = source.path.iter();
        let root: PathBuf = parts.by_ref().take(2).collect();
        // Each bench, and each folder or file in `tests/tests`, is a program of its own.
        let is_programs = root.starts_with("tests");
        let root = if is_programs { root.join(parts.next().unwrap_or_default()) } else { root };
        for (line, name) in visible_types(source) {
            let first = seen.get(&(root.clone(), name));
            if let Some((file, other)) = first.filter(|(file, _)| *file != source.path) {
                let message = format!("`{name}` is a type of {}:{other} too", file.display());
                findings.push(source.finding(line, message));
            } else {
                seen.insert((root.clone(), name), (source.path.clone(), line));
            }
        }
    }
    findings
}

/// A file of tests inside a crate, which nothing but tests can see.
fn is_unit_test(source: &Source) -> bool {
    let mut inside = source.path.iter().skip_while(|part| *part != "src");
    inside.any(|part| part == "tests" || part == "tests.rs")
}

/// The types that are declared `pub`, in whatever measure, with their lines.
fn visible_types(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source.code.lines().enumerate().filter_map(|(at, line)| {
        // A type inside a function or an implementation is another matter.
        let rest = line.strip_prefix("pub")?;
        let rest =
            rest.strip_prefix('(').map_or(Some(rest), |rest| Some(rest.split_once(')')?.1))?;
        let rest = rest.trim_start();
        let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
        let rest = kinds.iter().find_map(|kind| rest.strip_prefix(kind))?;
        Some((at + 1, rest.split(|c: char| !super::source::in_name(c)).next()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> =
            files.iter().map(|(path, text)| Source::new(Path::new(path), text)).collect();
        check(&sources).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_type_has_its_name_for_itself() {
        let found = messages(&[
            ("x/src/a.rs", "pub struct Gate;\nstruct Own;\n"),
            ("x/src/b.rs", "pub(super) enum Gate {}\nstruct Own;\n"),
            ("y/src/b.rs", "pub trait Gate {}\n"),
        ]);
        assert_eq!(found, ["x/src/b.rs:1: `Gate` is a type of x/src/a.rs:1 too"]);
    }

    #[test]
    fn a_long_line_is_found_unless_it_is_a_literal_or_an_address() {
        let long = "x".repeat(100);
        let text =
            format!("// {long}\n// <https://{long}>\nlet a = \"{long}\";\nlet {long} = 1;\n");
        let found = messages(&[("x/src/a.rs", &text)]);
        let lines: Vec<_> = found.iter().map(|found| found.split(':').nth(1)).collect();
        assert_eq!(lines, [Some("1"), Some("4")], "{found:?}");
    }

    #[test]
    fn a_full_folder_is_found() {
        let paths: Vec<_> = (0..16).map(|at| format!("x/src/f{at}.rs")).collect();
        let files: Vec<_> = paths.iter().map(|path| (path.as_str(), "")).collect();
        assert_eq!(messages(&files), ["x/src/:1: 16 files; part a folder of more than 15"]);
        assert_eq!(messages(&files[1..]), [""; 0]);
    }
}
