//! What became of one packet, for people: `lb explain` and `lb trace`.

use super::{address::Address, flow::Flow, flow_key::FlowKey, service::Ring};

/// One packet's way through [`crate::pipeline::balance`], as its [`crate::tables::Tables`] saw it.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Decision {
    /// ns of `CLOCK_MONOTONIC_COARSE`; 0: nothing is written here.
    pub at: u64,
    /// Of the frame that came, in bytes. A whole word: the kernel's verifier does not let half of
    /// a packet's bounds be spilled.
    pub length: u64,
    /// As it came. Only of packets with [`met::PARSED`]: those of established flows are not read
    /// twice. [`FlowKey::unread`]: it has none that could be read.
    pub key: FlowKey,
    /// The flow that was looked at last, with [`met::FLOW`]. Whether it is the packet's, its two
    /// keys tell.
    pub flow: Flow,
    /// With [`met::RING`], the service's ring.
    pub ring: Ring,
    /// [`met`].
    pub met: u32,
    /// [`outcome`].
    pub outcome: u32,
    /// Why it was dropped or answered: [`crate::verdict::Reason`].
    pub reason: u32,
    /// Of the interfaces that it came by and leaves by; 0: it does not leave.
    pub ingress: u32,
    pub egress: u32,
    /// 802.1Q VLAN id that it leaves with; 0: none.
    pub vlan: u32,
    /// `parse::tcp_flags`, with [`met::PARSED`].
    pub flags: u32,
    /// With [`met::VIP`], what VIPS says.
    pub service: u32,
    pub path: u32,
    /// With [`met::RING`], the word of RINGS that was read last.
    pub slot: u32,
    /// With [`met::OPENED`], the backend of the new flow.
    pub backend: u32,
    /// With [`met::PARSED`] and [`met::RING`], how many rings had no room: those of nearer regions.
    pub passed: u32,
    /// Of the frame as it came, the VLAN's where it has one; 0: the frame is too short.
    pub ethertype: u32,
    pub pad: u32,
}

/// Bits of [`Decision::met`].
pub mod met {
    /// It was no plain packet of an established flow, and was read in full.
    pub const PARSED: u32 = 1;
    pub const FLOW: u32 = 2;
    pub const VIP: u32 = 4;
    pub const RING: u32 = 8;
    /// A new flow was opened for it.
    pub const OPENED: u32 = 16;
    /// With it, its flow was closed from one side or both.
    pub const CLOSING: u32 = 32;
    /// To make room for its flow, another one was evicted.
    pub const EVICTED: u32 = 64;
    /// An established flow was looked at.
    pub const ESTABLISHED: u32 = 128;
    /// A half-open flow was looked at.
    pub const PENDING: u32 = 256;
    /// The flows were searched by backend, which of a packet of an established flow comes second.
    pub const ANSWERS: u32 = 512;
    /// Its flow was closed, goes on with it, and counts again.
    pub const REVIVED: u32 = 1024;
    /// Its flow was half open, and is established now.
    pub const PROMOTED: u32 = 2048;
}

/// [`Decision::outcome`]: [`crate::verdict::Verdict`] without what goes with it.
pub mod outcome {
    pub const PASS: u32 = 0;
    pub const PROXY: u32 = 1;
    pub const STEER: u32 = 2;
    pub const REPLY: u32 = 3;
    pub const ANSWER: u32 = 4;
    pub const DROP: u32 = 5;
}

/// Which decisions `lb trace` wants; what it costs to leave the others out is a few comparisons.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TraceFilter {
    /// An address counts if it is `client` in the bits of `client_mask`.
    pub client: Address,
    pub client_mask: Address,
    /// `0.0.0.0`, in either form: any.
    pub vip: Address,
    pub backend: Address,
    /// `[0, 0]`: any.
    pub vip_port: [u8; 2],
    pub backend_port: [u8; 2],
    /// IP protocol number; 0: any.
    pub protocol: u32,
    /// One in so many; 0 and 1: all.
    pub sample: u32,
    pub pad: u32,
}

const _: () = {
    assert!(size_of::<Decision>() == 16 + 40 + 176 + 64);
    assert!(size_of::<TraceFilter>() == 80);
};
