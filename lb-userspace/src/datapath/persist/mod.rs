//! What goes on from one daemon to the next: names in the bpffs, adopted maps, the secret of the
//! flow table.

pub(crate) mod adoption;
pub(crate) mod file_identity;
pub(crate) mod load_share;
pub(crate) mod pins;
pub(crate) mod seed;
