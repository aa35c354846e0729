//! Keys and values of the BPF maps: the contract between the kernel object and the daemon.
//!
//! Every type is `#[repr(C)]` without implicit padding. Addresses, ports and MAC addresses are
//! network-order bytes; counts, indices and times are native integers. A change of layout or
//! meaning is a change of [`ABI_VERSION`].

mod address;
mod affinity;
mod counters;
mod decision;
mod flow;
mod flow_key;
mod fragment;
mod hop;
mod names;
#[cfg(feature = "userspace")]
mod pod;
mod quic;
mod range;
mod service;
mod source;

pub use address::{Address, Prefixes};
pub use affinity::{Affinity, AffinityKey};
pub use counters::{counter, live};
pub use decision::{Decision, TraceFilter, met, outcome};
pub use flow::{Answer, Bucket, Flow, PENDING, Slot, WAYS, flow_state};
pub use flow_key::FlowKey;
pub use fragment::{FragmentKey, Fragmented};
pub use hop::{CachedHop, Hop, SERVICE_TAG, VlanDevice};
pub use names::{globals, maps, programs};
pub use quic::{QuicKey, ServerId};
pub use range::{RangeKey, address_flags};
pub use service::{
    Backend, GUE_PORT, RING_WORDS, Reach, Ring, RingWords, Service, Vip, VipKey, mode, path,
    service_flags, status, strategy,
};
pub use source::{ListKey, Meter, SourceKey, access};

/// Stands in the object (`ABI_VERSION`), in the path of its pins, and is compared at load.
pub const ABI_VERSION: u32 = 9;
