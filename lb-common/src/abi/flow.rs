//! Flows as they lie in memory: entries, the slots that place them, and the index of answers.
//!
//! A flow is one entry, found from both sides. What a client sends is found by a bucket of
//! [`Slot`]s, what a backend answers by a bucket of [`Answer`]s, each of which names an entry.
//! There are two parts, each with entries and slots of its own: half-open flows and established
//! ones. Way `w` of bucket `b` of the established ones belongs to entry `b * WAYS + w`; half-open
//! flows take their entries in turn, and their slots say which. Answers are one index for both, so
//! that no two flows of a backend ever share a source port.

use super::{address::Address, flow_key::FlowKey, hop::CachedHop, service::mode};

/// Slots, and answers, in a bucket: one cache line.
pub const WAYS: u32 = 8;

/// A bucket of [`Slot`]s or of [`Answer`]s.
pub type Bucket = [u64; WAYS as usize];

/// A connection, or what stands for one in UDP, between a client and a backend: all that the
/// rewrite of its packets needs, in both directions.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Flow {
    /// Odd while the entry is being written. Who finds another value after reading than before
    /// has read a mixture.
    pub sequence: u32,
    /// IP protocol number.
    pub protocol: u32,
    pub client: Address,
    pub vip: Address,
    pub client_port: [u8; 2],
    pub vip_port: [u8; 2],
    /// `gue`: where the backend takes tunnelled packets.
    pub backend_port: [u8; 2],
    /// `nat`: where the backend's answers go; `gue`: the outer UDP source port; `ipip` and `gue`
    /// over IPv6: the flow label's lower bits.
    pub source_port: [u8; 2],
    pub backend_address: Address,
    /// The address of ours that the backend sees: of the packet, or of the tunnel around it.
    pub source: Address,
    /// `nat`: one's complement sum to fold into the IPv4 header checksum of a client's packet,
    /// addresses only. Its complement serves the way back. `ipip` and `gue`: the sum of all words
    /// of the outer IPv4 header that are the same in each packet.
    pub l3_delta: u16,
    /// `nat`: the same for the TCP or UDP checksum: addresses (pseudo header) and ports. `gue`: the
    /// sum of all that is the same in each packet and under the outer UDP checksum.
    pub l4_delta: u16,
    /// Index into BACKENDS and REACH.
    pub backend: u32,
    /// Index into LOAD and PORTS.
    pub load: u32,
    /// Index into SERVICES.
    pub service: u32,
    /// [`super::mode`].
    pub mode: u8,
    /// 1: the client's packets are to be looked at one by one. A UDP flow's may name another
    /// backend by their QUIC connection ids. An established TCP flow's may be of another connection
    /// with the same addresses and ports, which is half open and has 1 here, too. A byte by itself,
    /// so that it may be changed beside whoever writes the entry.
    pub watched: u8,
    /// Bytes that a client's packets grow by on their way to the backend.
    pub overhead: u16,
    /// This entry's own number; in the upper bit, whether it is among the half-open ones.
    pub number: u32,
    /// Where its slot is: eight to a bucket.
    pub slot: u32,
    /// TCP: the sequence number of the client's last segment, network order; 0: none yet.
    pub sent: [u8; 4],
    /// ns of `CLOCK_MONOTONIC_COARSE`, as every time here; 0: the entry is nobody's any more.
    pub opened: u64,
    /// The client's last packet.
    pub seen: u64,
    /// The backend's last packet; 0: none.
    pub answered: u64,
    /// The acknowledgement that completes the handshake, network order: the backend's first
    /// sequence number and one. Once it is complete, the sequence number of the client's FIN.
    pub expected: [u8; 4],
    /// [`sent`](Self::sent) of the backend's last segment (`nat`).
    pub replied: [u8; 4],
    /// The way back to the client (`nat`).
    pub hop: CachedHop,
}

impl Flow {
    /// [`super::mode`].
    #[inline(always)]
    #[must_use]
    pub const fn mode(&self) -> u32 {
        self.mode as u32
    }

    /// The key of the client's packets.
    #[inline(always)]
    #[must_use]
    pub const fn question(&self) -> FlowKey {
        FlowKey {
            src: self.client,
            dst: self.vip,
            src_port: self.client_port,
            dst_port: self.vip_port,
            protocol: self.protocol,
        }
    }

    /// The key of the backend's packets (`nat`).
    #[inline(always)]
    #[must_use]
    pub const fn answer(&self) -> FlowKey {
        FlowKey {
            src: self.backend_address,
            dst: self.source,
            src_port: self.backend_port,
            dst_port: self.source_port,
            protocol: self.protocol,
        }
    }

