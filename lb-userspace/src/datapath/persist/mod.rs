//! What one daemon leaves to the next: pins in the bpffs, adopted maps, the seed of the flow table.
//! Imports `bpf` and `maps`.

pub(crate) mod adoption;
pub(crate) mod file_identity;
pub(crate) mod load_share;
pub(crate) mod pins;
pub(crate) mod seed;
