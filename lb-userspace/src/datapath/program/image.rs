//! The compiled kernel programs, embedded by the build script.

use lb_common::abi::{self, globals};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::datapath::bpf::error::DatapathError;

/// The ELF object that `cargo xtask build-ebpf` makes.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb.bpf.o"));

/// The ELF object for backends, which `lb decap` loads.
pub(crate) static DECAP: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/decap.bpf.o"));

/// Compares the object's [`abi::ABI_VERSION`] with this daemon's.
///
/// # Errors
///
/// The file is not an ELF object, has no version, or has another one.
pub(crate) fn check_version(elf: &[u8]) -> Result<(), DatapathError> {
    let object = version(elf)?;
    if object == abi::ABI_VERSION {
        Ok(())
    } else {
        Err(DatapathError::Abi { object, daemon: abi::ABI_VERSION })
    }
}

fn version(elf: &[u8]) -> Result<u32, DatapathError> {
    let unreadable = |error: object::Error| DatapathError::Object(error.to_string());
    let missing = DatapathError::Missing { kind: "global", name: globals::ABI_VERSION };
    let file = object::File::parse(elf).map_err(unreadable)?;
    let Some(symbol) = file.symbol_by_name(globals::ABI_VERSION) else {
        return Err(missing);
    };
    let Some(section) = symbol.section_index() else {
        return Err(missing);
    };
    let section = file.section_by_index(section).map_err(unreadable)?;
    let bytes = section
        .data_range(symbol.address(), 4)
        .map_err(unreadable)?
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(missing)?;
    Ok(u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(matches!(check_version(b"not an ELF file"), Err(DatapathError::Object(_))));
    }
}
