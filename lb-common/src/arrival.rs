//! What is known of a packet once it has been parsed.

use crate::{
    abi::FlowKey,
    flow::{Family, Kind, tcp_flags},
    verdict::{Exit, Reason},
    vlan::Tag,
};

/// A packet as slow paths get it, in memory.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub key: FlowKey,
    /// [`crate::flow_table::hash`] of a segment's key.
    pub hash: u64,
    pub parsed: Result<Kind, Reason>,
    pub family: Family,
    /// [`tcp_flags`] of a TCP segment, 0 otherwise.
    pub flags: u32,
    /// That it came with.
    pub tag: Tag,
}

/// How a packet goes on that slow paths let go: filled in by one of them for the next.
#[derive(Clone, Copy, Debug, Default)]
pub struct Onward {
    /// With `Way::Follow`, the number of the flow that a client's packet turned out to be of. No
    /// pointer: the kernel's verifier would lose track of it on ways that it only believes in.
    pub flow: u32,
    /// With `Way::Open`, what the flow is to be opened between.
    pub service: u32,
    pub backend: u32,
    /// Of what is steered without a flow of its own.
    pub(crate) exit: Exit,
}

impl Arrival {
    /// Whether all of `wanted` and none of the other flags that open, acknowledge and close are
    /// set.
    #[inline(always)]
    #[must_use]
    pub const fn has_exactly(&self, wanted: u32) -> bool {
        use tcp_flags::{ACK, FIN, RST, SYN};
        self.flags & (SYN | ACK | FIN | RST) == wanted
    }
}
