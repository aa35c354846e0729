//! Why the admin socket cannot be opened.

use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error(
        "another lb is running: it holds {}; stop it, or give this one another socket in \
         [admin] listen", .0.display()
    )]
    Running(PathBuf),
    #[error(
        "{} exists and is not a socket: remove it, or name another path in [admin] listen",
        .0.display()
    )]
    NoSocket(PathBuf),
    #[error(
        "another program listens on {}: stop it, or name another path in [admin] listen",
        .0.display()
    )]
    Occupied(PathBuf),
    #[error("cannot listen on the admin socket {}", path.display())]
    Listen { path: PathBuf, source: io::Error },
}
