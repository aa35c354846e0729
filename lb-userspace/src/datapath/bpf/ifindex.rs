//! Interfaces by the numbers that the kernel knows them by.

use std::ffi::{CStr, CString};

use super::error::DatapathError;

/// # Errors
///
/// There is none of that name in the network namespace of the calling thread.
pub(crate) fn interface_index(interface: &str) -> Result<u32, DatapathError> {
    let name = CString::new(interface).map_err(|_| unknown(interface))?;
    // SAFETY: a C string that lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(unknown(interface)),
        index => Ok(index),
    }
}

/// The name of an interface in the calling thread's network namespace; `None`: it is gone.
#[must_use]
pub fn interface_name(index: u32) -> Option<String> {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: there is room for IF_NAMESIZE characters.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: the kernel's name, ended by a zero within `name`.
    Some(unsafe { CStr::from_ptr(found) }.to_string_lossy().into_owned())
}

fn unknown(interface: &str) -> DatapathError {
    DatapathError::UnknownInterface { interface: interface.to_owned() }
}
