//! How long files and functions may be, and what things must not be called.

use super::{finding::Finding, source::Source};

const FILE: usize = 400;
const FUNCTION: usize = 60;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 4] = ["utils", "util", "helpers", "manager"];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if source.lines > FILE {
        let message = format!("{} lines; split what is longer than {FILE}", source.lines);
        findings.push(source.finding(FILE + 1, message));
    }
    let stem = source.path.file_stem().unwrap_or_default().to_string_lossy();
    if EMPTY_NAMES.contains(&&*stem) {
        findings.push(source.finding(1, format!("`{stem}` says nothing about what is inside")));
    }
    if !is_test(source) {
        findings.extend(long_functions(source));
    }
    findings.extend(getters(source));
    findings
}

/// A table of cases may be as long as its cases are many.
fn is_test(source: &Source) -> bool {
    let mut parts = source.path.iter();
    parts.any(|part| part == "testing" || part == "tests" || part == "tests.rs")
}

/// A function ends at the closing brace in its own column: rustfmt sees to that.
fn long_functions(source: &Source) -> Vec<Finding> {
    let lines: Vec<_> = source.code.lines().collect();
    let mut findings = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let end = format!("{:indent$}}}", "");
        let one_line = line.trim_end().ends_with(['}', ';']);
        let length = lines[start..].iter().position(|line| line.trim_end() == end);
        let length = length.filter(|_| !one_line).map_or(1, |last| last + 1);
        if length > FUNCTION && has_body(&lines[start..start + length]) {
            let message =
                format!("`{name}` has {length} lines; split what is longer than {FUNCTION}");
            findings.push(source.finding(start + 1, message));
        }
    }
    findings
}

/// A declaration without a body ends in a semicolon before any brace.
fn has_body(lines: &[&str]) -> bool {
    let text = lines.iter().flat_map(|line| line.chars());
    let mut ends = text.filter(|c| matches!(c, '{' | ';'));
    ends.next() == Some('{')
}

fn function_name(line: &str) -> Option<&str> {
    const BEFORE: [&str; 7] =
        ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern"];
    let mut words = line.split_whitespace();
    words.by_ref().find(|word| !BEFORE.contains(word)).filter(|word| *word == "fn")?;
    words.next()?.split(['(', '<']).next()
}

fn getters(source: &Source) -> Vec<Finding> {
    let lines = source.code.lines().enumerate();
    lines
        .filter_map(|(at, line)| Some((at, function_name(line)?)))
        .filter(|(_, name)| name.starts_with("get_"))
        .map(|(at, name)| {
            let message = format!("`{name}`: call it `{}`", &name["get_".len()..]);
            source.finding(at + 1, message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let findings = check(&Source::new(Path::new(path), text));
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn long_files_and_functions_are_found() {
        let body = "    let a = 1;\n".repeat(59);
        let text = format!("pub fn long() {{\n{body}}}\nfn short() {{}}\n{}", "\n".repeat(400));
        assert_eq!(
            messages("a.rs", &text),
            [
                "a.rs:401: 462 lines; split what is longer than 400",
                "a.rs:1: `long` has 61 lines; split what is longer than 60"
            ]
        );
    }

    #[test]
    fn names_are_judged() {
        assert_eq!(
            messages("utils.rs", "pub const fn get_it(self) -> u8 {\n    1\n}\n"),
            [
                "utils.rs:1: `utils` says nothing about what is inside",
                "utils.rs:1: `get_it`: call it `it`"
            ]
        );
    }
}
