//! Keys and values of the BPF maps: the contract between the kernel object and the daemon.
//!
//! Every type is `#[repr(C)]` without implicit padding. Addresses, ports and MAC addresses are
//! network-order bytes; counts, indices and times are native integers. A change of layout or
//! meaning is a change of [`ABI_VERSION`].

use core::net::IpAddr;

use crate::verdict::Reason;

/// Stands in the object (`ABI_VERSION`) and is compared at load.
pub const ABI_VERSION: u32 = 1;

/// Map names, as in the ELF's symbol table.
pub mod maps {
    /// `FlowKey → Flow`, hash. Two entries a flow: one per direction.
    pub const FLOWS: &str = "FLOWS";
    /// `VipKey → Vip`, hash.
    pub const VIPS: &str = "VIPS";
    /// `Address → u32` (unused value), hash: the announced addresses.
    pub const ADDRESSES: &str = "ADDRESSES";
    /// `service id → Service`, array.
    pub const SERVICES: &str = "SERVICES";
    /// `ring slot → backend id`, array.
    pub const RINGS: &str = "RINGS";
    /// `backend id → Backend`, array.
    pub const BACKENDS: &str = "BACKENDS";
    /// `backend id → CachedHop`, array. Written by XDP.
    pub const HOPS: &str = "HOPS";
    /// `load slot → u64`, mmapable array: live connections, changed by XDP and proxy.
    pub const LOAD: &str = "LOAD";
    /// `load slot → u32`, array: where the search for a free source port goes on.
    pub const PORTS: &str = "PORTS";
    /// `backend id → u64`, per-CPU array: flows ever opened.
    pub const OPENED: &str = "OPENED";
    /// `counter → u64`, per-CPU array, indexed as [`super::counter`] says.
    pub const COUNTERS: &str = "COUNTERS";
    /// `ifindex → VlanDevice`, hash: VLAN devices, which XDP cannot redirect to.
    pub const VLANS: &str = "VLANS";
    /// Slot 0: a listener of the proxy's `SO_REUSEPORT` group.
    pub const LISTENERS: &str = "LISTENERS";
}

/// Program names, as in the ELF's symbol table.
pub mod programs {
    pub const BALANCE: &str = "lb_xdp";
    pub const STEER: &str = "lb_sk_lookup";
}

/// Read-only globals that the loader sets.
pub mod globals {
    pub const ABI_VERSION: &str = "ABI_VERSION";
    /// `u32`: first source port for steered flows.
    pub const SOURCE_PORT_FIRST: &str = "SOURCE_PORT_FIRST";
    /// `u32`: how many source ports follow, the first one included.
    pub const SOURCE_PORT_COUNT: &str = "SOURCE_PORT_COUNT";
}

/// IPv6 address, or IPv4 address in its mapped form `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2).
///
/// Its bytes are in network order; they are kept in two words so that BPF, which copies byte arrays
/// byte by byte, moves, compares and hashes an address in two steps.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Address([u64; 2]);

/// `0, 0, 0xff, 0xff` in the first half of a word in memory.
const MAPPED: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);

impl Address {
    #[inline(always)]
    #[must_use]
    pub const fn v4(a: [u8; 4]) -> Self {
        let word = u32::from_ne_bytes(a) as u64;
        Self([0, MAPPED | if cfg!(target_endian = "little") { word << 32 } else { word }])
    }

    #[inline(always)]
    #[must_use]
    pub const fn v6(a: [u8; 16]) -> Self {
        let words = u128::from_ne_bytes(a);
        let (low, high) = (words as u64, (words >> 64) as u64);
        Self(if cfg!(target_endian = "little") { [low, high] } else { [high, low] })
    }

    /// The mapped form of either family.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }

    /// All sixteen bytes, in network order.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(self) -> [u8; 16] {
        let [first, second] = [self.0[0] as u128, self.0[1] as u128];
        let words = if cfg!(target_endian = "little") {
            second << 64 | first
        } else {
            first << 64 | second
        };
        words.to_ne_bytes()
    }

    /// The two halves as they lie in memory.
    #[inline(always)]
    #[must_use]
    pub const fn words(self) -> [u64; 2] {
        self.0
    }

    #[inline(always)]
    #[must_use]
    pub const fn is_v4(self) -> bool {
        let mask = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        self.0[0] == 0 && self.0[1] & mask == MAPPED
    }

    /// The last four bytes: the whole address where the family is known to be IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn low(self) -> [u8; 4] {
        let word = self.0[1];
        ((if cfg!(target_endian = "little") { word >> 32 } else { word }) as u32).to_ne_bytes()
    }
}

/// A transport 5-tuple as it stands in an arriving packet.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowKey {
    pub src: Address,
    pub dst: Address,
    pub src_port: [u8; 2],
    pub dst_port: [u8; 2],
    /// IP protocol number. A whole word: stack bytes next to unset padding are stored in ways that
    /// the kernel's verifier refuses.
    pub protocol: u32,
}

/// Where a frame leaves: what `bpf_fib_lookup` answered.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hop {
    /// Destination and source MAC address as they stand in a frame, in a long and a short word.
    macs_long: u64,
    macs_short: u32,
    pub ifindex: u32,
    /// 802.1Q VLAN id to tag the frame with, native order; 0: untagged.
    pub vlan: u16,
    pad: [u8; 6],
}