    /// The port at which the backend serves: the client's own but with `nat`. GUE's packets to it
    /// go to [`backend_port`](Self::backend_port).
    #[inline(always)]
    #[must_use]
    pub const fn server_port(&self) -> [u8; 2] {
        if self.mode() == mode::NAT { self.backend_port } else { self.vip_port }
    }
}

/// Bit of [`Flow::number`] and of [`Answer`]: the entry is in PENDING.
pub const PENDING: u32 = 1 << 31;

/// What stands for an entry in a bucket: a bit that is always 0, fingerprint (19 bits), generation
/// (8), mark (28), [`flow_state`] (8), from the top. The mark is an established flow's time of
/// birth, or of its closing, and a half-open one's place among the entries. Whoever changes the
/// whole word by compare-and-exchange owns the change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Slot(pub u64);

impl Slot {
    const FINGERPRINT: u64 = 0x7ffff << 44;
    const GENERATION: u64 = 0xff << 36;
    const MARK: u64 = 0xfff_ffff << 8;
    const STATE: u64 = 0xff;
    /// ns in a unit of the time of birth, as a shift: 67 ms. The time wraps after 208 days.
    const UNIT: u32 = 26;

    /// 0 if it is an open flow's with this hash's fingerprint, and not over.
    #[inline(always)]
    #[must_use]
    pub const fn misses(self, hash: u64) -> u64 {
        let wanted = hash & !Self::STATE | flow_state::OPEN as u64;
        (self.0 ^ wanted) & (Self::FINGERPRINT | (flow_state::OPEN | flow_state::OVER) as u64)
    }

    /// The same of one that may be over.
    #[inline(always)]
    #[must_use]
    pub const fn misses_all(self, hash: u64) -> u64 {
        let wanted = hash & !Self::STATE | flow_state::OPEN as u64;
        (self.0 ^ wanted) & (Self::FINGERPRINT | flow_state::OPEN as u64)
    }

    /// 0 if somebody with this hash's fingerprint has it, or last had it.
    #[inline(always)]
    #[must_use]
    pub const fn differs(self, hash: u64) -> u64 {
        (self.0 ^ hash) & Self::FINGERPRINT
    }

    /// 0 if nobody has it.
    #[inline(always)]
    #[must_use]
    pub const fn tenancy(self) -> u64 {
        self.0 & (flow_state::OPEN | flow_state::CLAIMED) as u64
    }

    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> u32 {
        (self.0 & Self::STATE) as u32
    }

