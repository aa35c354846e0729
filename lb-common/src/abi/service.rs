//! Services, their rings and their backends.

use super::{address::Address, address::Prefixes, hop::Hop};

/// What clients address.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VipKey {
    pub address: Address,
    /// In one word with what fills it: the kernel hashes a key by words, and a CPU that reads what
    /// it has just written in smaller pieces waits for all its stores.
    port: u32,
    /// IP protocol number.
    pub protocol: u32,
}

impl VipKey {
    #[inline(always)]
    #[must_use]
    pub const fn new(address: Address, port: [u8; 2], protocol: u32) -> Self {
        let port = u32::from_ne_bytes([port[0], port[1], 0, 0]);
        Self { address, port, protocol }
    }

    /// Network order.
    #[inline(always)]
    #[must_use]
    pub const fn port(&self) -> [u8; 2] {
        let [first, second, ..] = self.port.to_ne_bytes();
        [first, second]
    }
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vip {
    /// Index into SERVICES and CURRENT_RINGS; unused with [`path::PROXY`].
    pub service: u32,
    /// [`path`].
    pub path: u32,
}

/// [`Vip::path`].
pub mod path {
    pub const STEER: u32 = 0;
    pub const PROXY: u32 = 1;
}

/// How a steered service treats its flows. All zero is `nat` and `maglev` without any limit.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Service {
    /// ns for which a source keeps its backend after its last new flow; 0: no affinity.
    pub affinity: u64,
    /// ns between two new flows of one source; 0: unlimited.
    pub source_interval: u64,
    /// ns by which a source may be ahead of that.
    pub source_burst: u64,
    /// As the two above, for all sources of the service together.
    pub service_interval: u64,
    pub service_burst: u64,
    /// ns for which a source that passed the challenge is known.
    pub remember: u64,
    /// New TCP flows a second from unknown sources above which these are challenged; 0: never.
    pub challenge: u32,
    /// [`strategy`].
    pub strategy: u32,
    /// [`mode`].
    pub mode: u32,
    /// [`service_flags`].
    pub flags: u32,
    /// The largest MSS that a SYN may carry on; 0: any.
    pub mss: u32,
    /// Leading bits of an address that make a source, for affinity and for limits.
    pub affinity_prefix: Prefixes,
    pub source_prefix: Prefixes,
    /// Bytes of a QUIC connection id that name the backend; 0: not QUIC.
    pub server_id_length: u32,
}

/// [`Service::mode`] and [`Flow::mode`](super::Flow::mode): how a packet reaches its backend.
pub mod mode {
    /// Addresses rewritten, both directions through us.
    pub const NAT: u32 = 0;
    /// The frame readdressed, the packet as it is; the backend answers the client itself.
    pub const L2: u32 = 1;
    /// The packet in an IP packet (RFC 2003, RFC 2473); the backend answers the client itself.
    pub const IPIP: u32 = 2;
    /// The packet in a UDP datagram (Generic UDP Encapsulation, variant 1); likewise.
    pub const GUE: u32 = 3;
}

/// [`Service::strategy`].
pub mod strategy {
    /// The slot of the ring that the flow's hash falls on.
    pub const MAGLEV: u32 = 0;
    /// Of two random slots the backend with less load for its weight.
    pub const P2C: u32 = 1;
    /// Of all members the one with least load for its weight.
    pub const LEAST_CONN: u32 = 2;
    /// The ring's slots in turn.
    pub const WRR: u32 = 3;
    /// A random slot.
    pub const RANDOM: u32 = 4;
}

/// Bits of [`Service::flags`].
pub mod service_flags {
    /// Flows of a backend that is gone get another one; without it they are reset (TCP). UDP
    /// always moves.
    pub const MOVE: u32 = 1;
    /// Some backend has limits: without it they are not looked at where one backend is chosen.
    pub const LIMITED: u32 = 2;
    /// There are prefix lists for the service.
    pub const LISTED: u32 = 4;
    /// Sources that no prefix names are denied.
    pub const DENY_OTHERS: u32 = 8;
    /// `nat`: TCP segments of no known flow are answered with RST.
    pub const RESET_UNKNOWN: u32 = 16;
}

