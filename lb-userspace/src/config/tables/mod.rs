//! The tables of a configuration, a file for each.

pub(crate) mod handler_chain;
pub(crate) mod health_check;
pub(crate) mod http_options;
pub(crate) mod node;
pub(crate) mod pool;
pub(crate) mod port;
pub(crate) mod proxy;
pub(crate) mod redirect;
pub(crate) mod region_groups;
pub(crate) mod service;
pub(crate) mod source_addresses;
pub(crate) mod steering;
pub(crate) mod tls_options;
