//! Values that several tables have: addresses, names, networks, ports, limits.

pub(crate) mod address;
pub(crate) mod flow_timeouts;
pub(crate) mod hostname;
pub(crate) mod limits;
pub(crate) mod network;
pub(crate) mod port_range;
pub(crate) mod regions;
