//! Interface names and indices.

use std::ffi::{CStr, CString};

use super::error::DatapathError;

/// # Errors
///
/// The network namespace of the calling thread has no such interface.
pub(crate) fn interface_index(interface: &str) -> Result<u32, DatapathError> {
    let name = CString::new(interface).map_err(|_| unknown(interface))?;
    // SAFETY: a C string that lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(unknown(interface)),
        index => Ok(index),
    }
}

/// Returns the name of an interface in the calling thread's network namespace; `None` if it is
/// gone.
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