impl Hop {
    #[inline(always)]
    #[must_use]
    pub const fn new(dst_mac: [u8; 6], src_mac: [u8; 6], ifindex: u32, vlan: u16) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (dst_mac, src_mac);
        Self {
            macs_long: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            macs_short: u32::from_ne_bytes([i, j, k, l]),
            ifindex,
            vlan,
            pad: [0; 6],
        }
    }

    /// The first twelve bytes of a frame that goes there, as eight and four.
    #[inline(always)]
    #[must_use]
    pub const fn macs(&self) -> ([u8; 8], [u8; 4]) {
        (self.macs_long.to_ne_bytes(), self.macs_short.to_ne_bytes())
    }
}

/// A [`Hop`] with the time of its lookup (ns of `CLOCK_MONOTONIC_COARSE`; 0: never).
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CachedHop {
    pub hop: Hop,
    pub at: u64,
}

/// One direction of a flow: all that the rewrite of its packets needs.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flow {
    /// What the packet's addresses and ports become.
    pub src: Address,
    pub dst: Address,
    pub src_port: [u8; 2],
    pub dst_port: [u8; 2],
    /// One's complement sum to fold into the IPv4 header checksum, addresses only.
    pub l3_delta: u16,
    /// The same for the TCP or UDP checksum: addresses (pseudo header) and ports.
    pub l4_delta: u16,
    pub hop: CachedHop,
    /// Last packet of this direction, ns of `CLOCK_MONOTONIC_COARSE`.
    pub seen: u64,
    pub backend: u32,
    /// Index into LOAD and PORTS.
    pub load: u32,
    /// [`flow_state`] bits. Meaningful in the forward entry only.
    pub state: u32,
    /// [`direction`].
    pub direction: u32,
}

/// [`Flow::direction`].
pub mod direction {
    /// Client to backend. Its entry carries the state and the count in LOAD.
    pub const FORWARD: u32 = 0;
    /// Backend to client.
    pub const REVERSE: u32 = 1;
}

/// Bits of [`Flow::state`]. A flow counts in LOAD until it is [`CLOSED`](flow_state::CLOSED).
pub mod flow_state {
    /// The backend answered: no longer half open.
    pub const ANSWERED: u32 = 1;
    pub const CLIENT_FIN: u32 = 2;
    pub const BACKEND_FIN: u32 = 4;
    /// FIN both ways; RST sets both at once. Whoever sets the last bit takes the flow out of LOAD.
    pub const CLOSED: u32 = CLIENT_FIN | BACKEND_FIN;
}

/// What clients address.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VipKey {
    pub address: Address,
    pub port: [u8; 2],
    pub pad: u16,
    /// IP protocol number.
    pub protocol: u32,
}

impl VipKey {
    #[inline(always)]
    #[must_use]
    pub const fn new(address: Address, port: [u8; 2], protocol: u32) -> Self {
        Self { address, port, pad: 0, protocol }
    }
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vip {
    /// Index into SERVICES; unused with [`path::PROXY`].
    pub service: u32,
    /// [`path`].
    pub path: u32,
}

/// [`Vip::path`].
pub mod path {
    pub const STEER: u32 = 0;
    pub const PROXY: u32 = 1;
}

/// A steered service. One 8-byte store makes a new ring current.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Service {
    /// Offset into RINGS in the upper half, length in the lower. Length 0: no backend.
    pub ring: u64,
}

impl Service {
    #[must_use]
    pub const fn new(offset: u32, length: u32) -> Self {
        Self { ring: ((offset as u64) << 32) | length as u64 }
    }

    #[inline(always)]
    #[must_use]
    pub const fn offset(self) -> u32 {
        (self.ring >> 32) as u32
    }

    #[inline(always)]
    #[must_use]
    pub const fn length(self) -> u32 {
        self.ring as u32
    }
}

/// A server as a member of one service. Members with the same address and port share a load slot.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backend {
    pub address: Address,
    /// The address of ours that steered packets to it carry as their source.
    pub source: Address,
    pub port: [u8; 2],
    pub pad: [u8; 2],
    /// Index into LOAD and PORTS.
    pub load: u32,
}

/// A VLAN device as its parent and tag.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VlanDevice {
    pub parent: u32,
    /// 802.1Q VLAN id.
    pub vlan: u16,
    pub pad: u16,
}

/// Indices into COUNTERS: the verdicts, then a slot per [`Reason`].
pub mod counter {
    use super::Reason;

    pub const PASS: u32 = 0;
    pub const PROXY: u32 = 1;
    pub const STEER: u32 = 2;
    pub const REPLY: u32 = 3;
    const DROPS: u32 = 8;
    pub const LENGTH: u32 = DROPS + Reason::ALL.len() as u32;

    #[inline(always)]
    #[must_use]
    pub const fn drop(reason: Reason) -> u32 {
        DROPS + reason as u32
    }
}

const _: () = {
    assert!(size_of::<FlowKey>() == 40);
    assert!(size_of::<Hop>() == 24);
    assert!(size_of::<CachedHop>() == 32);
    assert!(size_of::<Flow>() == 96);
    assert!(size_of::<VipKey>() == 24);
    assert!(size_of::<Vip>() == 8);
    assert!(size_of::<Service>() == 8);
    assert!(size_of::<VlanDevice>() == 8);
    assert!(size_of::<Backend>() == 40);
};

#[cfg(feature = "userspace")]
mod pod {
    use super::{Address, Backend, CachedHop, Flow, FlowKey, Service, Vip, VipKey, VlanDevice};

    macro_rules! pod {
        ($($name:ty),*) => {$(
            // SAFETY: #[repr(C)], Copy, of integers and byte arrays only, and the size assertions
            // above leave no implicit padding: every bit pattern is a value.
            unsafe impl aya::Pod for $name {}
        )*};
    }

    pod!(Address, Backend, CachedHop, Flow, FlowKey, Service, Vip, VipKey, VlanDevice);
}
