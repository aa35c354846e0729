//! Links that have a name in a bpffs, taken off as `bpftool link detach pinned PATH` does it.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// `enum bpf_cmd` in include/uapi/linux/bpf.h.
const OBJ_GET: libc::c_long = 7;
const LINK_DETACH: libc::c_long = 34;

/// Whoever holds it.
pub fn detach(path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let open = [name.as_ptr() as u64, 0];
    // SAFETY: `bpf_attr` of this command begins with a C string, which lives through the call.
    let opened = checked(unsafe {
        libc::syscall(libc::SYS_bpf, OBJ_GET, open.as_ptr(), size_of_val(&open))
    })?;
    // SAFETY: the kernel just opened it, for nobody else.
    let link = unsafe { OwnedFd::from_raw_fd(opened) };
    let number = link.as_raw_fd();
    // SAFETY: `bpf_attr` of this command is one word, which `number` is.
    checked(unsafe {
        libc::syscall(libc::SYS_bpf, LINK_DETACH, &raw const number, size_of_val(&number))
    })
    .map(drop)
}

fn checked(answer: libc::c_long) -> io::Result<i32> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}
