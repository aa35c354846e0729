//! What a change did.

use crate::{
    admin::Changed,
    cli::output::{print, print_error},
};

pub(super) fn tell(done: &Changed, json: bool) -> anyhow::Result<()> {
    for warning in &done.warnings {
        print_error(&format!("warning: {warning}"));
    }
    match (json, &done.changes[..]) {
        (true, _) => print(&(serde_json::to_string_pretty(done)? + "\n")),
        (false, []) => print("nothing that runs changes\n"),
        (false, changes) => print(&(changes.join("\n") + "\n")),
    }
}
