//! Packets that come in fragments: only the first one carries ports.

use super::address::Address;

/// What all fragments of a packet have in common.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FragmentKey {
    pub src: Address,
    pub dst: Address,
    /// The identification as it stands in the packet: two bytes in IPv4, four in IPv6.
    pub id: u32,
    /// IP protocol number; 0 in IPv6, where later fragments need not repeat it (RFC 8200, 4.5).
    pub protocol: u32,
}

/// What a packet's later fragments have to know of the first.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fragmented {
    /// When the first fragment came, ns of `CLOCK_MONOTONIC_COARSE`.
    pub at: u64,
    pub src_port: [u8; 2],
    pub dst_port: [u8; 2],
    /// IP protocol number of what is in fragments.
    pub protocol: u32,
    /// The identification that the fragments leave with where addresses are rewritten, as it stands
    /// in the packet: behind one address of ours, senders' own ones would meet.
    pub id: u32,
    /// [`FragmentKey::id`] once more: the map may give the entry to another packet while it is
    /// read.
    pub original: u32,
    /// Bytes of the packet that the first fragment brought. A later one that begins below is an
    /// attack (RFC 1858, RFC 5722).
    pub first: u32,
    /// Bytes that went by.
    pub seen: u32,
    /// Bytes of the whole; 0: its last fragment has not come yet.
    pub whole: u32,
    pub pad: u32,
}

const _: () = {
    assert!(size_of::<FragmentKey>() == 40);
    assert!(size_of::<Fragmented>() == 40);
};
