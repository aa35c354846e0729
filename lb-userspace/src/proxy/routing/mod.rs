//! Which service a connection or request is for, who may reach it and who waits for it. Imports
//! `net`, `http` and `tls`.

pub(crate) mod access;
pub(crate) mod admission;
pub(crate) mod routes;
