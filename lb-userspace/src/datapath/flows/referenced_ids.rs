//! The ids that flows refer to, whether the flows count or not.

/// Indices into SERVICES and BACKENDS that occur in some entry of the flow table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferencedIds {
    services: Set,
    backends: Set,
}

/// A bit set of indices, which are dense.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Set(Vec<u64>);

impl ReferencedIds {
    pub(crate) fn add(&mut self, service: u32, backend: u32) {
        self.services.add(service);
        self.backends.add(backend);
    }

    #[must_use]
    pub fn has_service(&self, id: u32) -> bool {
        self.services.has(id)
    }

    #[must_use]
    pub fn has_backend(&self, id: u32) -> bool {
        self.backends.has(id)
    }
}

impl Set {
    fn add(&mut self, id: u32) {
        let (word, bit) = (id as usize / 64, 1 << (id % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    fn has(&self, id: u32) -> bool {
        self.0.get(id as usize / 64).is_some_and(|word| word & 1 << (id % 64) != 0)
    }
}