    /// [`flow_state`] bits of which at least one is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits as u64 != 0
    }

    /// No flow has it.
    #[inline(always)]
    #[must_use]
    pub const fn is_free(self) -> bool {
        !self.has(flow_state::OPEN | flow_state::CLAIMED)
    }

    /// The mark of an established flow that is born `now` (ns).
    #[inline(always)]
    #[must_use]
    pub const fn birth(now: u64) -> u64 {
        now >> Self::UNIT
    }

    /// A half-open flow's entry.
    #[inline(always)]
    #[must_use]
    pub const fn place(self) -> u32 {
        self.mark() as u32
    }

    #[inline(always)]
    const fn mark(self) -> u64 {
        (self.0 & Self::MARK) >> 8
    }

    /// Whether an established flow was born at `time` (ns) or after it, as far as the unit tells;
    /// for times of the last months.
    #[must_use]
    pub const fn is_born_since(self, time: u64) -> bool {
        let age = Self::birth(time).wrapping_sub(self.mark()) & (Self::MARK >> 8);
        age == 0 || age > Self::MARK >> 9
    }

    /// How long ago an established flow was born or closed, ns, as far as the unit tells.
    #[inline(always)]
    #[must_use]
    pub const fn age(self, now: u64) -> u64 {
        (Self::birth(now).wrapping_sub(self.mark()) & (Self::MARK >> 8)) << Self::UNIT
    }

    /// With `now` (ns) as an established flow's mark.
    #[inline(always)]
    #[must_use]
    pub const fn marked(self, now: u64) -> Self {
        Self(self.0 & !Self::MARK | Self::birth(now) << 8 & Self::MARK)
    }

    /// This slot's next tenant, with nothing to be found yet.
    #[inline(always)]
    #[must_use]
    pub const fn claimed(self, hash: u64, mark: u64) -> Self {
        let generation = (self.0 & Self::GENERATION).wrapping_add(1 << 36) & Self::GENERATION;
        let mark = mark << 8 & Self::MARK;
        Self(hash & Self::FINGERPRINT | generation | mark | flow_state::CLAIMED as u64)
    }

    /// Being taken out of the table by one who has it alone meanwhile.
    #[inline(always)]
    #[must_use]
    pub const fn held(self) -> Self {
        Self(self.0 & !(flow_state::OPEN as u64) | flow_state::CLAIMED as u64)
    }

    /// With more bits of [`flow_state`]; what is closed no longer counts.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, bits: u32) -> Self {
        let state = self.state() | bits;
        let closed = state & flow_state::CLOSED == flow_state::CLOSED;
        let state = if closed { state & !flow_state::COUNTED | flow_state::OVER } else { state };
        Self(self.0 & !Self::STATE | state as u64)
    }

    /// 1 if it is `old` with an end of its flow, noted just before `now` (ns), and no other change;
    /// else 0. In arithmetic: the kernel's verifier would follow each branch wherever a word is
    /// exchanged.
    #[inline(always)]
    #[must_use]
    pub const fn closes(self, old: Self, now: u64) -> u32 {
        const CLOSED: u64 = flow_state::CLOSED as u64;
        const ENDS: u64 =
            CLOSED | (flow_state::COUNTED | flow_state::OVER | flow_state::RESET) as u64;
        let other = (self.0 ^ old.0) & !ENDS;
        let has_closed = is_set(self.0 & !old.0 & CLOSED);
        let in_time = is_set(other & !Self::MARK | self.age(now) >> (Self::UNIT + 1)) ^ 1;
        has_closed & ((is_set(other) ^ 1) | in_time)
    }

    /// A closed flow that goes on: without those bits, and counted again.
    #[inline(always)]
    #[must_use]
    pub const fn revived(self, ended: u32) -> Self {
        let state = self.state() & !(ended | flow_state::OVER | flow_state::RESET);
        Self(self.0 & !Self::STATE | (state | flow_state::COUNTED) as u64)
    }

    /// Whether it is open, and still the flow's that `other` was.
    #[inline(always)]
    #[must_use]
    pub const fn is_still(self, other: Self) -> bool {
        self.has(flow_state::OPEN) && (self.0 ^ other.0) & !Self::STATE == 0
    }

    /// A claimed slot whose entry has been written.
    #[inline(always)]
    #[must_use]
    pub const fn open(self, state: u32) -> Self {
        Self(self.0 & !Self::STATE | (state | flow_state::OPEN) as u64)
    }

    /// The flow is gone; the generation stays, so that the next one differs.
    #[inline(always)]
    #[must_use]
    pub const fn vacant(self) -> Self {
        Self(self.0 & Self::GENERATION)
    }
}

/// 1 if any bit is set, else 0.
#[inline(always)]
const fn is_set(value: u64) -> u32 {
    ((value | value.wrapping_neg()) >> 63) as u32
}

/// Bits of a [`Slot`]'s state. A flow counts in LOAD while it is [`COUNTED`](flow_state::COUNTED):
/// whoever clears that bit takes it out.
pub mod flow_state {
    /// The entry is whole and may be used.
    pub const OPEN: u32 = 1;
    /// The entry is being written.
    pub const CLAIMED: u32 = 2;
    pub const COUNTED: u32 = 4;
    /// With [`CLOSED`]: the packets of its client are no usual ones any more, since one of them may
    /// show that the flow goes on.
    pub const OVER: u32 = 8;
    /// The client has shown that it gets the answers: no longer half open.
    pub const CONFIRMED: u32 = 16;
    pub const CLIENT_FIN: u32 = 32;
    pub const BACKEND_FIN: u32 = 64;
    /// FIN both ways; RST sets both at once.
    pub const CLOSED: u32 = CLIENT_FIN | BACKEND_FIN;
    /// Closed by a RST, whose receiver may not have taken it.
    pub const RESET: u32 = 128;
}

/// Where the answers to a flow lead: fingerprint of the answer's [`FlowKey`] in the upper half,
/// [`Flow::number`] in the lower. 0: free. Its bucket: `Placement`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Answer(pub u64);

impl Answer {
    pub const FREE: Self = Self(0);

    #[inline(always)]
    #[must_use]
    pub const fn new(hash: u64, number: u32) -> Self {
        Self((hash >> 32 | 1) << 32 | number as u64)
    }

    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0 as u32
    }

    /// 0 if it may be for a key with this hash.
    #[inline(always)]
    #[must_use]
    pub const fn differs(self, hash: u64) -> u64 {
        self.0 >> 32 ^ (hash >> 32 | 1)
    }
}

const _: () = assert!(size_of::<Flow>() == 176);
