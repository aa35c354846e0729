//! What happens to a packet.

pub use super::reason::Reason;
use crate::abi::Hop;

/// The decision about one frame. The shell around [`crate::pipeline::balance`] turns it into an
/// XDP action and a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not for an address of ours: the host's own traffic, unchanged.
    Pass,
    /// For a port with handlers: unchanged, up the stack, where `sk_lookup` gives it to the proxy.
    Proxy,
    /// Rewritten; leaves through the interface with this index, tagged unless `vlan` is 0. Where
    /// there are two tags it is the outer one's.
    Steer {
        ifindex: u32,
        vlan: u16,
    },
    /// An answer made from the frame itself (ICMP echo); leaves through the interface it came in
    /// by.
    Reply,
    /// Not let through, and the sender told so by an answer made from the frame itself (a RST, an
    /// ICMP error, a challenge); leaves through the interface it came in by.
    Answer(Reason),
    Drop(Reason),
}

/// As [`Verdict`] while it is being found, with the way out beside it in an [`Egress`]: the payload
/// of a variant that has none would be whatever a register holds, and the kernel's verifier refuses
/// arithmetic on what may be a pointer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
// As wide as Reason: no bit of a `Result` of both is ever unset.
#[repr(u32)]
pub(crate) enum NextStep {
    Pass,
    Proxy,
    Steer,
    Reply,
    /// With the reason in [`Egress`].
    Answer,
    /// Not seen yet. From here on, nothing is decided.
    #[default]
    Other,
    /// A new flow's first packet.
    Open,
    /// Taken by nobody; the reason is in [`Egress`].
    Refuse,
    /// A segment in the middle of a TCP flow that nobody knows.
    Unknown,
    /// Of a half-open flow that is to be established.
    Promote,
    /// Still to be rewritten, as a client's packet of a flow.
    Follow,
    /// A backend's packet of a flow, and not a usual one.
    Back,
    /// Larger than the way ahead carries.
    Oversize,
}

impl NextStep {
    #[inline(always)]
    pub(crate) const fn is_decided(self) -> bool {
        (self as u32) < (Self::Other as u32)
    }
}

/// What goes with a `NextStep`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Egress {
    /// Where a steered frame leaves.
    pub ifindex: u32,
    /// [`Hop::vlan`] and [`Hop::inner_vlan`].
    pub vlan: u16,
    pub inner_vlan: u16,
    /// Why a frame was answered.
    pub reason: Reason,
}

impl Default for Egress {
    #[inline(always)]
    fn default() -> Self {
        Self { ifindex: 0, vlan: 0, inner_vlan: 0, reason: Reason::Inconsistent }
    }
}

impl Egress {
    #[inline(always)]
    pub(crate) fn through(&mut self, hop: Hop) -> NextStep {
        self.ifindex = hop.ifindex;
        self.vlan = hop.vlan;
        self.inner_vlan = hop.inner_vlan;
        NextStep::Steer
    }
}
