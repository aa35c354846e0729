//! A source keeps its backend.

use crate::{
    abi::{Affinity, AffinityKey, Service, status},
    context::{
        parsed::{Forwarding, Scratch},
        tables::Tables,
    },
};

/// Members among which a kept backend is looked for, from where it last stood on. In a larger
/// service a source loses its backend when so many others come or go before it.
const SEARCHED: u64 = 64;

/// Puts the backend that the packet's source keeps on the scratch. `false`: it keeps none, or one
/// that takes no new flows any more.
#[inline(never)]
pub(crate) fn recall<T: Tables>(tables: &T, scratch: &mut Scratch) -> bool {
    let Some(service) = tables.service(scratch.onward.service) else { return false };
    let Some(kept) = tables.affinity(&key(service, scratch)) else { return false };
    if tables.now().wrapping_sub(kept.at) >= service.affinity {
        return false;
    }
    let here = tables.reach(kept.backend).is_some_and(|reach| reach.status() == status::HERE);
    scratch.onward.backend = kept.backend;
    scratch.onward.position = kept.position;
    here && is_member(tables, scratch)
}

/// Whether the backend on the scratch is a member still, and where.
#[inline(always)]
fn is_member<T: Tables>(tables: &T, scratch: &mut Scratch) -> bool {
    for step in 0..SEARCHED {
        let seen = look(tables, &mut scratch.onward, step as u32);
        if seen != Seen::Another {
            return seen == Seen::Itself;
        }
    }
    false
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Seen {
    Itself,
    Another,
    /// There are no more members.
    End,
}

/// At the place on the scratch, which moves on unless it is the one. A function of its own, with
/// what changes on the scratch: the kernel's verifier would otherwise check the loop for all
/// places.
#[inline(never)]
fn look<T: Tables>(tables: &T, onward: &mut Forwarding, step: u32) -> Seen {
    let ring = onward.ring;
    let members = ring.members(tables);
    if step >= members {
        return Seen::End;
    }
    if onward.position >= members {
        onward.position = 0;
    }
    if ring.member(tables, onward.position) == Some(onward.backend) {
        return Seen::Itself;
    }
    onward.position += 1;
    Seen::Another
}

/// Remembers the backend on the scratch as the source's from now on, where the service wants that.
#[inline(never)]
pub(crate) fn keep<T: Tables>(tables: &T, scratch: &mut Scratch) {
    let Some(service) = tables.service(scratch.onward.service) else { return };
    if service.affinity == 0 {
        return;
    }
    let (backend, position) = (scratch.onward.backend, scratch.onward.position);
    tables.set_affinity(&key(service, scratch), Affinity { at: tables.now(), backend, position });
}

#[inline(always)]
fn key(service: &Service, scratch: &Scratch) -> AffinityKey {
    AffinityKey {
        source: scratch.parsed.key.src.masked(service.affinity_prefix),
        service: scratch.onward.service as u64,
    }
}
