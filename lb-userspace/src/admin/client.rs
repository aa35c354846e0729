//! Asks the running daemon.

use std::{os::unix::net::UnixStream, path::Path};

use super::Status;

/// # Errors
/// Nothing answers at `socket`.
pub fn status(socket: &Path) -> anyhow::Result<Status> {
    let stream = UnixStream::connect(socket)?;
    Ok(serde_json::from_reader(stream)?)
}
