//! Names in the object, as in the ELF's symbol table.

/// Map names, as in the ELF's symbol table.
pub mod maps {
    /// `number → Flow`, mmapable array: established flows.
    pub const FLOWS: &str = "FLOWS";
    /// `bucket → Bucket` of slots, mmapable array: where each of FLOWS is found.
    pub const FLOW_SLOTS: &str = "FLOW_SLOTS";
    /// `number → Flow`, mmapable array: half-open flows.
    pub const PENDING: &str = "PENDING";
    /// `bucket → Bucket` of slots, mmapable array: where each of PENDING is found.
    pub const PENDING_SLOTS: &str = "PENDING_SLOTS";
    /// One `u32`, array: the entries of PENDING whose turn is next, see `flow_table::half_open`.
    pub const STRETCHES: &str = "STRETCHES";
    /// `bucket → Bucket` of answers, mmapable array: where backends' packets lead.
    pub const ANSWERS: &str = "ANSWERS";
    /// `VipKey → Vip`, hash.
    pub const VIPS: &str = "VIPS";
    /// `RangeKey → Vip`, LPM trie: ports that VIPS does not have, by the prefixes of their ranges.
    pub const RANGES: &str = "RANGES";
    /// `QuicKey → backend id`, hash: members of QUIC services, drained ones too, by their server
    /// ids.
    pub const QUIC_IDS: &str = "QUIC_IDS";
    /// `Address → u32`, hash: the announced addresses, with [`super::super::address_flags`].
    pub const ADDRESSES: &str = "ADDRESSES";
    /// `service id → Service`, array.
    pub const SERVICES: &str = "SERVICES";
    /// `service id → Ring`, mmapable array.
    pub const CURRENT_RINGS: &str = "CURRENT_RINGS";
    /// Words of rings, [`super::super::RING_WORDS`] an entry, mmapable array: see
    /// [`super::super::Ring`].
    pub const RINGS: &str = "RINGS";
    /// `backend id → Backend`, array.
    pub const BACKENDS: &str = "BACKENDS";
    /// `backend id → Reach`, mmapable array.
    pub const REACH: &str = "REACH";
    /// `load slot → u64`, mmapable array: live connections, changed by XDP and proxy; see
    /// [`super::super::live`].
    pub const LOAD: &str = "LOAD";
    /// `load slot → u32`, array: which of our ends towards the server, addresses and ports, has its
    /// turn.
    pub const PORTS: &str = "PORTS";
    /// `index → Address`, array: ours that packets to backends carry in turn, see
    /// [`super::super::Backend`].
    pub const SOURCE_POOL: &str = "SOURCE_POOL";
    /// `backend id → u64`, per-CPU array: new flows that were refused since no server of the
    /// service had a source port left, this one last.
    pub const EXHAUSTED: &str = "EXHAUSTED";
    /// `AffinityKey → Affinity`, LRU hash: which backend a source keeps.
    pub const AFFINITY: &str = "AFFINITY";
    /// `service id → u32`, per-CPU array: which of the ring's slots has its turn (`wrr`).
    pub const TURNS: &str = "TURNS";
    /// `backend id → u64`, per-CPU array: flows ever opened.
    pub const OPENED: &str = "OPENED";
    /// `ListKey → u32`, longest prefix match: [`super::super::access`] of the prefixes that
    /// services name.
    pub const LISTS: &str = "LISTS";
    /// `service id → Meter`, array: new flows, measured.
    pub const METERS: &str = "METERS";
    /// `SourceKey → u64`, LRU hash: when a source's next flow is due, ns.
    pub const SOURCES: &str = "SOURCES";
    /// `Address → u64`, LRU hash: when a source last showed that it gets what is sent to it, ns.
    /// IPv6 addresses by their first 64 bits.
    pub const KNOWN: &str = "KNOWN";
    /// `counter → u64`, per-CPU array, indexed as [`super::super::counter`] says.
    pub const COUNTERS: &str = "COUNTERS";
    /// `FragmentKey → Fragmented`, LRU hash: packets of which fragments are still to come.
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// One `u32`, array: the number of the next packet whose fragments get an identification.
    pub const FRAGMENT_IDS: &str = "FRAGMENT_IDS";
    /// `ifindex → VlanDevice`, hash: VLAN devices, which XDP cannot redirect to.
    pub const VLANS: &str = "VLANS";
    /// One [`super::super::Decision`], per-CPU array: the packet that `lb_explain` saw last.
    pub const EXPLANATION: &str = "EXPLANATION";
    /// One [`super::super::TraceFilter`], array.
    pub const TRACE_FILTER: &str = "TRACE_FILTER";
    /// [`super::super::Decision`]s of `lb_trace`, ring buffer.
    pub const TRACE_EVENTS: &str = "TRACE_EVENTS";
    /// One `u64`, per-CPU array: those that found no room there.
    pub const TRACE_LOST: &str = "TRACE_LOST";
    /// Slot 0: a listener of the proxy's `SO_REUSEPORT` group.
    pub const LISTENERS: &str = "LISTENERS";
}

/// Program names, as in the ELF's symbol table.
pub mod programs {
    pub const BALANCE: &str = "lb_xdp";
    /// The same without side effects.
    pub const EXPLAIN: &str = "lb_explain";
    /// The same with a report of each packet.
    pub const TRACE: &str = "lb_trace";
    /// Leads connections to the proxy's listeners.
    pub const SK_LOOKUP: &str = "lb_sk_lookup";
}

/// Read-only globals that the loader sets.
pub mod globals {
    pub const ABI_VERSION: &str = "ABI_VERSION";
    /// `u32`: first source port for steered flows.
    pub const SOURCE_PORT_FIRST: &str = "SOURCE_PORT_FIRST";
    /// `u32`: how many source ports follow, the first one included.
    pub const SOURCE_PORT_COUNT: &str = "SOURCE_PORT_COUNT";
    /// `u32`: buckets in FLOW_SLOTS, less one. The number is a power of two; FLOWS has eight times
    /// as many entries.
    pub const FLOW_MASK: &str = "FLOW_MASK";
    /// `u32`: the same for PENDING_SLOTS.
    pub const PENDING_MASK: &str = "PENDING_MASK";
    /// `u32`: the same for ANSWERS.
    pub const ANSWER_MASK: &str = "ANSWER_MASK";
    /// Two `u64`: the secret that places flows in buckets.
    pub const SEED: &str = "SEED";
}
