//! Ids: the owner of each index of the kernel's tables, over changes and restarts. Imports `actual`
//! and the address families.

pub(crate) mod assigned;
pub(crate) mod pool;
pub(crate) mod recognise;
pub(crate) mod stable_ids;
