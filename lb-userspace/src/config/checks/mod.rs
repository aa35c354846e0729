//! What must not be said together: within one service, between services, of the whole.

pub(crate) mod between_services;
pub(crate) mod one_service;
pub(crate) mod source_addresses;
