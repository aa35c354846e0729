//! Objects in files.

use std::{fs, io, path::Path};

use anyhow::Context as _;

use crate::objects::Body;

/// Reads an object in JSON; `-` is standard input.
pub(super) fn read_body(file: &Path) -> anyhow::Result<Body> {
    let text = match file.to_str() {
        Some("-") => io::read_to_string(io::stdin()),
        _ => fs::read_to_string(file),
    };
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON object", file.display()))
}