/// UDP port of Generic UDP Encapsulation (IANA), native order.
pub const GUE_PORT: u16 = 6080;

/// Where a service's ring lies in RINGS, in one word: one 8-byte store makes a new one current.
///
/// From `offset` on lie `length` slots with a backend id each, then a word with the number of
/// members, then as many ids: every backend that may take new flows, once. Then comes the length of
/// a ring of the next region, for when all members are full, and that ring just so; 0 ends it. No
/// more than [`Ring::REGIONS`] rings stand in a row.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ring(u64);

/// Words of an entry of RINGS: the kernel rounds entries of arrays up to 8 bytes, so that a single
/// one would take the room of two.
pub const RING_WORDS: u32 = 2;
pub type RingWords = [u32; RING_WORDS as usize];

impl Ring {
    /// How many rings a service may have: its nearest region's, and those behind it.
    pub const REGIONS: u32 = 4;

    /// Length 0: no backend.
    #[must_use]
    pub const fn new(offset: u32, length: u32) -> Self {
        Self(((offset as u64) << 32) | length as u64)
    }

    /// As it lies in CURRENT_RINGS.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    #[inline(always)]
    #[must_use]
    pub const fn offset(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    #[must_use]
    pub const fn length(self) -> u32 {
        self.0 as u32
    }
}

/// A server as a member of one service. Members with the same address and port share a load slot.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backend {
    pub address: Address,
    /// The address of ours that packets to it carry as their source: of the packet, or of the
    /// tunnel around it.
    pub source: Address,
    /// `nat`: `[0, 0]` is the port that the client asked for. `gue`: the UDP port that takes
    /// tunnelled packets; `[0, 0]` is [`GUE_PORT`].
    pub port: [u8; 2],
    /// `ipip` and `gue`: how many of the last bits of `source` differ from flow to flow, so that
    /// the backend's receive queues share the work. At most 32.
    pub spread: u16,
    /// Index into LOAD and PORTS.
    pub load: u32,
    /// Relative to the other members.
    pub weight: u32,
    /// At this load and above, others are preferred. `u32::MAX`: never.
    pub soft_limit: u32,
    /// At this load and above, nothing new. `u32::MAX`: unlimited.
    pub hard_limit: u32,
    /// Bytes of the largest IP packet towards it, a tunnel's headers included; 0: as routing says.
    pub mtu: u32,
    /// `nat`: where in SOURCE_POOL the addresses begin that take turns as `source`, and how many
    /// they are. Up to 1: it is `source`.
    pub pool: u32,
    pub sources: u32,
    /// `nat`: ends of ours, addresses and ports, that flows to one port of it can have. Others are
    /// preferred where so many are live. 0: any number.
    pub ends: u32,
    pub pad: u32,
}

/// How packets reach a backend now. The kernel program writes the hop, the daemon the status.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reach {
    pub hop: Hop,
    /// Of the hop's lookup, ns of `CLOCK_MONOTONIC_COARSE`; 0: never.
    pub at: u64,
    /// [`status`].
    pub status: u32,
    pub pad: u32,
}

/// [`Reach::status`].
pub mod status {
    /// Its flows go on.
    pub const HERE: u32 = 0;
    /// Down, or drained past its deadline: its flows are moved or reset.
    pub const GONE: u32 = 1;
    /// Draining, or not configured any more: its flows go on, but a connection that begins with the
    /// addresses and ports of one of them is a new one, for somebody else.
    pub const LEAVING: u32 = 2;
}

const _: () = {
    assert!(size_of::<VipKey>() == 24);
    assert!(size_of::<Vip>() == 8);
    assert!(size_of::<Service>() == 80);
    assert!(size_of::<Ring>() == 8);
    assert!(size_of::<Backend>() == 72);
    assert!(size_of::<Reach>() == 40);
};
