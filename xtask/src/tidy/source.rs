//! A Rust file as text, with what is not code blanked out.

use std::path::{Path, PathBuf};

use super::finding::Finding;

pub(super) struct Source {
    /// Relative to the workspace, with forward slashes.
    pub path: PathBuf,
    pub text: String,
    /// The file's lines as they are.
    pub lines: usize,
    /// Comments and the contents of literals replaced by spaces; lines are kept.
    pub code: String,
}

impl Source {
    pub(super) fn new(path: &Path, text: &str) -> Self {
        let lines = text.lines().count();
        Self { path: path.to_path_buf(), text: text.into(), lines, code: blank(text) }
    }

    /// Whether it is the file, or lies in the directory, that `prefix` names.
    pub(super) fn is_in(&self, prefix: &str) -> bool {
        self.path.starts_with(prefix)
    }

    pub(super) fn finding(&self, line: usize, message: String) -> Finding {
        let file = self.path.clone();
        Finding { file, line, message }
    }

    /// The line of a byte of `code`, counted from 1.
    pub(super) fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// Where `word` stands alone: not as part of a longer name.
    pub(super) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
            let before = self.code[..at].chars().next_back();
            let after = self.code[at + word.len()..].chars().next();
            !before.is_some_and(in_name) && !after.is_some_and(in_name)
        })
    }
}

pub(super) fn in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Replaces comments and the contents of string and character literals by spaces.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (taken, is_code) = token(rest, code.chars().next_back());
        if is_code {
            code.push_str(&rest[..taken]);
        } else {
            code.extend(rest[..taken].chars().map(|c| if c == '\n' { c } else { ' ' }));
        }
        rest = &rest[taken..];
    }
    code
}

/// The length of what `rest` begins with, and whether that is code.
fn token(rest: &str, before: Option<char>) -> (usize, bool) {
    let until = |end: &str, from: usize| {
        rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), false);
    }
    if rest.starts_with("/*") {
        return (until("*/", 2), false);
    }
    if rest.starts_with('"') {
        return (string(rest), false);
    }
    if let Some(hashes) = raw_string(rest).filter(|_| !before.is_some_and(in_name)) {
        let end = format!("\"{}", "#".repeat(hashes));
        return (until(&end, 2 + hashes), false);
    }
    if rest.starts_with('\'') {
        return character(rest).map_or((1, true), |length| (length, false));
    }
    (rest.chars().next().map_or(1, char::len_utf8), true)
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The number of hashes of a raw string that begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// The length of a character literal that begins here; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        let escape = chars.next()?.0;
        return rest[escape + 1..].find('\'').map(|at| escape + 1 + at + 1);
    }
    chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_remains() {
        let text =
            "let a = \"un//safe\\\" \"; // unsafe\n'x' 'a: '\\'' r#\"un\"safe\"# /* un\nsafe */ b";
        let code = blank(text);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["let", "a", "=", ";", "'a:", "b"]);
        assert_eq!(code.matches('\n').count(), 2);
    }

    #[test]
    fn words_stand_alone() {
        let source = Source::new(Path::new("x.rs"), "aya::x my_aya aya_log\n aya");
        let lines: Vec<_> = source.words("aya").map(|at| source.line_of(at)).collect();
        assert_eq!(lines, [1, 2]);
    }
}
