//! Descriptors that another process left open for this one.

use std::{
    io,
    os::fd::{FromRawFd as _, OwnedFd, RawFd},
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Takes a descriptor by its number, which the process that started this one has told.
pub(super) fn take(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the process that started this one says that it is ours, and nobody else here knows
    // of it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // What we start does not inherit it. This fails if there is no such descriptor.
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(fd)
}
