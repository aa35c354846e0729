//! Which certificates answer for a name or an address.

use std::{collections::HashMap, net::IpAddr};

use rustls::SignatureAlgorithm;

use super::{
    load::{Key, Loaded, Subjects},
    subject::Subject,
};
use crate::proxy::tls::hostname_map::ByName;

/// Certificates by what is in their subjectAltName. Of several for the same, ECDSA comes first: it
/// signs many times faster, and RSA remains for clients without it.
#[derive(Default)]
pub(crate) struct Certificates {
    by_name: ByName<Vec<Key>>,
    by_address: HashMap<IpAddr, Vec<Key>>,
    /// For clients that send no name, at addresses that no certificate has.
    default: Vec<Key>,
}

impl Certificates {
    /// Each with whether it is marked as the default one. Where none is, the only one there is
    /// takes its place: all that answer for the same are one.
    pub(crate) fn new(loaded: &[(&Loaded, bool)]) -> Self {
        let mut certificates = Self::default();
        for (Loaded { key, subjects, .. }, _) in loaded {
            for name in &subjects.names {
                let keys = certificates.by_name.entry(Some(name)).or_insert_with(Vec::new);
                keys.push(key.clone());
            }
            for &address in &subjects.addresses {
                certificates.by_address.entry(address).or_default().push(key.clone());
            }
        }
        if let Some(subjects) = default(loaded) {
            let same = loaded.iter().filter(|(it, _)| it.subjects == *subjects);
            certificates.default = same.map(|(it, _)| it.key.clone()).collect();
        }
        let by_address = certificates.by_address.values_mut();
        let lists = certificates.by_name.values_mut().chain(by_address);
        for keys in lists.chain([&mut certificates.default]) {
            keys.sort_by_key(|key| key.key.algorithm() != SignatureAlgorithm::ECDSA);
        }
        certificates
    }

    pub(crate) fn find(&self, subject: Subject<'_>) -> &[Key] {
        match subject {
            Subject::Name(name) => self.of_name(name),
            Subject::Address(address) => self.of_address(address),
        }
    }

    pub(crate) fn of_name(&self, name: &str) -> &[Key] {
        self.by_name.find_one_label(Some(name)).map_or(&[], Vec::as_slice)
    }

    /// For a client that sent no name, and connected to `address`.
    fn of_address(&self, address: IpAddr) -> &[Key] {
        self.by_address.get(&address).unwrap_or(&self.default)
    }
}

fn default<'a>(loaded: &[(&'a Loaded, bool)]) -> Option<&'a Subjects> {
    let marked = loaded.iter().find(|(_, is_default)| *is_default);
    let only = || {
        let (first, rest) = loaded.split_first()?;
        rest.iter().all(|(it, _)| it.subjects == first.0.subjects).then_some(first)
    };
    marked.or_else(only).map(|(it, _)| &it.subjects)
}
