//! `cargo xtask tidy`: who may import whom, and how long things may be, read from the text.

mod circles;
mod finding;
mod imports;
mod layers;
mod paths;
mod shape;
mod sizes;
mod source;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::process::root;
use source::Source;

const CRATES: [&str; 5] = ["lb-common", "lb-ebpf", "lb-userspace", "tests", "xtask"];

/// Prints what it finds and fails when that is anything.
pub fn tidy() -> Result<()> {
    let sources = sources(&root())?;
    let mut findings: Vec<_> = sources
        .iter()
        .flat_map(|source| {
            let mut findings = sizes::check(source);
            findings.extend(layers::check(source));
            findings
        })
        .collect();
    findings.extend(circles::check(&sources)?);
    findings.extend(shape::check(&sources));
    findings.extend(paths::check(&root())?);
    findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} things are not tidy (ARCHITECTURE.md says why they matter)", findings.len());
    }
    eprintln!("tidy: {} files", sources.len());
    Ok(())
}

fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    for name in CRATES {
        collect(&root.join(name), &mut paths)?;
    }
    let sources = paths.iter().map(|path| {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok(Source::new(path.strip_prefix(root)?, &text))
    });
    sources.collect()
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}
