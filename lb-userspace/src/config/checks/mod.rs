//! Checks of combinations: within one service, between services, and of the whole.

pub(crate) mod between_services;
pub(crate) mod one_service;
pub(crate) mod owners;
pub(crate) mod source_addresses;
