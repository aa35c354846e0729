//! Which types the daemon may read from and write to maps as they are.

use super::{
    address::Address,
    decision::{Decision, TraceFilter},
    flow::Flow,
    flow_key::FlowKey,
    fragment::{FragmentKey, Fragmented},
    hop::VlanDevice,
    quic::QuicKey,
    range::RangeKey,
    service::{Backend, Reach, Ring, Service, Vip, VipKey},
    source::{ListKey, Meter, SourceKey},
};

macro_rules! pod {
    ($($name:ty),*) => {$(
        // SAFETY: #[repr(C)], Copy, of integers and byte arrays only, and the size assertions
        // leave no implicit padding: every bit pattern is a value.
        unsafe impl aya::Pod for $name {}
    )*};
}

pod!(
    Address,
    Backend,
    Decision,
    Flow,
    FlowKey,
    FragmentKey,
    Fragmented,
    ListKey,
    Meter,
    QuicKey,
    RangeKey,
    Reach,
    Ring,
    Service,
    SourceKey,
    TraceFilter,
    Vip,
    VipKey,
    VlanDevice
);
