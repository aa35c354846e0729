//! What is known of a packet once it has been parsed.

use super::verdict::{Egress, NextStep, Reason};
use crate::{
    abi::{FlowKey, FragmentKey, Fragmented, Ring},
    wire::{
        parse::{Family, Headers, Kind, tcp_flags},
        vlan::Tag,
    },
};

/// Where slow paths work on one packet: in memory that the kernel's verifier does not follow, so
/// that it checks each of them once and not for all that those before may have found out; and not
/// on the stack, which is short.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Scratch {
    pub parsed: ParsedPacket,
    pub onward: Forwarding,
    /// When the next ICMP error is due: `reply::rate` keeps to a rate. It outlives the packet.
    pub answers: u64,
    /// The same of resets in answer to segments of no known flow.
    pub resets: u64,
    /// With an ICMP error that is placed by what it quotes, its own key: `parsed` has the quoted
    /// packet's, turned round.
    pub message: FlowKey,
    /// The entry that the next half-open flow gets: see `flow_table::half_open`. It outlives the
    /// packet, too.
    pub turn: u32,
    pub pad: u32,
}

/// A packet as it was read.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ParsedPacket {
    pub key: FlowKey,
    /// `flow_table::table::hash` of a segment's key.
    pub hash: u64,
    pub family: Family,
    pub kind: Kind,
    /// [`tcp_flags`] of a TCP segment, 0 otherwise.
    pub flags: u32,
    /// Where the transport header starts; 0: in another fragment.
    pub l4: u32,
    /// Bytes from there to the end of the packet.
    pub rest: u32,
    /// That it came with.
    pub tag: Tag,
    /// Its place in a packet that comes in fragments.
    pub piece: Piece,
}

/// A fragment.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Piece {
    pub key: FragmentKey,
    /// What is known of the whole packet.
    pub whole: Fragmented,
    pub extent: Extent,
    /// Where in the frame its identification stands.
    pub place: u32,
    /// Where in the packet it belongs, and how much of it this is, in bytes.
    pub offset: u32,
    pub length: u32,
    /// Whether it is the last one.
    pub last: u32,
    pub pad: u32,
}

/// Which fragment a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Extent {
    /// None: a packet by itself.
    Whole,
    First,
    Later,
}

/// How a packet goes on that slow paths let go: filled in by one of them for the next.
///
/// What a function of the kernel object finds stands here, and only its error is returned: for both
/// LLVM would use memory of the caller, and may leave a pointer to it in the return register, which
/// the kernel's verifier refuses.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Forwarding {
    pub(crate) way: NextStep,
    /// With `NextStep::Follow`, the number of the flow that a client's packet turned out to be of.
    /// No pointer: the kernel's verifier would lose track of it on ways that it only believes in.
    pub flow: u32,
    /// With `NextStep::Open`, what the flow is to be opened between.
    pub service: u32,
    pub backend: u32,
    /// Steps that may be left out, since they would do nothing, are not named.
    pub wishes: u32,
    /// With `NextStep::Oversize`, bytes of the largest IP packet that would have done.
    pub carried: u32,
    /// Where the flow was counted in, before it is open.
    pub load: u32,
    /// Which of its limits counts.
    pub limit: Limit,
    /// Where a backend is looked for: in the service's ring, or behind it.
    pub ring: Ring,
    /// How many rings had no room, and how often all of this one were compared.
    pub passed: u32,
    pub compared: u32,
    /// What a backend that was asked about has to do: see [`crate::pick`].
    pub burden: u64,
    /// The least of several.
    pub least: u64,
    /// Where among the members a kept backend stands.
    pub position: u32,
    /// Backends that had no source port left for this flow.
    pub without: [u32; 2],
    /// Towards the backend, how many addresses of ours there are, and where in SOURCE_POOL.
    pub sources: u32,
    pub pool: u32,
    /// With `NextStep::Open`, 1 if there is an established flow already with the packet's addresses
    /// and ports, which stays until this one is established.
    pub contested: u32,
    /// Which of our ends towards the backend had its turn.
    pub place: u32,
    /// How far behind it the end stands whose flow has been over for longest, and since when.
    pub oldest: u32,
    pub age: u64,
    /// Where the packet leaves.
    pub exit: Egress,
}

impl Piece {
    /// Of a packet by itself.
    pub const NONE: Self = Self {
        key: FragmentKey {
            src: FlowKey::unread().src,
            dst: FlowKey::unread().dst,
            id: 0,
            protocol: 255,
        },
        whole: Fragmented {
            at: 0,
            src_port: [0; 2],
            dst_port: [0; 2],
            protocol: 255,
            id: 0,
            original: 0,
            first: 0,
            seen: 0,
            whole: 0,
            pad: 0,
        },
        extent: Extent::Whole,
        place: 0,
        offset: 0,
        length: 0,
        last: 0,
        pad: 0,
    };
}

/// What a service asks for that most do not: bits of [`Forwarding::wishes`].
pub(crate) mod wish {
    /// Lists, rates or a challenge.
    pub(crate) const GUARD: u32 = 1;
    /// Backends that QUIC's connection ids name.
    pub(crate) const QUIC: u32 = 2;
    /// Sources that keep their backend.
    pub(crate) const AFFINITY: u32 = 4;
    /// A limit to what SYNs announce.
    pub(crate) const MSS: u32 = 8;
    /// Something that goes round packets.
    pub(crate) const TUNNEL: u32 = 16;
    /// Whatever it may be: nobody has asked the service yet.
    pub(crate) const ANY: u32 = u32::MAX;
}

/// No backend's id.
pub(crate) const NOBODY: u32 = u32::MAX;

/// A backend's limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Limit {
    #[default]
    Soft,
    Hard,
}

impl Forwarding {
    #[inline(always)]
    pub(crate) const fn wishes(&self, wish: u32) -> bool {
        self.wishes & wish != 0
    }

    /// The packet is to be refused for that reason.
    #[inline(always)]
    pub(crate) fn refuse(&mut self, reason: Reason) {
        self.exit.reason = reason;
        self.way = NextStep::Refuse;
    }
}

impl ParsedPacket {
    #[inline(always)]
    #[must_use]
    pub const fn unread(tag: Tag) -> Self {
        Self {
            key: FlowKey::unread(),
            hash: 0,
            family: Family::V4,
            kind: Kind::Odd,
            flags: 0,
            l4: 0,
            rest: 0,
            tag,
            piece: Piece::NONE,
        }
    }

    #[inline(always)]
    #[must_use]
    pub const fn headers(&self) -> Headers {
        Headers { family: self.family, flags: self.flags, l4: self.l4 }
    }

    /// Whether all of `wanted` and none of the other flags that open, acknowledge and close are
    /// set.
    #[inline(always)]
    #[must_use]
    pub const fn has_exactly(&self, wanted: u32) -> bool {
        use tcp_flags::{ACK, FIN, RST, SYN};
        self.flags & (SYN | ACK | FIN | RST) == wanted
    }
}
