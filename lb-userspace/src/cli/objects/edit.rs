//! `edit`: keys by flags, or the whole in an editor.

use std::{
    env, fs,
    path::PathBuf,
    process::{self, Command},
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::body_file::read_body;
use crate::objects::Body;

/// What is to be different.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Edits {
    /// Set a key, such as queue.length=7 or 'addresses=["203.0.113.1"]'. May be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Remove a key. May be repeated.
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    /// The whole object in JSON; `-` is standard input.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["set", "unset"])]
    file: Option<PathBuf>,
}

pub(super) fn apply(body: Body, edits: Edits) -> anyhow::Result<Body> {
    let Edits { set, unset, file } = edits;
    if let Some(file) = file {
        return read_body(&file);
    }
    if set.is_empty() && unset.is_empty() {
        return in_editor(&body);
    }
    let mut body = body;
    for assignment in set {
        let Some((key, value)) = assignment.split_once('=') else {
            bail!("`{assignment}` is no KEY=VALUE");
        };
        // What is no JSON is text: most values are words.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        put(&mut body, key, value)?;
    }
    for key in unset {
        remove(&mut body, &key);
    }
    Ok(body)
}

/// Sets `a.b.c`; tables on the way are made.
fn put(body: &mut Body, key: &str, value: Value) -> anyhow::Result<()> {
    let Some((outer, rest)) = key.split_once('.') else {
        body.insert(key.to_owned(), value);
        return Ok(());
    };
    let inner = body.entry(outer).or_insert_with(|| Value::Object(Body::new()));
    match inner {
        Value::Object(inner) => put(inner, rest, value),
        _ => bail!("`{outer}` is no table: set it as a whole"),
    }
}

fn remove(body: &mut Body, key: &str) {
    match key.split_once('.') {
        None => drop(body.remove(key)),
        Some((outer, rest)) => {
            if let Some(Value::Object(inner)) = body.get_mut(outer) {
                remove(inner, rest);
            }
        }
    }
}

fn in_editor(body: &Body) -> anyhow::Result<Body> {
    let editor = ["VISUAL", "EDITOR"].into_iter().find_map(env::var_os);
    let editor = editor.context("neither --set, --unset or --file, nor $EDITOR to edit in")?;
    let file = env::temp_dir().join(format!("lb-edit-{}.json", process::id()));
    let edit = || {
        fs::write(&file, serde_json::to_string_pretty(body)? + "\n")?;
        let status = Command::new(&editor).arg(&file).status();
        let status = status.with_context(|| format!("cannot start {}", editor.display()))?;
        if !status.success() {
            bail!("{} ended with {status}: nothing was changed", editor.display());
        }
        read_body(&file)
    };
    let edited = edit();
    let _ = fs::remove_file(&file);
    edited
}
