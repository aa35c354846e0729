//! Files that import each other in a circle, and names that a file takes from the façade above it.

use std::collections::BTreeSet;

use anyhow::Result;

use super::{
    finding::Finding,
    imports::{Import, Imports},
    source::Source,
};

pub(super) fn check(sources: &[Source]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for root in (0..sources.len()).filter(|&at| is_root(&sources[at])) {
        let imports = Imports::of_crate(sources, root)?;
        let all = imports.all();
        for circle in circles(&imports, &all) {
            findings.push(circle_finding(sources, &circle, &all));
        }
        findings.extend(all.iter().filter_map(|import| facade_finding(sources, import)));
    }
    Ok(findings)
}

/// `src/lib.rs`, `src/main.rs`, and the `main.rs` of a test program.
fn is_root(source: &Source) -> bool {
    let stem = source.path.file_stem().and_then(|stem| stem.to_str());
    stem.is_some_and(|stem| ["lib", "main"].contains(&stem))
}

fn circle_finding(sources: &[Source], circle: &[usize], all: &[Import]) -> Finding {
    let inside: BTreeSet<_> = circle.iter().collect();
    let ties =
        all.iter().filter(|import| inside.contains(&import.from) && inside.contains(&import.to));
    let ties = ties.map(|import| {
        let (from, to) = (&sources[import.from], &sources[import.to]);
        let (name, line) = (&import.name, import.line);
        format!("\n    {}:{line} uses `{name}` of {}", from.path.display(), to.path.display())
    });
    let message = format!(
        "{} files import each other in a circle:{}",
        circle.len(),
        ties.collect::<String>()
    );
    sources[circle[0]].finding(1, message)
}

fn facade_finding(sources: &[Source], import: &Import) -> Option<Finding> {
    let through = import.through.as_ref()?;
    let place = sources[import.to].path.display();
    let message =
        format!("`{}` comes through {through}, above this file: import it of {place}", import.name);
    Some(sources[import.from].finding(import.line, message))
}

/// The strongly connected groups of two files and more (Tarjan's algorithm).
fn circles(imports: &Imports, all: &[Import]) -> Vec<Vec<usize>> {
    let mut search = Search { all, ..Search::default() };
    for file in imports.sources() {
        if search.index_of(file).is_none() {
            search.enter(file);
        }
    }
    search.circles
}

#[derive(Default)]
struct Search<'a> {
    all: &'a [Import],
    /// File, index, and the lowest index that is reached from it.
    visited: Vec<(usize, usize)>,
    stack: Vec<usize>,
    circles: Vec<Vec<usize>>,
}

impl Search<'_> {
    fn index_of(&self, file: usize) -> Option<usize> {
        self.visited.iter().position(|(visited, _)| *visited == file)
    }

    /// Returns the lowest index that `file` reaches.
    fn enter(&mut self, file: usize) -> usize {
        let index = self.visited.len();
        self.visited.push((file, index));
        self.stack.push(file);
        for import in self.all.iter().filter(|import| import.from == file) {
            let reached = match self.index_of(import.to) {
                None => self.enter(import.to),
                Some(at) if self.stack.contains(&import.to) => at,
                Some(_) => continue,
            };
            self.visited[index].1 = self.visited[index].1.min(reached);
        }
        let lowest = self.visited[index].1;
        if lowest == index {
            let start = self.stack.iter().position(|&on| on == file).unwrap_or_default();
            let group = self.stack.split_off(start);
            if group.len() > 1 {
                self.circles.push(group);
            }
        }
        lowest
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<_> =
            files.iter().map(|(path, text)| Source::new(Path::new(path), text)).collect();
        let findings = check(&sources).expect("the sources parse");
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_circle_is_found_through_super_a_facade_and_a_path_in_code() {
        let found = messages(&[
            ("x/src/lib.rs", "mod a;\nmod b;\nmod c;\n"),
            ("x/src/a.rs", "use super::b::B;\npub struct A;\n"),
            ("x/src/b/mod.rs", "mod deep;\npub use deep::B;\n"),
            ("x/src/b/deep.rs", "pub struct B;\nfn f() { crate::c::go() }\n"),
            ("x/src/c.rs", "use crate::a;\npub fn go() { println!(\"{}\", a::A) }\n"),
        ]);
        assert_eq!(
            found,
            ["x/src/a.rs:1: 3 files import each other in a circle:\n    \
              x/src/a.rs:1 uses `B` of x/src/b/deep.rs\n    \
              x/src/b/deep.rs:2 uses `go` of x/src/c.rs\n    \
              x/src/c.rs:1 uses `a` of x/src/a.rs\n    \
              x/src/c.rs:2 uses `A` of x/src/a.rs"]
        );
    }

    #[test]
    fn a_parent_and_its_child_are_a_circle_too() {
        let found = messages(&[
            ("x/src/main.rs", "mod a;\n"),
            ("x/src/a.rs", "mod b;\npub struct A(b::B);\n"),
            ("x/src/a/b.rs", "pub struct B(Option<Box<super::A>>);\n"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_name_through_the_own_facade_is_found() {
        let found = messages(&[
            ("x/src/lib.rs", "mod a;\n"),
            ("x/src/a/mod.rs", "mod b;\nmod c;\npub use b::B;\n"),
            ("x/src/a/b.rs", "pub struct B;\n"),
            ("x/src/a/c.rs", "use super::B;\n"),
        ]);
        let expected =
            "x/src/a/c.rs:1: `B` comes through a, above this file: import it of x/src/a/b.rs";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn tests_and_neighbours_are_no_circle() {
        let found = messages(&[
            ("x/src/lib.rs", "mod a;\nmod b;\n#[cfg(test)]\nmod tests;\n"),
            ("x/src/a.rs", "use crate::b::B;\n#[cfg(test)]\nmod tests { use super::*; }\n"),
            ("x/src/b.rs", "pub(super) struct B;\n#[cfg(test)]\nmod tests { use crate::a::A; }\n"),
            ("x/src/tests.rs", "use super::a;\n"),
        ]);
        assert_eq!(found, [""; 0]);
    }
}
