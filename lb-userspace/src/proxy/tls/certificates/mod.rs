//! Certificates from files and directories, and which of them answers for a name.

mod by_subject;
mod directory;
mod error;
mod load;
mod resolver;
mod self_signed;
mod store;
mod subject;
mod validity;

pub use self::{
    error::CertificateError,
    store::{CertificateStore, Held},
    validity::Validity,
};
pub(crate) use self::{
    load::{provider, read_chain},
    resolver::Resolver,
    self_signed::SelfSigned,
    subject::Subject,
};
